"""Figures from counts by class, against scikit-learn."""

import numpy as np
import pytest
from sklearn import metrics as sk

from superft_hf.evaluation.class_counts import ClassCounts, count_classes


@pytest.mark.parametrize("num_classes", [2, 5, 40])
def test_figures_are_those_of_scikit_learn(num_classes):
    generator = np.random.default_rng(num_classes)
    # The last class never occurs; of the first none is recognised.
    labels = generator.integers(0, max(num_classes - 1, 1), 300)
    predictions = np.where(labels == 0, min(1, num_classes - 1), generator.integers(0, num_classes - 1, 300))
    found = count_classes(labels, predictions, num_classes).figures()
    options = {"zero_division": 0}
    expected = {
        "accuracy": sk.accuracy_score(labels, predictions),
        "balanced_accuracy": sk.recall_score(
            labels, predictions, average="macro", labels=np.unique(labels), **options
        ),
        "recall_weighted": sk.recall_score(labels, predictions, average="weighted", **options),
        "recall_macro": sk.recall_score(labels, predictions, average="macro", **options),
        "precision_macro": sk.precision_score(labels, predictions, average="macro", **options),
        "precision_weighted": sk.precision_score(labels, predictions, average="weighted", **options),
        "f1_macro": sk.f1_score(labels, predictions, average="macro", **options),
        "f1_weighted": sk.f1_score(labels, predictions, average="weighted", **options),
    }
    assert {key: float(value) for key, value in found.items()} == pytest.approx(expected)


def test_many_evaluations_at_once_are_each_as_alone():
    first = count_classes(np.array([0, 0, 1]), np.array([0, 1, 1]), 2)
    second = count_classes(np.array([1, 1, 1]), np.array([1, 1, 0]), 2)
    both = ClassCounts(*(np.stack([getattr(one, name) for one in (first, second)]) for name in (
        "right", "support", "predicted"
    )))  # fmt: skip
    for key, values in both.figures().items():
        assert values.tolist() == [float(first.figures()[key]), float(second.figures()[key])]
