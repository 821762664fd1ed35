"""Two runs image by image, against scipy, statsmodels and scikit-learn, and by simulation."""

import time

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import confusion_matrix, f1_score
from statsmodels.stats.contingency_tables import mcnemar as reference_mcnemar
from statsmodels.stats.multitest import multipletests

from superft_hf.evaluation import comparison
from superft_hf.evaluation.comparison import (
    PairedComparison,
    Side,
    accuracy_difference,
    compare_predictions,
    delta_matrix,
    f1_difference,
    holm,
    in_words,
    join,
    mcnemar,
    moved_examples,
    relabelled_in_words,
)


def predictions(ids, labels: list[int], predicted: list[int]) -> pd.DataFrame:
    return pd.DataFrame({"example_id": list(ids), "label": labels, "prediction": predicted})


def side(ids, labels, predicted, names=None) -> Side:
    return Side(list(ids), np.array(labels), np.array(predicted), names)


def random_joined(num_examples: int, num_classes: int, accuracies=(0.7, 0.75), seed: int = 0):
    """Two classifiers that err independently, uniformly over the other classes."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, num_classes, num_examples)
    ids = [f"{one:06d}" for one in range(num_examples)]
    sides = []
    for accuracy in accuracies:
        wrong = (labels + generator.integers(1, num_classes, num_examples)) % num_classes
        sides.append(side(ids, labels, np.where(generator.random(num_examples) < accuracy, labels, wrong)))
    return join(*sides)


def test_examples_are_joined_by_id_whatever_their_order():
    first = predictions("abcd", [0, 0, 1, 1], [0, 1, 0, 0])  # a right; b, c, d wrong
    second = predictions("dcbax", [1, 1, 0, 0, 0], [1, 0, 0, 1, 0])  # d, b right; c, a wrong
    found = compare_predictions(first, second)
    assert found.num_examples == 4
    assert (set(found.fixed), found.broken, found.both_wrong) == ({"b", "d"}, ("a",), ("c",))
    assert found.difference == pytest.approx(0.25)
    assert found.low <= found.difference <= found.high
    assert found.p_value == pytest.approx(1.0)  # 2 against 1 of 3


def test_equal_predictions_differ_in_nothing():
    one = predictions("abc", [0, 1, 2], [0, 1, 1])
    found = compare_predictions(one, one)
    assert (found.fixed, found.broken, found.both_wrong) == ((), (), ("c",))
    assert (found.difference, found.low, found.high, found.p_value) == (0, 0, 0, 1.0)
    f1 = f1_difference(join(side("abc", [0, 1, 2], [0, 1, 1]), side("abc", [0, 1, 2], [0, 1, 1])))
    assert (f1.value, f1.low, f1.high) == (0, 0, 0)


@pytest.mark.parametrize(("gained", "lost"), [(10, 1), (1, 10), (0, 5), (7, 7), (120, 90)])
def test_mcnemar__as_statsmodels_has_it(gained, lost):
    table = [[50, lost], [gained, 20]]
    assert mcnemar(gained, lost) == pytest.approx(reference_mcnemar(table, exact=True).pvalue)


def test_mcnemar__by_hand():
    assert mcnemar(10, 1) == pytest.approx(2 * (1 + 11) / 2**11)
    assert mcnemar(0, 0) == 1.0


def test_the_interval_is_the_same_each_time():
    first, second = predictions("abcd", [0] * 4, [0, 1, 1, 1]), predictions("abcd", [0] * 4, [0, 0, 1, 1])
    assert compare_predictions(first, second) == compare_predictions(first, second)


def test_no_image_in_common():
    with pytest.raises(ValueError, match="no image in common"):
        compare_predictions(predictions("a", [0], [0]), predictions("b", [0], [0]))


def test_classes_are_joined_by_name_not_by_id():
    first = side("abc", [0, 1, 1], [0, 1, 0], ["cat", "dog"])
    second = side("abc", [1, 0, 0], [1, 0, 0], ["dog", "cat"])
    joined = join(first, second)
    assert joined.class_names == ("cat", "dog") and joined.num_relabelled == 0
    assert joined.labels.tolist() == [0, 1, 1]
    assert (joined.right_a.tolist(), joined.right_b.tolist()) == ([True, True, False], [True, True, True])


def test_images_whose_label_was_changed_are_counted_and_left_out():
    first = predictions("abcd", [0, 0, 1, 1], [0, 1, 1, 0])
    second = predictions("abcd", [0, 1, 1, 1], [0, 1, 0, 0])  # b is now called 1
    found = compare_predictions(first, second, class_names=(["cat", "dog"], ["cat", "dog"]))
    assert (found.num_examples, found.num_relabelled) == (3, 1)
    assert (found.fixed, found.broken, found.both_wrong) == ((), ("c",), ("d",))
    assert relabelled_in_words(1) == "1 image has another label in B than in A, and is left out."
    assert relabelled_in_words(1200).startswith("1,200 images have") and relabelled_in_words(0) == ""


def test_a_class_that_only_one_run_knows_is_simply_another_answer():
    first = side("ab", [0, 1], [0, 1], ["cat", "dog"])
    second = side("ab", [0, 1], [2, 1], ["cat", "dog", "fox"])
    joined = join(first, second)
    assert joined.class_names == ("cat", "dog", "fox")
    assert (joined.right_b.tolist(), joined.predictions_b.tolist()) == ([False, True], [2, 1])


def test_only_what_both_evaluated_is_compared():
    joined = join(side("abcx", [0] * 4, [0] * 4), side("bcyz", [0] * 4, [0] * 4))
    assert (joined.num_common, joined.sizes, joined.has_all) == (2, (4, 4), False)
    assert (joined.rows_a.tolist(), joined.rows_b.tolist()) == ([1, 2], [0, 1])


def test_f1_difference__value_as_scikit_learn_has_it():
    joined = random_joined(400, 7)
    found = f1_difference(joined)
    expected = [
        f1_score(joined.labels, one, average="macro") for one in (joined.predictions_a, joined.predictions_b)
    ]
    assert found.value == pytest.approx(expected[1] - expected[0])
    assert found.low < found.value < found.high


def test_f1_difference__a_class_without_an_image_counts_only_once_it_is_predicted():
    names = ["a", "b", "c", "never"]
    labels = [0, 0, 1, 1]
    joined = join(side("abcd", labels, [0, 0, 1, 1], names), side("abcd", labels, [0, 2, 1, 1], names))
    expected = f1_score(labels, [0, 2, 1, 1], average="macro", zero_division=0) - 1.0
    assert f1_difference(joined).value == pytest.approx(expected)


def test_f1_difference__both_ways_of_drawing_agree():
    joined = random_joined(300, 3)
    cells = f1_difference(joined, num_resamples=4000)
    keys = np.unique(joined.labels * 9 + joined.predictions_a * 3 + joined.predictions_b)
    assert 8 * len(keys) <= 300  # so the counts were drawn by cell
    generator = np.random.default_rng(1)
    values = []
    for _ in range(500):
        rows = generator.integers(0, 300, 300)
        first, second = (
            f1_score(joined.labels[rows], one[rows], average="macro")
            for one in (joined.predictions_a, joined.predictions_b)
        )
        values.append(second - first)
    assert np.std(values) == pytest.approx((cells.high - cells.low) / 3.92, rel=0.15)


def test_f1_difference__fifty_thousand_images_of_a_thousand_classes_take_seconds():
    joined = random_joined(50_000, 1000, accuracies=(0.8, 0.82))
    begin = time.perf_counter()
    found = f1_difference(joined)
    assert time.perf_counter() - begin < 20  # about 2 s on a quiet machine; pairwise loops took minutes
    assert found.low < found.value < found.high and 0.01 < found.value < 0.03


def test_accuracy_difference__its_interval_covers_the_truth():
    """2,000 pairs of classifiers on 300 images, the true difference 3 points."""
    generator = np.random.default_rng(0)
    shares = np.array([0.10, 0.07, 0.83])
    draws = generator.multinomial(300, shares, size=2000)
    hits = 0
    for seed, (gained, lost, _) in enumerate(draws):
        found = accuracy_difference(int(gained), int(lost), 300, seed=seed)
        hits += found.low <= 0.03 <= found.high
    assert 0.93 <= hits / 2000 <= 0.97


def test_f1_difference__its_interval_covers_the_truth():
    """2,000 pairs of classifiers of four classes, 300 images each; the truth from a million images."""
    generator = np.random.default_rng(3)

    def joined(count: int) -> comparison.Joined:
        labels = generator.choice(4, count, p=[0.4, 0.3, 0.2, 0.1])
        sides = []
        for accuracy in (0.80, 0.84):
            wrong = (labels + generator.integers(1, 4, count)) % 4
            sides.append(np.where(generator.random(count) < accuracy, labels, wrong))
        rows = np.arange(count)
        names = ("a", "b", "c", "d")
        return comparison.Joined(rows, rows, labels, *sides, names, count, 0, (count, count))

    truth = f1_difference(joined(1_000_000), num_resamples=1).value
    hits = 0
    for seed in range(2000):
        found = f1_difference(joined(300), seed=seed, num_resamples=400)
        hits += found.low <= truth <= found.high
    assert 0.93 <= hits / 2000 <= 0.97


def test_holm__as_statsmodels_has_it():
    generator = np.random.default_rng(0)
    for count in (1, 2, 5, 20):
        values = generator.random(count) ** 3
        expected = multipletests(values, method="holm")[1]
        assert holm(values.tolist()) == pytest.approx(expected.tolist())
    assert holm([]) == []


def test_delta_matrix__is_the_difference_of_two_confusion_matrices():
    joined = random_joined(500, 6)
    delta, moved = delta_matrix(joined)
    first, second = (
        confusion_matrix(joined.labels, one, labels=range(6))
        for one in (joined.predictions_a, joined.predictions_b)
    )
    assert delta.tolist() == (second - first).tolist()
    assert delta.sum() == 0 and (moved >= np.abs(delta)).all()
    for label, prediction in ((0, 0), (1, 4), (5, 5)):
        came, left = moved_examples(joined, label, prediction)
        assert len(came) - len(left) == delta[label, prediction]
        assert len(came) + len(left) == moved[label, prediction]
        assert (joined.labels[came] == label).all() and (joined.predictions_b[came] == prediction).all()


def test_in_words__what_is_not_shown_is_not_said():
    found = PairedComparison(1000, ("a",), ("b",), (), 0.004, -0.003, 0.011, 0.3)
    assert in_words(found) == "B is not shown to be better: +0.4 points, 95 % interval −0.3 to +1.1"
    worse = PairedComparison(1000, ("a",), ("b",), (), -0.004, -0.011, 0.003, 0.3)
    assert in_words(worse, "small", "large", "of eval accuracy") == (
        "large is not shown to be worse than small: −0.4 points of eval accuracy, 95 % interval −1.1 to +0.3"
    )
    sure = PairedComparison(1000, ("a",), ("b",), (), 0.03, 0.01, 0.05, 0.01)
    assert in_words(sure).startswith("B is better: +3.0 points")
    assert in_words(sure, p_value=0.06).startswith("B is not shown to be better")  # one of several
    lost = PairedComparison(1000, ("a",), ("b",), (), -0.03, -0.05, -0.01, 0.01)
    assert in_words(lost).startswith("B is worse: −3.0 points")


def test_in_words__right_on_the_same_images():
    same = PairedComparison(10, (), (), ("a",), 0.0, 0.0, 0.0, 1.0)
    assert in_words(same, "one", "two") == (
        "two and one are right on the same images: no difference in accuracy"
    )
