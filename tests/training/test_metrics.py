"""The evaluate.Metric classes give what the plain functions give."""

import numpy as np
import pytest

from superft_hf.evaluation.classification import classification_metrics
from superft_hf.training.image_classification.metrics import compute_metrics


@pytest.mark.parametrize("num_classes", [2, 4, 30])
def test_metric_classes_agree_with_the_plain_functions(num_classes):
    rng = np.random.default_rng(num_classes)
    logits = rng.normal(size=(200, num_classes)).astype(np.float32)
    labels = rng.integers(0, num_classes, 200)
    assert compute_metrics(logits, labels) == pytest.approx(classification_metrics(logits, labels), abs=1e-6)


def test_figures_of_four_examples_by_hand():
    logits = np.array([[2, 0, 0], [2, 0, 0], [0, 2, 0], [0, 0, 2]], dtype=np.float32)
    found = compute_metrics(logits, np.array([0, 1, 1, 2]))
    assert found["accuracy"] == 0.75
    assert found["balanced_accuracy"] == found["recall_macro"] == pytest.approx((1 + 0.5 + 1) / 3)
    assert found["precision_macro"] == pytest.approx((0.5 + 1 + 1) / 3)
    assert found["f1_macro"] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    assert found["top5_accuracy"] == 1.0
    right, wrong = np.log(np.exp(2) + 2) - 2, np.log(np.exp(2) + 2)
    assert found["loss"] == found["log_loss"] == pytest.approx((3 * right + wrong) / 4)
