"""Our Trainer: what happens to a batch, in a step and in an evaluation, and what is written of it.

See safe_trainer for checkpoints. What it calls is made elsewhere: batches, loss, optimizer, schedule,
averaged weights, views of an eval image.
"""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers.trainer_utils import EvalLoopOutput

from superft_hf.config import RunConfig
from superft_hf.errors import DivergedError, OutOfMemoryError
from superft_hf.train_loss import CROSS_ENTROPY
from superft_hf.training.averaging import make_average, optimizers_average
from superft_hf.training.background import Background
from superft_hf.training.compiling import as_written
from superft_hf.training.embeddings import FeatureCatcher
from superft_hf.training.head_features import FeatureSource, HeadFeatures, may_keep_features, set_workers
from superft_hf.training.optimizers import make_optimizer
from superft_hf.training.parameter_groups import RATE_FACTOR
from superft_hf.training.penalties import make_penalty
from superft_hf.training.plain_loss import make_plain_loss
from superft_hf.training.safe_trainer import SafeTrainer
from superft_hf.training.sampling import EpochSampler, make_sampler
from superft_hf.training.schedules import make_schedule
from superft_hf.training.step_clock import StepClock
from superft_hf.training.strategy import ChangeCheck, Strategy

FEATURES_FOLDER = "head_features"
"""Beside the checkpoints."""

MODEL_INPUTS = ("pixel_values", "head_features")
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
        balanced_by: Class ids of the training images, shape (N,), where each class is drawn equally often;
            None: each image once an epoch.
    """

    model: nn.Module
    heads: list[nn.Module]
    loss: LossFunction
    make_batch: BatchMaker | None
    views: Views
    write_predictions: PredictionWriter
    balanced_by: np.ndarray | None = None


class RunTrainer(SafeTrainer):
    """Trains one run.

    Attributes:
        clock: Times the steps.
        features: Keeps the features of the images of the best evaluation so far and of test; None: nobody.
        unchanged: After training, the weights that should have changed and did not.
        head_features: Keeps what the head reads while it trains alone; None where images are needed anyway.

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
        super().__init__(**trainer_options)
        self.average = make_average(parts.model, config.training)  # the model is on its device by now
        self.loss_is_scaled_for_ga = False  # our loss is a mean over the batch
        self.model_accepts_loss_kwargs = False  # else labels are counted, over all processes, in every step
        self.clock = StepClock()
        self.features: FeatureCatcher | None = None
        self.unchanged: list[str] = []
        self._parts = parts
        self._check = check
        self._strategy = strategy
        self._config = config
        self._predictions_path = predictions_path
        self._step_images = 0
        self._background = Background()
        self._plain_loss = make_plain_loss(config.training)
        self._penalty = make_penalty(parts.model, config.training)
        self.head_features = self._make_head_features()

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """The optimizer of `training.optim`, with a learning rate for each part of the network."""
        if self.optimizer is None:
            self.optimizer = make_optimizer(self._parts.model, self._parts.heads, self._config)
            self.average = optimizers_average(self._parts.model, self.optimizer) or self.average
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

    def _get_learning_rate(self) -> float:
        """That of `training.learning_rate` and the schedule, whatever the factors of the layers are."""
        first = self.optimizer.param_groups[0]
        return super()._get_learning_rate() / first.get(RATE_FACTOR, 1)

    def _make_sampler(self, size: int) -> EpochSampler:
        return make_sampler(size, self.args.seed, self._parts.balanced_by)

    def _make_head_features(self) -> HeadFeatures | None:
        parts, args = self._parts, self.args
        if not may_keep_features(self._config, parts.heads):
            return None

        def to_pixels(batch: dict[str, Any]) -> torch.Tensor:
            batch = self._prepare_inputs(batch)
            if parts.make_batch is not None:
                batch = parts.make_batch(batch, step=0, max_steps=1)
            return batch["pixel_values"]

        def on_batch() -> None:
            self.callback_handler.on_prediction_step(args, self.state, self.control)
            if self.stop is not None:
                self.stop.pause_before_training()

        datasets = {"train": self.train_dataset}
        if self._config.augmentation.test_time == "none":
            datasets["eval"] = self.eval_dataset
        source = FeatureSource(
            datasets, self.data_collator, to_pixels, args.per_device_eval_batch_size,
            args.dataloader_num_workers, self.accelerator, on_batch,
        )  # fmt: skip
        return HeadFeatures(parts.model, parts.heads[0], Path(args.output_dir) / FEATURES_FOLDER, source)

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        self._train_loader = kwargs["train_dataloader"]
        super()._run_epoch(*args, **kwargs)

    def _begin_epoch(self, epoch: int) -> None:
        self._strategy.begin_epoch(epoch)
        if self.head_features is not None:
            self.head_features.begin_epoch(is_head_only=self._strategy.is_head_only)
            self._set_workers("train", self._train_loader)
        self.clock.begin()

    def _set_workers(self, split: str, loader: DataLoader) -> None:
        """Starts loader processes only where images are loaded."""
        number = 0 if self._reads_features(split) else self.args.dataloader_num_workers
        is_persistent = self.args.dataloader_persistent_workers
        set_workers(loader, number, self.args.dataloader_prefetch_factor, is_persistent=is_persistent)

    def _reads_features(self, split: str) -> bool:
        return self.head_features is not None and self.head_features.has(split)

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """One forward and backward pass. Raises OutOfMemoryError."""
        self.clock.fetched()
        self._step_images += len(inputs["labels"]) * self.args.world_size
        inputs = self._prepare_inputs(inputs)
        try:
            if self._reads_features("train"):
                inputs = self.head_features.inputs("train", inputs)
            elif self._parts.make_batch is not None:
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
        if is_training and "pixel_values" in inputs:  # else the body is not passed
            self._strategy.set_modes()
        with self._compiled_or_not(len(inputs["labels"])):
            outputs = model(**{name: value for name, value in inputs.items() if name in MODEL_INPUTS})
        loss = self._parts.loss(outputs.logits, inputs["labels"])
        if is_training and self._plain_loss is not None:
            self._plain_loss.add(outputs.logits, inputs["labels"])
        if is_training and self._penalty is not None:
            loss = loss + self._penalty()
        return (loss, outputs) if return_outputs else loss

    def _compiled_or_not(self, num_images: int) -> AbstractContextManager[None]:
        """Around a forward pass: compiled code knows nothing of batches of another size than the usual."""
        is_whole = num_images == self.args.per_device_train_batch_size
        return nullcontext() if is_whole or self._config.hardware.torch_compile != "yes" else as_written()

    def prediction_step(
        self, model: nn.Module, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[None, torch.Tensor, torch.Tensor]:
        """Logits and labels; the loss is computed from all of them, so it is a plain mean over examples."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            if "pixel_values" in inputs:
                logits = self._parts.views(model, inputs["pixel_values"])
            else:
                features = self.head_features.inputs("eval", inputs)["head_features"]
                logits = model(head_features=features).logits
        if self.features is not None:
            self._gather_features(self.features, len(logits))
        return None, logits.detach().float(), inputs["labels"]

    def evaluation_loop(self, dataloader: DataLoader, *args: Any, **kwargs: Any) -> EvalLoopOutput:
        """Evaluates; the main process writes the prediction file and the features in the background."""
        split = kwargs.get("metric_key_prefix", "eval")
        self.finish_writing()  # those of the last evaluation, before those of this one take their place
        if split == "eval" and self.head_features is not None:
            self._set_workers(split, dataloader)
        listening = self.features.listening(len(dataloader.dataset)) if self.features else nullcontext()
        with self._averaged(), listening, self._compiled_or_not(0):
            output = super().evaluation_loop(dataloader, *args, **kwargs)
        if self.is_world_process_zero():
            value = output.metrics.get(self.args.metric_for_best_model)
            path = self._predictions_path(split, self.state.global_step)
            is_full = split == "test" or self._is_best_so_far(value)
            step, former = self.state.global_step, self.state.best_global_step
            logits, labels, write = output.predictions, output.label_ids, self._parts.write_predictions
            self._background.begin(lambda: write(path, split, logits, labels, is_full=is_full))
            if self.features is not None:
                keep = partial(self._keep_features, self.features, split, step, former, is_best=is_full)
                self._background.begin(keep)
        return output

    def finish_writing(self) -> None:
        """Waits for the files of the last evaluation. Raises what kept them from being written."""
        self._background.join()

    def _seal(self, aside: Path, target: Path) -> None:
        self.finish_writing()  # a run that goes on from this checkpoint does not evaluate its step again
        super()._seal(aside, target)

    def _gather_features(self, features: FeatureCatcher, num_rows: int) -> None:
        """Brings the features of a batch to the main process as Trainer brings its logits."""
        found = features.take(num_rows)
        if found is None:
            return
        gathered = self.gather_function(found)
        if self.is_world_process_zero():
            features.keep(gathered)

    @staticmethod
    def _keep_features(
        features: FeatureCatcher, split: str, step: int, former: int | None, *, is_best: bool
    ) -> None:
        """Keeps or forgets what was caught in an evaluation; `former` is the best step before it."""
        if is_best:
            features.write(split, step, former=former)
        else:
            features.discard()
        if split == "test":
            features.keep_best(former)

    def _load_best_model(self) -> None:
        # Before the restoring: the best epoch may be one in which less was trained. And the last
        # epoch says what trained, which a run that is resumed at its end would not know otherwise.
        self._strategy.begin_epoch(math.ceil(self.state.epoch or 1) - 1)
        self.unchanged = self._check.unchanged(self._strategy.frozen_tensors())
        if self.head_features is not None:
            self.head_features.close()
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
            if self._plain_loss is not None:
                total, count = self._of_all_ranks(self._plain_loss.take(self.args.device))
                if count:
                    logs[CROSS_ENTROPY] = total / count
        super().log(logs, start_time)

    def _of_all_ranks(self, values: torch.Tensor) -> list[float]:
        """The sums over all processes of a few numbers, shape (N,)."""
        return self.accelerator.reduce(values, "sum").tolist()

    def _progress(self) -> dict[str, Any]:
        plain = {"plain_loss": self._plain_loss.state} if self._plain_loss is not None else {}
        return {**super()._progress(), **plain}

    def _restore_progress(self, checkpoint: Path) -> dict[str, Any]:
        kept = super()._restore_progress(checkpoint)
        if self._plain_loss is not None and "plain_loss" in kept:
            self._plain_loss.restore(kept["plain_loss"])
        return kept

    def _is_best_so_far(self, value: float | None) -> bool:
        best = self.state.best_metric
        if value is None or best is None:
            return True
        return value > best if self.args.greater_is_better else value < best
