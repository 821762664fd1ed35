"""The L1 and L2 terms of the training loss."""

import torch
from torch import nn


def penalty(model: nn.Module, l1: float, l2: float) -> torch.Tensor:
    """λ₁·Σ|W| + λ₂·Σ‖W‖² over the trained weights: matrices and kernels, not biases or norms.

    Args:
        model: Its parameters that require a gradient and have more than one dimension count.
        l1: λ₁.
        l2: λ₂.

    Returns:
        A scalar on the model's device.
    """
    weights = [one for one in model.parameters() if one.requires_grad and one.dim() > 1]
    total = next(model.parameters()).new_zeros(())
    if l1:
        total = total + l1 * sum(weight.abs().sum() for weight in weights)
    if l2:
        total = total + l2 * sum(weight.square().sum() for weight in weights)
    return total
