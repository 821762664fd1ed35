"""The formulas of the learning-rate range test (Smith, "Cyclical Learning Rates …", WACV 2017, section 3.3).

The rate rises exponentially from update to update while the training loss is watched. What is called the
valley here is that of fastai's `lr_find`, whose formulas these are where it has them.
"""

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

LOWEST, HIGHEST = 1e-7, 10.0
"""The first and the last rate; a loss that diverges ends the test sooner."""

MAX_STEPS, MIN_STEPS = 100, 50
MAX_PASSES = 8
"""Over the train split; of few images, fewer updates: what is learned by heart tells nothing of the rate."""

LAG = 0.1
"""Share of a test over which its loss is smoothed: a longer memory would find everything at higher rates."""

DIVERGED = 4.0
"""A smoothed loss of so many times its least ends the test."""

SKIPPED_SHARE = 0.1
"""The first values, which are averages of few."""

SKIPPED_END = 5
"""The last values, which belong to the divergence."""

BEGUN = 0.1
"""A fall has begun when this share of it is done."""

WINDOW = 9
"""Neighbouring values that make a slope."""

MIN_FALL = 0.02
"""A loss that falls by less than this share of its beginning says nothing."""

MIN_SIGMAS = 5.0
"""Nor does one that falls by less than so many standard deviations of the noise of its batches."""


def rate_at(step: int, num_steps: int) -> float:
    """The rate of an update: from LOWEST at step 0 to HIGHEST at the last.

    Example:
        >>> rate_at(0, 101), round(rate_at(50, 101), 6), round(rate_at(100, 101), 6)
        (1e-07, 0.001, 10.0)
    """
    return LOWEST * (HIGHEST / LOWEST) ** (step / max(1, num_steps - 1))


def num_steps(updates_per_epoch: int) -> int:
    """Updates of a test, given those of an epoch.

    Example:
        >>> num_steps(400), num_steps(10), num_steps(1)
        (100, 80, 50)
    """
    return max(MIN_STEPS, min(MAX_STEPS, MAX_PASSES * updates_per_epoch))


def beta_of(num_steps: int) -> float:
    """The β of the smoothing, whose memory 1 / (1 − β) is LAG of a test; fastai has 0.98 for 100 updates.

    Example:
        >>> beta_of(100), beta_of(50)
        (0.9, 0.8)
    """
    return 1 - 1 / (LAG * num_steps)


def smoothed(losses: Sequence[float], beta: float) -> np.ndarray:
    """The exponential moving average with bias correction, as Adam has it.

    m_t = β·m_{t−1} + (1 − β)·x_t with m_0 = 0, divided by 1 − β^t: so the first values are no smaller than
    the losses themselves.

    Args:
        losses: Shape (T,).
        beta: β.

    Returns:
        Shape (T,), dtype float64.

    Example:
        >>> smoothed([2.0, 2.0, 1.0], beta=0.5).round(4).tolist()
        [2.0, 2.0, 1.4286]
    """
    mean, found = 0.0, []
    for step, loss in enumerate(losses, start=1):
        mean = beta * mean + (1 - beta) * loss
        found.append(mean / (1 - beta**step))
    return np.array(found)


def has_diverged(smooth: Sequence[float]) -> bool:
    """Whether the last smoothed loss is no number, or DIVERGED times the least before it."""
    values = np.asarray(smooth, dtype=float)
    return not np.isfinite(values[-1]) or bool(values[-1] > DIVERGED * values.min())


def steepest(rates: Sequence[float], losses: Sequence[float], beta: float) -> float | None:
    """The rate at which the smoothed loss falls fastest, before its least value.

    The slope at a place is that of the least-squares line of loss over log(rate) through the WINDOW values
    around it: Σ (u − ū)·(s − s̄) / Σ (u − ū)² with u = log(rate). fastai's `steep` takes Δs / Δu of two
    neighbours, which finds the luckiest batch rather than the steepest fall.

    Args:
        rates: Shape (T,), ascending.
        losses: Of the batches, shape (T,), finite.
        beta: β of the smoothing.

    Returns:
        None where nothing can be told, see `falls`.
    """
    if not falls(losses, beta):
        return None
    rates, smooth = _usable(rates), _usable(smoothed(losses, beta))
    last = max(WINDOW, int(smooth.argmin()) + 1)
    logs = sliding_window_view(np.log(rates[:last]), WINDOW)
    values = sliding_window_view(smooth[:last], WINDOW)
    logs = logs - logs.mean(axis=1, keepdims=True)
    slopes = (logs * values).sum(axis=1) / np.square(logs).sum(axis=1)
    return float(rates[int(slopes.argmin()) + WINDOW // 2])


def valley(rates: Sequence[float], losses: Sequence[float], beta: float) -> float | None:
    """The rate in the middle of the fall of the smoothed loss: fastai's `valley`, from where the fall begins.

    The valley is the longest subsequence, of neighbours or not, in which the smoothed loss falls from each
    value to the next; it forgives bumps, which `steepest` does not. With n values in it and e the place of
    the last, the suggestion is the rate at place e − n + ⌊n/3⌋ + ⌊n/6⌋: its middle.

    fastai looks for it from the first value on. The loss of a pre-trained network drifts down for decades
    before it falls, which counts as part of the valley and puts its middle below every rate that learns. So
    it is looked for from the last place before the least value where no more than BEGUN of the fall, that
    from the mean over the first third to the least value, is done.

    Args:
        rates: Shape (T,), ascending.
        losses: Of the batches, shape (T,), finite.
        beta: β of the smoothing.

    Returns:
        None where nothing can be told, see `falls`.
    """
    if not falls(losses, beta):
        return None
    rates, smooth = _usable(rates), _usable(smoothed(losses, beta))
    least = int(smooth.argmin())
    plateau = float(_early(losses).mean())
    still = np.flatnonzero(smooth[:least] >= plateau - BEGUN * (plateau - smooth[least]))
    begin = int(still[-1]) if len(still) else 0
    rates, smooth = rates[begin:], smooth[begin:]
    lengths = np.ones(len(smooth), dtype=int)
    for place in range(1, len(smooth)):
        higher = lengths[:place][smooth[:place] > smooth[place]]
        lengths[place] = 1 + higher.max(initial=0)
    end = int(lengths.argmax())
    size = int(lengths[end])
    return float(rates[max(0, end - size + size // 3 + size // 6)])


def falls(losses: Sequence[float], beta: float) -> bool:
    """Whether a loss falls by more than its noise, in values enough to tell.

    From its mean over the n values of the first third to the least smoothed value it must fall by MIN_FALL of
    that mean, and by MIN_SIGMAS times the noise of this difference, σ·√((1 − β) / (1 + β) + 1 / n). σ² is
    half the mean squared difference of neighbours (von Neumann's estimate) over the first half, where the
    rates change little.
    """
    values = _usable(losses)
    if len(values) < WINDOW:
        return False
    early = _early(losses)
    variance = np.square(np.diff(values[: max(WINDOW, len(values) // 2)])).mean() / 2
    noise = float(variance * ((1 - beta) / (1 + beta) + 1 / len(early))) ** 0.5
    fall = float(early.mean() - _usable(smoothed(losses, beta)).min())
    return fall > max(MIN_FALL * abs(float(early.mean())), MIN_SIGMAS * noise)


def _early(losses: Sequence[float]) -> np.ndarray:
    """The first third of what is usable, where the rates are too small to change anything."""
    values = _usable(losses)
    return values[: max(WINDOW, len(values) // 3)]


def _usable(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Without the first tenth and the last few, as fastai leaves them out."""
    first, last = int(SKIPPED_SHARE * len(values)), len(values) - SKIPPED_END
    return np.asarray(values, dtype=float)[first:last]
