"""The optimizer of a run.

Weight decay is decoupled in all of them: before its update a weight is multiplied by 1 − rate · decay
(Loshchilov and Hutter 2019, in the form of PyTorch's AdamW), so that the gradient's history knows nothing of
it. torch's SGD, RMSprop and Adagrad add it to the gradient instead, and are kept from it here. The
schedule-free ones take it at the point of the gradient, as their authors do.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from superft_hf.config import RunConfig, TrainingConfig
from superft_hf.training.parameter_groups import parameter_groups
from superft_hf.training.schedule_free import ScheduleFreeAdamW, ScheduleFreeSGD

DECAY = "decoupled_decay"
"""Key of a group: the decay that `_decay` applies in place of the optimizer."""

Groups = list[dict[str, Any]]


def make_optimizer(model: nn.Module, heads: Sequence[nn.Module], config: RunConfig) -> torch.optim.Optimizer:
    """Makes the optimizer that `training.optim` names.

    Args:
        model: Not wrapped, on the device where it trains.
        heads: Its head.
        config: The run, with every `auto` decided.
    """
    groups = parameter_groups(model, heads, config)
    return _MAKERS[config.training.optim](groups, config.training)


def _adamw(groups: Groups, training: TrainingConfig) -> torch.optim.Optimizer:
    # One kernel for all weights: five times as fast as the loop even on a CPU.
    return torch.optim.AdamW(groups, lr=training.learning_rate, fused=True)


def _sgd(groups: Groups, training: TrainingConfig) -> torch.optim.Optimizer:
    momentum = {"momentum": training.momentum, "nesterov": training.nesterov}
    return _decoupled(groups, lambda own: torch.optim.SGD(own, lr=training.learning_rate, **momentum))


def _rmsprop(groups: Groups, training: TrainingConfig) -> torch.optim.Optimizer:
    options = {"lr": training.learning_rate, "momentum": training.momentum}
    return _decoupled(groups, lambda own: torch.optim.RMSprop(own, **options))


def _adagrad(groups: Groups, training: TrainingConfig) -> torch.optim.Optimizer:
    return _decoupled(groups, lambda own: torch.optim.Adagrad(own, lr=training.learning_rate))


def _nadam(groups: Groups, training: TrainingConfig) -> torch.optim.Optimizer:
    return torch.optim.NAdam(groups, lr=training.learning_rate, decoupled_weight_decay=True)


def _adafactor(groups: Groups, training: TrainingConfig) -> torch.optim.Optimizer:
    from transformers import Adafactor

    # The rate is ours, not one that follows from the step and the size of the weights.
    return Adafactor(groups, lr=training.learning_rate, scale_parameter=False, relative_step=False)


def _lion(groups: Groups, training: TrainingConfig) -> torch.optim.Optimizer:
    from timm.optim import Lion

    return Lion(groups, lr=training.learning_rate)


def _schedule_free_adamw(groups: Groups, training: TrainingConfig) -> torch.optim.Optimizer:
    return ScheduleFreeAdamW(groups, lr=training.learning_rate, foreach=_is_on_gpu(groups))


def _schedule_free_sgd(groups: Groups, training: TrainingConfig) -> torch.optim.Optimizer:
    return ScheduleFreeSGD(
        groups, lr=training.learning_rate, momentum=training.momentum, foreach=_is_on_gpu(groups)
    )


_MAKERS: dict[str, Callable[[Groups, TrainingConfig], torch.optim.Optimizer]] = {
    "adamw_torch": _adamw,
    "sgd": _sgd,
    "rmsprop": _rmsprop,
    "adagrad": _adagrad,
    "nadam": _nadam,
    "adafactor": _adafactor,
    "lion": _lion,
    "schedule_free_adamw": _schedule_free_adamw,
    "schedule_free_sgd": _schedule_free_sgd,
}


def _decoupled(groups: Groups, make: Callable[[Groups], torch.optim.Optimizer]) -> torch.optim.Optimizer:
    """An optimizer that adds decay to the gradient, with the decay taken out of its hands."""
    own = [{**group, "weight_decay": 0.0, DECAY: group["weight_decay"]} for group in groups]
    optimizer = make(own)
    optimizer.register_step_pre_hook(_decay)
    return optimizer


@torch.no_grad()
def _decay(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
    """Shrinks the weights that are about to be updated."""
    for group in optimizer.param_groups:
        weights = [one for one in group["params"] if one.grad is not None]
        if group[DECAY] and weights:
            torch._foreach_mul_(weights, 1 - group["lr"] * group[DECAY])


def _is_on_gpu(groups: Groups) -> bool:
    """Whether updating all weights at once pays: on a CPU it only takes more memory."""
    return groups[0]["params"][0].device.type != "cpu"
