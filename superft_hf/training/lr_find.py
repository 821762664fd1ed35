"""The learning-rate range test of a run, by the run's own code: same images, batches, loss and optimizer.

`python -m superft_hf.training.lr_find` reads `{"config", "home"}` as JSON from stdin. It prints one line of
JSON for every update, and a last one with an LrRange or an error. The network that it trains is its own copy:
nothing is stored, and the home gets no run. See superft_hf.recipe.lr_range for the formulas.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
import transformers
from torch.optim.lr_scheduler import LambdaLR
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments, set_seed
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from superft_hf.config import RunConfig
from superft_hf.errors import DivergedError, SuperFTError
from superft_hf.hub.models import inspect_model
from superft_hf.paths import RunPaths
from superft_hf.preflight.lr_find import LrRange
from superft_hf.recipe import lr_range
from superft_hf.recipe.case import case_of
from superft_hf.recipe.rules import with_values
from superft_hf.records import Failure
from superft_hf.sources.image_set import ImageSet
from superft_hf.sources.load import load_images
from superft_hf.sources.scan import Scan, scan_images
from superft_hf.sources.splits import stratified_part
from superft_hf.training import resolve
from superft_hf.training.arguments import training_arguments, updates_per_epoch
from superft_hf.training.run import make_trainer
from superft_hf.training.strategy import Strategy
from superft_hf.training.tasks import make_task_run
from superft_hf.training.trainer import RunTrainer

Hear = Callable[[dict[str, float]], None]


def find(config: RunConfig, home: Path, hear: Hear = lambda point: None) -> LrRange:
    """Raises the learning rate until the loss diverges, and tells how the loss went.

    Args:
        config: The run. Its batch is that of all its processes together, in one process.
        home: Where zips are unpacked.
        hear: Called after each update with `step`, `steps`, `learning_rate` and the smoothed `loss`.

    Raises:
        SuperFTError: What would make the run fail as well.
    """
    begun = time.time()
    config = resolve.pin_revisions(config, home)
    images = load_images(config.data, home)
    is_scaled = config.training.linear_lr_scaling
    asked = resolve.decide_recipe(config, images)
    config = resolve.decide_devices(_for_test(asked))
    steps = lr_range.num_steps(updates_per_epoch(config, len(images.splits["train"])))
    part = scan_images(_part(images, config, steps), config.data, is_part=True)
    factor = asked.hardware.world_size if is_scaled else 1
    curve = _Curve(steps, hear, factor)
    with tempfile.TemporaryDirectory(prefix="superft-lr-find-") as aside:
        trainer = _trainer(config, part, RunPaths(Path(aside)), curve)
        try:
            trainer.train()
        except DivergedError:  # a loss that is no number
            curve.is_diverged = True
    info = inspect_model(config.model.name_or_path, config.model.revision)
    training = config.training
    return LrRange(
        learning_rates=tuple(curve.rates),
        losses=tuple(curve.losses),
        smoothed=tuple(curve.smoothed),
        is_diverged=curve.is_diverged,
        steepest=lr_range.steepest(curve.rates, curve.losses, curve.beta),
        valley=lr_range.valley(curve.rates, curve.losses, curve.beta),
        family=case_of(config, info, images).family,
        batch_size=training.per_device_train_batch_size * training.gradient_accumulation_steps,
        learning_rate=asked.training.learning_rate,
        device=resolve.device_words(config),
        duration_s=time.time() - begun,
    )


class _Curve(TrainerCallback):
    """Notes rate and loss of each update, and ends the test when the loss diverges.

    The loss is the one before the update at the rate beside it, as in Smith's and fastai's curves.

    Attributes:
        rates: As values of `training.learning_rate`.
        losses: Of the batch of each update.
        smoothed: See lr_range.smoothed.
        is_diverged: Whether the test ended early.
        beta: Of the smoothing.
        schedule: Of the optimizer; set before training.
    """

    schedule: LambdaLR

    def __init__(self, steps: int, hear: Hear, factor: int) -> None:
        self.rates: list[float] = []
        self.losses: list[float] = []
        self.smoothed: list[float] = []
        self.is_diverged = False
        self.beta = lr_range.beta_of(steps)
        self._steps = steps
        self._hear = hear
        self._factor = factor
        self._rate = 0.0

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Reads the rate off the schedule: a step that fp16 skips does not raise it."""
        growth = self.schedule.get_last_lr()[0] / self.schedule.base_lrs[0]
        self._rate = lr_range.LOWEST * growth / self._factor

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float],
        **kwargs: Any,
    ) -> None:
        """Hears of each update."""
        if "loss" not in logs:
            return
        self.rates.append(self._rate)
        self.losses.append(logs["loss"])
        self.smoothed = lr_range.smoothed(self.losses, self.beta).tolist()
        point = {"step": state.global_step, "steps": self._steps, "learning_rate": self._rate}
        self._hear({**point, "loss": self.smoothed[-1]})
        if lr_range.has_diverged(self.smoothed):
            self.is_diverged = control.should_training_stop = True


def _trainer(config: RunConfig, part: Scan, paths: RunPaths, curve: _Curve) -> RunTrainer:
    """The run's trainer, with a rate that rises from update to update, and nothing written."""
    set_seed(config.training.seed)  # a new head is drawn from the seed
    task = make_task_run(config, part)
    config = resolve.decide_model(config, task, len(part.images.splits["train"]))
    if config.hardware.memory_format == "channels_last":
        task.model.to(memory_format=torch.channels_last)
    args = training_arguments(config, paths.checkpoints)
    args.max_steps = curve._steps
    args.eval_strategy, args.save_strategy = IntervalStrategy.NO, SaveStrategy.NO
    args.load_best_model_at_end = False
    strategy = Strategy(task.model, task.heads, config.model, config.training.num_train_epochs)
    trainer = make_trainer(config, task, args, strategy, paths.prediction_file, [curve])
    growth = lr_range.rate_at(1, curve._steps) / lr_range.LOWEST
    curve.schedule = LambdaLR(trainer.create_optimizer(), lambda step: growth**step)
    trainer.lr_scheduler = curve.schedule
    return trainer


def _for_test(config: RunConfig) -> RunConfig:
    """One process with the batch of all, every layer from the start, and nothing that waits for later steps.

    What acts within a step, such as augmentation, loss, penalties, clipping and precision, stays.
    """
    accumulation = config.training.gradient_accumulation_steps * config.hardware.world_size
    values: dict[str, Any] = {
        "training.learning_rate": lr_range.LOWEST,
        "training.linear_lr_scaling": False,
        "training.gradient_accumulation_steps": accumulation,
        "training.time_budget_s": None,
        "training.ema_decay": 0.0,
        "training.report_to": [],
        "training.logging_steps": 1,
        "training.save_steps": None,
        "early_stopping.patience": None,
        "augmentation.progressive_resizing": 1.0,
        "hardware.num_processes": 1,
        "hardware.num_machines": 1,
        "hardware.sharding": "none",
        "hardware.sharding_config": None,
        "hardware.torch_compile": "no",  # it would take longer than the test
    }
    if config.model.strategy in ("head-then-full", "gradual"):  # the rate is that of their last part
        values["model.strategy"] = "full"
    return with_values(config, values)


def _part(images: ImageSet, config: RunConfig, steps: int) -> ImageSet:
    """Training images for so many updates, every class among them where that is possible."""
    training = config.training
    wanted = steps * training.per_device_train_batch_size * training.gradient_accumulation_steps
    train = images.splits["train"]
    rows = stratified_part(train.labels, max(wanted, len(images.class_names)), config.data.split_seed)
    splits = {name: split.select(np.array([0])) for name, split in images.splits.items() if len(split)}
    return replace(images, splits={**splits, "train": train.select(rows)})


def main() -> int:
    """Answers one request. Returns the exit status."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    asked: dict[str, Any] = json.load(sys.stdin)
    try:
        imports_s = time.time() - psutil.Process().create_time()
        found = find(RunConfig.model_validate(asked["config"]), Path(asked["home"]), _write)
        answer: dict[str, Any] = asdict(replace(found, duration_s=found.duration_s + imports_s))
    except SuperFTError as error:
        answer = {"error": vars(Failure.of(error))}
    _write(answer)
    return 1 if "error" in answer else 0


def _write(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
