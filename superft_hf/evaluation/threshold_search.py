"""Choosing thresholds by what mistakes cost, on the images of eval.

N is the number of examples, C of classes. For one class against the rest, or for two classes, every threshold
that tells the scores apart is tried. Among more classes, what one gives up another takes: so thresholds are
moved one after the other, each to where all images together cost least, and the cost never rises.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from superft_hf.evaluation.calibration import scaled_blocks
from superft_hf.evaluation.decision import MIN_THRESHOLD, Decision
from superft_hf.evaluation.operating_points import class_probabilities, normalizers, outcome

ROUNDS = 4
LARGE = 4_000_000
"""Of more logits, each threshold is moved once."""

_DIGITS = 4
_VALUES_A_BLOCK = 2**22
_EQUAL = 1e-9


@dataclass(frozen=True)
class Choice:
    """A threshold for one class.

    Attributes:
        threshold: In [`MIN_THRESHOLD`, 1].
        cost: Of all examples at it; no other threshold costs less.
        false_positives: Others at or above it.
        false_negatives: Examples of the class below it.
    """

    threshold: float
    cost: float
    false_positives: int
    false_negatives: int


def choose_threshold(
    scores: np.ndarray, is_positive: np.ndarray, cost_fp: float, cost_fn: float
) -> Choice | None:
    """The threshold with the least cost, of all that tell the scores apart.

    Of equally good ones, the nearest to cost_fp / (cost_fp + cost_fn) is taken, which is the best for
    calibrated probabilities (Elkan 2001, IJCAI, "The foundations of cost-sensitive learning", equation 2), so
    that chance in few images does not push it to an end.

    Args:
        scores: Probabilities of the class, shape (N,); NaN is left out.
        is_positive: Shape (N,), bool.
        cost_fp: Of a negative at or above the threshold.
        cost_fn: Of a positive below it.

    Returns:
        The choice; None when there is no positive or no negative to choose on.
    """
    is_kept = ~np.isnan(scores)
    kept, truth = scores[is_kept].astype(np.float64), is_positive[is_kept].astype(bool)
    if truth.all() or not truth.any():
        return None
    is_head = _head(kept, truth, cost_fp, cost_fn)
    kept, truth = kept[is_head], truth[is_head]
    positives, negatives = np.sort(kept[truth]), np.sort(kept[~truth])
    # The thresholds in (ends[i], ends[i + 1]] have one outcome; what lies below MIN_THRESHOLD cannot be had.
    inner = np.unique(kept[(kept >= MIN_THRESHOLD) & (kept < 1)])
    ends = np.concatenate([[0.0], inner, [1.0]])
    above = np.maximum(ends[1:], MIN_THRESHOLD)
    missed = np.searchsorted(positives, above, side="left")
    taken = len(negatives) - np.searchsorted(negatives, above, side="left")
    costs = cost_fn * missed + cost_fp * taken
    least = costs.min()
    wanted = cost_fp / (cost_fp + cost_fn) if cost_fp + cost_fn > 0 else 0.5
    best = np.flatnonzero(costs <= least + 1e-9 * max(abs(least), 1))
    low, high = np.maximum(ends[best], MIN_THRESHOLD), above[best]
    distance = np.maximum(np.maximum(low - wanted, wanted - high), 0)
    place = int(distance.argmin())
    chosen = best[place]
    threshold = _inside(float(low[place]), float(high[place]), wanted)
    return Choice(threshold, float(least), int(taken[chosen]), int(missed[chosen]))


def suggest_thresholds(
    logits: np.ndarray, labels: np.ndarray, decision: Decision, classes: list[int] | None = None
) -> tuple[float, ...]:
    """Thresholds with a low cost; never a higher one than before.

    For two classes the thresholds are t and 1 - t. For one class of more, the others stay, and no other
    threshold of this class has a lower cost. For all, the search begins at the likeliest class, and ends
    where no single threshold can be moved to a lower cost, or after `ROUNDS` rounds. A class without images
    keeps its threshold: there it could only be wrong, and would be given up.

    Args:
        logits: Shape (N, C), every class; rows with a NaN are never answered.
        labels: Shape (N,).
        decision: Temperature, costs, abstain band, and the thresholds that stay.
        classes: Class ids to suggest for; None for all.

    Returns:
        By class id.
    """
    start = replace(decision, thresholds=None) if classes is None else decision
    if decision.num_classes == 2:
        return _of_two(logits, labels, start)
    search = _Search(logits, labels, start)
    asked = range(decision.num_classes) if classes is None else classes
    support = np.bincount(labels, minlength=decision.num_classes)
    wanted = [label for label in asked if support[label]]
    for _ in range(1 if logits.size > LARGE or len(wanted) == 1 else ROUNDS):
        if not search.move(wanted):
            break
    return tuple(search.limits.tolist())


class _Search:
    """Moves thresholds of a decision, one at a time.

    Of each image it keeps the two classes with the greatest probability / threshold: when the threshold of a
    class moves, the better of the others is known at once.
    """

    def __init__(self, logits: np.ndarray, labels: np.ndarray, decision: Decision) -> None:
        is_kept = np.isfinite(logits).all(axis=1)
        self._logits, self._labels = (logits, labels) if is_kept.all() else (logits[is_kept], labels[is_kept])
        self._decision = decision
        self._normalizer = normalizers(self._logits, decision.temperature)
        self._costs_fp, self._costs_fn = decision.false_positive_costs, decision.false_negative_costs
        self.limits = decision.limits.copy()
        count = len(self._labels)
        self._best, self._next = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
        self._best_ratio, self._next_ratio = np.zeros(count), np.zeros(count)
        self._rank(np.arange(count))

    def move(self, classes: list[int]) -> bool:
        """Moves each of some thresholds once. Returns whether any moved."""
        has_moved = False
        for label, own in self._columns(classes):
            found = self._best_limit(label, own)
            if found is not None:
                has_moved = True
                self._set(label, own, found)
        return has_moved

    def _columns(self, classes: list[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Class id and ln of its probability in each image, shape (N,)."""
        width = max(1, _VALUES_A_BLOCK // max(len(self._labels), 1))
        for start in range(0, len(classes), width):
            block = classes[start : start + width]
            scaled = np.ascontiguousarray(self._logits[:, block].T) / self._decision.temperature
            for label, values in zip(block, scaled, strict=True):
                yield label, values - self._normalizer

    def _best_limit(self, label: int, own: np.ndarray) -> float | None:
        """The threshold of a class with the least cost of all images; None where the present one is as good.

        An image is taken for the class below `ends`, where the ratio of the next class is exceeded, and
        answered below `sure`, where its probability exceeds threshold and band.
        """
        is_own = self._best == label
        other = np.where(is_own, self._next_ratio, self._best_ratio)
        rows = np.flatnonzero(own - other > np.log(MIN_THRESHOLD))
        if not len(rows):
            return None
        ends = np.exp((own - other)[rows])
        sure = np.minimum(np.exp(own[rows]) - self._decision.abstain_band, ends)
        truth, band = self._labels[rows], self._decision.abstain_band
        rival = np.where(is_own, self._next, self._best)[rows]
        missed = self._costs_fn[truth]
        answered = np.where(truth == label, 0.0, self._costs_fp[label] + missed)
        # What the image costs when the other class has it.
        is_answered = np.exp(other[rows]) * self.limits[rival] >= self.limits[rival] + band
        given_up = np.where(rival == truth, 0.0, self._costs_fp[rival] + missed)
        given_up = np.where(is_answered, given_up, missed)
        places = np.concatenate([sure, ends])
        steps = np.concatenate([missed - answered, given_up - missed])
        order = np.argsort(places, kind="stable")
        places, costs = places[order], np.concatenate([[0.0], np.cumsum(steps[order])])
        low = np.maximum(np.concatenate([[0.0], places]), MIN_THRESHOLD)
        high = np.minimum(np.concatenate([places, [np.inf]]), 1.0)
        is_there = high - low > _EQUAL
        if not is_there.any():
            return None
        costs = np.where(is_there, costs, np.inf)
        limit = self.limits[label]
        present = costs[np.flatnonzero(is_there & (low <= limit + _EQUAL) & (limit <= high + _EQUAL))]
        best = np.flatnonzero(costs <= costs.min() + _EQUAL)
        if len(present) and present.min() <= costs.min() + _EQUAL:
            return None
        nearest = best[np.argmin(np.abs((low[best] + high[best]) / 2 - limit))]
        return _inside(float(low[nearest]), float(high[nearest]), (low[nearest] + high[nearest]) / 2)

    def _set(self, label: int, own: np.ndarray, limit: float) -> None:
        """Gives a class another threshold, and ranks the images anew that this touches."""
        self.limits[label] = limit
        ratio = own - np.log(limit)
        touched = (self._best == label) | (self._next == label) | (ratio > self._next_ratio)
        self._rank(np.flatnonzero(touched))

    def _rank(self, rows: np.ndarray) -> None:
        log_limits = np.log(self.limits)
        shown = self._logits if len(rows) == len(self._logits) else self._logits[rows]
        for part, scaled in scaled_blocks(shown, self._decision.temperature):
            places, inside = rows[part], np.arange(len(scaled))
            ratios = scaled - log_limits
            best = ratios.argmax(axis=1)
            self._best[places], self._best_ratio[places] = best, ratios[inside, best]
            ratios[inside, best] = -np.inf
            second = ratios.argmax(axis=1)
            self._next[places], self._next_ratio[places] = second, ratios[inside, second]
            self._best_ratio[places] -= self._normalizer[places]
            self._next_ratio[places] -= self._normalizer[places]


def _of_two(logits: np.ndarray, labels: np.ndarray, decision: Decision) -> tuple[float, ...]:
    """The thresholds t and 1 - t; as before, where there is nothing to choose on or it would cost more."""
    before = tuple(decision.limits.tolist())
    costs_fp, costs_fn = decision.false_positive_costs, decision.false_negative_costs
    scores = class_probabilities(logits, [1], decision.temperature)[0]
    found = choose_threshold(scores, labels == 1, costs_fp[1] + costs_fn[0], costs_fn[1] + costs_fp[0])
    if found is None:
        return before
    second = float(np.clip(found.threshold, MIN_THRESHOLD, 1 - MIN_THRESHOLD))
    after = (1 - second, second)
    costs = [outcome(logits, labels, replace(decision, thresholds=one)).cost for one in (before, after)]
    return after if costs[1] <= costs[0] + _EQUAL else before


def _head(scores: np.ndarray, truth: np.ndarray, cost_fp: float, cost_fn: float) -> np.ndarray | slice:
    """The scores that matter: of many images, sorting all takes long.

    At threshold 1 the cost is known. Where more negatives than that pays for lie above a threshold, it costs
    more, however many others do: so negatives further down can be left out.
    """
    most = cost_fp * np.sum(~truth & (scores >= 1)) + cost_fn * np.sum(truth)
    number = int(truth.sum() + most / cost_fp) + 2 if cost_fp > 0 else len(scores)
    if number >= len(scores):
        return slice(None)
    return (scores >= np.partition(scores, len(scores) - number)[len(scores) - number]) | truth


def _inside(low: float, high: float, wanted: float) -> float:
    """A number in (low, high] with few digits: the wanted one, else the middle, else the upper end."""
    for one in (wanted, (low + high) / 2):
        rounded = round(one, _DIGITS)
        if low < rounded <= high:
            return rounded
    return (low + high) / 2 if low < (low + high) / 2 <= high else high
