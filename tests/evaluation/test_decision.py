"""Decisions: the rule, its file, thresholds by cost against brute force, and what they lead to."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax
from sklearn import metrics as sk

from superft_hf.errors import DecisionError
from superft_hf.evaluation import calibration, decision, operating_points, threshold_search
from superft_hf.evaluation.decision import ChosenOn, Decision, answer, decide, in_words
from superft_hf.evaluation.operating_points import class_probabilities, outcome, outcome_of
from superft_hf.evaluation.threshold_search import choose_threshold, suggest_thresholds
from superft_hf.paths import RunPaths

CHOSEN = ChosenOn("20261124-0233-k3f9", "eval", 40, 120)


def decision_of(num_classes, **values):
    names = tuple(f"class {index}" for index in range(num_classes))
    return Decision(names, CHOSEN, **values)


def drawn(seed, count=200, num_classes=4, strength=1.0):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, num_classes, count)
    logits = 2 * generator.normal(size=(count, num_classes))
    logits[np.arange(count), labels] += strength
    return logits.astype(np.float32), labels


def by_hand(row, made):
    """The rule for one image, as it is written down."""
    p = softmax(np.asarray(row, dtype=float) / made.temperature)
    limits = made.thresholds or [1 / len(p)] * len(p)
    best = max(range(len(p)), key=lambda index: p[index] / limits[index])
    return best if p[best] >= limits[best] + made.abstain_band - 1e-9 else -1


@pytest.mark.parametrize("seed", range(6))
def test_decide__is_the_rule(seed):
    generator = np.random.default_rng(seed)
    logits, _ = drawn(seed)
    made = decision_of(
        4, temperature=generator.uniform(0.3, 3), thresholds=tuple(generator.uniform(0.05, 0.9, 4)),
        abstain_band=float(generator.choice([0, 0.1, 0.3])),
    )  # fmt: skip
    answers = decide(logits, made)
    assert answers.tolist() == [by_hand(row, made) for row in logits]
    assert len(set(answers.tolist())) > 1
    normalizer = operating_points.normalizers(logits, made.temperature)
    assert decide(logits, made, normalizer).tolist() == answers.tolist()


def test_decide__without_thresholds_is_the_likeliest_class_at_any_temperature():
    logits, _ = drawn(1)
    logits[0] = 0.0  # all equally likely, and still an answer
    for temperature in (0.2, 1.0, 5.0):
        assert (decide(logits, decision_of(4, temperature=temperature)) == logits.argmax(axis=1)).all()
    equal = decision_of(4, thresholds=(0.25,) * 4)
    assert (decide(logits, equal) == logits.argmax(axis=1)).all()


@pytest.mark.parametrize("limit", [0.03, 0.5, 0.9])
def test_decide__for_two_classes_it_is_the_usual_threshold(limit):
    logits, _ = drawn(2, num_classes=2)
    made = decision_of(2, thresholds=(1 - limit, limit))
    assert (decide(logits, made) == (softmax(logits.astype(float), axis=1)[:, 1] >= limit)).all()


def test_decide__a_band_without_thresholds_asks_for_more_than_an_equal_share():
    logits, _ = drawn(3)
    answers = decide(logits, decision_of(4, abstain_band=0.4))
    confidence = softmax(logits.astype(float), axis=1).max(axis=1)
    assert ((answers == -1) == (confidence < 0.65 - 1e-9)).all() and (answers == -1).any()


def test_decide__rows_that_are_no_numbers_have_no_answer(monkeypatch):
    logits, _ = drawn(4, count=50)
    logits[3, 1], logits[7] = np.nan, np.inf
    monkeypatch.setattr(calibration, "_VALUES_A_BLOCK", 12)
    for made in (decision_of(4), decision_of(4, thresholds=(0.2, 0.2, 0.2, 0.2))):
        answers = decide(logits, made)
        assert answers[3] == answers[7] == -1 and (np.delete(answers, [3, 7]) >= 0).sum() > 30
    assert decide(np.zeros((0, 4)), decision_of(4)).tolist() == []


def test_answer__names_and_probabilities():
    logits = np.array([[2.0, 1.0, 0.0], [0.1, 0.0, 0.05]])
    made = Decision(("a", "b", "c"), CHOSEN, 2.0, (0.9, 0.2, 0.5), 0.0)
    first, second = answer(logits, ["a", "b", "c"], made, top_k=2)
    expected = softmax(logits[0] / 2)
    assert first.label == "b" and first.is_sure
    assert first.predictions == (("a", pytest.approx(expected[0])), ("b", pytest.approx(expected[1])))
    assert second.label == "b"
    unsure = answer(logits, ["a", "b", "c"], replace(made, abstain_band=0.3), top_k=1)
    assert unsure[1].label is None and not unsure[1].is_sure
    plain = answer(logits, ["a", "b", "c"], None, top_k=3)
    assert plain[0].label == "a" and dict(plain[0].predictions)["a"] == pytest.approx(softmax(logits[0])[0])


# The file


def test_file__comes_back_as_it_was(tmp_path):
    path = tmp_path / decision.FILE_NAME
    made = decision_of(
        3, temperature=1.37, thresholds=(0.1, 0.25, 1.0), abstain_band=0.05, costs_fp=(1.0, 2.0, 0.0),
        costs_fn=(5.0, 1.0, 1.0), figures={"eval": {"cost": 12.0, "accuracy": None}},
    )  # fmt: skip
    decision.write(path, made)
    assert decision.read(path) == made == decision.read(path, made.class_names)
    assert [one.name for one in tmp_path.iterdir()] == [path.name]  # nothing is left of the writing
    assert RunPaths(tmp_path).decision.name == path.name
    assert json.loads(path.read_text())["version"] == decision.VERSION
    assert decision.read(tmp_path / "none.json") is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"version": 2}, "version 2"),
        ({"version": None}, "version None"),
        ({"class_names": ["a"], "thresholds": None}, "fewer than two classes"),
        ({"class_names": "abc"}, "no list of names"),
        ({"temperature": 0}, "temperature 0"),
        ({"temperature": "warm"}, "could not convert"),
        ({"temperature": float("nan")}, "temperature nan"),
        ({"thresholds": [0.5]}, "1 values for 2 classes"),
        ({"thresholds": [0.5, 0]}, "threshold is not within"),
        ({"thresholds": [0.5, 1.5]}, "threshold is not within"),
        ({"thresholds": [0.5, float("nan")]}, "threshold is not within"),
        ({"abstain_band": -0.1}, "abstain band"),
        ({"costs_fp": [1, -1]}, "cost is negative"),
        ({"costs_fn": [1, float("inf")]}, "cost is negative or no number"),
        ({"chosen_on": 3}, "not subscriptable"),
        ({"chosen_on": {}}, "it has no 'run_id'"),
        ({"figures": 4}, "not iterable"),
    ],
)
def test_file__that_is_damaged_is_a_sentence_and_never_a_default(tmp_path, change, reason):
    path = tmp_path / decision.FILE_NAME
    decision.write(path, decision_of(2, thresholds=(0.3, 0.7)))
    values = json.loads(path.read_text()) | change
    path.write_text(json.dumps(values))
    with pytest.raises(DecisionError, match="decision.json cannot be used") as caught:
        decision.read(path)
    assert reason in caught.value.message and "--reset" in caught.value.hint


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000])
def test_file__that_is_no_json(tmp_path, content):
    path = tmp_path / decision.FILE_NAME
    path.write_bytes(content)
    with pytest.raises(DecisionError):
        decision.read(path)


def test_file__for_other_classes_is_refused(tmp_path):
    path = tmp_path / decision.FILE_NAME
    decision.write(path, decision_of(2))
    with pytest.raises(DecisionError, match="other classes"):
        decision.read(path, ["class 1", "class 0"])


def test_file__what_is_not_valid_is_not_written(tmp_path):
    path = tmp_path / decision.FILE_NAME
    with pytest.raises(DecisionError, match="temperature"):
        decision.write(path, decision_of(2, temperature=100.0))
    with pytest.raises(DecisionError, match="cannot be written"):
        decision.write(tmp_path / "gone" / path.name, decision_of(2))
    assert not path.exists()


def test_words():
    assert in_words(decision_of(3)) == [
        "The answer is the likeliest class.", "Chosen on 120 eval images, at step 40."
    ]  # fmt: skip
    many = decision_of(30, thresholds=tuple([0.05] * 28 + [0.5, 0.9]), abstain_band=0.1, temperature=1.5)
    assert in_words(many)[:3] == [
        "Probabilities are calibrated by temperature 1.50.",
        "Thresholds: class 28 at 0.500, class 29 at 0.900, 0.05 for the others.",
        "Not sure within 0.1 above a threshold.",
    ]
    assert in_words(decision_of(9, thresholds=(0.2,) * 9))[0] == "Thresholds: 0.2 for every class."
    different = in_words(decision_of(10, thresholds=tuple(np.arange(1, 11) / 20)))[0]
    assert "and 3 more" in different and "for the others" not in different


# Thresholds by cost


def brute_force(scores, truth, cost_fp, cost_fn):
    """The least cost over thresholds in (0, 1]: those at, just above and just below each score."""
    tried = np.concatenate([scores, scores + 1e-7, scores - 1e-7, [decision.MIN_THRESHOLD, 1.0]])
    tried = tried[(tried >= decision.MIN_THRESHOLD) & (tried <= 1)]
    return min(
        cost_fp * np.sum(~truth & (scores >= one)) + cost_fn * np.sum(truth & (scores < one)) for one in tried
    )


@pytest.mark.parametrize("seed", range(40))
def test_choose_threshold__no_other_costs_less(seed):
    generator = np.random.default_rng(seed)
    count = int(generator.integers(2, 60))
    scores = np.round(generator.random(count) ** generator.integers(1, 5), int(generator.integers(1, 5)))
    truth = generator.random(count) < generator.uniform(0.1, 0.9)
    truth[:2] = True, False
    cost_fp, cost_fn = float(generator.integers(0, 5)), float(generator.integers(0, 9))
    found = choose_threshold(scores, truth, cost_fp, cost_fn)
    taken = scores >= found.threshold
    assert found.false_positives == np.sum(taken & ~truth)
    assert found.false_negatives == np.sum(~taken & truth)
    assert found.cost == cost_fp * found.false_positives + cost_fn * found.false_negatives
    assert found.cost == pytest.approx(brute_force(scores, truth, cost_fp, cost_fn))
    assert decision.MIN_THRESHOLD <= found.threshold <= 1


def test_choose_threshold__of_equals_the_nearest_to_the_best_for_calibrated_probabilities():
    scores, truth = np.array([0.05, 0.1, 0.9, 0.95]), np.array([False, False, True, True])
    assert choose_threshold(scores, truth, 1, 1).threshold == 0.5
    assert choose_threshold(scores, truth, 1, 4).threshold == 0.2
    assert choose_threshold(scores, truth, 99, 1).threshold == 0.5  # .99 lies outside: then the middle
    assert choose_threshold(scores, truth, 0, 0).cost == 0


def test_choose_threshold__needs_positives_and_negatives():
    scores = np.array([0.1, 0.9, np.nan])
    assert choose_threshold(scores, np.array([True, True, False]), 1, 1) is None  # the negative is a NaN
    assert choose_threshold(scores, np.zeros(3, dtype=bool), 1, 1) is None


def test_choose_threshold__a_long_tail_is_skipped_without_changing_the_choice(monkeypatch):
    generator = np.random.default_rng(0)
    truth = generator.random(20_000) < 0.01
    scores = np.clip(generator.beta(1, 9, 20_000) + 0.25 * truth, 0, 1)
    found = choose_threshold(scores, truth, 1, 3)
    monkeypatch.setattr(threshold_search, "_head", lambda *_: slice(None))
    assert found == choose_threshold(scores, truth, 1, 3)


@pytest.mark.parametrize("seed", range(25))
def test_suggest__for_one_class_no_other_threshold_of_it_costs_less(seed):
    generator = np.random.default_rng(seed)
    num_classes = int(generator.integers(3, 6))
    logits, labels = drawn(seed, int(generator.integers(5, 60)), num_classes)
    made = decision_of(
        num_classes, temperature=generator.uniform(0.5, 2), abstain_band=float(generator.choice([0, 0.2])),
        thresholds=tuple(generator.uniform(0.05, 0.7, num_classes)),
        costs_fp=tuple(generator.integers(0, 5, num_classes).astype(float)),
        costs_fn=tuple(generator.integers(0, 9, num_classes).astype(float)),
    )  # fmt: skip
    label = int(labels[0])

    def cost(limit):
        limits = [*made.thresholds[:label], limit, *made.thresholds[label + 1 :]]
        return outcome(logits, labels, replace(made, thresholds=tuple(limits))).cost

    found = suggest_thresholds(logits, labels, made, [label])
    others = [one for one in range(num_classes) if one != label]
    assert [found[one] for one in others] == [made.thresholds[one] for one in others]
    best = min(cost(one) for one in np.linspace(decision.MIN_THRESHOLD, 1, 1500))
    assert cost(found[label]) <= min(best, cost(made.thresholds[label])) + 1e-9


@pytest.mark.parametrize("seed", range(8))
def test_suggest__for_all_costs_less_than_the_likeliest_class(seed):
    logits, labels = drawn(seed, 400, 6)
    made = decision_of(6, costs_fn=(20.0, 1.0, 1.0, 1.0, 1.0, 3.0))
    found = replace(made, thresholds=suggest_thresholds(logits, labels, made))
    assert outcome(logits, labels, found).cost < outcome(logits, labels, made).cost
    again = replace(made, thresholds=suggest_thresholds(logits, labels, replace(made, thresholds=(0.9,) * 6)))
    assert again.thresholds == found.thresholds  # it begins anew


@pytest.mark.parametrize("seed", range(8))
def test_suggest__for_two_classes_it_is_the_best_threshold(seed):
    generator = np.random.default_rng(seed)
    logits, labels = drawn(seed, 80, 2)
    costs = {name: tuple(generator.integers(0, 6, 2).astype(float)) for name in ("costs_fp", "costs_fn")}
    made = decision_of(2, **costs)
    first, second = suggest_thresholds(logits, labels, made)
    assert first + second == pytest.approx(1)
    own = outcome(logits, labels, replace(made, thresholds=(first, second))).cost
    tried = np.linspace(0.001, 0.999, 2000)
    assert own <= min(
        outcome(logits, labels, replace(made, thresholds=(1 - one, one))).cost for one in tried
    ) + 1e-9  # fmt: skip


def test_suggest__a_class_without_images_keeps_its_threshold():
    logits, labels = drawn(5, 100, 4)
    labels[labels == 2] = 1
    found = suggest_thresholds(logits, labels, decision_of(4, thresholds=(0.3, 0.3, 0.3, 0.3)))
    assert found[2] == 0.25  # of the likeliest class, where it begins
    alone = decision_of(4, thresholds=(0.3, 0.3, 0.35, 0.3))
    assert suggest_thresholds(logits, labels, alone, [2]) == alone.thresholds
    one_only = suggest_thresholds(logits, np.zeros(100, dtype=int), decision_of(4))
    assert all(0 < one <= 1 for one in one_only)
    assert suggest_thresholds(logits[:, :2], np.zeros(100, dtype=int), decision_of(2)) == (0.5, 0.5)


def test_suggest__rows_that_are_no_numbers_have_no_say():
    logits, labels = drawn(6, 120, 3)
    broken = np.concatenate([logits, np.full((30, 3), np.nan, dtype=np.float32)])
    made = decision_of(3, costs_fn=(1.0, 5.0, 1.0))
    with_them = suggest_thresholds(broken, np.concatenate([labels, np.zeros(30, dtype=int)]), made)
    assert with_them == suggest_thresholds(logits, labels, made)


# What comes of it


def test_outcome__by_hand():
    made = decision_of(3, costs_fp=(1.0, 10.0, 100.0), costs_fn=(2.0, 3.0, 4.0))
    labels = np.array([0, 0, 0, 1, 1, 2])
    answers = np.array([0, 1, -1, 1, 2, -1])
    found = outcome_of(answers, labels, made)
    assert found.matrix.tolist() == [[1, 1, 0, 1], [0, 1, 1, 0], [0, 0, 0, 1]]
    # 0 taken for 1: 2 + 10; 0 not answered: 2; 1 taken for 2: 3 + 100; 2 not answered: 4
    assert found.cost == 2 + 10 + 2 + 3 + 100 + 4
    assert (found.num_images, found.num_answered, found.num_right) == (6, 4, 2)
    assert found.coverage == pytest.approx(4 / 6) and found.accuracy == 0.5
    assert found.recall.tolist() == pytest.approx([1 / 3, 1 / 2, 0])
    assert found.precision.tolist() == pytest.approx([1, 1 / 2, 0])
    assert found.abstained.tolist() == [1, 0, 1]


def test_outcome__of_plain_answers_is_that_of_sklearn():
    logits, labels = drawn(9, 500, 5)
    found = outcome(logits, labels, decision_of(5))
    answers = logits.argmax(axis=1)
    assert (found.matrix[:, :-1] == sk.confusion_matrix(labels, answers)).all()
    assert found.accuracy == pytest.approx(sk.accuracy_score(labels, answers)) and found.coverage == 1
    np.testing.assert_allclose(found.recall, sk.recall_score(labels, answers, average=None))
    np.testing.assert_allclose(found.precision, sk.precision_score(labels, answers, average=None))
    assert found.cost == 2 * np.sum(labels != answers)


def test_outcome__without_images_or_answers():
    nothing = outcome(np.zeros((0, 2)), np.zeros(0, dtype=int), decision_of(2))
    assert nothing.coverage is None and nothing.accuracy is None and nothing.cost == 0
    silent = outcome(np.zeros((3, 2)), np.array([0, 0, 1]), decision_of(2, abstain_band=0.3))
    assert silent.coverage == 0 and silent.accuracy is None and np.isnan(silent.precision).all()


def test_class_probabilities():
    logits, _ = drawn(8)
    np.testing.assert_allclose(
        class_probabilities(logits, [2, 0], 1.3),
        softmax(logits.astype(float) / 1.3, axis=1)[:, [2, 0]].T,
    )
