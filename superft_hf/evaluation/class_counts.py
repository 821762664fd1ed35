"""Figures of a classifier that follow from counts by class alone, for one evaluation or for many resamples.

C is the number of classes. The definitions are those of `superft_hf.evaluation.classification`: a class that
occurs neither among the labels nor among the predictions is left out of an average, and what has no
denominator counts as 0 there.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ClassCounts:
    """How often each class was recognised, occurred, and was predicted.

    Attributes:
        right: Examples of the class that were recognised, shape (…, C).
        support: Examples of the class, shape (…, C).
        predicted: Examples that were taken for the class, shape (…, C).
    """

    right: np.ndarray
    support: np.ndarray
    predicted: np.ndarray

    @property
    def recall(self) -> np.ndarray:
        """By class, shape (…, C); 0 for a class without examples."""
        return _share(self.right, self.support)

    @property
    def precision(self) -> np.ndarray:
        """By class, shape (…, C); 0 for a class that was never predicted."""
        return _share(self.right, self.predicted)

    @property
    def f1(self) -> np.ndarray:
        """By class, shape (…, C); 0 for a class that does not occur."""
        return _share(2 * self.right, self.support + self.predicted)

    def figures(self) -> dict[str, np.ndarray]:
        """The averages over the classes, each of shape (…).

        Returns:
            accuracy, balanced_accuracy (mean recall of the classes with examples), f1_macro,
            precision_macro, recall_macro (means over the classes that occur at all), f1_weighted,
            precision_weighted, recall_weighted (means weighted by support).
        """
        total = self.support.sum(axis=-1)
        occurs = (self.support + self.predicted) > 0
        f1, precision, recall = self.f1, self.precision, self.recall
        return {
            "accuracy": _share(self.right.sum(axis=-1), total),
            "balanced_accuracy": _share(recall.sum(axis=-1), (self.support > 0).sum(axis=-1)),
            "f1_macro": _share(f1.sum(axis=-1), occurs.sum(axis=-1)),
            "precision_macro": _share(precision.sum(axis=-1), occurs.sum(axis=-1)),
            "recall_macro": _share(recall.sum(axis=-1), occurs.sum(axis=-1)),
            "f1_weighted": _share((f1 * self.support).sum(axis=-1), total),
            "precision_weighted": _share((precision * self.support).sum(axis=-1), total),
            "recall_weighted": _share(self.right.sum(axis=-1), total),
        }


def count_classes(labels: np.ndarray, predictions: np.ndarray, num_classes: int) -> ClassCounts:
    """Counts by class.

    Args:
        labels: Class ids of shape (N,).
        predictions: Class ids of shape (N,).
        num_classes: C.

    Example:
        >>> count_classes(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).right
        array([1, 1])
    """
    return ClassCounts(
        np.bincount(labels[labels == predictions], minlength=num_classes),
        np.bincount(labels, minlength=num_classes),
        np.bincount(predictions, minlength=num_classes),
    )


def _share(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """The quotient; 0 where there is nothing to divide by."""
    return numerator / np.maximum(denominator, 1)
