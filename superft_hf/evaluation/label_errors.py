"""Suspected label errors, by confident learning.

A network that has not seen an image, and is surer of another class than it usually is of that class, casts
doubt on the label (Northcutt, Jiang & Chuang 2021, "Confident learning: estimating uncertainty in dataset
labels", JAIR 70). How many labels are doubtful is estimated by cleanlab; which ones, by the margin between
the label and the likeliest other class. Doubt is no proof: a rare but right image looks the same.

N is the number of images, C the number of classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from superft_hf.errors import DataError
from superft_hf.evaluation.prediction_files import Logits
from superft_hf.words import percent

MAX_VALUES = 150_000_000
"""Probabilities that are looked at at once: 600 MB."""

_VALUES_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Suspects:
    """Images by how doubtful their labels are.

    Attributes:
        table: One row an image, most doubtful first: position (int64, among the N), label, suggested (class
            ids, int32; the likeliest class besides the label), quality (float32; 0 is most doubtful, 1 not at
            all, 0.5 where label and suggestion are equally likely), label_probability,
            suggested_probability (float32), is_issue (bool).
        num_issues: How many labels are estimated to be wrong: the first so many rows.
        num_dropped: Images without finite probabilities, which are not in the table.
        usual: How sure the network is, on average, of a class where images have its label, shape (C,),
            float32; NaN for a class without images.
    """

    table: pd.DataFrame
    num_issues: int
    num_dropped: int
    usual: np.ndarray

    def reasons(self, class_names: Sequence[str], size: int) -> list[str]:
        """Why the labels of the first rows of the table are doubted, in words."""
        return [
            self._reason(int(row.label), int(row.suggested), row, class_names)
            for row in self.table.head(size).itertuples()
        ]

    def _reason(self, label: int, suggested: int, row: Any, class_names: Sequence[str]) -> str:
        name, usual = class_names[suggested], float(self.usual[suggested])
        found = (
            f"{percent(float(row.suggested_probability))} {name}, "
            f"{percent(float(row.label_probability))} {class_names[label]}"
        )
        if np.isnan(usual):
            return f"{found}; no image here is labelled {name}"
        return f"{found}; images labelled {name} get {percent(usual)} on average"


def suspects(labels: np.ndarray, probabilities: np.ndarray) -> Suspects:
    """Ranks images by how doubtful their labels are.

    Args:
        labels: Class ids of shape (N,).
        probabilities: Of runs that did not see these images in training, shape (N, C), float32; 0 for classes
            that were not kept. Rows with NaN are dropped.

    Returns:
        The ranking; no issues where there are fewer than two images or labels of one class only, since then
        nothing can be told.

    Raises:
        DataError: If there are more than MAX_VALUES probabilities.
    """
    require_room(*probabilities.shape)
    is_finite = np.isfinite(probabilities).all(axis=1)
    positions = np.flatnonzero(is_finite)
    num_dropped = len(labels) - len(positions)
    if num_dropped:
        labels, probabilities = labels[positions], probabilities[positions]
    usual = _usual(labels, probabilities)
    table = _table(positions, labels, probabilities)
    num_issues = _count(labels, probabilities)
    table["is_issue"] = np.arange(len(table)) < num_issues
    return Suspects(table, num_issues, num_dropped, usual)


def require_room(num_images: int, num_classes: int) -> None:
    """Raises DataError for more than MAX_VALUES probabilities, before they are read."""
    if num_images * num_classes > MAX_VALUES:
        raise DataError(
            f"{num_images:,} images in {num_classes:,} classes are too many to be looked at at once.",
            hint="Look for label errors in a part: set data.max_train_samples, or leave classes out.",
        )


def all_probabilities(logits: Logits) -> np.ndarray:
    """Probabilities of all classes, shape (N, C), float32; 0 for classes whose logit was not kept."""
    kept = np.exp(logits.log_probabilities)
    if logits.ids is None:
        return kept
    found = np.zeros((len(kept), logits.num_classes), dtype=np.float32)
    np.put_along_axis(found, logits.ids, kept, axis=1)
    return found


def _table(positions: np.ndarray, labels: np.ndarray, probabilities: np.ndarray) -> pd.DataFrame:
    """Every column but is_issue."""
    own = probabilities[np.arange(len(labels)), labels]
    suggested = np.zeros(len(labels), dtype=np.int64)
    other = np.zeros(len(labels), dtype=np.float32)
    size = max(1, _VALUES_AT_ONCE // probabilities.shape[1])
    for start in range(0, len(labels), size):  # a copy of all would double the memory
        part = slice(start, start + size)
        others = probabilities[part].copy()
        rows = np.arange(len(others))
        others[rows, labels[part]] = -1.0
        suggested[part] = others.argmax(axis=1)
        other[part] = np.maximum(others[rows, suggested[part]], 0)
    quality = (own - other + 1) / 2  # cleanlab's normalized margin
    order = np.argsort(quality, kind="stable")
    columns = {
        "position": positions, "label": labels.astype(np.int32), "suggested": suggested.astype(np.int32),
        "quality": quality.astype(np.float32), "label_probability": own.astype(np.float32),
        "suggested_probability": other.astype(np.float32),
    }  # fmt: skip
    return pd.DataFrame({name: values[order] for name, values in columns.items()})


def _usual(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    num_classes = probabilities.shape[1]
    counts = np.bincount(labels, minlength=num_classes)
    own = probabilities[np.arange(len(labels)), labels]
    sums = np.bincount(labels, weights=own, minlength=num_classes)
    return np.divide(sums, counts, out=np.full(num_classes, np.nan), where=counts > 0).astype(np.float32)


def _count(labels: np.ndarray, probabilities: np.ndarray) -> int:
    """How many labels are wrong, by cleanlab's estimate."""
    if len(np.unique(labels)) < 2:
        return 0
    from cleanlab.count import num_label_issues  # takes two seconds, and no page needs it at first

    return int(num_label_issues(labels, probabilities))
