"""Runs that differ only in their seed: how much of a figure is chance, and whether two groups really differ.

Shares are fractions. The deviation is that of a sample (n - 1).
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from superft_hf.evaluation.comparison import SIGNIFICANT, Difference, ends_in_words, signed

MAX_SEED = 2**31 - 1


@dataclass(frozen=True)
class SeedSummary:
    """A figure over several seeds.

    Attributes:
        values: One a run.
        mean: Their mean.
        deviation: Standard deviation with n - 1; None for a single run.
        low: Lower end of the 95 % interval of the mean, by Student's t; None for a single run.
        high: Upper end.
    """

    values: tuple[float, ...]
    mean: float
    deviation: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class GroupDifference:
    """The mean of group B less the mean of group A, with its 95 % interval and p-value by Welch's t-test."""

    difference: Difference
    p_value: float
    sizes: tuple[int, int]


def summarise(values: Sequence[float]) -> SeedSummary:
    """Mean, deviation and the interval of the mean; values that are not numbers are left out.

    Raises:
        ValueError: If no value is left.
    """
    kept = tuple(float(one) for one in values if math.isfinite(one))
    if not kept:
        raise ValueError("there is no value to summarise")
    mean = float(np.mean(kept))
    if len(kept) == 1:
        return SeedSummary(kept, mean, None, None, None)
    deviation = float(np.std(kept, ddof=1))
    half = float(stats.t.ppf(0.975, len(kept) - 1)) * deviation / math.sqrt(len(kept))
    return SeedSummary(kept, mean, deviation, mean - half, mean + half)


def compare_groups(first: Sequence[float], second: Sequence[float]) -> GroupDifference | None:
    """Compares two groups of seeds by Welch's t-test, which lets their deviations differ.

    Welch 1947, Biometrika 34, 28-35. Two groups without any deviation differ by what they differ, surely.

    Returns:
        None where a group has fewer than two values: nothing is known of its deviation then.
    """
    groups = [[one for one in values if math.isfinite(one)] for values in (first, second)]
    if min(len(one) for one in groups) < 2:
        return None
    sizes = (len(groups[0]), len(groups[1]))
    value = float(np.mean(groups[1]) - np.mean(groups[0]))
    if all(np.ptp(one) == 0 for one in groups):
        return GroupDifference(Difference(value, value, value), 1.0 if value == 0 else 0.0, sizes)
    test = stats.ttest_ind(groups[1], groups[0], equal_var=False)
    ends = test.confidence_interval(0.95)
    return GroupDifference(Difference(value, float(ends.low), float(ends.high)), float(test.pvalue), sizes)


def in_words(found: GroupDifference, first: str, second: str, what: str = "of eval accuracy") -> str:
    """Whether the seeds of B are better than those of A, in words.

    Args:
        found: The comparison.
        first: Name of group A.
        second: Name of group B.
        what: Follows the points.
    """
    size_a, size_b = found.sizes
    better = "better" if found.difference.value >= 0 else "worse"
    verb = "are" if found.p_value < SIGNIFICANT else "are not shown to be"
    return (
        f"Over seeds, the {size_b} runs of {second} {verb} {better} than the {size_a} of {first}: "
        f"{signed(found.difference.value)} points {what} on average, 95 % interval "
        f"{ends_in_words(found.difference)} (Welch's t-test, {p_in_words(found.p_value)})."
    )


def p_in_words(p_value: float) -> str:
    """A p-value as it is said.

    Example:
        >>> p_in_words(0.0004), p_in_words(0.0312)
        ('p < 0.001', 'p = 0.031')
    """
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


def mean_in_words(found: SeedSummary) -> str:
    """Mean and deviation of shares, in percent.

    Example:
        >>> mean_in_words(summarise([0.92, 0.93, 0.925])), mean_in_words(summarise([0.92]))
        ('92.5 ± 0.5 %', '92.0 %')
    """
    if found.deviation is None:
        return f"{100 * found.mean:.1f} %"
    return f"{100 * found.mean:.1f} ± {100 * found.deviation:.1f} %"


def next_seeds(used: Collection[int], number: int, after: int) -> list[int]:
    """The next seeds that no run of the group has.

    Args:
        used: Seeds that were run or are queued.
        number: How many to give.
        after: The seed to count on from; beyond the largest seed it goes on from 0.

    Example:
        >>> next_seeds({42, 44}, 2, after=42)
        [43, 45]
    """
    found: list[int] = []
    seed = after
    while len(found) < number:
        seed = seed + 1 if seed < MAX_SEED else 0
        if seed not in used:
            found.append(seed)
    return found
