"""One run from its opened images to its tested model. Read `train_run` for the story."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list
from transformers import (
    EarlyStoppingCallback,
    PrinterCallback,
    TrainerCallback,
    TrainerState,
    TrainingArguments,
)

from superft_hf.config import RunConfig
from superft_hf.errors import DataNotFoundError
from superft_hf.records import LIVE_STATES, RunState
from superft_hf.sources.load import load_images
from superft_hf.sources.measures import describe_split
from superft_hf.sources.scan import Scan, log_changes, scan_images
from superft_hf.training import resolve
from superft_hf.training.callbacks import Heartbeat, StoreCallback, best_metrics, strip_prefix
from superft_hf.training.embeddings import FeatureCatcher
from superft_hf.training.layer_watch import watch_layers
from superft_hf.training.memory import peak_memory_bytes
from superft_hf.training.prepare import prepare
from superft_hf.training.resume import RunContext, go_back
from superft_hf.training.stopping import Decision, RunPaused, ShutdownSignal, StopCallback, Wishes
from superft_hf.training.strategy import ChangeCheck, Strategy
from superft_hf.training.tasks import TaskRun
from superft_hf.training.trainer import RunTrainer, TrainingParts

logger = logging.getLogger(__name__)

CHECKPOINT_PARTS = 3
"""Sizes of the weights in a checkpoint: themselves, and the two moments of Adam, the hungriest optimizer."""

DISK_MARGIN = 1.2
DISK_FLOOR_BYTES = 16 * 2**20
"""Free space, besides the next checkpoint, below which a run is paused: log, metrics, predictions."""


def train_run(context: RunContext, shutdown: ShutdownSignal | None = None) -> None:
    """Trains, evaluates and saves a run that is in state `starting`, from its last checkpoint if it has one.

    Every process of a distributed run calls this; the main one writes.

    Args:
        context: Where the run lives.
        shutdown: Hears SIGTERM; None: nobody listens.

    Raises:
        SuperFTError: What went wrong, with a hint.
        RunPaused: When the run is to be paused; its checkpoint is written.
    """
    shutdown = shutdown or ShutdownSignal()
    config, is_resumed = _first_decisions(context)
    home = context.store.home
    heartbeat = Heartbeat(context.store, context.run_id)
    scan = scan_images(load_images(config.data, home), config.data, heartbeat, home=home)
    ready = prepare(context, config, scan, is_resumed=is_resumed)
    config, task, args = ready.config, ready.task, ready.args
    is_main = args.process_index == 0
    checkpoint = _find_start(context, config, args, scan) if is_resumed else None
    if is_main:
        _describe_examples(context, scan)
        resolve.write_resolved(context.paths, config)
        resolve.write_environment(context.paths, config, scan.fingerprint)
    strategy = Strategy(task.model, task.heads, config.model, config.training.num_train_epochs)
    stop = StopCallback(_wishes(context, config, task, args, shutdown), shutdown, config.training.save_steps)
    layers = watch_layers(task.model, task.heads, context.paths.layers, config.hardware, is_main=is_main)
    trainer = make_trainer(
        config, task, args, strategy, context.paths.prediction_file,
        [StoreCallback(context.store, context.run_id), stop, *layers],
    )  # fmt: skip
    trainer.features = FeatureCatcher(task.output_layer, context.paths)
    if is_main:
        facts = _facts(config, task, strategy, scan)
        context.store.update_run(context.run_id, facts=facts)
        log_changes(scan)
        _say_what_begins(config, facts)
    stop.pause_before_training()
    trainer.train(resume_from_checkpoint=checkpoint)
    shutdown.is_closing = True
    if trainer.is_pausing:
        _leave(context, trainer, stop.decision)
    _finish(context, task, trainer)


def _first_decisions(context: RunContext) -> tuple[RunConfig, bool]:
    """The configuration as far as it is decided before the images are opened, and whether it is resumed."""
    config = resolve.read_resolved(context.paths)
    if config is not None:
        return config, True
    asked, slots = context.store.read_config(context.run_id), context.store.read_settings().cpu_slots
    return resolve.pin_revisions(resolve.decide_devices(asked, slots), context.store.home), False


def _describe_examples(context: RunContext, scan: Scan) -> None:
    """Writes what is known of the images of eval and test, once in the life of a run."""
    for split in ("eval", "test"):
        path = context.paths.examples_file(split)
        if not path.exists():
            sizes, heartbeat = scan.image_sizes[split], Heartbeat(context.store, context.run_id)
            describe_split(path, scan.images.splits[split], scan.example_ids[split], sizes, heartbeat)


def _find_start(context: RunContext, config: RunConfig, args: TrainingArguments, scan: Scan) -> str | None:
    """The folder of the checkpoint to go on from, the same on all ranks. Raises DataChangedError."""
    found: list[str | None] = [None]
    changed = resolve.changed_environment(context.paths, config, scan.fingerprint)
    if args.process_index == 0:
        if changed:
            what = "goes on with other packages, so not to the bit"
            context.store.add_event(context.run_id, by="worker", what=what, detail=", ".join(changed))
        checkpoint = go_back(context)
        found = [str(checkpoint.folder) if checkpoint else None]
    if args.world_size > 1:
        broadcast_object_list(found)
    return found[0]


def _wishes(
    context: RunContext, config: RunConfig, task: TaskRun, args: TrainingArguments, shutdown: ShutdownSignal
) -> Wishes:
    """What may be asked of the run in this process; the main one asks store and disk for all."""
    limit = config.hardware.memory_limit_gb
    memory = round(limit * 1e9 / args.world_size) if limit and args.device.type == "cpu" else None
    if args.process_index:
        return Wishes(None, context.run_id, shutdown, memory_limit=memory)
    weights = sum(one.numel() * one.element_size() for one in task.model.parameters())
    parts = CHECKPOINT_PARTS + bool(config.training.ema_decay)
    needed = round(DISK_MARGIN * parts * weights) + DISK_FLOOR_BYTES
    return Wishes(context.store, context.run_id, shutdown, (context.paths.checkpoints, needed), memory)


def _leave(context: RunContext, trainer: RunTrainer, decision: Decision) -> None:
    """Ends the work on a run whose checkpoint was just written. Raises RunPaused."""
    if trainer.is_world_process_zero():
        state = trainer.state
        context.store.update_run(context.run_id, global_step=state.global_step, epoch=float(state.epoch or 0))
        logger.info("paused at step %d: %s", state.global_step, decision.pause_reason)
    note = "Free some space on the disk of the runs." if decision is Decision.PAUSE_FOR_DISK else ""
    raise RunPaused(decision.pause_reason, note)


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
    parts = TrainingParts(
        task.model, task.heads, task.loss, task.batch_maker(), task.views, task.write_predictions,
        task.balanced_by,
    )  # fmt: skip
    trainer = RunTrainer(
        parts=parts,
        strategy=strategy,
        check=ChangeCheck(task.model, task.heads),
        config=config,
        predictions_path=predictions_path,
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
    trainer.finish_writing()
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
        "train_runtime": _train_runtime(state),
        "train_seconds_waiting": trainer.clock.waiting_s,
        "peak_memory_bytes": peak_memory_bytes(trainer.args.device),
    }
    evaluation = {"eval": best_metrics(state), "test": strip_prefix(test, "test")}
    store.change_state(
        run_id, LIVE_STATES, RunState.COMPLETED, by="worker", evaluation=evaluation, facts=facts,
        global_step=state.global_step, epoch=float(state.epoch or 0),
    )  # fmt: skip
    logger.info("completed: the best model is saved, and test was evaluated")


def _train_runtime(state: TrainerState) -> float | None:
    """Seconds of training with its evaluations and checkpoints, since the run was last begun or resumed."""
    return next(
        (line["train_runtime"] for line in reversed(state.log_history) if "train_runtime" in line), None
    )
