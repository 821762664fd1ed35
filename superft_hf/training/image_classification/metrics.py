"""evaluate.Metric classes of our own, so that metrics need no Hub (`evaluate.load` always asks it).

Each calls the plain function of `superft_hf.evaluation.classification`.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import datasets
import evaluate
import numpy as np

from superft_hf.evaluation import classification

_IDS = datasets.Features({"predictions": datasets.Value("int64"), "references": datasets.Value("int64")})
_CLASSES = datasets.Features(
    {"predictions": datasets.List(datasets.Value("int64")), "references": datasets.Value("int64")}
)
_LOSSES = datasets.Features({"predictions": datasets.Value("float64"), "references": datasets.Value("int64")})


class _Metric(evaluate.Metric):
    """Calls `function(references, predictions)` and names the result `key`."""

    key: ClassVar[str]
    function: ClassVar[Callable[..., float]]
    inputs: ClassVar[datasets.Features] = _IDS
    options: ClassVar[dict[str, Any]] = {}

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=self.function.__doc__ or "", citation="", inputs_description="", features=self.inputs
        )

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        return {
            self.key: type(self).function(np.asarray(references), np.asarray(predictions), **self.options)
        }


class Accuracy(_Metric):
    """Share of examples predicted rightly."""

    key, function = "accuracy", staticmethod(classification.accuracy)


class BalancedAccuracy(_Metric):
    """Mean recall over the classes that occur."""

    key, function = "balanced_accuracy", staticmethod(classification.balanced_accuracy)


class F1Macro(_Metric):
    """Mean F1 over the classes."""

    key, function, options = "f1_macro", staticmethod(classification.f1), {"average": "macro"}


class F1Weighted(_Metric):
    """Mean F1 over the classes, weighted by support."""

    key, function, options = "f1_weighted", staticmethod(classification.f1), {"average": "weighted"}


class PrecisionMacro(_Metric):
    """Mean precision over the classes."""

    key, function, options = "precision_macro", staticmethod(classification.precision), {"average": "macro"}


class RecallMacro(_Metric):
    """Mean recall over the classes."""

    key, function, options = "recall_macro", staticmethod(classification.recall), {"average": "macro"}


class Top5Accuracy(_Metric):
    """Share of examples whose label is among five classes; predictions are class ids (N, 5)."""

    key, function = "top5_accuracy", staticmethod(classification.hit_share)
    inputs = _CLASSES


class LogLoss(_Metric):
    """Mean negative log-probability of the label; predictions are these, one an example (N,)."""

    key, function = "log_loss", staticmethod(lambda labels, losses: float(np.mean(losses)))
    inputs = _LOSSES


OF_IDS = (Accuracy, BalancedAccuracy, F1Macro, F1Weighted, PrecisionMacro, RecallMacro)


def compute_metrics(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """All figures of one evaluation, through the Metric classes.

    A metric gets what it needs of the logits, not all of them: evaluate keeps its input in Arrow lists, which
    for 50,000 images of 1,000 classes would be ten gigabytes.

    Args:
        logits: Shape (N, C).
        labels: Shape (N,).

    Returns:
        The keys of `classification.classification_metrics`.
    """
    losses = classification.example_losses(logits, labels)
    inputs = {
        OF_IDS: logits.argmax(axis=1),
        (Top5Accuracy,): classification.highest_classes(logits, 5),
        (LogLoss,): losses,
    }
    found = {"loss": float(losses.mean())}
    for kinds, predictions in inputs.items():
        combined = evaluate.combine([kind(keep_in_memory=True) for kind in kinds])
        found |= combined.compute(predictions=predictions, references=labels)
    return found
