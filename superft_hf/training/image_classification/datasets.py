"""The train and eval images as torch data sets, a batch at a time, and how a batch reaches the network.

B is the number of images of a batch, H and W are those of the network's input.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import Dataset, default_collate

from superft_hf.training.image_classification.draws import NUM_DRAWS, EpochDraws
from superft_hf.training.image_classification.image_cache import SeenImages
from superft_hf.training.image_classification.pixels import one_thread
from superft_hf.training.sampling import ExampleKey


class TrainPixels(Protocol):
    """Makes the pixels of a training image."""

    def pixels(self, index: int, draws: np.ndarray) -> torch.Tensor:
        """uint8 of shape (3, H, W), by the image's position in the split and its row of draws."""


class EvalImages(Dataset):
    """Images as the model's own processor makes them.

    Attributes:
        needs_pixels: Without it a batch is `labels` and `index` alone, for a head that reads kept features.

    Args:
        seen: The images.
        labels: Class ids of shape (N,), dtype int64.
    """

    needs_pixels = True

    def __init__(self, seen: SeenImages, labels: np.ndarray) -> None:
        self._seen = seen
        self._labels = labels

    def __len__(self) -> int:
        """Number of images."""
        return len(self._labels)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """One image by its position in the split: what __getitems__ gives, without the first dimension."""
        return {name: value[0] for name, value in self.__getitems__([index]).items()}

    def __getitems__(self, indices: Sequence[int]) -> dict[str, torch.Tensor]:
        """A batch: `pixel_values` (B, 3, H, W) float32 and `labels` (B,) int64."""
        rows = np.asarray(indices, dtype=np.int64)
        labels = torch.from_numpy(self._labels[rows])
        if not self.needs_pixels:
            return {"labels": labels, "index": torch.from_numpy(rows)}
        values = np.empty((len(indices), *self._seen.shape), dtype=np.float32)
        with one_thread():
            for index, out in zip(indices, values, strict=True):
                self._seen.fill_values(int(index), out)
        return {"pixel_values": torch.from_numpy(values), "labels": labels}


class TrainImages(Dataset):
    """Images as they go to the device, which does the rest of the augmentation, see `batches`.

    What is drawn for an image is a function of (seed, epoch, index), see `draws`.

    Args:
        source: Makes pixels of uint8.
        labels: Class ids of shape (N,), dtype int64.
        seed: `training.seed`.
    """

    def __init__(self, source: TrainPixels, labels: np.ndarray, seed: int) -> None:
        self._source = source
        self._labels = labels
        self._draws = EpochDraws(seed)

    def __len__(self) -> int:
        """Number of images."""
        return len(self._labels)

    def __getitem__(self, key: ExampleKey) -> dict[str, torch.Tensor]:
        """One image as its key's epoch shows it: what __getitems__ gives, without the first dimension."""
        return {name: value[0] for name, value in self.__getitems__([key]).items()}

    def __getitems__(self, keys: Sequence[ExampleKey]) -> dict[str, torch.Tensor]:
        """A batch.

        Returns:
            `pixels` (B, 3, H, W) uint8, `draws` (B, K) float32, and `labels`, `index`, `epoch` (B,) int64.
        """
        indices, epochs = np.array(keys, dtype=np.int64).reshape(-1, 2).T
        draws = np.empty((len(keys), NUM_DRAWS), dtype=np.float32)
        for epoch in np.unique(epochs):
            draws[epochs == epoch] = self._draws.rows(int(epoch), indices[epochs == epoch])
        with one_thread():
            pixels = [self._source.pixels(int(index), row) for index, row in zip(indices, draws, strict=True)]
        return {
            "pixels": _stacked(pixels),
            "draws": torch.from_numpy(draws),
            "labels": torch.from_numpy(self._labels[indices]),
            "index": torch.from_numpy(indices.copy()),
            "epoch": torch.from_numpy(epochs.copy()),
        }


def _stacked(pixels: Sequence[torch.Tensor]) -> torch.Tensor:
    """Images of shape (3, H, W) as a batch, in the order that they have in memory: any other costs time."""
    if pixels[0].stride(0) == 1:
        return torch.stack([one.permute(1, 2, 0) for one in pixels]).permute(0, 3, 1, 2)
    return torch.stack(list(pixels))


class PlainTrainImages(EvalImages):
    """Training images without augmentation: eval images under training keys."""

    def __getitems__(self, keys: Sequence[ExampleKey]) -> dict[str, torch.Tensor]:
        """A batch; the epochs do not matter."""
        return super().__getitems__([key[0] for key in keys])


class Collator:
    """Gives a batch the memory format of the network, and makes one of single images.

    Args:
        memory_format: `channels_last` or `contiguous`.
    """

    def __init__(self, memory_format: str) -> None:
        self._format = torch.channels_last if memory_format == "channels_last" else torch.contiguous_format

    def __call__(self, items: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """The batch that a data set gave, or that single images of it make."""
        batch = items if isinstance(items, Mapping) else default_collate(list(items))
        return {
            name: value.contiguous(memory_format=self._format) if value.dim() == 4 else value
            for name, value in batch.items()
        }
