"""Which weights train at which rate, and which of them decay.

A weight decays when it is a matrix or a kernel. Left out are biases and norms, and whatever is a vector in
substance (layer scales, class and mask tokens) or stands for a place (embeddings of positions, tables of
relative positions): these have no reason to be near zero. The same choice decides what L1 and L2 count.
"""

import re
from collections.abc import Sequence
from typing import Any

from torch import nn

from superft_hf.config import RunConfig
from superft_hf.training.blocks import blocks

RATE_FACTOR = "rate_factor"
"""Key of a group: its rate is so many times `training.learning_rate`."""

FREED_IN_TURN = ("head-then-full", "gradual")
"""Strategies under which parts of the network begin to train later than others."""

_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
_PLACES = re.compile(r"pos(ition)?(al|s)?_?(emb|enc|bias)|rel(ative)?_pos|attention_bias|cpb_mlp|_tokens?$")


def parameter_groups(model: nn.Module, heads: Sequence[nn.Module], config: RunConfig) -> list[dict[str, Any]]:
    """Groups as torch's optimizers take them, of all parameters that will ever train.

    These are the ones that require a gradient now, and all where parts are freed in turn.

    The rate of a block is `training.learning_rate` times `layer_decay` to the power of its distance from the
    head: 1 for the last block, then 2, …, and the most for the stem (Bao et al. 2022, BEiT). That of the head
    is `head_learning_rate_factor` times the rate.

    Args:
        model: Not wrapped.
        heads: Its head.
        config: The run, with every `auto` decided.

    Returns:
        Each group's `params`, `lr`, `weight_decay` and RATE_FACTOR. Parts that are freed in turn are groups
        of their own, so that an optimizer can tell when each of them begins.
    """
    training = config.training
    is_apart = config.model.strategy in FREED_IN_TURN
    in_head = [one for head in heads for one in head.parameters()]
    parts = _body(model, in_head, needs_blocks=is_apart or training.layer_decay != 1)
    factors = [training.layer_decay ** (len(parts) - place) for place in range(len(parts))]
    factors.append(training.head_learning_rate_factor)
    decaying = {id(one) for one in decaying_weights(model)}
    found: dict[tuple[float, bool, int], dict[str, Any]] = {}
    for place, (factor, part) in enumerate(zip(factors, [*parts, in_head], strict=True)):
        for one in part:
            if not one.requires_grad and not is_apart:
                continue
            decays = id(one) in decaying
            group = found.setdefault(
                (factor, decays, place if is_apart else 0),
                {
                    "params": [], "lr": training.learning_rate * factor, RATE_FACTOR: factor,
                    "weight_decay": training.weight_decay if decays else 0.0,
                },
            )  # fmt: skip
            group["params"].append(one)
    return list(found.values())


def decaying_weights(model: nn.Module) -> list[nn.Parameter]:
    """The weights that decay, frozen ones included, in the model's order."""
    network = getattr(model, "timm_model", None)
    named = getattr(network, "no_weight_decay", None)
    spared = {f"timm_model.{name}" for name in named()} if callable(named) else set()
    found = {}
    for path, module in model.named_modules():
        for name, one in module.named_parameters(recurse=False):
            full = f"{path}.{name}" if path else name
            is_vector = sum(size > 1 for size in one.shape) < 2
            is_place = isinstance(module, nn.Embedding) or _PLACES.search(full) or full in spared
            if not is_vector and not is_place and not isinstance(module, _NORMS):
                found[id(one)] = one
    return list(found.values())


def _body(
    model: nn.Module, in_head: Sequence[nn.Parameter], *, needs_blocks: bool
) -> list[list[nn.Parameter]]:
    """The parameters outside the head, part by part from the stem on; all in one where that will do."""
    if needs_blocks:
        return [part for _, part in blocks(model)]
    head = {id(one) for one in in_head}
    return [[one for one in model.parameters() if id(one) not in head]]
