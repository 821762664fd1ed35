"""The plain cross-entropy of the training batches, where the training loss is another quantity.

With label smoothing, penalties, weights or another form of the loss the train curve cannot be laid beside
the eval loss. This one can; it is logged as `superft_hf.train_loss.CROSS_ENTROPY`; no gradient comes of it.
"""

import torch
from torch import nn

from superft_hf.config import TrainingConfig


class PlainLoss:
    """Sums the mean cross-entropy of batches on the device, without waiting for it."""

    def __init__(self) -> None:
        self._sum: torch.Tensor | float = 0.0
        self._count = 0

    @torch.no_grad()
    def add(self, logits: torch.Tensor, labels: torch.Tensor) -> None:
        """Takes in logits (B, C) and ids (B,); a mixed batch, whose labels are shares, is left out."""
        if labels.dim() == 1:
            self._sum = self._sum + nn.functional.cross_entropy(logits.detach().float(), labels)
            self._count += 1

    def take(self, device: torch.device) -> torch.Tensor:
        """(sum, number of batches) since the last call, shape (2,), float32."""
        found = torch.stack(
            [torch.as_tensor(self._sum, device=device), torch.tensor(float(self._count), device=device)]
        )
        self._sum, self._count = 0.0, 0
        return found

    @property
    def state(self) -> list[float]:
        """What a checkpoint keeps."""
        return [float(self._sum), float(self._count)]

    def restore(self, state: list[float]) -> None:
        """Goes on where a checkpoint was written."""
        self._sum, self._count = state[0], int(state[1])


def make_plain_loss(config: TrainingConfig) -> PlainLoss | None:
    """None where the training loss is the plain cross-entropy already."""
    is_plain = config.loss == "cross_entropy" and config.class_weights == "none"
    terms = (config.label_smoothing_factor, config.l1, config.l2)
    return None if is_plain and not any(terms) else PlainLoss()
