"""A few steps of a run by the run's own code, to tell its memory and time before it is started.

`python -m superft_hf.training.smoke` reads `{"config", "home"}` as JSON from stdin and prints a SmokeResult,
or an error, as JSON. It trains a few batches of the real images in a folder that is removed, evaluates one
batch and saves one checkpoint. To that is added what grows with the number of images.
"""

import json
import math
import shutil
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import psutil
import torch
import transformers
from transformers import set_seed

from superft_hf.config import RunConfig
from superft_hf.errors import SuperFTError
from superft_hf.paths import RunPaths
from superft_hf.preflight.smoke import SmokeResult
from superft_hf.records import Failure
from superft_hf.sources.load import ImageSet, load_images
from superft_hf.sources.scan import Scan, scan_images
from superft_hf.sources.splits import stratified_part
from superft_hf.training import resolve
from superft_hf.training.arguments import training_arguments, updates_per_epoch
from superft_hf.training.memory import free_memory_bytes, peak_memory_bytes, used_memory_bytes
from superft_hf.training.run import make_trainer
from superft_hf.training.strategy import Strategy
from superft_hf.training.tasks import make_task_run
from superft_hf.training.trainer import RunTrainer

STEPS = 3
"""The first allocates and is not timed; two are."""

SAFE_SHARE = 0.85
"""Of the free memory; the rest is for whatever else the machine does."""

_PREDICTION_ROW_BYTES = 200


def measure(config: RunConfig, home: Path) -> SmokeResult:
    """Trains a few batches and tells what the whole run will need.

    Args:
        config: The run. Of several processes one is measured; each takes as much.
        home: Where zips are unpacked, and whose disk is looked at.

    Raises:
        SuperFTError: What would make the run fail as well.
    """
    begun = time.time()
    config = resolve.pin_revisions(config, home)
    images = load_images(config.data, home)
    asked = resolve.decide_recipe(config, images)
    config = resolve.decide_devices(_shortened(asked))
    looked = time.monotonic()
    part = scan_images(_part(images, config), config.data, home=home, is_part=True)
    scan_s = (time.monotonic() - looked) * _size(images) / max(1, _size(part.images))
    with tempfile.TemporaryDirectory(prefix="superft-smoke-") as aside:
        set_seed(config.training.seed)
        task = make_task_run(config, part)
        config = resolve.decide_model(config, task, len(part.images.splits["train"]))
        if config.hardware.memory_format == "channels_last":
            task.model.to(memory_format=torch.channels_last)
        paths = RunPaths(Path(aside))
        args = training_arguments(config, paths.checkpoints)
        base, free = used_memory_bytes(args.device), free_memory_bytes(args.device)
        strategy = Strategy(task.model, task.heads, config.model, config.training.num_train_epochs)
        trainer = make_trainer(config, task, args, strategy, paths.prediction_file, [])
        ready_s = time.time() - begun
        trainer.train()
        peak = peak_memory_bytes(args.device)
        checkpoint = _folder_size(next(paths.checkpoints.glob("checkpoint-*")))
    expected = _Expected(asked, images, part, trainer)
    return SmokeResult(
        device=resolve.device_words(config),
        peak_memory_bytes=peak,
        free_memory_bytes=free,
        images_per_second=expected.images_per_second,
        step_s=expected.step_s,
        eval_batch_s=expected.eval_batch_s,
        checkpoint_bytes=checkpoint,
        total_steps=expected.total_steps,
        duration_s=ready_s + scan_s + expected.training_s,
        device_hours=(ready_s + scan_s + expected.training_s) / 3600 * asked.hardware.world_size,
        largest_batch_size=_largest_batch(config, trainer, base, peak, free),
        disk_bytes=3 * checkpoint + _weights_bytes(trainer) + expected.prediction_bytes,
        free_disk_bytes=shutil.disk_usage(home if home.exists() else Path.cwd()).free,
    )


class _Expected:
    """What the whole run will come to, from the few steps and the number of images.

    Args:
        config: The run as asked.
        images: All its images.
        part: Those that were trained on here.
        trainer: After its training.
    """

    def __init__(self, config: RunConfig, images: ImageSet, part: Scan, trainer: RunTrainer) -> None:
        self._config = config
        self._sizes = {name: len(split) for name, split in images.splits.items()}
        self._part = part
        self._trainer = trainer
        logged = [entry for entry in trainer.state.log_history if "eval_runtime" in entry]
        batches = math.ceil(len(part.images.splits["eval"]) / trainer.args.per_device_eval_batch_size)
        self.eval_batch_s: float = logged[-1]["eval_runtime"] / batches
        clock, steps = trainer.clock, trainer.state.global_step
        if steps > 1:  # the clock leaves the first out
            self.step_s, images = clock.seconds / (steps - 1), clock.images / (steps - 1)
        else:
            runtime = next(
                one["train_runtime"] for one in trainer.state.log_history if "train_runtime" in one
            )
            self.step_s, images = runtime - logged[-1]["eval_runtime"], len(part.images.splits["train"])
        self.images_per_second = images / self.step_s * config.hardware.world_size

    @property
    def total_steps(self) -> int:
        return updates_per_epoch(self._config, self._sizes["train"]) * self._config.training.num_train_epochs

    @property
    def training_s(self) -> float:
        """All updates and evaluations; a time budget is kept, whatever they would take."""
        if self._config.training.time_budget_s is not None:
            return self._config.training.time_budget_s
        per_step = self._config.training.per_device_eval_batch_size * self._config.hardware.world_size
        batches = {name: math.ceil(size / per_step) for name, size in self._sizes.items()}
        evaluations = self._config.training.num_train_epochs * batches["eval"] + batches["test"]
        return self.total_steps * self.step_s + evaluations * self.eval_batch_s + self._features_s

    @property
    def _features_s(self) -> float:
        """A head that trains alone, from kept features, costs one look at every image before all else."""
        features = self._trainer.head_features
        if features is None or not features.num_computed:
            return 0.0
        each = features.seconds / features.num_computed / self._config.hardware.world_size
        return each * sum(self._sizes.values())

    @property
    def prediction_bytes(self) -> int:
        """Size of the prediction files: one row an image and evaluation."""
        classes = min(100, len(self._part.images.class_names))
        row = _PREDICTION_ROW_BYTES + 4 * classes
        return row * (self._config.training.num_train_epochs * self._sizes["eval"] + self._sizes["test"])


def _shortened(config: RunConfig) -> RunConfig:
    """One process and one epoch of the whole network, without trackers; whatever else was asked for stays."""
    training = config.training.model_copy(
        update={"num_train_epochs": 1, "time_budget_s": None, "report_to": [], "logging_steps": 1}
    )
    hardware = config.hardware.model_copy(
        update={"num_processes": 1, "num_machines": 1, "sharding": "none", "sharding_config": None}
    )
    model = config.model
    if model.strategy in ("head-then-full", "gradual"):  # their last part needs the most
        model = model.model_copy(update={"strategy": "full"})
    return config.model_copy(update={"training": training, "hardware": hardware, "model": model})


def _part(images: ImageSet, config: RunConfig) -> ImageSet:
    """Images for STEPS updates and one evaluation batch, every class among them where that is possible."""
    training = config.training
    wanted = {
        "train": STEPS * training.per_device_train_batch_size * training.gradient_accumulation_steps,
        "eval": training.per_device_eval_batch_size,
        "test": 1,
    }
    splits = {}
    for name, split in images.splits.items():
        rows = stratified_part(
            split.labels, max(wanted[name], len(images.class_names)), config.data.split_seed
        )
        splits[name] = split.select(rows[: wanted[name]] if name != "train" else rows)
    return replace(images, splits=splits)


def _largest_batch(config: RunConfig, trainer: RunTrainer, base: int, peak: int, free: int) -> int:
    """The largest power of two that fits into SAFE_SHARE of the free memory.

    What the steps took beyond the model, its gradients and the optimizer's state is taken to grow with the
    number of images; in truth some of it is fixed, so the answer errs to the safe side.
    """
    used = config.training.per_device_train_batch_size
    fixed = _weights_bytes(trainer) + sum(
        value.numel() * value.element_size()
        for state in trainer.optimizer.state.values()
        for value in state.values()
        if isinstance(value, torch.Tensor)
    )
    each = max(1.0, (peak - base - fixed) / used)
    fitting = (SAFE_SHARE * free - fixed) / each
    return 2 ** int(math.log2(fitting)) if fitting >= 1 else 1


def _weights_bytes(trainer: RunTrainer) -> int:
    return sum(one.numel() * one.element_size() for one in trainer.model.parameters())


def _size(images: ImageSet) -> int:
    return sum(len(split) for split in images.splits.values())


def _folder_size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> int:
    """Answers one request. Returns the exit status."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    asked: dict[str, Any] = json.load(sys.stdin)
    try:
        imports_s = time.time() - psutil.Process().create_time()  # they are part of every start
        found = measure(RunConfig.model_validate(asked["config"]), Path(asked["home"]))
        answer: dict[str, Any] = asdict(replace(found, duration_s=found.duration_s + imports_s))
    except SuperFTError as error:
        answer = {"error": vars(Failure.of(error))}
    sys.stdout.write(json.dumps(answer) + "\n")
    return 1 if "error" in answer else 0


if __name__ == "__main__":
    sys.exit(main())
