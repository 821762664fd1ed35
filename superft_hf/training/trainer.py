"""Our Trainer: our loss, throughput, and prediction files; see safe_trainer for checkpoints."""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers.trainer_utils import EvalLoopOutput

from superft_hf.errors import DivergedError, OutOfMemoryError
from superft_hf.training.embeddings import FeatureCatcher
from superft_hf.training.safe_trainer import SafeTrainer
from superft_hf.training.strategy import ChangeCheck, Strategy

OUT_OF_MEMORY_MARKS = ("out of memory", "can't allocate memory", "not enough memory")


class LossFunction(Protocol):
    """The training loss of a task."""

    def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Mean loss of a batch."""


class PredictionWriter(Protocol):
    """Writes the prediction file of an evaluation."""

    def __call__(
        self, path: Path, split: str, logits: np.ndarray, labels: np.ndarray, *, is_full: bool
    ) -> None:
        """Writes `path`; `split` is eval or test."""


class StepClock:
    """Counts the images and seconds of training steps, evaluations and checkpoints left out.

    The first step of a process is not counted: it allocates memory and starts loaders.
    """

    def __init__(self) -> None:
        self.images, self.seconds = 0, 0.0
        self._logged_images, self._logged_seconds = 0, 0.0
        self._begun: float | None = None
        self._is_first = True

    def begin(self) -> None:
        """Called before the images of a step are fetched."""
        self._begun = time.perf_counter()

    def end(self, images: int) -> None:
        """Called after the update, with the number of images that all processes trained on."""
        if self._begun is not None and not self._is_first:
            self.images += images
            self.seconds += time.perf_counter() - self._begun
        self._is_first = False

    def rate(self) -> float | None:
        """Images a second since the last call, or None when no step was counted since."""
        images, seconds = self.images - self._logged_images, self.seconds - self._logged_seconds
        self._logged_images, self._logged_seconds = self.images, self.seconds
        return images / seconds if images and seconds else None


class RunTrainer(SafeTrainer):
    """Trains one run.

    Attributes:
        clock: Times the steps.
        features: Keeps the features of the images of the best evaluation so far and of test; None: nobody.
        unchanged: After training, the weights that should have changed and did not.

    Args:
        loss: The task's training loss of a batch.
        strategy: Which layers train in which epoch.
        check: Made before training; holds what changed against it.
        l1: λ of λ·Σ|W|.
        l2: λ of λ·Σ‖W‖².
        predictions_path: `(split, global_step)` to the file of an evaluation.
        write_predictions: Called on the main process for each evaluation.
        trainer_options: What Trainer takes.
    """

    def __init__(
        self,
        *,
        loss: LossFunction,
        strategy: Strategy,
        check: ChangeCheck,
        l1: float,
        l2: float,
        predictions_path: Callable[[str, int], Path],
        write_predictions: PredictionWriter,
        **trainer_options: Any,
    ) -> None:
        super().__init__(**trainer_options)
        self.loss_is_scaled_for_ga = False  # our loss is a mean over the batch
        self.clock = StepClock()
        self.features: FeatureCatcher | None = None
        self.unchanged: list[str] = []
        self._check = check
        self._loss = loss
        self._strategy = strategy
        self._l1, self._l2 = l1, l2
        self._predictions_path = predictions_path
        self._write_predictions = write_predictions
        self._step_images = 0

    def _begin_epoch(self, epoch: int) -> None:
        self._strategy.begin_epoch(epoch)
        self.clock.begin()

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """One forward and backward pass. Raises OutOfMemoryError."""
        self._step_images += len(inputs["labels"]) * self.args.world_size
        try:
            return super().training_step(model, inputs, num_items_in_batch)
        except (RuntimeError, MemoryError) as error:
            if isinstance(error, MemoryError) or any(mark in str(error) for mark in OUT_OF_MEMORY_MARKS):
                raise OutOfMemoryError(
                    self.args.per_device_train_batch_size, str(self.args.device)
                ) from error
            raise

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The task's loss plus the L1 and L2 terms while training; the outputs as they are."""
        is_training = model.training
        if is_training:
            self._strategy.set_modes()
        outputs = model(pixel_values=inputs["pixel_values"])
        loss = self._loss(outputs.logits, inputs["labels"])
        if is_training and (self._l1 or self._l2):
            loss = loss + self._penalty()
        return (loss, outputs) if return_outputs else loss

    def prediction_step(
        self, model: nn.Module, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[None, torch.Tensor, torch.Tensor]:
        """Logits and labels; the loss is computed from all of them, so it is a plain mean over examples."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            logits = model(pixel_values=inputs["pixel_values"]).logits
        if self.features is not None:
            self._gather_features(self.features, len(logits))
        return None, logits.detach().float(), inputs["labels"]

    def evaluation_loop(self, dataloader: DataLoader, *args: Any, **kwargs: Any) -> EvalLoopOutput:
        """Evaluates, and writes the prediction file and the features on the main process."""
        split = kwargs.get("metric_key_prefix", "eval")
        if self.features is None:
            output = super().evaluation_loop(dataloader, *args, **kwargs)
        else:
            with self.features.listening(len(dataloader.dataset)):
                output = super().evaluation_loop(dataloader, *args, **kwargs)
        if self.is_world_process_zero():
            value = output.metrics.get(self.args.metric_for_best_model)
            path = self._predictions_path(split, self.state.global_step)
            is_full = split == "test" or self._is_best_so_far(value)
            self._write_predictions(path, split, output.predictions, output.label_ids, is_full=is_full)
            if self.features is not None:
                self._keep_features(self.features, split, is_best=is_full)
        return output

    def _gather_features(self, features: FeatureCatcher, num_rows: int) -> None:
        """Brings the features of a batch to the main process as Trainer brings its logits."""
        found = features.take(num_rows)
        if found is None:
            return
        gathered = self.gather_function(found)
        if self.is_world_process_zero():
            features.keep(gathered)

    def _keep_features(self, features: FeatureCatcher, split: str, *, is_best: bool) -> None:
        state = self.state
        if is_best:
            features.write(split, state.global_step, former=state.best_global_step)
        else:
            features.discard()
        if split == "test":
            features.keep_best(state.best_global_step)

    def _load_best_model(self) -> None:
        # Before the restoring: the best epoch of head-then-full may be one with a frozen body. And the last
        # epoch says what trained, which a run that is resumed at its end would not know otherwise.
        self._strategy.begin_epoch(math.ceil(self.state.epoch or 1) - 1)
        self.unchanged = self._check.unchanged(is_body_trained=not self._strategy.is_head_only)
        super()._load_best_model()

    def _maybe_log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
        if self._step_images:  # called after each step, and once more after each epoch
            self.clock.end(self._step_images)
            self._step_images = 0
        super()._maybe_log_save_evaluate(*args, **kwargs)
        self.clock.begin()

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the throughput to each point of the training curve. Raises DivergedError."""
        if "loss" in logs:
            if not math.isfinite(logs["loss"]):
                raise DivergedError(self.state.global_step, self.args.learning_rate)
            rate = self.clock.rate()
            if rate is not None:
                logs["train_samples_per_second"] = rate
        super().log(logs, start_time)

    def _is_best_so_far(self, value: float | None) -> bool:
        best = self.state.best_metric
        if value is None or best is None:
            return True
        return value > best if self.args.greater_is_better else value < best

    def _penalty(self) -> torch.Tensor:
        """λ₁·Σ|W| + λ₂·Σ‖W‖² over the trained weights: matrices and kernels, not biases or norms."""
        weights = _weights(self._strategy.model)
        total = weights[0].new_zeros(())
        if self._l1:
            total = total + self._l1 * sum(weight.abs().sum() for weight in weights)
        if self._l2:
            total = total + self._l2 * sum(weight.square().sum() for weight in weights)
        return total


def _weights(model: nn.Module) -> Sequence[nn.Parameter]:
    return [one for one in model.parameters() if one.requires_grad and one.dim() > 1]
