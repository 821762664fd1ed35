"""What figures are held against: a guess that looks at no image, and a network whose head alone was trained.

N is the number of examples, C the number of classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from superft_hf.evaluation.class_counts import count_classes
from superft_hf.kinship import relatives

FROZEN_STRATEGY = "head"
FROZEN_SETTINGS = ("model.strategy", "model.head_epochs")
"""All that a frozen-backbone baseline may differ in from the run it is held against."""


@dataclass(frozen=True)
class Baseline:
    """Something to beat.

    Attributes:
        name: Such as `always "cat"`, or the name of a run.
        figures: By key, without the split.
        run_id: Of the run behind it; None for a guess.
    """

    name: str
    figures: Mapping[str, float]
    run_id: str | None = None


def majority(
    train_counts: Mapping[str, int], labels: np.ndarray, class_names: Sequence[str]
) -> Baseline | None:
    """What comes of answering the commonest class of train, whatever the image.

    Its loss is that of answering the shares of the classes in train, which is the least that a guess can
    reach there; it is left out when a class of the labels has no train image.

    Args:
        train_counts: Train images by class name.
        labels: Class ids of the split, shape (N,).
        class_names: C names by class id.

    Returns:
        The baseline; None when the train images were not counted, or there is no label.

    Example:
        >>> found = majority({"cat": 3, "dog": 1}, np.array([0, 0, 1]), ["cat", "dog"])
        >>> found.name, round(float(found.figures["accuracy"]), 3), round(found.figures["loss"], 3)
        ('always “cat”', 0.667, 0.654)
    """
    counts = np.array([train_counts.get(name, 0) for name in class_names], dtype=np.float64)
    if not len(labels) or not counts.any():
        return None
    chosen = int(counts.argmax())
    found = count_classes(labels, np.full(len(labels), chosen), len(class_names)).figures()
    figures = {key: float(value) for key, value in found.items()}
    if counts[np.unique(labels)].all():
        log_shares = np.log(np.maximum(counts, 1) / counts.sum())
        figures["loss"] = -float(log_shares[labels].mean())
    return Baseline(f"always “{class_names[chosen]}”", figures)


def is_frozen(values: Mapping[str, Any]) -> bool:
    """Whether a configuration, as nested values, trains the head alone."""
    return values["model"]["strategy"] == FROZEN_STRATEGY


def frozen_runs(run_id: str, all_values: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The runs that are the frozen-backbone baseline of one: alike, but for the layers that are trained.

    Args:
        run_id: The run.
        all_values: Configurations by run id, as `RunStore.read_config_values` gives them.
    """
    return [
        one
        for one in relatives(run_id, all_values, FROZEN_SETTINGS)
        if one != run_id and one in all_values and is_frozen(all_values[one])
    ]
