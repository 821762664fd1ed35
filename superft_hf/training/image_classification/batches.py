"""What the network sees of a batch of training images: everything after the loader, on the device."""

from typing import Any

from superft_hf.config import RunConfig
from superft_hf.training.image_classification.pixels import PixelMap


class TrainBatches:
    """Turns collated batches into the network's input.

    Args:
        config: The run, with every `auto` decided.
        pixel_map: Normalises.
        num_classes: C.
    """

    def __init__(self, config: RunConfig, pixel_map: PixelMap, num_classes: int) -> None:
        self._config = config
        self._pixel_map = pixel_map
        self._num_classes = num_classes

    def __call__(self, batch: dict[str, Any], *, step: int, max_steps: int) -> dict[str, Any]:
        """`pixel_values` (B, 3, H, W) float32 and `labels`: ids (B,), or shares (B, C) of a mixed batch."""
        if "pixels" not in batch:
            return batch
        return {"pixel_values": self._pixel_map(batch["pixels"]), "labels": batch["labels"]}
