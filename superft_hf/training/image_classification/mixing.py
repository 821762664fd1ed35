"""Mixup and CutMix: each image of a batch is blended with the next one, and so are their labels.

Which of the two a batch gets, how much and where, is read off the draws of its first image; the last image is
blended with the first. The order of the images is random already, so neighbours are as good as any pairing.
"""

import numpy as np
import torch
from scipy.special import betaincinv
from torch import nn

from superft_hf.training.image_classification.augmentation import rectangle
from superft_hf.training.image_classification.draws import Draw

TABLE_SIZE = 4096
"""Steps of the table of a Beta distribution; between them it is linear."""


class Mixing(nn.Module):
    """Blends the images of a batch.

    Args:
        mixup: α of mixup; 0: none.
        cutmix: α of CutMix; 0: none. With both, each batch gets one of them, as often as the other.
        num_classes: C.
    """

    def __init__(self, mixup: float, cutmix: float, num_classes: int) -> None:
        super().__init__()
        self._mixup_probability = mixup_probability(mixup, cutmix)
        self._num_classes = num_classes
        self.register_buffer("_mixup_quantiles", beta_quantiles(mixup or 1.0))
        self.register_buffer("_cutmix_quantiles", beta_quantiles(cutmix or 1.0))

    def forward(
        self, pixels: torch.Tensor, labels: torch.Tensor, draws: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mixed pixels, float32 (B, 3, H, W), and shares of the classes, float32 (B, C).

        Args:
            pixels: Shape (B, 3, H, W).
            labels: Class ids, shape (B,).
            draws: Shape (B, K).
        """
        first = draws[0]
        is_mixup = first[Draw.MIX_KIND] < self._mixup_probability
        kept = cutmix_mask(
            (pixels.shape[2], pixels.shape[3]),
            quantile(self._cutmix_quantiles, first[Draw.MIX_SHARE]),
            first[Draw.MIX_TOP],
            first[Draw.MIX_LEFT],
        )
        own = torch.where(is_mixup, quantile(self._mixup_quantiles, first[Draw.MIX_SHARE]), kept)
        pixels = pixels.float()
        mixed = torch.lerp(pixels.roll(-1, 0), pixels, own)
        classes = torch.arange(self._num_classes, device=labels.device)
        shares = (labels.unsqueeze(1) == classes).float()
        return mixed, torch.lerp(shares.roll(-1, 0), shares, own.mean())


def mixup_probability(mixup: float, cutmix: float) -> float:
    """How often a batch gets mixup rather than CutMix."""
    if mixup and cutmix:
        return 0.5
    return 1.0 if mixup else 0.0


def cutmix_mask(
    size: tuple[int, int], share: torch.Tensor, top: torch.Tensor, left: torch.Tensor
) -> torch.Tensor:
    """What CutMix keeps of an image: 1, and 0 where the other one shows (Yun et al. 2019, algorithm A1).

    The rectangle's centre is anywhere in the image, so a part of it may lie outside: the mean of the mask is
    the share of the label, not `share`.

    Args:
        size: H and W.
        share: λ, what would be kept if the rectangle lay inside, shape ().
        top: Place of its centre, in [0, 1), shape ().
        left: Likewise.

    Returns:
        Shape (H, W), float32.
    """
    cut, edges = (1 - share).sqrt(), []
    for length, place in zip(size, (top, left), strict=True):
        half, centre = (length * cut).floor().div(2, rounding_mode="floor"), (place * length).floor()
        edges.append(((centre - half).clamp(0, length), (centre + half).clamp(0, length)))
    (top, bottom), (left, right) = edges
    inside = rectangle(size, *(edge.unsqueeze(0) for edge in (top, left, bottom, right)))[0]
    return 1 - inside.float()


def beta_quantiles(alpha: float) -> torch.Tensor:
    """Quantiles of Beta(α, α) at TABLE_SIZE + 1 equal steps from 0 to 1, float32."""
    return torch.from_numpy(betaincinv(alpha, alpha, np.linspace(0, 1, TABLE_SIZE + 1))).float()


def quantile(table: torch.Tensor, draw: torch.Tensor) -> torch.Tensor:
    """The quantile of a uniform draw, shape ()."""
    place = draw * TABLE_SIZE
    below = place.floor()
    low, high = table.gather(0, torch.stack([below, below + 1]).long()).unbind()
    return torch.lerp(low, high, place - below)
