"""One run from its opened images to its tested model. Read `train_run` for the story."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list
from transformers import (
    EarlyStoppingCallback,
    PrinterCallback,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

from superft_hf.config import RunConfig
from superft_hf.errors import DataNotFoundError
from superft_hf.paths import RunPaths
from superft_hf.records import RunState
from superft_hf.sources.load import load_images
from superft_hf.sources.scan import Scan, scan_images
from superft_hf.store import RunStore
from superft_hf.training import resolve
from superft_hf.training.arguments import training_arguments
from superft_hf.training.budget import fitting_epochs, measure_pace
from superft_hf.training.callbacks import StoreCallback, best_metrics, strip_prefix
from superft_hf.training.memory import peak_memory_bytes
from superft_hf.training.strategy import ChangeCheck, Strategy
from superft_hf.training.tasks import TaskRun, make_task_run
from superft_hf.training.trainer import RunTrainer

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunContext:
    """Where a run lives."""

    store: RunStore
    run_id: str

    @property
    def paths(self) -> RunPaths:
        """Its files."""
        return self.store.run_paths(self.run_id)


def train_run(context: RunContext) -> None:
    """Trains, evaluates and saves a run that is in state `starting`.

    Every process of a distributed run calls this; the main one writes.

    Raises:
        SuperFTError: What went wrong, with a hint.
    """
    asked = context.store.read_config(context.run_id)
    config = resolve.read_resolved(context.paths)
    if config is None:
        config = resolve.pin_revisions(resolve.decide_devices(asked), context.store.home)
    begun = time.monotonic()
    scan = scan_images(load_images(config.data, context.store.home), config.data)
    set_seed(config.training.seed)  # a new head is drawn from the seed
    task = make_task_run(config, scan)
    config = resolve.decide_model(config, task, len(scan.images.splits["train"]))
    if config.hardware.memory_format == "channels_last":
        task.model.to(memory_format=torch.channels_last)
    args = training_arguments(config, context.paths.checkpoints)
    config = _decide_epochs(config, task, args, time.monotonic() - begun)
    args.num_train_epochs = config.training.num_train_epochs
    is_main = args.process_index == 0
    if is_main:
        resolve.write_resolved(context.paths, config)
        resolve.write_environment(context.paths, config, scan.fingerprint)
    strategy = Strategy(task.model, task.heads, config.model.strategy, config.model.head_epochs)
    callbacks = [StoreCallback(context.store, context.run_id)]
    trainer = make_trainer(config, task, args, strategy, context.paths.prediction_file, callbacks)
    if is_main:
        facts = _facts(config, task, strategy, scan)
        context.store.update_run(context.run_id, facts=facts)
        _say_what_begins(config, facts)
    trainer.train()
    _finish(context, task, trainer)


def _decide_epochs(config: RunConfig, task: TaskRun, args: TrainingArguments, spent_s: float) -> RunConfig:
    """Turns a time budget into epochs; all processes agree on what the main one measured."""
    budget = config.training.time_budget_s
    if budget is None:
        return config
    epochs = [0]
    if args.process_index == 0:
        sizes = (args.per_device_train_batch_size, args.per_device_eval_batch_size)
        train, evaluation, test = task.train_dataset(), task.eval_dataset("eval"), task.eval_dataset("test")
        collate = task.collator(config.hardware.memory_format)
        pace = measure_pace(
            task.model, task.loss, (train, sizes[0]), (evaluation, sizes[1]), collate, args.device
        )
        batches = [
            math.ceil(len(part) / (size * args.world_size))
            for part, size in ((train, sizes[0]), (evaluation, sizes[1]), (test, sizes[1]))
        ]
        epochs = [fitting_epochs(pace, budget - spent_s, *batches)]
        logger.info("%.3f s a step: %d epochs fit into %.0f s", pace.train_batch_s, epochs[0], budget)
    if args.world_size > 1:
        broadcast_object_list(epochs)
    training = config.training.model_copy(update={"num_train_epochs": epochs[0], "time_budget_s": None})
    return config.model_copy(update={"training": training})


def make_trainer(
    config: RunConfig,
    task: TaskRun,
    args: TrainingArguments,
    strategy: Strategy,
    predictions_path: Callable[[str, int], Path],
    callbacks: Sequence[TrainerCallback],
) -> RunTrainer:
    """The trainer of a run, which is also the one of a smoke run.

    Args:
        config: With every `auto` decided.
        task: Model and data.
        args: Made of the configuration.
        strategy: Which layers train when.
        predictions_path: `(split, global_step)` to the file of an evaluation.
        callbacks: Besides early stopping and Trainer's own.
    """
    if config.early_stopping.patience is not None:
        early = EarlyStoppingCallback(early_stopping_patience=config.early_stopping.patience)
        callbacks = [*callbacks, early]
    trainer = RunTrainer(
        loss=task.loss,
        strategy=strategy,
        check=ChangeCheck(task.model, task.heads),
        l1=config.training.l1,
        l2=config.training.l2,
        predictions_path=predictions_path,
        write_predictions=task.write_predictions,
        model=task.model,
        args=args,
        train_dataset=task.train_dataset(),
        eval_dataset=task.eval_dataset("eval"),
        data_collator=task.collator(config.hardware.memory_format),
        processing_class=None if hasattr(task.model, "timm_model") else task.processor,
        compute_metrics=task.compute_metrics,
        callbacks=list(callbacks),
    )
    trainer.remove_callback(PrinterCallback)  # the store has the figures, and the log says them in words
    return trainer


def _facts(config: RunConfig, task: TaskRun, strategy: Strategy, scan: Scan) -> dict[str, Any]:
    return {
        **task.facts(),
        "device": resolve.device_words(config),
        "model_revision": config.model.revision,
        "num_trained_parameters": strategy.num_trained(config.training.num_train_epochs),
    }


def _say_what_begins(config: RunConfig, facts: dict[str, Any]) -> None:
    counts = facts["counts"]
    logger.info(
        "%s: %d train, %d eval, %d test images in %d classes",
        *(config.data.name_or_path, counts["train"], counts["eval"], counts["test"]),
        len(facts["class_names"]),
    )
    logger.info(
        "%s, strategy %s: %d of %d parameters train, on %s",
        *(config.model.name_or_path, config.model.strategy),
        *(facts["num_trained_parameters"], facts["num_parameters"], facts["device"]),
    )


def _finish(context: RunContext, task: TaskRun, trainer: RunTrainer) -> None:
    """The best model is in memory again: save it, and look at the test set once."""
    state = trainer.state
    if state.best_model_checkpoint is None:
        raise DataNotFoundError(
            "No checkpoint of the best epoch was kept.",
            hint="Check the disk's space, and start the run again.",
        )
    trainer.pop_callback(EarlyStoppingCallback)  # it would look for its metric among those of test
    test = trainer.evaluate(task.eval_dataset("test"), metric_key_prefix="test")
    if not trainer.is_world_process_zero():
        return
    store, run_id = context.store, context.run_id
    if trainer.unchanged:
        what, names = f"{len(trainer.unchanged)} weights never changed", ", ".join(trainer.unchanged[:5])
        store.add_event(run_id, by="worker", what=what, detail=names)
    task.save(context.paths.model)
    store.add_event(run_id, by="worker", what="evaluated test")
    record = store.get_run(run_id)
    facts = {
        **record.facts,
        "train_images_timed": trainer.clock.images,
        "train_seconds_timed": trainer.clock.seconds,
        "peak_memory_bytes": peak_memory_bytes(trainer.args.device),
    }
    evaluation = {"eval": best_metrics(state), "test": strip_prefix(test, "test")}
    store.change_state(
        run_id, [RunState.RUNNING], RunState.COMPLETED, by="worker", evaluation=evaluation, facts=facts,
        global_step=state.global_step, epoch=float(state.epoch or 0),
    )  # fmt: skip
    logger.info("completed: the best model is saved, and test was evaluated")
