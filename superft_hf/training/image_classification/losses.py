"""The training losses of classification."""

import torch
from torch import nn

from superft_hf.config import TrainingConfig


class ClassificationLoss:
    """The loss that `training.loss` names, mean over the batch.

    Args:
        config: The `training:` group.
        class_weights: Shape (C,), or None.
    """

    def __init__(self, config: TrainingConfig, class_weights: torch.Tensor | None) -> None:
        self._config = config
        self._weights = class_weights

    def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Loss of logits (B, C) against ids (B,), or shares of the classes (B, C) of a mixed batch."""
        weight = self._weights.to(logits.device) if self._weights is not None else None
        smoothing = self._config.label_smoothing_factor or 0.0
        return nn.functional.cross_entropy(logits.float(), labels, weight=weight, label_smoothing=smoothing)
