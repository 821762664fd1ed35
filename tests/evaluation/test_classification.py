import math

import numpy as np
import pytest

from superft_hf.evaluation.classification import (
    accuracy,
    balanced_accuracy,
    classification_metrics,
    confused_pairs,
    confusion_matrix,
    example_losses,
    f1,
    log_loss,
    per_class_table,
    precision,
    recall,
    top_k_accuracy,
)

# Six examples of three classes: the matrix is [[2, 1, 0], [0, 1, 1], [1, 0, 0]].
LABELS = np.array([0, 0, 0, 1, 1, 2])
PREDICTIONS = np.array([0, 0, 1, 1, 2, 0])
NAMES = ["ant", "bee", "cow"]


def test_rows_of_the_matrix_are_true_classes():
    matrix = confusion_matrix(LABELS, PREDICTIONS, 3)
    assert matrix.tolist() == [[2, 1, 0], [0, 1, 1], [1, 0, 0]]
    assert matrix.sum() == 6 and matrix.sum() - matrix.trace() == int((LABELS != PREDICTIONS).sum())


def test_a_matrix_has_its_size_whatever_classes_occur():
    assert confusion_matrix(np.array([1]), np.array([1]), 3).tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]
    empty = np.array([], dtype=np.int64)
    assert confusion_matrix(empty, empty, 2).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(
    ("labels", "predictions"), [([0, 1], [0]), ([0, 3], [0, 0]), ([0, -1], [0, 0]), ([0, 0], [0, 3])]
)
def test_ids_outside_and_lengths_that_differ_are_refused(labels, predictions):
    with pytest.raises(ValueError):
        confusion_matrix(np.array(labels), np.array(predictions), 3)


def test_figures_of_the_six_examples():
    assert accuracy(LABELS, PREDICTIONS) == pytest.approx(3 / 6)
    # Recalls 2/3, 1/2, 0; precisions 2/3, 1/2, 0; F1 2/3, 1/2, 0.
    assert balanced_accuracy(LABELS, PREDICTIONS) == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert recall(LABELS, PREDICTIONS, "macro") == pytest.approx(7 / 18)
    assert precision(LABELS, PREDICTIONS, "macro") == pytest.approx(7 / 18)
    assert f1(LABELS, PREDICTIONS, "macro") == pytest.approx(7 / 18)
    assert f1(LABELS, PREDICTIONS, "weighted") == pytest.approx((3 * 2 / 3 + 2 * 1 / 2 + 0) / 6)


def test_a_class_that_does_not_occur_does_not_lower_balanced_accuracy():
    assert balanced_accuracy(np.array([0, 0, 2]), np.array([0, 0, 1])) == pytest.approx(0.5)


def test_losses_are_the_negative_logarithm_of_the_labels_probability():
    logits = np.log(np.array([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]))
    losses = example_losses(logits, np.array([0, 1]))
    assert losses.tolist() == pytest.approx([math.log(2), math.log(10)])
    assert log_loss(np.array([0, 1]), logits) == pytest.approx((math.log(2) + math.log(10)) / 2)


def test_losses_of_huge_logits_are_numbers():
    losses = example_losses(np.array([[1e4, 0.0], [0.0, 1e4]], dtype=np.float32), np.array([0, 0]))
    assert losses.tolist() == pytest.approx([0.0, 1e4])


def test_top_k_counts_the_label_among_the_k_highest():
    logits = np.array([[6, 5, 4, 3, 2, 1], [1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6]], dtype=np.float32)
    labels = np.array([4, 0, 1])
    assert top_k_accuracy(labels, logits, 5) == pytest.approx(2 / 3)
    assert top_k_accuracy(labels, logits, 1) == 0
    assert top_k_accuracy(np.array([1, 0]), np.zeros((2, 5)), 5) == 1.0


def test_all_figures_of_one_evaluation():
    logits = np.full((6, 3), -10.0)
    logits[np.arange(6), PREDICTIONS] = 10.0
    figures = classification_metrics(logits.astype(np.float32), LABELS)
    assert list(figures) == [
        "loss", "accuracy", "balanced_accuracy", "f1_macro", "f1_weighted", "precision_macro", "recall_macro",
        "top5_accuracy", "log_loss",
    ]  # fmt: skip
    assert figures["accuracy"] == 0.5 and figures["top5_accuracy"] == 1.0
    assert figures["loss"] == pytest.approx(10.0, abs=1e-3)
    assert figures["log_loss"] == pytest.approx(figures["loss"], abs=1e-3)
    assert all(type(value) is float for value in figures.values())


def test_a_split_that_lacks_classes_has_figures():
    figures = classification_metrics(np.eye(7)[[0, 1, 1]], np.array([0, 0, 1]))
    assert figures["accuracy"] == pytest.approx(2 / 3)
    assert math.isfinite(figures["log_loss"])


def test_the_table_by_class():
    table = per_class_table(LABELS, PREDICTIONS, NAMES)
    assert table["class_name"].tolist() == NAMES and table["class_id"].tolist() == [0, 1, 2]
    assert table["support"].tolist() == [3, 2, 1]
    assert table["recall"].tolist() == pytest.approx([2 / 3, 1 / 2, 0])
    assert table["precision"].tolist() == pytest.approx([2 / 3, 1 / 2, 0])
    assert table["f1"].tolist() == pytest.approx([2 / 3, 1 / 2, 0])
    # Wilson's interval of 2 of 3.
    assert (table["recall_low"][0], table["recall_high"][0]) == pytest.approx((0.2077, 0.9385), abs=1e-4)


def test_a_class_that_never_occurs_has_no_figures_and_the_widest_interval():
    row = per_class_table(np.array([0, 0]), np.array([0, 0]), ["ant", "bee"]).iloc[1]
    assert row["support"] == 0
    assert all(math.isnan(row[name]) for name in ("recall", "precision", "f1"))
    assert (row["recall_low"], row["recall_high"]) == (0.0, 1.0)


def test_pairs_are_off_the_diagonal_and_most_often_first():
    pairs = confused_pairs(np.array([0, 0, 0, 1, 2]), np.array([1, 1, 2, 0, 2]), NAMES)
    assert pairs[["label_name", "prediction_name", "times"]].values.tolist() == [
        ["ant", "bee", 2],
        ["ant", "cow", 1],
        ["bee", "ant", 1],
    ]
    assert pairs["share"].tolist() == pytest.approx([2 / 3, 1 / 3, 1.0])
    assert confused_pairs(LABELS, LABELS, NAMES).empty
