"""Intervals: how far a figure from a finite split can be trusted."""

import math


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
