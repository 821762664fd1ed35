"""The train and eval images as torch data sets, and how a batch is made of them."""

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import psutil
import torch
from PIL import Image
from torch.utils.data import Dataset
from transformers import BaseImageProcessor

from superft_hf.sources.images import open_rgb
from superft_hf.sources.load import ImageSplit
from superft_hf.training.image_classification.pixels import eval_pixels
from superft_hf.training.sampling import ExampleKey, seeded

DECODED_BYTES = 2 * 2**30
"""Memory for decoded training images; those beyond it are decoded again in each epoch."""

PREPARED_BYTES = 2**30
"""Memory for prepared eval images."""

FREE_SHARE = 0.2
"""None of them takes more than this share of the memory that is free at the start."""


T = TypeVar("T")


class _Memory(Generic[T]):
    """Keeps results until their size reaches a limit."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = min(limit_bytes, int(FREE_SHARE * psutil.virtual_memory().available))
        self._left = self._limit
        self._kept: dict[int, T] = {}

    def size_for(self, count: int) -> int:
        """Bytes that so many results will take, judged by those that are kept now."""
        mean = (self._limit - self._left) / max(1, len(self._kept))
        return int(min(count * mean, self._limit))

    def get(self, index: int, make: Callable[[], T], size: Callable[[T], int]) -> T:
        found = self._kept.get(index)
        if found is None:
            found = make()
            if size(found) <= self._left:
                self._left -= size(found)
                self._kept[index] = found
        return found


class EvalImages(Dataset):
    """Images as the model's own processor makes them; an item is `pixel_values` (3, H, W) and `labels`."""

    def __init__(self, split: ImageSplit, processor: BaseImageProcessor) -> None:
        self.split = split
        self._processor = processor
        self._memory: _Memory[torch.Tensor] = _Memory(PREPARED_BYTES)

    def kept_bytes(self, num_images: int) -> int:
        """Memory that so many images will take here, judged by those seen so far."""
        return self._memory.size_for(num_images)

    def __len__(self) -> int:
        """Number of images."""
        return len(self.split)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One image by its position in the split."""
        index = int(index)
        pixels = self._memory.get(
            index,
            lambda: eval_pixels(self._processor, open_rgb(self.split.encoded(index))),
            lambda made: made.numel() * made.element_size(),
        )
        return {"pixel_values": pixels, "labels": int(self.split.labels[index])}


class TrainImages(Dataset):
    """Augmented images; an item is `pixels`, uint8 (3, H, W), and `labels`.

    What is drawn for an image is a function of (seed, epoch, index), see `superft_hf.training.sampling`.
    """

    def __init__(self, split: ImageSplit, augment: Callable[[Image.Image], torch.Tensor], seed: int) -> None:
        self.split = split
        self._augment = augment
        self._seed = seed
        self._memory: _Memory[Image.Image] = _Memory(DECODED_BYTES)

    def kept_bytes(self, num_images: int) -> int:
        """Memory that so many images will take here, judged by those seen so far."""
        return self._memory.size_for(num_images)

    def __len__(self) -> int:
        """Number of images."""
        return len(self.split)

    def __getitem__(self, key: ExampleKey) -> dict[str, Any]:
        """One image as its key's epoch shows it."""
        index, epoch = key
        image = self._memory.get(
            index, lambda: open_rgb(self.split.encoded(index)), lambda made: made.width * made.height * 4
        )
        with seeded(self._seed, epoch, index):
            pixels = self._augment(image)
        return {"pixels": pixels, "labels": int(self.split.labels[index])}


class PlainTrainImages(EvalImages):
    """Training images without augmentation: eval images under training keys."""

    def __getitem__(self, key: ExampleKey) -> dict[str, Any]:
        """One image; the epoch does not matter."""
        return super().__getitem__(key[0])


class Collator:
    """Puts items into a batch.

    Augmented images give `pixels` (B, 3, H, W) uint8, which `batches.TrainBatches` goes on with; others
    `pixel_values` (B, 3, H, W) float32. `labels` (B,) are int64.

    Args:
        memory_format: `channels_last` or `contiguous`.
    """

    def __init__(self, memory_format: str) -> None:
        self._format = torch.channels_last if memory_format == "channels_last" else torch.contiguous_format

    def __call__(self, items: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """One batch."""
        labels = torch.tensor([item["labels"] for item in items], dtype=torch.int64)
        if "pixels" in items[0]:
            stacked = torch.stack([item["pixels"] for item in items])
            return {"pixels": stacked.contiguous(memory_format=self._format), "labels": labels}
        pixels = torch.stack([item["pixel_values"] for item in items]).contiguous(memory_format=self._format)
        return {"pixel_values": pixels, "labels": labels}
