"""ROC and precision-recall curves: one class against the rest, and averages over the classes.

N is the number of examples, C of classes, M of points. The operating point of a threshold t answers "this
class" for every score of at least t. Scores that are NaN are left out and counted. Up to `EXACT_SCORES`
scores, the average over all answers (micro) is exact; of more, scores are counted in bins that are one part
in 4,096 of the score wide, which moves areas by less than a thousandth.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

EXACT_SCORES = 4_000_000
GRID = np.linspace(0, 1, 201)
"""Where the curves of the classes are averaged."""

_BIN_SHIFT = 11
_NUM_BINS = (0x3F800000 >> _BIN_SHIFT) + 1
_VALUES_A_BLOCK = 2**22


@dataclass(frozen=True)
class Counts:
    """How many positives and negatives lie at or above each threshold.

    Attributes:
        thresholds: Shape (M,), descending: every score that occurs.
        true_positives: Shape (M,), counts.
        false_positives: Shape (M,), counts.
        num_positives: Examples of the class.
        num_negatives: All others.
        num_dropped: Examples left out since their score is NaN.
    """

    thresholds: np.ndarray
    true_positives: np.ndarray
    false_positives: np.ndarray
    num_positives: int
    num_negatives: int
    num_dropped: int = 0

    @property
    def recall(self) -> np.ndarray:
        """True positives as a share of the positives, shape (M,)."""
        return self.true_positives / self.num_positives

    @property
    def false_positive_rate(self) -> np.ndarray:
        """False positives as a share of the negatives, shape (M,)."""
        return self.false_positives / self.num_negatives

    @property
    def precision(self) -> np.ndarray:
        """Share of what lies at or above a threshold that is positive, shape (M,)."""
        return self.true_positives / (self.true_positives + self.false_positives)

    @cached_property
    def auc(self) -> float:
        """Area under the ROC curve, by trapezoids: the chance that a positive outscores a negative."""
        x = np.concatenate([[0.0], self.false_positive_rate])
        return float(np.trapezoid(np.concatenate([[0.0], self.recall]), x))

    @cached_property
    def average_precision(self) -> float:
        """Sum over the thresholds of (recall gained) x precision, as scikit-learn defines it."""
        return float(np.sum(np.diff(self.recall, prepend=0.0) * self.precision))

    def at(self, threshold: float) -> tuple[int, int]:
        """True and false positives when scores of at least `threshold` are taken for the class."""
        place = int(np.searchsorted(-self.thresholds, -threshold, side="right")) - 1
        if place < 0:
            return 0, 0
        return int(self.true_positives[place]), int(self.false_positives[place])


def count(scores: np.ndarray, is_positive: np.ndarray) -> Counts | None:
    """Counts the examples above each score.

    Args:
        scores: Shape (N,), higher for the class.
        is_positive: Shape (N,), bool.

    Returns:
        The counts, or None when there is no positive or no negative: then no curve is defined.
    """
    is_kept = ~np.isnan(scores)
    kept, truth = scores[is_kept], is_positive[is_kept].astype(bool)
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if not positives or not negatives:
        return None
    order = np.argsort(-kept, kind="stable")
    kept, truth = kept[order], truth[order]
    last = np.append(np.flatnonzero(np.diff(kept)), len(kept) - 1)
    hits = np.cumsum(truth)[last]
    return Counts(kept[last], hits, last + 1 - hits, positives, negatives, int((~is_kept).sum()))


def roc(scores: np.ndarray, is_positive: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """The ROC curve as `sklearn.metrics.roc_curve` gives it, with every point.

    Returns:
        False positive rate, recall and thresholds, each of shape (M + 1,), beginning at the point (0, 0) with
        an infinite threshold; None when the curve is not defined.
    """
    found = count(scores, is_positive)
    if found is None:
        return None
    begin = np.zeros(1)
    return (
        np.concatenate([begin, found.false_positive_rate]),
        np.concatenate([begin, found.recall]),
        np.concatenate([[np.inf], found.thresholds]),
    )


def precision_recall(
    scores: np.ndarray, is_positive: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """The curve as `sklearn.metrics.precision_recall_curve` gives it.

    Returns:
        Precision and recall of shape (M + 1,), by ascending threshold and ending at the point (1, 0), and the
        thresholds of shape (M,); None when the curve is not defined.
    """
    found = count(scores, is_positive)
    if found is None:
        return None
    return (
        np.append(found.precision[::-1], 1.0),
        np.append(found.recall[::-1], 0.0),
        found.thresholds[::-1],
    )


def auc(scores: np.ndarray, is_positive: np.ndarray) -> float | None:
    """Area under the ROC curve; None when it is not defined."""
    found = count(scores, is_positive)
    return None if found is None else found.auc


def average_precision(scores: np.ndarray, is_positive: np.ndarray) -> float | None:
    """Average precision by scikit-learn's definition; None when it is not defined."""
    found = count(scores, is_positive)
    return None if found is None else found.average_precision


@dataclass(frozen=True)
class Averages:
    """The curves of all classes, summed up. A class without positives or negatives has no part in them.

    Attributes:
        auc: Of each class, shape (C,); NaN where it is not defined.
        average_precision: Likewise.
        macro_recall: Mean recall of the classes at each false positive rate of `GRID`.
        macro_precision: Mean precision of the classes at each recall of `GRID`.
        micro: Of all N x C answers together, one against the rest; None when not defined.
        is_binned: Whether `micro` comes from binned scores.
        num_dropped: Examples left out since a score of theirs is NaN.
    """

    auc: np.ndarray
    average_precision: np.ndarray
    macro_recall: np.ndarray
    macro_precision: np.ndarray
    micro: Counts | None
    is_binned: bool
    num_dropped: int

    @property
    def num_defined(self) -> int:
        """Classes that have a curve."""
        return int(np.isfinite(self.auc).sum())

    @property
    def macro_auc(self) -> float | None:
        """Mean area under the ROC curve of the classes; None when no class has one."""
        return float(np.nanmean(self.auc)) if self.num_defined else None

    @property
    def macro_average_precision(self) -> float | None:
        """Mean average precision of the classes; None when no class has one."""
        return float(np.nanmean(self.average_precision)) if self.num_defined else None


def average(probabilities: np.ndarray, labels: np.ndarray, *, exact_scores: int = EXACT_SCORES) -> Averages:
    """Averages the curves of all classes, exactly but for `micro` of very many scores.

    Args:
        probabilities: Shape (N, C).
        labels: Shape (N,).
        exact_scores: Above so many scores, micro is binned.
    """
    is_kept = ~np.isnan(probabilities).any(axis=1)
    num_dropped = int((~is_kept).sum())
    if num_dropped:
        probabilities, labels = probabilities[is_kept], labels[is_kept]
    num_classes = probabilities.shape[1]
    areas, precisions = np.full(num_classes, np.nan), np.full(num_classes, np.nan)
    recall, precision = np.zeros(len(GRID)), np.zeros(len(GRID))
    for label, scores in _columns(probabilities):
        positives = np.sort(scores[labels == label])
        negatives = np.sort(scores[labels != label])
        if not len(positives) or not len(negatives):
            continue
        areas[label] = _area(positives, negatives)
        recalled, precise = _steps(positives, negatives)
        precisions[label] = float(np.sum(np.diff(recalled, prepend=0.0) * precise))
        recall += _recall_at(positives, negatives, GRID)
        precision += precise[np.minimum(np.searchsorted(recalled, GRID - 1e-12), len(recalled) - 1)]
    defined = max(int(np.isfinite(areas).sum()), 1)
    is_binned = probabilities.size > exact_scores
    micro = _micro_binned(probabilities, labels) if is_binned else _micro(probabilities, labels)
    return Averages(areas, precisions, recall / defined, precision / defined, micro, is_binned, num_dropped)


def thinned(x: np.ndarray, y: np.ndarray, limit: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """At most `limit` points of a monotonous curve, evenly spread along it, with both its ends."""
    if len(x) <= limit:
        return x, y
    along = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    places = np.unique(np.searchsorted(along, np.linspace(0, along[-1], limit)))
    places = np.union1d(np.minimum(places, len(x) - 1), [0, len(x) - 1])
    return x[places], y[places]


def _columns(probabilities: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Class id and its scores; copied by the block, since a column alone is slow to read."""
    width = max(1, _VALUES_A_BLOCK // max(len(probabilities), 1))
    for start in range(0, probabilities.shape[1], width):
        block = np.ascontiguousarray(probabilities[:, start : start + width].T)
        for offset, scores in enumerate(block):
            yield start + offset, scores


def _area(positives: np.ndarray, negatives: np.ndarray) -> float:
    """Mann and Whitney's form of the area: ties count half. Both are sorted."""
    below = np.searchsorted(negatives, positives, side="left")
    up_to = np.searchsorted(negatives, positives, side="right")
    return float((below + up_to).mean() / (2 * len(negatives)))


def _steps(positives: np.ndarray, negatives: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Recall, ascending, and precision at the scores of the positives: elsewhere recall does not grow."""
    scores = np.unique(positives)[::-1]
    hits = len(positives) - np.searchsorted(positives, scores, side="left")
    false = len(negatives) - np.searchsorted(negatives, scores, side="left")
    return hits / len(positives), hits / (hits + false)


def _recall_at(positives: np.ndarray, negatives: np.ndarray, rates: np.ndarray) -> np.ndarray:
    """Recall at some false positive rates, on the line between the points of the ROC curve."""
    scores = np.unique(positives)[::-1]
    corners_x, corners_y = [np.zeros(1)], [np.zeros(1)]
    for side in ("right", "left"):  # just above a score, and with it
        corners_x.append((len(negatives) - np.searchsorted(negatives, scores, side=side)) / len(negatives))
        corners_y.append((len(positives) - np.searchsorted(positives, scores, side=side)) / len(positives))
    x = np.concatenate([*corners_x, [1.0]])
    y = np.concatenate([*corners_y, [1.0]])
    order = np.lexsort((y, x))
    return np.interp(rates, x[order], y[order])


def _micro(probabilities: np.ndarray, labels: np.ndarray) -> Counts | None:
    truth = np.zeros(probabilities.shape, dtype=bool)
    truth[np.arange(len(labels)), labels] = True
    return count(probabilities.ravel(), truth.ravel())


def _micro_binned(probabilities: np.ndarray, labels: np.ndarray) -> Counts | None:
    """As `_micro`. A bin holds the floats in [0, 1] that have their leading bits in common."""
    every = np.zeros(_NUM_BINS, dtype=np.int64)
    rows = max(1, _VALUES_A_BLOCK // max(probabilities.shape[1], 1))
    for start in range(0, len(probabilities), rows):
        every += np.bincount(_bins(probabilities[start : start + rows]), minlength=_NUM_BINS)
    own = probabilities[np.arange(len(labels)), labels]
    hits = np.bincount(_bins(own), minlength=_NUM_BINS)
    false = every - hits
    if not hits.any() or not false.any():
        return None
    used = np.flatnonzero(every)[::-1]
    thresholds = (used.astype(np.uint32) << _BIN_SHIFT).view(np.float32)
    return Counts(
        thresholds, np.cumsum(hits[used]), np.cumsum(false[used]), int(hits.sum()), int(false.sum())
    )


def _bins(scores: np.ndarray) -> np.ndarray:
    clipped = np.clip(scores, 0, 1).astype(np.float32, copy=False)
    return (np.ascontiguousarray(clipped).view(np.uint32) >> _BIN_SHIFT).ravel()


def class_rows(found: Averages, class_names: Sequence[str], labels: np.ndarray) -> list[dict[str, object]]:
    """One record a class: class, images, auc and average_precision, None where they are not defined."""
    support = np.bincount(labels, minlength=len(class_names))
    return [
        {
            "class": name,
            "images": int(support[label]),
            "auc": _or_none(found.auc[label]),
            "average_precision": _or_none(found.average_precision[label]),
        }
        for label, name in enumerate(class_names)
    ]


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
