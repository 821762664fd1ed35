"""Our Trainer: what happens to a batch, in a step and in an evaluation, and what is written of it.

See safe_trainer for checkpoints. What it calls is made elsewhere: batches, loss, optimizer, schedule,
averaged weights, views of an eval image.
"""

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers.trainer_utils import EvalLoopOutput

from superft_hf.config import RunConfig
from superft_hf.errors import DivergedError, OutOfMemoryError
from superft_hf.training.averaging import make_average
from superft_hf.training.embeddings import FeatureCatcher
from superft_hf.training.optimizers import make_optimizer
from superft_hf.training.penalties import penalty
from superft_hf.training.safe_trainer import SafeTrainer
from superft_hf.training.schedules import make_schedule
from superft_hf.training.strategy import ChangeCheck, Strategy

OUT_OF_MEMORY_MARKS = ("out of memory", "can't allocate memory", "not enough memory")


class LossFunction(Protocol):
    """The training loss of a task."""

    def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Mean loss of a batch; `labels` are ids (B,), or shares of the classes (B, C) of a mixed batch."""


class BatchMaker(Protocol):
    """Makes what the network sees of a batch of training images, on the device."""

    def __call__(self, batch: dict[str, Any], *, step: int, max_steps: int) -> dict[str, Any]:
        """`pixel_values` and `labels` of a collated batch, in update `step` of `max_steps`."""


class Views(Protocol):
    """Looks at eval images."""

    def __call__(self, model: nn.Module, pixel_values: torch.Tensor) -> torch.Tensor:
        """Logits (B, C), averaged over the views of each image."""


class PredictionWriter(Protocol):
    """Writes the prediction file of an evaluation."""

    def __call__(
        self, path: Path, split: str, logits: np.ndarray, labels: np.ndarray, *, is_full: bool
    ) -> None:
        """Writes `path`; `split` is eval or test."""


class StepClock:
    """Counts the images and seconds of training steps, evaluations and checkpoints left out.

    The first step of a process is not counted: it allocates memory and starts loaders.

    Attributes:
        images: Of all processes, in counted steps.
        seconds: Of counted steps.
        waiting_s: The part of them in which the process waited for its images.
    """

    def __init__(self) -> None:
        self.images, self.seconds, self.waiting_s = 0, 0.0, 0.0
        self._logged_images, self._logged_seconds = 0, 0.0
        self._begun: float | None = None
        self._waited = 0.0
        self._is_first = True

    def begin(self) -> None:
        """Called before the images of a step are fetched."""
        self._begun, self._waited = time.perf_counter(), 0.0
        self._idle_since = self._begun

    def fetched(self) -> None:
        """Called when the images of a pass are there."""
        if self._begun is not None:
            self._waited += time.perf_counter() - self._idle_since

    def passed(self) -> None:
        """Called when a forward and backward pass is done, so that the next images may be fetched."""
        self._idle_since = time.perf_counter()

    def end(self, images: int) -> None:
        """Called after the update, with the number of images that all processes trained on."""
        if self._begun is not None and not self._is_first:
            self.images += images
            self.seconds += time.perf_counter() - self._begun
            self.waiting_s += self._waited
        self._is_first = False

    def rate(self) -> float | None:
        """Images a second since the last call, or None when no step was counted since."""
        images, seconds = self.images - self._logged_images, self.seconds - self._logged_seconds
        self._logged_images, self._logged_seconds = self.images, self.seconds
        return images / seconds if images and seconds else None


@dataclass(frozen=True)
class TrainingParts:
    """What a run's task and recipe made for the trainer.

    Attributes:
        model: The model itself, not wrapped.
        heads: Its head.
        loss: The training loss of a batch.
        make_batch: Makes what the network sees of a training batch; None: the batch is ready as it is.
        views: Looks at eval images.
        write_predictions: Called on the main process for each evaluation.
    """

    model: nn.Module
    heads: list[nn.Module]
    loss: LossFunction
    make_batch: BatchMaker | None
    views: Views
    write_predictions: PredictionWriter


class RunTrainer(SafeTrainer):
    """Trains one run.

    Attributes:
        clock: Times the steps.
        features: Keeps the features of the images of the best evaluation so far and of test; None: nobody.
        unchanged: After training, the weights that should have changed and did not.

    Args:
        parts: What the run's task and recipe made.
        strategy: Which layers train in which epoch.
        check: Made before training; holds what changed against it.
        config: The run, with every `auto` decided.
        predictions_path: `(split, global_step)` to the file of an evaluation.
        trainer_options: What Trainer takes.
    """

    def __init__(
        self,
        *,
        parts: TrainingParts,
        strategy: Strategy,
        check: ChangeCheck,
        config: RunConfig,
        predictions_path: Callable[[str, int], Path],
        **trainer_options: Any,
    ) -> None:
        super().__init__(average=make_average(parts.model, config.training), **trainer_options)
        self.loss_is_scaled_for_ga = False  # our loss is a mean over the batch
        self.clock = StepClock()
        self.features: FeatureCatcher | None = None
        self.unchanged: list[str] = []
        self._parts = parts
        self._check = check
        self._strategy = strategy
        self._config = config
        self._predictions_path = predictions_path
        self._step_images = 0

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """The optimizer of `training.optim`, with a learning rate for each part of the network."""
        if self.optimizer is None:
            self.optimizer = make_optimizer(self._parts.model, self._parts.heads, self._config)
        return self.optimizer

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """The schedule of `training.lr_scheduler_type`."""
        if self.lr_scheduler is None:
            self.lr_scheduler = make_schedule(
                optimizer or self.optimizer, self._config.training, num_training_steps
            )
        return self.lr_scheduler

    def _begin_epoch(self, epoch: int) -> None:
        self._strategy.begin_epoch(epoch)
        self.clock.begin()

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """One forward and backward pass. Raises OutOfMemoryError."""
        self.clock.fetched()
        self._step_images += len(inputs["labels"]) * self.args.world_size
        inputs = self._prepare_inputs(inputs)
        try:
            if self._parts.make_batch is not None:
                step, max_steps = self.state.global_step, self.state.max_steps
                inputs = self._parts.make_batch(inputs, step=step, max_steps=max_steps)
            loss = super().training_step(model, inputs, num_items_in_batch)
            self.clock.passed()
            return loss
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
        loss = self._parts.loss(outputs.logits, inputs["labels"])
        training = self._config.training
        if is_training and (training.l1 or training.l2):
            loss = loss + penalty(self._parts.model, training.l1, training.l2)
        return (loss, outputs) if return_outputs else loss

    def prediction_step(
        self, model: nn.Module, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[None, torch.Tensor, torch.Tensor]:
        """Logits and labels; the loss is computed from all of them, so it is a plain mean over examples."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            logits = self._parts.views(model, inputs["pixel_values"])
        if self.features is not None:
            self._gather_features(self.features, len(logits))
        return None, logits.detach().float(), inputs["labels"]

    def evaluation_loop(self, dataloader: DataLoader, *args: Any, **kwargs: Any) -> EvalLoopOutput:
        """Evaluates, and writes the prediction file and the features on the main process."""
        split = kwargs.get("metric_key_prefix", "eval")
        listening = self.features.listening(len(dataloader.dataset)) if self.features else nullcontext()
        with self._averaged(), listening:
            output = super().evaluation_loop(dataloader, *args, **kwargs)
        if self.is_world_process_zero():
            value = output.metrics.get(self.args.metric_for_best_model)
            path = self._predictions_path(split, self.state.global_step)
            is_full = split == "test" or self._is_best_so_far(value)
            self._parts.write_predictions(path, split, output.predictions, output.label_ids, is_full=is_full)
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
