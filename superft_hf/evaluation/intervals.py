"""Intervals: how far a figure from a finite split can be trusted.

Shares have Wilson's interval. Everything else has a bootstrap interval: the examples are drawn anew with
replacement, from a seed, and the ends are percentiles of what the figure becomes, corrected for its bias: the
mean F1 of many small classes is lower in every resample than in the split itself, and plain percentiles would
then lie beside the figure.
"""

import math
from collections.abc import Callable

import numpy as np
from scipy.stats import norm

from superft_hf.evaluation.class_counts import ClassCounts, count_classes

RESAMPLES = 2000
CONFIDENCE = 0.95
_FEW_CELLS = 400
_DRAWS = 12_000_000
_FEWEST_RESAMPLES = 400
_GROUPS = 2000


def wilson_interval(successes: int, total: int, confidence_z: float = 1.959964) -> tuple[float, float]:
    """The Wilson score interval of a share (Wilson 1927, J. Am. Stat. Assoc. 22, 209-212).

    Args:
        successes: How many of `total` succeeded.
        total: Number of trials; at 0 nothing is known, and the interval is the whole of [0, 1].
        confidence_z: Quantile of the normal distribution; the default gives 95 %.

    Returns:
        Lower and upper bound, as fractions in [0, 1].

    Example:
        >>> low, high = wilson_interval(90, 100)
        >>> round(low, 3), round(high, 3)
        (0.826, 0.945)
    """
    if total == 0:
        return 0.0, 1.0
    share, z2 = successes / total, confidence_z**2
    centre = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = confidence_z / (1 + z2 / total) * math.sqrt(share * (1 - share) / total + z2 / (4 * total**2))
    low = max(0.0, centre - half) if successes else 0.0  # exactly, whatever the rounding
    return low, min(1.0, centre + half) if successes < total else 1.0


def bootstrap_interval(
    statistic: Callable[[np.ndarray], float],
    n: int,
    seed: int = 0,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> tuple[float, float]:
    """The bootstrap interval of any figure, see `corrected_percentiles`.

    For means and for figures of a confusion matrix, `mean_interval` and `confusion_intervals` are much
    faster.

    Args:
        statistic: The figure of the examples at some positions, shape (n,), each in [0, n), with repeats.
            A resample for which it is NaN is left out.
        n: Examples; at 0 nothing is known, and both ends are NaN.
        seed: Of the resamples: the same seed gives the same interval.
        resamples: How often the examples are drawn anew.
        confidence: The share of intervals that hold the true figure.

    Returns:
        Lower and upper bound.

    Example:
        >>> values = np.arange(100.0)
        >>> low, high = bootstrap_interval(lambda rows: values[rows].mean(), n=100)
        >>> bool(low < 49.5 < high)
        True
    """
    if n == 0:
        return math.nan, math.nan
    generator = np.random.default_rng(seed)
    draws = [statistic(generator.integers(0, n, n)) for _ in range(resamples)]
    return corrected_percentiles(np.asarray(draws), statistic(np.arange(n)), confidence)


def mean_interval(
    values: np.ndarray, seed: int = 0, resamples: int = RESAMPLES, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """The bootstrap interval of a mean.

    Above 2,000 values, the means of 2,000 random groups of them are drawn instead of single values: sum and
    variance of a resample stay the same up to 2 %, and a million values take no longer than a few thousand.

    Args:
        values: Shape (N,); both ends are NaN when one is no number, or when there is none.
        seed: Of groups and resamples.
        resamples: How often the values are drawn anew.
        confidence: The share of intervals that hold the true mean.
    """
    values = np.asarray(values, dtype=np.float64)
    if not len(values) or not np.isfinite(values).all():
        return math.nan, math.nan
    generator = np.random.default_rng(seed)
    sums, sizes = values, np.ones(len(values))
    if len(values) > _GROUPS:
        order = generator.permutation(len(values))
        begins = np.linspace(0, len(values), _GROUPS, endpoint=False).astype(np.int64)
        sums = np.add.reduceat(values[order], begins)
        sizes = np.diff([*begins, len(values)])
    draws = np.empty(resamples)
    for part in np.array_split(np.arange(resamples), max(1, resamples * len(sums) // 2**20)):
        rows = generator.integers(0, len(sums), (len(part), len(sums)))
        draws[part] = sums.take(rows).sum(axis=1) / sizes.take(rows).sum(axis=1)
    return corrected_percentiles(draws, float(values.mean()), confidence)


def confusion_intervals(
    labels: np.ndarray, predictions: np.ndarray, num_classes: int, seed: int = 0,
    resamples: int | None = None, confidence: float = CONFIDENCE,
) -> dict[str, tuple[float, float]]:  # fmt: skip
    """Bootstrap intervals of all figures that follow from the confusion matrix.

    Args:
        labels: Class ids of shape (N,).
        predictions: Class ids of shape (N,).
        num_classes: C.
        seed: Of the resamples.
        resamples: By default 2,000, or fewer, but at least 400, for very many mistakes or classes.
        confidence: The share of intervals that hold the true figure.

    Returns:
        Both ends of each of `ClassCounts.figures`; NaN without examples.
    """
    observed = count_classes(labels, predictions, num_classes).figures()
    if not len(labels):
        return dict.fromkeys(observed, (math.nan, math.nan))
    wrong = int((labels != predictions).sum())
    fitting = int(_DRAWS / max(wrong + 10 * num_classes, 1))
    count = resamples or int(np.clip(fitting, _FEWEST_RESAMPLES, RESAMPLES))
    draws = resampled_counts(labels, predictions, num_classes, seed, count).figures()
    ends = {key: corrected_percentiles(draws[key], float(observed[key]), confidence) for key in draws}
    return {key: (max(0.0, low), min(1.0, high)) for key, (low, high) in ends.items()}


def resampled_counts(
    labels: np.ndarray, predictions: np.ndarray, num_classes: int, seed: int, resamples: int
) -> ClassCounts:
    """Counts by class of resamples of the examples: the cells of the matrix are drawn from a multinomial.

    Recognised examples are one cell a class. Of the mistakes, few kinds are drawn by cell, and many, as
    with a thousand classes, one by one.

    Args:
        labels: Class ids of shape (N,).
        predictions: Class ids of shape (N,).
        num_classes: C.
        seed: Of the resamples.
        resamples: B.

    Returns:
        Counts of shape (B, C).
    """
    generator, total = np.random.default_rng(seed), len(labels)
    is_right = labels == predictions
    right = np.bincount(labels[is_right], minlength=num_classes)
    true, taken = labels[~is_right].astype(np.int64), predictions[~is_right].astype(np.int64)
    cells, times = np.unique(true * num_classes + taken, return_counts=True)
    if len(cells) <= _FEW_CELLS:
        drawn = generator.multinomial(total, np.concatenate([right, times]) / total, size=resamples)
        rights, wrongs = drawn[:, :num_classes], drawn[:, num_classes:]
        missed, added = (_by_class(wrongs, ids, num_classes) for ids in np.divmod(cells, num_classes))
    else:
        shares = np.concatenate([right, [len(true)]]) / total
        drawn = generator.multinomial(total, shares, size=resamples)
        rights = drawn[:, :num_classes]
        missed, added = np.empty_like(rights), np.empty_like(rights)
        for row, size in enumerate(drawn[:, num_classes].tolist()):
            rows = generator.integers(0, len(true), size)
            missed[row] = np.bincount(true.take(rows), minlength=num_classes)
            added[row] = np.bincount(taken.take(rows), minlength=num_classes)
    return ClassCounts(rights, rights + missed, rights + added)


def corrected_percentiles(
    draws: np.ndarray, observed: float, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """The ends of a percentile interval, corrected for bias and skewness.

    A figure that resampling lowers by b was itself lowered by about b when the split was drawn: the true one
    lies above it by b, and above the mean of the resamples by 2 b. For skewness the percentiles are those of
    BCa (Efron 1987, J. Am. Stat. Assoc. 82, 171-185) with skewness / 6 for both of its constants, as they
    are for a mean.

    Args:
        draws: The figure in each resample, shape (B,); NaNs are left out.
        observed: The figure itself.
        confidence: The share of intervals that hold the true figure.

    Returns:
        Lower and upper bound; NaN when there is nothing to tell them from.

    Example:
        >>> low, high = corrected_percentiles(np.linspace(0.0, 1.0, 101), observed=0.5, confidence=0.9)
        >>> round(low, 2), round(high, 2)
        (0.05, 0.95)
        >>> low, high = corrected_percentiles(np.linspace(0.0, 1.0, 101), observed=0.6, confidence=0.9)
        >>> round(low, 2), round(high, 2)
        (0.25, 1.15)
    """
    draws = draws[np.isfinite(draws)]
    if not len(draws) or not math.isfinite(observed):
        return math.nan, math.nan
    deviation = draws.std()
    if not deviation:
        return float(observed), float(observed)
    centred = draws - draws.mean()
    constant = float(np.clip(np.mean(centred**3) / deviation**3 / 6, -0.1, 0.1))
    tails = constant + norm.ppf([(1 - confidence) / 2, (1 + confidence) / 2])
    low, high = np.quantile(centred, norm.cdf(constant + tails / (1 - constant * tails)))
    return float(2 * observed - draws.mean() + low), float(2 * observed - draws.mean() + high)


def _by_class(drawn: np.ndarray, ids: np.ndarray, num_classes: int) -> np.ndarray:
    """Sums the columns of (B, cells) that belong to the same class: shape (B, C)."""
    belongs = np.zeros((len(ids), num_classes))
    belongs[np.arange(len(ids)), ids] = 1
    return (drawn @ belongs).astype(np.int64)
