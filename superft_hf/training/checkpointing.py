"""Gradient checkpointing: activations are computed again in the backward pass instead of being kept.

Trainer turns it on (`activation_checkpointing`); here stands what it does not see to.
"""

from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from transformers import PreTrainedModel

from superft_hf.errors import ModelError


def prepare_checkpointing(model: PreTrainedModel, name: str) -> None:
    """Makes sure that a model can do it, and that its batch-norm statistics see each batch once.

    Args:
        model: Of transformers or of its wrapper of timm.
        name: Of the model, for messages.

    Raises:
        ModelError: If the architecture cannot compute parts of itself again.
    """
    if not model.supports_gradient_checkpointing:
        raise ModelError(
            f"The architecture of {name} does not support gradient checkpointing.",
            hint="Set training.gradient_checkpointing to false; smaller batches take less memory as well.",
        )
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.register_forward_pre_hook(_hold_statistics)
            module.register_forward_hook(_release_statistics)


def _hold_statistics(module: nn.Module, inputs: tuple[Any, ...]) -> None:
    """Within a backward pass the batch was counted before, in the forward pass proper."""
    is_backward = torch._C._current_graph_task_id() != -1  # noqa: SLF001 as torch.utils.checkpoint asks it
    if is_backward and module.momentum:
        module.held_momentum, module.momentum = module.momentum, 0.0


def _release_statistics(module: nn.Module, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    if getattr(module, "held_momentum", None):
        module.momentum, module.held_momentum = module.held_momentum, None
