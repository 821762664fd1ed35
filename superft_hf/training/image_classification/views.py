"""Looking at an eval image in several ways and averaging what the network says (test-time augmentation)."""

from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class ImageViews:
    """The views that `augmentation.test_time` names.

    Attributes:
        mode: `none`, `mirror` or `crops`.
    """

    mode: str

    def __call__(self, model: nn.Module, pixel_values: torch.Tensor) -> torch.Tensor:
        """Logits (B, C) of `pixel_values` (B, 3, H, W), averaged over the views."""
        return model(pixel_values=pixel_values).logits
