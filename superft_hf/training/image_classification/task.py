"""All that is particular to image classification, behind the interface of `superft_hf.training.tasks`."""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset
from transformers import BaseImageProcessor, EvalPrediction, PreTrainedModel

from superft_hf.config import RunConfig
from superft_hf.evaluation import prediction_files
from superft_hf.recipe.presets import augmentation_steps, changes_images
from superft_hf.sources.scan import Scan
from superft_hf.training.checkpointing import prepare_checkpointing
from superft_hf.training.image_classification import model as models
from superft_hf.training.image_classification.batches import TrainBatches
from superft_hf.training.image_classification.datasets import (
    Collator,
    EvalImages,
    PlainTrainImages,
    TrainImages,
)
from superft_hf.training.image_classification.image_cache import (
    ImageCaches,
    SeenImages,
    WholeImages,
    whole_way,
)
from superft_hf.training.image_classification.losses import ClassificationLoss
from superft_hf.training.image_classification.metrics import compute_metrics
from superft_hf.training.image_classification.pixels import read_pixel_map
from superft_hf.training.image_classification.scales import StepSizes, allow_other_sizes, size_multiple
from superft_hf.training.image_classification.views import ImageViews


class ImageClassification:
    """One run's model, data and figures.

    Args:
        config: The run.
        scan: Its images, opened.
    """

    def __init__(self, config: RunConfig, scan: Scan) -> None:
        self.scan = scan
        self._config = config
        self.model: PreTrainedModel
        self.processor: BaseImageProcessor
        self.model, self.processor = models.load_model(config.model, scan.images.class_names)
        if config.training.gradient_checkpointing:
            prepare_checkpointing(self.model, config.model.name_or_path)
        self.pixel_map = read_pixel_map(self.processor)
        size = (self.pixel_map.height, self.pixel_map.width)
        multiple = size_multiple(self.model, size)
        self.sizes = StepSizes(config.augmentation, config.training.seed, size, multiple)
        if self.sizes.varies:
            allow_other_sizes(self.model, self.sizes, config.model.name_or_path)
        labels, num_classes = scan.images.splits["train"].labels, len(scan.images.class_names)
        weights = class_weights(labels, num_classes, config.training.class_weights)
        self.loss = ClassificationLoss(config.training, weights)
        self.views = ImageViews(config.augmentation.test_time)

    @property
    def heads(self) -> list[nn.Module]:
        """The modules that strategy `head` trains."""
        return models.head_modules(self.model)

    @property
    def output_layer(self) -> nn.Module | None:
        """The layer that makes the logits of the features; None where it is not known."""
        layers = models.output_layers(self.model)
        return layers[-1] if layers else None

    @property
    def image_size(self) -> int | None:
        """Side of the images the model sees, in pixels; None when they are not square."""
        return self.pixel_map.height if self.pixel_map.height == self.pixel_map.width else None

    @property
    def balanced_by(self) -> np.ndarray | None:
        """Class ids of the training images, shape (N,), where each class is to be drawn equally often."""
        is_balanced = self._config.training.balanced_sampling
        return self.scan.images.splits["train"].labels if is_balanced else None

    def choose_memory_format(self) -> str:
        """What `hardware.memory_format: auto` means for this model."""
        return models.choose_memory_format(self.model)

    def train_dataset(self) -> Dataset:
        """Training images under ExampleKeys."""
        labels, augmentation = self.scan.images.splits["train"].labels, self._config.augmentation
        if not changes_images(augmentation):
            return PlainTrainImages(self._seen("train"), labels)
        crop_scale = augmentation_steps(augmentation).crop_scale
        source = self._seen("train") if crop_scale >= 1 else self._whole("train", crop_scale)
        return TrainImages(source, labels, self._config.training.seed)

    def eval_dataset(self, split: str) -> Dataset:
        """The images of `eval` or `test`."""
        return EvalImages(self._seen(split), self.scan.images.splits[split].labels)

    def _seen(self, split: str) -> SeenImages:
        images = SeenImages(self.scan.images.splits[split], self.processor, self.pixel_map)
        return images.keep(self._caches, self.scan.example_ids[split])

    def _whole(self, split: str, crop_scale: float) -> WholeImages:
        size = self.sizes.extremes[1]  # larger than the network's own where training has several sizes
        way = whole_way(self.processor, crop_scale, size)
        kept = self._caches.open(way, self.scan.example_ids[split])
        return WholeImages(self.scan.images.splits[split], way, kept, crop_scale, size)

    @cached_property
    def _caches(self) -> ImageCaches:
        limit_gb, title = self._config.hardware.image_cache_gb, self._config.data.name_or_path
        return ImageCaches(self.scan.home, limit_gb, title, self.scan.catalogue)

    def collator(self, memory_format: str) -> Collator:
        """Makes batches."""
        return Collator(memory_format)

    def batch_maker(self) -> TrainBatches:
        """What makes the network's input of a batch of training images, on the device."""
        num_classes = len(self.scan.images.class_names)
        return TrainBatches(self._config, self.pixel_map, num_classes, self.sizes)

    def compute_metrics(self, prediction: EvalPrediction) -> dict[str, float]:
        """All figures, without prefix, from gathered logits (N, C) and labels (N,)."""
        return compute_metrics(prediction.predictions, prediction.label_ids)

    def write_predictions(
        self, path: Path, split: str, logits: np.ndarray, labels: np.ndarray, *, is_full: bool
    ) -> None:
        """Writes one prediction file.

        Raises:
            RuntimeError: If the gathered labels are not the split's, in its order: then the file would lie.
        """
        images = self.scan.images.splits[split]
        if not np.array_equal(labels, images.labels):
            raise RuntimeError(f"the gathered labels of {split} are not those of the split")
        prediction_files.write_predictions(
            path,
            example_ids=self.scan.example_ids[split],
            images=[images.reference(index) for index in range(len(images))],
            labels=labels,
            logits=logits,
            is_full=is_full,
            class_names=self.scan.images.class_names,
        )

    def save(self, folder: Path) -> None:
        """Writes model and processor in the Hub's format."""
        self.model.save_pretrained(folder)
        if not hasattr(self.model, "timm_model"):  # timm's processor is read from config.json
            self.processor.save_pretrained(folder)

    def facts(self) -> dict[str, Any]:
        """What a page shows of data and model."""
        images = self.scan.images
        return {
            "class_names": list(images.class_names),
            "counts": {name: len(split) for name, split in images.splits.items()},
            "counts_by_class": images.counts(),
            "is_cut": list(images.is_cut),
            "skipped": len(self.scan.skipped),
            "skipped_images": list(self.scan.skipped[:100]),
            "fingerprint": self.scan.fingerprint,
            "split_fingerprints": dict(self.scan.split_fingerprints),
            "image_size": self.image_size,
            "num_parameters": sum(one.numel() for one in self.model.parameters()),
        }


def class_weights(labels: np.ndarray, num_classes: int, mode: str) -> torch.Tensor | None:
    """Weights of the classes in the training loss.

    Args:
        labels: Training labels of shape (N,).
        num_classes: C.
        mode: `none`, or `balanced` for N / (C · count), as scikit-learn defines it; a class without images
            gets weight 0.

    Returns:
        Shape (C,), float32, or None for `none`.
    """
    if mode == "none":
        return None
    counts = np.bincount(labels, minlength=num_classes)
    weights = np.divide(len(labels), num_classes * counts, out=np.zeros(num_classes), where=counts > 0)
    return torch.tensor(weights, dtype=torch.float32)
