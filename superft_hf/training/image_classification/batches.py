"""What the network sees of a batch of training images: everything after the loader, on the device.

B is the number of images, C that of classes. Nothing here reads a value back from a GPU, so that the host can
run ahead of it; and nothing draws: what chance decides travels with the batch, see draws.
"""

from typing import Any

import torch

from superft_hf.config import RunConfig
from superft_hf.recipe.presets import augmentation_steps
from superft_hf.training.image_classification import augmentation
from superft_hf.training.image_classification.drawn_operations import DrawnOperations
from superft_hf.training.image_classification.mixing import Mixing
from superft_hf.training.image_classification.pixels import PixelMap
from superft_hf.training.image_classification.scales import StepSizes, resize


class TrainBatches:
    """Turns collated batches into the network's input.

    Args:
        config: The run, with every `auto` decided.
        pixel_map: Normalises.
        num_classes: C.
        sizes: Size of the images of each step.
    """

    def __init__(self, config: RunConfig, pixel_map: PixelMap, num_classes: int, sizes: StepSizes) -> None:
        steps = augmentation_steps(config.augmentation)
        self._steps = steps
        self._pixel_map = pixel_map
        self._operations: DrawnOperations | None = None
        if steps.auto_augment != "none":
            self._operations = DrawnOperations(steps.auto_augment, config.augmentation.auto_augment_magnitude)
        self._mixing: Mixing | None = None
        if steps.mixup or steps.cutmix:
            self._mixing = Mixing(steps.mixup, steps.cutmix, num_classes)
        self._sizes = sizes
        self._device: torch.device | None = None

    def __call__(self, batch: dict[str, Any], *, step: int, max_steps: int) -> dict[str, Any]:
        """The network's input.

        Args:
            batch: `pixels` (B, 3, H, W) uint8, `draws` (B, K) and `labels` (B,); or `pixel_values`, which
                stay as they are: images that are not augmented are made by the model's own processor.
            step: Update that the batch belongs to, counted from 0.
            max_steps: Updates of the run.

        Returns:
            `pixel_values` (B, 3, H, W) float32, in the memory format of `pixels`, and `labels`: ids (B,), or
            shares of the classes (B, C) of a mixed batch.
        """
        if "pixels" not in batch:
            return batch
        pixels, labels, draws = batch["pixels"], batch["labels"], batch["draws"]
        self._move_to(pixels.device)
        is_last = pixels.is_contiguous(memory_format=torch.channels_last)
        pixels = self._augmented(resize(pixels, self._sizes(step, max_steps)), draws)
        if self._mixing is not None:
            pixels, labels = self._mixing(pixels, labels, draws)
        layout = torch.channels_last if is_last else torch.contiguous_format
        return {"pixel_values": self._pixel_map(pixels).contiguous(memory_format=layout), "labels": labels}

    def _augmented(self, pixels: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
        steps = self._steps
        if steps.horizontal_flip:
            pixels = augmentation.mirror(pixels, draws, steps.horizontal_flip)
        if steps.vertical_flip:
            pixels = augmentation.turn_over(pixels, draws, steps.vertical_flip)
        if steps.right_angles:
            pixels = augmentation.quarter_turns(pixels, draws, steps.right_angles)
        if steps.rotation:
            pixels = augmentation.rotate(pixels, draws, steps.rotation)
        if self._operations is not None:
            pixels = self._operations(pixels, draws)
        if steps.color_jitter:
            pixels = augmentation.jitter_colours(pixels, draws, steps.color_jitter)
        if steps.random_erasing:
            pixels = augmentation.erase(pixels, draws, steps.random_erasing)
        return pixels

    def _move_to(self, device: torch.device) -> None:
        """Brings tables to the device of the batches, once."""
        if device == self._device:
            return
        self._device = device
        self._pixel_map = self._pixel_map.on(device)
        for part in (self._operations, self._mixing):
            if part is not None:
                part.to(device)
