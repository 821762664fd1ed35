"""How the learning rate goes over a run."""

import torch
from transformers import get_scheduler

from superft_hf.config import TrainingConfig


def make_schedule(
    optimizer: torch.optim.Optimizer, config: TrainingConfig, num_training_steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """Makes the schedule that `training.lr_scheduler_type` names.

    Args:
        optimizer: Its groups keep their ratios.
        config: The `training:` group.
        num_training_steps: Updates of the whole run.
    """
    warmup = config.warmup_steps
    steps = round(warmup * num_training_steps) if warmup < 1 else round(warmup)
    return get_scheduler(
        config.lr_scheduler_type, optimizer, num_warmup_steps=steps, num_training_steps=num_training_steps
    )
