"""Suspected label errors, by confident learning.

A network that has not seen an image, and is surer of another class than it usually is of that class, casts
doubt on the label (Northcutt, Jiang & Chuang 2021, "Confident learning: estimating uncertainty in dataset
labels", JAIR 70). How many labels are doubtful is estimated by cleanlab's rule; which ones, by the margin
between the label and the likeliest other class. Doubt is no proof: a rare but right image looks the same.

Both follow from three probabilities of an image: of its label, of the likeliest class, and of the second. A
prediction file has them in columns of their own, so that the logits of every class need not be read; of files
of earlier versions they are.

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

UNKNOWN = -1

_VALUES_AT_ONCE = 4_000_000
_SLACK = 1e-6
_LEAST_USUAL = 2e-6
"""Cleanlab's: by how much a probability may miss its threshold, and the lowest threshold."""

_ROUNDING = 1e-7
"""Of probabilities that were float32: closer ones are equal."""


@dataclass(frozen=True)
class Suspects:
    """Images by how doubtful their labels are.

    Attributes:
        table: One row an image, most doubtful first: position (int64, among the N), label, suggested (class
            ids, int32; the likeliest class besides the label, or UNKNOWN where the label is the likeliest and
            the second class was not noted), quality (float32; 0 is most doubtful, 1 not at
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
    own, other = columns["label_probability"], columns["suggested_probability"]
    is_right = (own > other) | ((own == other) & (labels < columns["suggested"]))
    num_issues = _count(labels, probabilities, is_finite)
    usual = _usual(labels[is_finite], own[is_finite], probabilities.shape[1])
    return Suspects(
        _ranked(columns, is_finite, is_right, num_issues), num_issues, int((~is_finite).sum()), usual
    )


def knows_enough(answers: pd.DataFrame) -> bool:
    """Whether `suspects_of_answers` can be asked: files of earlier versions do not tell the margin."""
    return bool((np.isfinite(answers["margin"]) | ~np.isfinite(answers["confidence"])).all())


def suspects_of_answers(answers: pd.DataFrame, num_classes: int) -> Suspects:
    """The same as `suspects`, without the probabilities of every class.

    Args:
        answers: Of runs that did not see these images in training, as `read_numbers` gives them: label,
            prediction, confidence, loss and margin of N images.
        num_classes: C.

    Returns:
        The ranking. Of images whose label is the likeliest class, the class that comes second is UNKNOWN:
        nobody doubts them.
    """
    labels, predictions = answers["label"].to_numpy(), answers["prediction"].to_numpy()
    confidence, loss, margin = (
        answers[name].to_numpy(dtype=np.float64) for name in ("confidence", "loss", "margin")
    )
    is_right, is_finite = labels == predictions, np.isfinite(confidence) & ~np.isnan(loss)
    own = np.where(is_right, confidence, np.minimum(np.exp(-loss), confidence))
    own = np.where(np.abs(own - confidence) < _ROUNDING, confidence, own)
    other = np.where(is_right, confidence - margin, confidence)
    columns = _columns_of(labels, np.where(is_right, UNKNOWN, predictions), own, other)
    usual = _usual(labels[is_finite], own[is_finite], num_classes)
    num_issues = _count_of_answers(answers[is_finite], usual)
    return Suspects(
        _ranked(columns, is_finite, is_right, num_issues), num_issues, int((~is_finite).sum()), usual
    )


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
    return is_finite, _columns_of(labels, suggested, own, other)


def _columns_of(
    labels: np.ndarray, suggested: np.ndarray, own: np.ndarray, other: np.ndarray
) -> dict[str, np.ndarray]:
    return {
        "label": labels.astype(np.int32), "suggested": suggested.astype(np.int32),
        "quality": ((own - other + 1) / 2).astype(np.float32),  # cleanlab's normalized margin
        "label_probability": own.astype(np.float32), "suggested_probability": other.astype(np.float32),
    }  # fmt: skip


def _ranked(
    columns: dict[str, np.ndarray], is_finite: np.ndarray, is_right: np.ndarray, num_issues: int
) -> pd.DataFrame:
    """The table; of equally doubtful labels, those that the network did not answer come first."""
    positions = np.flatnonzero(is_finite)
    positions = positions[np.lexsort((is_right[positions], columns["quality"][positions]))]
    table = pd.DataFrame({"position": positions, **{name: one[positions] for name, one in columns.items()}})
    table["is_issue"] = np.arange(len(table)) < num_issues
    return table


def _usual(labels: np.ndarray, own: np.ndarray, num_classes: int) -> np.ndarray:
    counts = np.bincount(labels, minlength=num_classes)
    sums = np.bincount(labels, weights=own, minlength=num_classes)
    return np.divide(sums, counts, out=np.full(num_classes, np.nan), where=counts > 0).astype(np.float32)


def _count(labels: np.ndarray, probabilities: Probabilities | np.ndarray, is_finite: np.ndarray) -> int:
    """How many labels are wrong, by cleanlab's estimate."""
    if len(np.unique(labels[is_finite])) < 2:
        return 0
    # Takes a second or two, and only files of earlier versions need it.
    from cleanlab.experimental.label_issues_batched import LabelInspector

    inspector = LabelInspector(num_class=probabilities.shape[1], verbose=False, store_results=False, n_jobs=1)
    for learn in (inspector.update_confident_thresholds, inspector.score_label_quality):
        for part, block in _blocks(probabilities):
            rows = is_finite[part]
            if rows.any():
                learn(labels[part][rows], block[rows])
    return int(inspector.get_num_issues(silent=True))


def _count_of_answers(answers: pd.DataFrame, usual: np.ndarray) -> int:
    """The same number by the same rule: answers surer than usual of a class that is not the label's."""
    if answers["label"].nunique() < 2:
        return 0
    labels, predictions = answers["label"].to_numpy(), answers["prediction"].to_numpy()
    limits = np.fmax(usual, _LEAST_USUAL)[predictions] - _SLACK
    return int(((predictions != labels) & (answers["confidence"].to_numpy() >= limits)).sum())
