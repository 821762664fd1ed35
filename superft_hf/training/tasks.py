"""The tasks, and what the worker needs of each. Nothing else asks which task a run has."""

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import nn
from torch.utils.data import Dataset
from transformers import BaseImageProcessor, EvalPrediction, PreTrainedModel

from superft_hf.config import RunConfig
from superft_hf.sources.scan import Scan
from superft_hf.training.image_classification.task import ImageClassification
from superft_hf.training.trainer import BatchMaker, LossFunction, Views


class TaskRun(Protocol):
    """One run's model, data and figures, made of a RunConfig and its opened images."""

    model: PreTrainedModel
    processor: BaseImageProcessor
    heads: list[nn.Module]
    output_layer: nn.Module | None
    image_size: int | None
    loss: LossFunction
    balanced_by: np.ndarray | None
    views: Views

    def choose_memory_format(self) -> str: ...  # noqa: D102
    def train_dataset(self) -> Dataset: ...  # noqa: D102
    def eval_dataset(self, split: str) -> Dataset: ...  # noqa: D102
    def collator(self, memory_format: str) -> Any: ...  # noqa: D102
    def batch_maker(self) -> BatchMaker | None: ...  # noqa: D102
    def compute_metrics(self, prediction: EvalPrediction) -> dict[str, float]: ...  # noqa: D102
    def write_predictions(  # noqa: D102
        self, path: Path, split: str, logits: np.ndarray, labels: np.ndarray, *, is_full: bool
    ) -> None: ...
    def save(self, folder: Path) -> None: ...  # noqa: D102
    def facts(self) -> dict[str, Any]: ...  # noqa: D102


_TASKS = {"image-classification": ImageClassification}


def make_task_run(config: RunConfig, scan: Scan) -> TaskRun:
    """Loads the model and prepares the data of a run. Raises ModelError."""
    return _TASKS[config.task](config, scan)
