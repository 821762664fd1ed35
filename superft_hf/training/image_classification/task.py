"""All that is particular to image classification, behind the interface of `superft_hf.training.tasks`."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset
from transformers import BaseImageProcessor, EvalPrediction, PreTrainedModel

from superft_hf.config import RunConfig
from superft_hf.evaluation import prediction_files
from superft_hf.sources.scan import Scan
from superft_hf.training.image_classification import model as models
from superft_hf.training.image_classification.batches import TrainBatches
from superft_hf.training.image_classification.datasets import (
    Collator,
    EvalImages,
    PlainTrainImages,
    TrainImages,
)
from superft_hf.training.image_classification.losses import ClassificationLoss
from superft_hf.training.image_classification.metrics import compute_metrics
from superft_hf.training.image_classification.pixels import make_augmentation, read_pixel_map
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
        self.pixel_map = read_pixel_map(self.processor)
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

    def choose_memory_format(self) -> str:
        """What `hardware.memory_format: auto` means for this model."""
        return models.choose_memory_format(self.model)

    def train_dataset(self) -> Dataset:
        """Training images under ExampleKeys."""
        split = self.scan.images.splits["train"]
        augment = make_augmentation(self._config.augmentation, self.pixel_map)
        if augment is None:
            return PlainTrainImages(split, self.processor)
        return TrainImages(split, augment, self._config.training.seed)

    def eval_dataset(self, split: str) -> Dataset:
        """The images of `eval` or `test`."""
        return EvalImages(self.scan.images.splits[split], self.processor)

    def collator(self, memory_format: str) -> Collator:
        """Makes batches."""
        return Collator(memory_format)

    def batch_maker(self) -> TrainBatches:
        """What makes the network's input of a batch of training images, on the device."""
        return TrainBatches(self._config, self.pixel_map, len(self.scan.images.class_names))

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
