"""The optimizer of a run, with a learning rate for each part of the network."""

from collections.abc import Sequence

import torch
from torch import nn

from superft_hf.config import RunConfig


def make_optimizer(model: nn.Module, heads: Sequence[nn.Module], config: RunConfig) -> torch.optim.Optimizer:
    """Makes the optimizer that `training.optim` names.

    Args:
        model: Not wrapped.
        heads: Its head, which learns at `training.head_learning_rate_factor` times the rate.
        config: The run, with every `auto` decided.
    """
    training = config.training
    in_head = {id(one) for head in heads for one in head.parameters()}
    groups = []
    for is_head in (False, True):
        for decays in (False, True):
            members = [
                one for one in model.parameters()
                if one.requires_grad and (id(one) in in_head) is is_head and (one.dim() > 1) is decays
            ]  # fmt: skip
            rate = training.learning_rate * (training.head_learning_rate_factor if is_head else 1)
            if members:
                decay = training.weight_decay if decays else 0.0
                groups.append({"params": members, "lr": rate, "weight_decay": decay})
    if training.optim == "sgd":
        return torch.optim.SGD(groups, lr=training.learning_rate, momentum=training.momentum)
    return torch.optim.AdamW(groups, lr=training.learning_rate)
