"""The L1 and L2 terms of the training loss."""

import torch
from torch import nn

from superft_hf.config import TrainingConfig
from superft_hf.training.parameter_groups import decaying_weights


class Penalty:
    """λ₁·Σ|W| + λ₂·Σ‖W‖² over the weights that train now.

    They are those that weight decay counts: no biases, norms or positions.

    Args:
        model: Not wrapped.
        l1: λ₁.
        l2: λ₂.
    """

    def __init__(self, model: nn.Module, l1: float, l2: float) -> None:
        self._weights = decaying_weights(model)
        self._l1, self._l2 = l1, l2

    def __call__(self) -> torch.Tensor | float:
        """A scalar on the model's device; its gradient is λ₁·sign W + 2·λ₂·W."""
        total: torch.Tensor | float = 0.0
        for weight in self._weights:
            if not weight.requires_grad:
                continue
            if self._l1:
                total = total + self._l1 * weight.abs().sum()
            if self._l2:
                total = total + self._l2 * weight.square().sum()
        return total


def make_penalty(model: nn.Module, config: TrainingConfig) -> Penalty | None:
    """The terms that `training.l1` and `training.l2` ask for; None when both are 0."""
    return Penalty(model, config.l1, config.l2) if config.l1 or config.l2 else None
