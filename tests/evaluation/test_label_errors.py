import numpy as np
import pytest
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from scipy.special import softmax

from superft_hf.errors import DataError
from superft_hf.evaluation import label_errors
from superft_hf.evaluation.label_errors import (
    UNKNOWN,
    Probabilities,
    knows_enough,
    require_room,
    suspects,
    suspects_of_answers,
)
from superft_hf.evaluation.prediction_files import read_logits, read_numbers, write_predictions


def planted(
    size: int, num_classes: int, share: float = 0.05, signal: float = 4.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels of which a share is wrong, probabilities of a good network, and which labels are wrong."""
    generator = np.random.default_rng(seed)
    true = generator.integers(0, num_classes, size)
    logits = generator.normal(size=(size, num_classes)).astype(np.float32)
    logits[np.arange(size), true] += signal
    is_wrong = generator.random(size) < share
    labels = np.where(is_wrong, (true + generator.integers(1, num_classes, size)) % num_classes, true)
    return labels, softmax(logits, axis=1), is_wrong


@pytest.mark.parametrize("num_classes", [2, 3, 10, 40])
def test_the_same_labels_are_doubted_as_by_cleanlab(num_classes):
    labels, probabilities, _ = planted(1500, num_classes, seed=num_classes)
    found = suspects(labels, probabilities)
    expected = find_label_issues(labels, probabilities, filter_by="low_normalized_margin", n_jobs=1)
    doubted = found.table[found.table["is_issue"]]["position"]
    assert sorted(doubted) == np.flatnonzero(expected).tolist() and found.num_issues == expected.sum()
    scores = get_label_quality_scores(labels, probabilities, method="normalized_margin")
    assert np.allclose(found.table["quality"], scores[found.table["position"]], atol=1e-6)
    assert (np.diff(found.table["quality"]) >= 0).all()
    assert np.array_equal(found.table["label"], labels[found.table["position"]])


def test_the_suggestion_is_the_likeliest_other_class_with_its_reason():
    labels = np.array([0] * 6 + [1] * 6 + [0])
    probabilities = np.array([[0.8, 0.15, 0.05]] * 6 + [[0.1, 0.7, 0.2]] * 6 + [[0.02, 0.95, 0.03]])
    found = suspects(labels, probabilities.astype(np.float32))
    first = found.table.iloc[0]
    assert (first["position"], first["label"], first["suggested"], first["is_issue"]) == (12, 0, 1, True)
    assert first["quality"] == pytest.approx((0.02 - 0.95 + 1) / 2)
    reason = found.reasons(["cat", "dog", "emu"], 1)
    assert reason == ["95.0 % dog, 2.0 % cat; images labelled dog get 70.0 % on average"]
    assert np.isnan(found.usual[2])


def test_a_suggested_class_without_images_is_said():
    labels = np.array([0] * 5 + [1] * 5)
    probabilities = np.array([[0.1, 0.1, 0.8]] + [[0.9, 0.05, 0.05]] * 4 + [[0.05, 0.9, 0.05]] * 5)
    found = suspects(labels, probabilities.astype(np.float32))
    assert found.reasons(["cat", "dog", "emu"], 1) == [
        "80.0 % emu, 10.0 % cat; no image here is labelled emu"
    ]
    assert len(found.table) == 10


def test_planted_errors_come_first():
    labels, probabilities, is_wrong = planted(4000, 10)
    found = suspects(labels, probabilities)
    first = found.table["position"][: 2 * is_wrong.sum()]
    assert is_wrong[first].sum() >= 0.9 * is_wrong.sum()
    assert 0.5 * is_wrong.sum() < found.num_issues < 1.5 * is_wrong.sum()


def test_where_all_are_right_nothing_is_doubted():
    labels = np.tile(np.arange(4), 25)
    found = suspects(labels, softmax(8 * np.eye(4, dtype=np.float32)[labels], axis=1))
    assert found.num_issues == 0 and not found.table["is_issue"].any()


def test_where_all_are_wrong_the_table_is_still_there():
    labels = np.tile(np.arange(4), 25)
    found = suspects(labels, softmax(8 * np.eye(4, dtype=np.float32)[(labels + 1) % 4], axis=1))
    assert len(found.table) == 100 and (found.table["suggested"] == (found.table["label"] + 1) % 4).all()


def test_rows_with_nan_are_dropped_and_counted():
    labels, probabilities, _ = planted(300, 5)
    probabilities[[3, 77]] = np.nan
    probabilities[200, 1] = np.inf
    found = suspects(labels, probabilities)
    assert found.num_dropped == 3 and len(found.table) == 297
    assert not {3, 77, 200} & set(found.table["position"])
    kept = np.setdiff1d(np.arange(300), [3, 77, 200])
    again = suspects(labels[kept], probabilities[kept])
    assert np.array_equal(kept[again.table["position"]], found.table["position"])


@pytest.mark.parametrize("size", [0, 1])
def test_no_image_or_one_is_no_reason_to_break(size):
    found = suspects(np.zeros(size, dtype=np.int64), np.full((size, 3), 1 / 3, dtype=np.float32))
    assert found.num_issues == 0 and len(found.table) == size and found.reasons(["a", "b", "c"], 5)[:0] == []


def test_labels_of_one_class_alone_cannot_be_judged():
    labels, probabilities, _ = planted(200, 4)
    found = suspects(np.zeros(200, dtype=np.int64), probabilities)
    assert found.num_issues == 0 and len(found.table) == 200


def test_only_the_highest_logits_of_many_classes_are_enough(tmp_path):
    labels, probabilities, is_wrong = planted(3000, 300, signal=9.0)
    path = tmp_path / "eval-1.parquet"
    write_predictions(
        path, example_ids=[str(row) for row in range(3000)], images=[""] * 3000, labels=labels,
        logits=np.log(probabilities), is_full=False, class_names=[f"class {label}" for label in range(300)],
    )  # fmt: skip
    sparse = Probabilities(read_logits(path)).whole()
    assert sparse.shape == (3000, 300) and ((sparse > 0).sum(axis=1) == 20).all()
    kept = sparse > 0
    assert np.allclose(sparse[kept], probabilities[kept], atol=1e-5)
    found, whole = suspects(labels, sparse), suspects(labels, probabilities)
    size = 2 * is_wrong.sum()
    assert is_wrong[found.table["position"][:size]].sum() >= 0.95 * is_wrong.sum()
    assert abs(found.num_issues - whole.num_issues) <= 0.1 * whole.num_issues


def test_all_logits_give_their_softmax(tmp_path):
    logits = np.random.default_rng(0).normal(size=(50, 7)).astype(np.float32)
    path = tmp_path / "eval-1.parquet"
    write_predictions(
        path, example_ids=[str(row) for row in range(50)], images=[""] * 50, labels=np.zeros(50, dtype=int),
        logits=logits, is_full=True, class_names=list("abcdefg"),
    )  # fmt: skip
    assert np.allclose(Probabilities(read_logits(path)).whole(), softmax(logits, axis=1), atol=1e-6)


def test_too_many_probabilities_are_refused_in_a_sentence(monkeypatch):
    monkeypatch.setattr(label_errors, "MAX_VALUES", 1000)
    with pytest.raises(DataError, match=r"101 images in 10 classes are too many"):
        require_room(101, 10)
    with pytest.raises(DataError, match="too many"):
        suspects(np.zeros(101, dtype=np.int64), np.full((101, 10), 0.1, dtype=np.float32))


@pytest.mark.parametrize("num_classes", [2, 7, 40])
def test_the_number_is_that_of_cleanlab_on_all_at_once(num_classes, monkeypatch):
    from cleanlab.count import num_label_issues

    monkeypatch.setattr(label_errors, "_VALUES_AT_ONCE", 50 * num_classes)
    generator = np.random.default_rng(num_classes)
    labels = generator.integers(0, num_classes, 900)
    true = np.where(generator.random(900) < 0.1, generator.integers(0, num_classes, 900), labels)
    logits = generator.normal(size=(900, num_classes)) + 4 * np.eye(num_classes)[true]
    probabilities = softmax(logits, axis=1).astype(np.float32)
    found = suspects(labels, probabilities)
    assert found.num_issues == num_label_issues(labels, probabilities) > 0


def written(path, logits, labels, *, is_full=True):
    write_predictions(
        path, example_ids=[str(row) for row in range(len(labels))], images=[""] * len(labels), labels=labels,
        logits=logits.astype(np.float32), is_full=is_full,
        class_names=[f"class {label}" for label in range(logits.shape[1])],
    )  # fmt: skip
    return read_numbers(path)


@pytest.mark.parametrize(("num_classes", "signal"), [(2, 2.0), (7, 4.0), (40, 1.0), (300, 9.0)])
def test_the_columns_of_a_file_tell_the_same_as_its_logits(tmp_path, num_classes, signal):
    labels, probabilities, _ = planted(3000, num_classes, share=0.1, signal=signal, seed=num_classes)
    if num_classes > 2:
        labels[labels == 1] = 0  # a class without images
    logits = np.log(probabilities)
    logits[[5, 9]] = np.nan
    answers = written(tmp_path / "eval-1.parquet", logits, labels)
    whole = suspects(labels, Probabilities(read_logits(tmp_path / "eval-1.parquet")))
    found = suspects_of_answers(answers, num_classes)
    assert knows_enough(answers) and found.num_dropped == whole.num_dropped == 2
    assert found.num_issues == whole.num_issues > 0
    np.testing.assert_allclose(found.usual, whole.usual, atol=1e-6)
    one, other = (each.table.set_index("position").sort_index() for each in (found, whole))
    for name in ("quality", "label_probability", "suggested_probability"):
        np.testing.assert_allclose(one[name], other[name], atol=1e-6)
    assert (one["label"] == other["label"]).all()
    is_doubted = (one["suggested"] != UNKNOWN).to_numpy()
    assert (one["suggested"] == other["suggested"])[is_doubted].all()
    assert (one["quality"][~is_doubted] >= 0.5).all() and not one["is_issue"][~is_doubted].any()
    listed = int(is_doubted.sum())
    assert np.mean(found.table["position"][:listed] == whole.table["position"][:listed]) > 0.99


def test_equal_probabilities_are_no_less_doubtful_than_before(tmp_path):
    labels = np.array([0, 1, 2] * 10)
    answers = written(tmp_path / "eval-1.parquet", np.zeros((30, 3)), labels)
    found = suspects_of_answers(answers, 3)
    assert found.num_issues == 20 and (found.table["quality"] == 0.5).all()
    assert (found.table["label"][:20] != 0).all() and (found.table["suggested"][:20] == 0).all()


def test_the_label_is_exact_where_only_the_highest_logits_are_kept(tmp_path):
    labels, probabilities, _ = planted(500, 200, share=0.2, signal=3.0)
    answers = written(tmp_path / "eval-1.parquet", np.log(probabilities), labels, is_full=False)
    table = suspects_of_answers(answers, 200).table
    own = probabilities[table["position"], table["label"]]
    np.testing.assert_allclose(table["label_probability"], own, atol=1e-6)


@pytest.mark.parametrize("size", [0, 1])
def test_columns_of_no_image_or_one(tmp_path, size):
    answers = written(tmp_path / "eval-1.parquet", np.zeros((size, 3)), np.zeros(size, dtype=np.int64))
    found = suspects_of_answers(answers, 3)
    assert found.num_issues == 0 and len(found.table) == size and np.isnan(found.usual[1:]).all()


def test_files_of_earlier_versions_do_not_know_enough(tmp_path):
    answers = written(tmp_path / "eval-1.parquet", np.zeros((4, 3)), np.zeros(4, dtype=np.int64))
    answers["margin"] = np.nan
    assert not knows_enough(answers)
