import numpy as np
import pytest
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from scipy.special import softmax

from superft_hf.errors import DataError
from superft_hf.evaluation import label_errors
from superft_hf.evaluation.label_errors import Probabilities, require_room, suspects
from superft_hf.evaluation.prediction_files import read_logits, write_predictions


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
