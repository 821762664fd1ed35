"""Figures of a classifier as plain functions of labels, predictions and logits.

N is the number of examples, C the number of classes. Class ids are int64 in [0, C). Shares are fractions.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import log_softmax
from sklearn import metrics as sk

from superft_hf.evaluation.intervals import wilson_interval


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts how often class i was predicted as class j.

    Args:
        labels: True class ids of shape (N,).
        predictions: Predicted class ids of shape (N,).
        num_classes: C. Passed in, since a small split may lack some classes.

    Returns:
        Counts of shape (C, C), dtype int64: rows are true classes, columns are predicted classes, and the
        sum is N.

    Raises:
        ValueError: If the shapes differ, or an id is outside [0, C).

    Example:
        >>> confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), num_classes=2)
        array([[1, 1],
               [0, 1]])
    """
    if labels.shape != predictions.shape:
        raise ValueError(f"labels have shape {labels.shape}, predictions {predictions.shape}")
    for ids in (labels, predictions):
        if len(ids) and (ids.min() < 0 or ids.max() >= num_classes):
            raise ValueError(f"a class id lies outside [0, {num_classes})")
    cells = labels.astype(np.int64) * num_classes + predictions.astype(np.int64)
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def example_losses(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Cross-entropy of each example, shape (N,), dtype float64, from logits (N, C) and labels (N,)."""
    return -log_softmax(logits.astype(np.float64), axis=1)[np.arange(len(labels)), labels]


def classification_metrics(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """All figures of one evaluation.

    Args:
        logits: Shape (N, C), any float dtype.
        labels: Shape (N,).

    Returns:
        loss (mean cross-entropy, natural logarithm), accuracy, balanced_accuracy, f1_macro, f1_weighted,
        precision_macro, recall_macro, top5_accuracy (1.0 when C is 5 or less) and log_loss (the same quantity
        as loss, computed by scikit-learn from probabilities clipped to the float range).
    """
    predictions = logits.argmax(axis=1)
    return {
        "loss": float(example_losses(logits, labels).mean()),
        "accuracy": accuracy(labels, predictions),
        "balanced_accuracy": balanced_accuracy(labels, predictions),
        "f1_macro": f1(labels, predictions, "macro"),
        "f1_weighted": f1(labels, predictions, "weighted"),
        "precision_macro": precision(labels, predictions, "macro"),
        "recall_macro": recall(labels, predictions, "macro"),
        "top5_accuracy": top_k_accuracy(labels, logits, 5),
        "log_loss": log_loss(labels, logits),
    }


def accuracy(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Share of examples predicted rightly."""
    return float(np.mean(labels == predictions))


def balanced_accuracy(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Mean recall over the classes that occur in `labels`."""
    return float(np.mean([np.mean(predictions[labels == one] == one) for one in np.unique(labels)]))


def f1(labels: np.ndarray, predictions: np.ndarray, average: str) -> float:
    """F1 over the classes in labels or predictions; `average` is macro or weighted (by support)."""
    return float(sk.f1_score(labels, predictions, average=average, zero_division=0))


def precision(labels: np.ndarray, predictions: np.ndarray, average: str) -> float:
    """Precision over the classes that occur in labels or predictions."""
    return float(sk.precision_score(labels, predictions, average=average, zero_division=0))


def recall(labels: np.ndarray, predictions: np.ndarray, average: str) -> float:
    """Recall over the classes that occur in labels or predictions."""
    return float(sk.recall_score(labels, predictions, average=average, zero_division=0))


def top_k_accuracy(labels: np.ndarray, logits: np.ndarray, k: int) -> float:
    """Share of examples whose label is among the k highest logits (N, C)."""
    return hit_share(labels, highest_classes(logits, k))


def highest_classes(logits: np.ndarray, k: int) -> np.ndarray:
    """The k classes with the highest logits (N, C), in no order: shape (N, min(k, C)), dtype int64."""
    k = min(k, logits.shape[1])
    return np.argpartition(-logits, k - 1, axis=1)[:, :k]


def hit_share(labels: np.ndarray, classes: np.ndarray) -> float:
    """Share of examples whose label (N,) is among their classes (N, K)."""
    return float(np.mean((classes == labels[:, None]).any(axis=1)))


def log_loss(labels: np.ndarray, logits: np.ndarray) -> float:
    """Mean negative log-probability of the label, by scikit-learn."""
    probabilities = np.exp(log_softmax(logits.astype(np.float64), axis=1))
    return float(sk.log_loss(labels, probabilities, labels=np.arange(logits.shape[1])))


def per_class_table(labels: np.ndarray, predictions: np.ndarray, class_names: Sequence[str]) -> pd.DataFrame:
    """Figures by class.

    Args:
        labels: Shape (N,).
        predictions: Shape (N,).
        class_names: C names by id.

    Returns:
        One row a class, by id: class_id, class_name, support, recall, recall_low and recall_high (95 % Wilson
        interval), precision, f1. A figure whose denominator is 0 is NaN.
    """
    matrix = confusion_matrix(labels, predictions, len(class_names))
    right, support, predicted = matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0)
    intervals = [wilson_interval(int(hit), int(n)) for hit, n in zip(right, support, strict=True)]
    with np.errstate(invalid="ignore", divide="ignore"):
        return pd.DataFrame(
            {
                "class_id": np.arange(len(class_names)),
                "class_name": list(class_names),
                "support": support,
                "recall": right / support,
                "recall_low": [low for low, _ in intervals],
                "recall_high": [high for _, high in intervals],
                "precision": right / predicted,
                "f1": 2 * right / (support + predicted),
            }
        )


def confused_pairs(labels: np.ndarray, predictions: np.ndarray, class_names: Sequence[str]) -> pd.DataFrame:
    """Which class was taken for which, most often first.

    Returns:
        One row a non-empty off-diagonal cell: label, prediction (ids), label_name, prediction_name, times,
        share (of the true class's examples).
    """
    matrix = confusion_matrix(labels, predictions, len(class_names))
    support = matrix.sum(axis=1)
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    rows, columns = np.nonzero(wrong)
    order = np.lexsort((columns, rows, -wrong[rows, columns]))
    rows, columns = rows[order], columns[order]
    return pd.DataFrame(
        {
            "label": rows,
            "prediction": columns,
            "label_name": [class_names[one] for one in rows],
            "prediction_name": [class_names[one] for one in columns],
            "times": wrong[rows, columns],
            "share": wrong[rows, columns] / np.maximum(support[rows], 1),
        }
    )
