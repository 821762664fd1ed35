"""Suspected label errors, by confident learning.

A network that has not seen an image, and is surer of another class than it usually is of that class, casts
doubt on the label (Northcutt, Jiang & Chuang 2021, "Confident learning: estimating uncertainty in dataset
labels", JAIR 70). How many labels are doubtful is estimated by cleanlab; which ones, by the margin between
the label and the likeliest other class. Doubt is no proof: a rare but right image looks the same.

N is the number of images, C the number of classes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from superft_hf.errors import DataError
from superft_hf.evaluation.prediction_files import Logits
from superft_hf.words import percent

MAX_VALUES = 1_000_000_000
"""Probabilities that are looked at: some ten seconds."""

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


class Probabilities:
    """Out-of-sample probabilities, made from logits block by block: all of them may be gigabytes.

    Args:
        parts: The logits of N images in one or several parts, one after the other, of equal classes.

    Attributes:
        shape: (N, C).
    """

    def __init__(self, *parts: Logits) -> None:
        self._parts = parts
        self.shape = (sum(len(one.values) for one in parts), parts[0].num_classes)

    def whole(self) -> np.ndarray:
        """All of them, shape (N, C), float32."""
        return np.concatenate([block for _, block in self.blocks()])

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Rows, and their probabilities of shape (n, C), float32; 0 for classes that were not kept."""
        start, size = 0, max(1, _VALUES_AT_ONCE // self.shape[1])
        for one in self._parts:
            for begin in range(0, len(one.values), size):
                found = one.probabilities(slice(begin, begin + size))
                yield slice(start, start + len(found)), found
                start += len(found)


def suspects(labels: np.ndarray, probabilities: Probabilities | np.ndarray) -> Suspects:
    """Ranks images by how doubtful their labels are.

    Args:
        labels: Class ids of shape (N,).
        probabilities: Of runs that did not see these images in training, shape (N, C). Rows with NaN are
            dropped.

    Returns:
        The ranking; no issues where there are fewer than two images or labels of one class only, since then
        nothing can be told.

    Raises:
        DataError: If there are more than MAX_VALUES probabilities.
    """
    require_room(*probabilities.shape)
    is_finite, columns = _columns(labels, probabilities)
    positions = np.flatnonzero(is_finite)
    kept = {name: values[positions] for name, values in columns.items()}
    order = np.argsort(kept["quality"], kind="stable")
    table = pd.DataFrame(
        {"position": positions[order], **{name: values[order] for name, values in kept.items()}}
    )
    num_issues = _count(labels, probabilities, is_finite)
    table["is_issue"] = np.arange(len(table)) < num_issues
    usual = _usual(kept["label"], kept["label_probability"], probabilities.shape[1])
    return Suspects(table, num_issues, len(labels) - len(positions), usual)


def require_room(num_images: int, num_classes: int) -> None:
    """Raises DataError for more than MAX_VALUES probabilities, before they are read."""
    if num_images * num_classes > MAX_VALUES:
        raise DataError(
            f"{num_images:,} images in {num_classes:,} classes are too many to be looked at at once.",
            hint="Look for label errors in a part: set data.max_train_samples, or leave classes out.",
        )


def _blocks(probabilities: Probabilities | np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Blocks of rows that may be changed in place."""
    if isinstance(probabilities, Probabilities):
        yield from probabilities.blocks()
        return
    size = max(1, _VALUES_AT_ONCE // probabilities.shape[1])
    for start in range(0, len(probabilities), size):
        yield slice(start, start + size), probabilities[start : start + size].copy()


def _columns(
    labels: np.ndarray, probabilities: Probabilities | np.ndarray
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Whether each row is finite, and the columns of the table that follow from a row alone."""
    count = len(labels)
    is_finite = np.zeros(count, dtype=bool)
    suggested = np.zeros(count, dtype=np.int32)
    own, other = np.zeros(count, dtype=np.float32), np.zeros(count, dtype=np.float32)
    for part, block in _blocks(probabilities):
        rows = np.arange(len(block))
        is_finite[part] = np.isfinite(block).all(axis=1)
        own[part] = block[rows, labels[part]]
        block[rows, labels[part]] = -1.0
        suggested[part] = block.argmax(axis=1)
        other[part] = np.maximum(block[rows, suggested[part]], 0)
    columns = {
        "label": labels.astype(np.int32), "suggested": suggested,
        "quality": (own - other + 1) / 2,  # cleanlab's normalized margin
        "label_probability": own, "suggested_probability": other,
    }  # fmt: skip
    return is_finite, columns


def _usual(labels: np.ndarray, own: np.ndarray, num_classes: int) -> np.ndarray:
    counts = np.bincount(labels, minlength=num_classes)
    sums = np.bincount(labels, weights=own, minlength=num_classes)
    return np.divide(sums, counts, out=np.full(num_classes, np.nan), where=counts > 0).astype(np.float32)


def _count(labels: np.ndarray, probabilities: Probabilities | np.ndarray, is_finite: np.ndarray) -> int:
    """How many labels are wrong, by cleanlab's estimate."""
    if len(np.unique(labels[is_finite])) < 2:
        return 0
    # Takes a second or two, and no page needs it at first.
    from cleanlab.experimental.label_issues_batched import LabelInspector

    inspector = LabelInspector(num_class=probabilities.shape[1], verbose=False, store_results=False, n_jobs=1)
    for learn in (inspector.update_confident_thresholds, inspector.score_label_quality):
        for part, block in _blocks(probabilities):
            rows = is_finite[part]
            if rows.any():
                learn(labels[part][rows], block[rows])
    return int(inspector.get_num_issues(silent=True))
