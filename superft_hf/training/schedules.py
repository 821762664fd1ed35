"""How the learning rate goes over a run: a factor of the peak rate, as a function of the step alone."""

import math
from collections.abc import Callable

import torch

from superft_hf.config import TrainingConfig

ONE_CYCLE_START = 1 / 25
"""Of the peak rate, where one_cycle begins (torch's OneCycleLR likewise)."""


def make_schedule(
    optimizer: torch.optim.Optimizer, config: TrainingConfig, num_training_steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """Makes the schedule that `training.lr_scheduler_type` names.

    Args:
        optimizer: Its groups keep their ratios.
        config: The `training:` group.
        num_training_steps: Updates of the whole run.
    """
    return torch.optim.lr_scheduler.LambdaLR(optimizer, rate_factor(config, num_training_steps))


def rate_factor(config: TrainingConfig, num_steps: int) -> Callable[[int], float]:
    """The factor of the peak learning rate in update t, counted from 0, of T.

    During a warm-up of w updates it is (t + 1) / (w + 1), so that the first update counts already; `constant`
    has none. Afterwards, with p = (t − w) / (T − w):

    - cosine: (1 + cos πp) / 2
    - linear: 1 − p
    - polynomial: (1 − p)²
    - constant, constant_with_warmup, and every schedule under a schedule-free optimizer: 1
    - one_cycle: as cosine, and the warm-up is half a cosine as well, from 1/25 (Smith and Topin 2018; the
      momentum stays as it is)
    - warmup_stable_decay: 1, and in the last c updates 1 − √q, with q from 0 to 1 over them (Hägele et al.
      2024)

    Args:
        config: The `training:` group.
        num_steps: T.

    Example:
        >>> factor = rate_factor(TrainingConfig(lr_scheduler_type="linear", warmup_steps=3), 7)
        >>> [factor(step) for step in range(7)]
        [0.25, 0.5, 0.75, 1.0, 0.75, 0.5, 0.25]
    """
    name = config.lr_scheduler_type
    warmup = 0 if name == "constant" else _steps(config.warmup_steps, num_steps)
    if config.optim.startswith("schedule_free"):
        name = "constant"
    rising, falling = max(1, warmup), max(1, num_steps - warmup)
    cooldown = min(_steps(config.cooldown_steps, num_steps), num_steps - warmup)

    def stable(step: int) -> float:
        passed = step - (num_steps - cooldown)
        return 1.0 if passed <= 0 else 1 - math.sqrt(min(1.0, passed / cooldown))

    def falls(step: int) -> float:
        share = min(1.0, (step - warmup) / falling)
        if name in ("cosine", "one_cycle"):
            return (1 + math.cos(math.pi * share)) / 2
        if name == "warmup_stable_decay":
            return stable(step)
        return {"linear": 1 - share, "polynomial": (1 - share) ** 2}.get(name, 1.0)

    def factor(step: int) -> float:
        if step >= warmup:
            return falls(step)
        if name == "one_cycle":
            return ONE_CYCLE_START + (1 - ONE_CYCLE_START) * (1 - math.cos(math.pi * step / rising)) / 2
        return (step + 1) / (warmup + 1)

    return factor


def _steps(value: float, num_steps: int) -> int:
    """A number of updates, or below 1 a share of them all; at most all."""
    return min(num_steps, round(value * num_steps if value < 1 else value))
