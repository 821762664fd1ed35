"""While the head trains alone, what it reads of an image never changes: it is computed once and kept.

The features lie in a file a split beside the checkpoints, so that they take no memory, all processes of a
machine share them, and a run that is resumed goes on with the very same numbers. The file may be deleted at
any time: what is missing is computed again.
"""

import logging
import math
import os
import shutil
import time
import types
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader, Dataset
from transformers.modeling_outputs import ImageClassifierOutput

from superft_hf.config import RunConfig
from superft_hf.recipe.presets import changes_images
from superft_hf.training.sampling import ExampleKey

logger = logging.getLogger(__name__)

DISK_SHARE = 0.25
"""Of the free space of the disk; larger features are not kept."""

_TOLERANCE = 1e-4


class FeatureFile:
    """The features of a split, one record an image: the CRC-32 of the values, then the values.

    A record that was never written, or only in part, has a wrong sum.

    Args:
        path: The file; made when missing.
        num_images: N.
        like: The features of any one image; all have its shape and type.
    """

    def __init__(self, path: Path, num_images: int, like: torch.Tensor) -> None:
        self.path = path
        self._num_images = num_images
        self._shape, self._dtype = like.shape, like.dtype
        self._record = 4 + like.numel() * like.element_size()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT)
        if os.fstat(self._file).st_size != self.num_bytes:
            os.ftruncate(self._file, self.num_bytes)

    @property
    def num_bytes(self) -> int:
        """Size of the file."""
        return self._num_images * self._record

    def write(self, indices: Sequence[int], features: torch.Tensor) -> None:
        """Keeps the features of some images, shape (B, ...)."""
        for index, values in zip(indices, features.cpu().contiguous(), strict=True):
            data = values.reshape(-1).view(torch.uint8).numpy().tobytes()
            os.pwrite(self._file, zlib.crc32(data).to_bytes(4, "little") + data, index * self._record)

    def read(self, indices: Sequence[int]) -> torch.Tensor:
        """The features of some images, shape (B, ...)."""
        data = bytearray().join(
            os.pread(self._file, self._record - 4, index * self._record + 4) for index in indices
        )
        return torch.frombuffer(data, dtype=self._dtype).view(len(indices), *self._shape)

    def missing(self) -> list[int]:
        """Images whose features are not there."""
        found = []
        for index in range(self._num_images):
            record = os.pread(self._file, self._record, index * self._record)
            if zlib.crc32(record[4:]).to_bytes(4, "little") != record[:4]:
                found.append(index)
        return found

    def close(self) -> None:
        """Gives the file back."""
        os.close(self._file)


@dataclass(frozen=True)
class FeatureSource:
    """How features are made; the same in all processes.

    Attributes:
        datasets: By split, `train` under ExampleKeys and perhaps `eval`; without `needs_pixels` a dataset
            gives `labels` and `index` only.
        collate: Makes a batch of items.
        to_pixels: `pixel_values` of a batch, on the device of the model.
        batch_size: Images computed at once.
        num_workers: Loader processes.
        accelerator: Knows the other processes.
        on_batch: Called after each batch, in all processes equally often.
    """

    datasets: dict[str, Dataset]
    collate: Callable[[Sequence[Any]], dict[str, Any]]
    to_pixels: Callable[[dict[str, Any]], torch.Tensor]
    batch_size: int
    num_workers: int
    accelerator: Accelerator
    on_batch: Callable[[], None]


class HeadFeatures:
    """Gives a model's head the features of images in place of the images.

    Attributes:
        seconds: That computing features took.
        num_computed: Images whose features were computed in that time, by this process.

    Args:
        model: Not wrapped. From now on its forward pass takes `head_features` in place of `pixel_values`.
        head: The module that makes logits of features.
        folder: Where the files lie.
        source: How features are made.
    """

    def __init__(self, model: nn.Module, head: nn.Module, folder: Path, source: FeatureSource) -> None:
        self.seconds, self.num_computed = 0.0, 0
        self._model, self._head = model, head
        self._folder = folder
        self._source = source
        self._files: dict[str, FeatureFile] = {}
        self._is_possible = True
        _take_features(model, head)

    def begin_epoch(self, *, is_head_only: bool) -> None:
        """Makes sure that all features are there, if the head trains alone; else removes them."""
        if not is_head_only:
            self.close()
        elif self._is_possible and not self._files:
            begun = time.monotonic()
            self._is_possible = self._open()
            for split in self._files:
                self._fill(split)
            self.seconds += time.monotonic() - begun

    def has(self, split: str) -> bool:
        """Whether a split is read from features now."""
        return split in self._files

    def inputs(self, split: str, batch: dict[str, Any]) -> dict[str, Any]:
        """What the model takes of a batch of `labels` and `index`."""
        features = self._files[split].read(batch["index"].tolist()).to(batch["labels"].device)
        return {"head_features": features, "labels": batch["labels"]}

    def close(self) -> None:
        """Images are needed again from now on; the files are removed."""
        for split, file in self._files.items():
            file.close()
            self._source.datasets[split].needs_pixels = True
        self._source.accelerator.wait_for_everyone()
        self._files = {}
        if self._source.accelerator.is_local_main_process:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _open(self) -> bool:
        """Opens the files of all splits; False when features cannot be kept, which the log says."""
        accelerator, datasets = self._source.accelerator, self._source.datasets
        like = self._sample()
        if like is None:
            return False
        size = sum(len(one) * (4 + like.numel() * like.element_size()) for one in datasets.values())
        here = next(one for one in self._folder.parents if one.exists())
        fits = torch.tensor(size <= DISK_SHARE * shutil.disk_usage(here).free, device=accelerator.device)
        if accelerator.reduce(fits.int(), "sum").item() < accelerator.num_processes:
            logger.info("the features of all images, %.1f GB, do not fit onto the disk", size / 1e9)
            return False
        with accelerator.main_process_first():
            self._files = {
                split: FeatureFile(self._folder / f"{split}.bin", len(one), like)
                for split, one in datasets.items()
            }
        return True

    def _sample(self) -> torch.Tensor | None:
        """The features of one image; None where the head does not make its logits of them alone."""
        split, dataset = next(iter(self._source.datasets.items()))
        pixels = self._source.to_pixels(next(iter(self._loader(split, [[0]]))))
        features, logits = self._compute(pixels)
        if features is not None:
            with torch.no_grad():
                again = self._model(head_features=features).logits
            if again.shape == logits.shape and torch.allclose(again, logits, _TOLERANCE, _TOLERANCE):
                return features[0]
        logger.info("the head of this network reads more than one tensor: its features are not kept")
        return None

    def _compute(self, pixels: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor]:
        """Features (B, ...) and logits (B, C) of images, in evaluation mode."""
        found: list[torch.Tensor] = []
        handle = self._head.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0]), prepend=True)
        self._model.eval()
        try:
            with torch.no_grad():
                logits = self._model(pixel_values=pixels).logits
        finally:
            handle.remove()
        return (found[0] if len(found) == 1 and len(found[0]) == len(pixels) else None), logits

    def _fill(self, split: str) -> None:
        """Computes what is missing, each process its part."""
        source, file = self._source, self._files[split]
        accelerator = source.accelerator
        missing = file.missing()
        accelerator.wait_for_everyone()  # nobody writes before all have looked
        if missing:
            logger.info("computing the features of %d images of %s", len(missing), split)
        own = missing[accelerator.process_index :: accelerator.num_processes]
        starts = range(0, len(own), source.batch_size)
        rows = [own[start : start + source.batch_size] for start in starts]
        most = math.ceil(math.ceil(len(missing) / accelerator.num_processes) / source.batch_size)
        batches = zip(rows, self._loader(split, rows), strict=True)
        for _ in range(most):  # processes with a batch less wait for the others
            part = next(batches, None)
            if part is not None:
                file.write(part[0], self._compute(source.to_pixels(part[1]))[0])
                self.num_computed += len(part[0])
            source.on_batch()
        accelerator.wait_for_everyone()
        source.datasets[split].needs_pixels = False

    def _loader(self, split: str, rows: list[list[int]]) -> DataLoader:
        """The images of some rows, a batch each."""
        keys = [[ExampleKey(row, 0) if split == "train" else row for row in part] for part in rows]
        return DataLoader(
            self._source.datasets[split], batch_sampler=keys, collate_fn=self._source.collate,
            num_workers=self._source.num_workers if len(rows) > 1 else 0,
            generator=torch.Generator(),  # the global one stays as it is
        )  # fmt: skip


def may_keep_features(config: RunConfig, heads: Sequence[nn.Module]) -> bool:
    """Whether the head may train from features that are kept: no image of training is ever changed.

    Args:
        config: The run, with every `auto` decided.
        heads: Of the model.
    """
    hardware = config.hardware
    return (
        config.model.strategy != "full"
        and not changes_images(config.augmentation)
        and len(heads) == 1
        and hardware.num_machines == 1  # processes share the file of their machine
        and hardware.sharding == "none"
    )


def set_workers(loader: DataLoader, number: int, prefetch: int | None, *, is_persistent: bool) -> None:
    """Gives a loader so many processes from its next pass on: items that cost nothing need none."""
    base = getattr(loader, "base_dataloader", loader)  # accelerate wraps it
    base.num_workers, base.prefetch_factor = number, prefetch if number else None
    # Torch forbids to set this one, but a loader made of it, to go on within an epoch, must be sound.
    object.__setattr__(base, "persistent_workers", is_persistent and number > 0)


def _take_features(model: nn.Module, head: nn.Module) -> None:
    """Lets a model's forward pass begin at its head, also for copies of it and for what wraps it later."""
    name = next(name for name, module in model.named_modules() if module is head)

    def forward(
        self: nn.Module, pixel_values: Any = None, *, head_features: Any = None, **options: Any
    ) -> Any:
        if head_features is not None:
            return ImageClassifierOutput(logits=self.get_submodule(name)(head_features))
        return type(self).forward(self, pixel_values=pixel_values, **options)

    model.forward = types.MethodType(forward, model)
