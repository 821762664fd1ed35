"""What fits into a time budget: how many epochs, and images of which size, by a short measurement.

A run takes, besides what has passed when it is measured: in every epoch its updates, an evaluation and a
checkpoint; once, the opening of each image; at the end the best model and the evaluation of test.
"""

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass

from superft_hf.config import RunConfig
from superft_hf.recipe.rules import MAX_EPOCHS
from superft_hf.training.bench import Bench, Variant

logger = logging.getLogger(__name__)

SIZE_STEP = 32
"""Sizes are multiples of this, the stride of most networks, in pixels."""

MIN_SIZE = 64
"""No smaller size is chosen for want of time, in pixels."""

ENOUGH_EPOCHS = 5
"""Rather than fewer epochs, smaller images: that came out better on eval, see `benchmarks/recipe.py`."""

DISK_BYTES_S = 200e6
"""What is reckoned with for writing checkpoints, bytes a second."""

CHECKPOINT_PARTS = 3
"""Sizes of the weights in a checkpoint: themselves, and the two moments of Adam."""

RESERVE = 0.05
"""Share of the budget that is kept back: a machine is slower once it is warm, or has something else to do."""

STEP_OVERHEAD_S = 0.002
"""What Trainer does around a step: callbacks, the progress, points of the curves."""

EPOCH_OVERHEAD_S = 0.3
"""What an epoch takes besides its batches: the figures of its evaluation, files that are made sure of."""


@dataclass(frozen=True)
class Pace:
    """Measured seconds.

    Attributes:
        train_batch_s: Of an update by its batch, loading included.
        eval_batch_s: Of an evaluation batch.
        train_first_s: More for a training batch whose images were not opened yet.
        eval_first_s: More for such an evaluation batch.
        save_s: Of an epoch's end, its checkpoint above all.
    """

    train_batch_s: float
    eval_batch_s: float
    train_first_s: float = 0.0
    eval_first_s: float = 0.0
    save_s: float = 0.0


@dataclass(frozen=True)
class Amount:
    """How much there is to do, in batches of one process: in an epoch, in its evaluation, and in test."""

    train_batches: int
    eval_batches: int
    test_batches: int


def measure_pace(bench: Bench, variant: Variant, num_loaders: int, weights_bytes: int) -> Pace:
    """Times a few steps and batches.

    Args:
        bench: Of the run.
        variant: The way in which it computes.
        num_loaders: Its loader processes, beside which loading does not count.
        weights_bytes: Of the model.
    """
    step_s = bench.usual_step_s(variant)
    first_s, again_s = bench.first_load_s()
    eval_first_s, eval_s = bench.eval_s(variant)
    share = 1 / num_loaders if num_loaders else 1.0
    train_s = max(step_s, again_s * share) if num_loaders else step_s + again_s
    return Pace(
        train_batch_s=train_s + STEP_OVERHEAD_S,
        eval_batch_s=eval_s,
        train_first_s=max(0.0, first_s - again_s) * share,
        eval_first_s=max(0.0, eval_first_s - eval_s) * share,
        save_s=EPOCH_OVERHEAD_S + CHECKPOINT_PARTS * weights_bytes / DISK_BYTES_S,
    )


def total_s(pace: Pace, amount: Amount, epochs: int) -> float:
    """Seconds of so many epochs and of what comes after them.

    Example:
        >>> total_s(Pace(train_batch_s=1.0, eval_batch_s=0.5), Amount(20, 4, 8), epochs=2)
        48.0
    """
    return epochs * _epoch_s(pace, amount) + _once_s(pace, amount)


def fitting_epochs(pace: Pace, budget_s: float, amount: Amount, most: int = MAX_EPOCHS) -> int:
    """Epochs that fit with all that belongs to them; 0 when none does.

    Args:
        pace: Measured.
        budget_s: What is left of the time.
        amount: What an epoch is.
        most: More than these are over-fitting.

    Example:
        >>> fitting_epochs(Pace(train_batch_s=1.0, eval_batch_s=0.5), 100, Amount(20, 4, 8))
        4
    """
    fitting = (budget_s - _once_s(pace, amount)) / _epoch_s(pace, amount)
    return max(0, min(most, math.floor(fitting + 1e-9)))


def smaller_sizes(pace: Pace, budget_s: float, amount: Amount, size: int) -> Iterator[int]:
    """Sizes at which ENOUGH_EPOCHS may fit, the largest first: steps are taken to go by the number of pixels.

    Args:
        pace: Measured at `size`.
        budget_s: What is left of the time.
        amount: What an epoch is.
        size: In pixels.

    Example:
        >>> slow = Pace(train_batch_s=1.0, eval_batch_s=1.0)
        >>> list(smaller_sizes(slow, 100.0, Amount(60, 10, 10), 224))
        [96, 64]
    """
    share = budget_s / total_s(pace, amount, ENOUGH_EPOCHS)
    likely = math.floor(size * math.sqrt(max(0.0, share)) / SIZE_STEP) * SIZE_STEP
    yield from range(max(MIN_SIZE, min(likely, _below(size))), MIN_SIZE - 1, -SIZE_STEP)


def can_shrink(asked: RunConfig, size: int | None) -> bool:
    """Whether the size of the images is ours to choose, and there is a smaller one."""
    return asked.model.image_size is None and size is not None and _below(size) >= MIN_SIZE


def _below(size: int) -> int:
    return (size - 1) // SIZE_STEP * SIZE_STEP


def _epoch_s(pace: Pace, amount: Amount) -> float:
    return amount.train_batches * pace.train_batch_s + amount.eval_batches * pace.eval_batch_s + pace.save_s


def _once_s(pace: Pace, amount: Amount) -> float:
    """Opening each image, evaluating test, and saving the best model."""
    opening = amount.train_batches * pace.train_first_s
    opening += (amount.eval_batches + amount.test_batches) * pace.eval_first_s
    return opening + amount.test_batches * pace.eval_batch_s + 2 * pace.save_s
