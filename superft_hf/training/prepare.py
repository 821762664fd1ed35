"""Everything that is decided about a run once its images are open, and the model that follows from it.

The recipe first, by rule; then what a short measurement tells of this machine; then what fits into a time
budget. All processes of a run come to the same, since the main one measures for all. A resumed run decides
nothing again.
"""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import torch
from accelerate.utils import broadcast_object_list
from transformers import TrainingArguments, set_seed

from superft_hf.config import RunConfig
from superft_hf.errors import ModelError
from superft_hf.recipe.rules import MAX_EPOCHS, with_values
from superft_hf.sources.scan import Scan
from superft_hf.training import budget, probes, resolve
from superft_hf.training.arguments import training_arguments
from superft_hf.training.bench import Bench, Variant, undisturbed_randomness
from superft_hf.training.compiling import compile_in_place
from superft_hf.training.resume import RunContext
from superft_hf.training.shared_statistics import share_statistics
from superft_hf.training.tasks import TaskRun, make_task_run

logger = logging.getLogger(__name__)

T = TypeVar("T")

_NOT_OF_THE_TASK = {
    "training.num_train_epochs": 1, "training.time_budget_s": None, "training.ema_decay": 0.0,
    "training.logging_steps": 1, "training.dataloader_num_workers": 0, "hardware.mixed_precision": "no",
    "hardware.torch_compile": "no", "hardware.memory_format": "contiguous",
}  # fmt: skip
"""Settings that model and data are made without."""


@dataclass(frozen=True)
class Prepared:
    """A run that is ready to train: with every `auto` decided, its model and data, Trainer's arguments."""

    config: RunConfig
    task: TaskRun
    args: TrainingArguments


def prepare(context: RunContext, config: RunConfig, scan: Scan, *, is_resumed: bool) -> Prepared:
    """Loads the model and decides whatever is not decided yet, alike in all processes.

    Args:
        context: Where the run lives.
        config: With devices decided and revisions pinned.
        scan: Its images, opened.
        is_resumed: Whether all was decided at an earlier start.

    Raises:
        ModelError: If the model cannot be loaded.
    """
    asked, checkpoints = config, context.paths.checkpoints
    config, task = _load(resolve.decide_recipe(config, scan.images), scan)
    args = training_arguments(config, checkpoints)
    if not is_resumed:
        bench = Bench(config, task, args.device)
        config = _measured(context, asked, bench, args)
        if config.training.time_budget_s is not None:
            config, task = _Budget(context, asked, scan, args).fit(config, bench)
        bench.close()
        args = training_arguments(config, checkpoints)
    if config.hardware.memory_format == "channels_last":
        task.model.to(memory_format=torch.channels_last)
    if any("mask_token" in name for name, _ in task.model.named_parameters()):
        args.ddp_find_unused_parameters = True  # no loss of a classifier reaches it (DINOv2, BEiT)
    share_statistics(task.model, config.hardware, args.device.type, args.world_size)
    if config.hardware.torch_compile == "yes":
        compile_in_place(task.model)
    return Prepared(config, task, args)


def _load(config: RunConfig, scan: Scan) -> tuple[RunConfig, TaskRun]:
    set_seed(config.training.seed)  # a new head is drawn from the seed
    task = make_task_run(config, scan)
    return resolve.decide_model(config, task, len(scan.images.splits["train"])), task


def _measured(context: RunContext, asked: RunConfig, bench: Bench, args: TrainingArguments) -> RunConfig:
    slots = context.store.read_settings().cpu_slots
    values, words = _agreed(args, lambda: probes.decide(probes.situation(asked, bench, slots)))
    return probes.with_answers(bench.config, values, words if args.process_index == 0 else [])


def _agreed(args: TrainingArguments, make: Callable[[], T]) -> T:
    """What the main process makes, in all processes."""
    found: list[Any] = [make() if args.process_index == 0 else None]
    if args.world_size > 1:
        broadcast_object_list(found)
    return found[0]


class _Budget:
    """Turns a time budget into epochs and, where too few fit, a smaller size of the images."""

    def __init__(self, context: RunContext, asked: RunConfig, scan: Scan, args: TrainingArguments) -> None:
        self._context = context
        self._asked = asked
        self._scan = scan
        self._args = args

    def fit(self, config: RunConfig, bench: Bench) -> tuple[RunConfig, TaskRun]:
        """The run with what fits, and its task, which is loaded again at another size.

        Args:
            config: The run, with all else decided.
            bench: On which some of that was measured.
        """
        task = bench.task
        pace, left_s = self._look(config, bench)
        epochs, size = self._epochs(config, pace, left_s), task.image_size
        if epochs < budget.ENOUGH_EPOCHS and budget.can_shrink(self._asked, size):
            for smaller in budget.smaller_sizes(pace, left_s, self._amount(config), size):
                try:
                    config, task = _load(with_values(config, {"model.image_size": smaller}), self._scan)
                except ModelError as error:  # it takes its own size only
                    self._say("Image size: %d px stay, %s", size, error.message)
                    config, task = _load(with_values(config, {"model.image_size": size}), self._scan)
                    break
                bench.close()
                bench = Bench(config, task, self._args.device)
                pace, left_s = self._look(config, bench)
                epochs = self._epochs(config, pace, left_s)
                self._say("Image size: %d px, for want of time.", smaller)
                if epochs >= budget.ENOUGH_EPOCHS:
                    break
        bench.close()
        return self._settled(config, task, max(1, epochs))

    def _settled(self, config: RunConfig, task: TaskRun, epochs: int) -> tuple[RunConfig, TaskRun]:
        """The recipe again, since some of it follows from the epochs, with all else as it was decided."""
        found = {"training.num_train_epochs": epochs, "training.time_budget_s": None}
        recipe = resolve.decide_recipe(
            with_values(self._asked, {**found, "model.image_size": task.image_size}), self._scan.images
        )
        measured = {
            "training.dataloader_num_workers": config.training.dataloader_num_workers,
            "training.logging_steps": config.training.logging_steps,
        }
        settled = with_values(recipe, measured).model_copy(update={"hardware": config.hardware})
        if with_values(settled, _NOT_OF_THE_TASK) != with_values(config, _NOT_OF_THE_TASK):
            return _load(settled, self._scan)
        return settled, task

    def _look(self, config: RunConfig, bench: Bench) -> tuple[budget.Pace, float]:
        """The pace, and the seconds that are left afterwards."""

        def measure() -> tuple[budget.Pace, float]:
            weights = sum(one.numel() * one.element_size() for one in bench.task.model.parameters())
            variant = Variant(config.hardware.mixed_precision, config.hardware.memory_format)
            loaders = config.training.dataloader_num_workers or 0
            with undisturbed_randomness(self._args.device):
                return budget.measure_pace(bench, variant, loaders, weights), self._left_s()

        return _agreed(self._args, measure)

    def _left_s(self) -> float:
        record = self._context.store.get_run(self._context.run_id)
        begun = datetime.fromisoformat(record.started_at or record.created_at)
        usable_s = (1 - budget.RESERVE) * self._asked.training.time_budget_s
        return usable_s - (datetime.now(UTC) - begun).total_seconds()

    def _amount(self, config: RunConfig) -> budget.Amount:
        training, splits = config.training, self._scan.images.splits
        train, evaluation = training.per_device_train_batch_size, training.per_device_eval_batch_size
        sizes = {"train": train, "eval": evaluation, "test": evaluation}
        return budget.Amount(
            *(math.ceil(len(splits[name]) / (size * self._args.world_size)) for name, size in sizes.items())
        )

    def _epochs(self, config: RunConfig, pace: budget.Pace, left_s: float) -> int:
        most = max(MAX_EPOCHS, config.training.num_train_epochs)
        epochs = budget.fitting_epochs(pace, left_s, self._amount(config), most)
        self._say(
            "Time budget: %.3g s a step and %.3g s an evaluation batch; %d epochs fit into the %.0f s left.",
            pace.train_batch_s, pace.eval_batch_s, epochs, left_s,
        )  # fmt: skip
        return epochs

    def _say(self, sentence: str, *values: object) -> None:
        if self._args.process_index == 0:
            logger.info(sentence, *values)
