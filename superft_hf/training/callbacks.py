"""The only bridge from training to the store: what a page shows live is written here, by the main process."""

import logging
import time
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from superft_hf.records import RunState
from superft_hf.store import RunStore
from superft_hf.store_base import now

logger = logging.getLogger(__name__)

PROGRESS_SECONDS = 0.5
HEARTBEAT_SECONDS = 5.0
_LEFT_OUT = ("runtime", "per_second", "preparation_time")


class StoreCallback(TrainerCallback):
    """Writes state, progress, metrics and the best value of a run.

    Args:
        store: Where to.
        run_id: Which run.
    """

    def __init__(self, store: RunStore, run_id: str) -> None:
        self._store = store
        self._run_id = run_id
        self._written_at = 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Writes how many steps there will be."""
        if state.is_world_process_zero:
            self._store.update_run(
                self._run_id, max_steps=state.max_steps, num_train_epochs=float(args.num_train_epochs)
            )

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """With its first step a run begins to run."""
        if state.is_world_process_zero and not self._written_at:
            self._written_at = time.monotonic()
            self._store.change_state(self._run_id, [RunState.STARTING], RunState.RUNNING, by="worker")

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Writes the progress, now and then."""
        if state.is_world_process_zero and (
            time.monotonic() - self._written_at > PROGRESS_SECONDS or state.global_step == state.max_steps
        ):
            self._written_at = time.monotonic()
            self._store.update_run(
                self._run_id, global_step=state.global_step, epoch=float(state.epoch or 0), progress_at=now()
            )

    def on_prediction_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Writes that an evaluation gets on, now and then."""
        if state.is_world_process_zero and time.monotonic() - self._written_at > HEARTBEAT_SECONDS:
            self._written_at = time.monotonic()
            self._store.update_run(self._run_id, progress_at=now())

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float],
        **kwargs: Any,
    ) -> None:
        """Writes the points of all curves."""
        if not state.is_world_process_zero:
            return
        is_curve = "loss" in logs
        values = {
            key: value
            for key, value in logs.items()
            if key != "epoch"
            and (is_curve or (key.startswith(("eval_", "test_")) and not key.endswith(_LEFT_OUT)))
        }
        self._store.log_metrics(self._run_id, state.global_step, float(state.epoch or 0), values)

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float],
        **kwargs: Any,
    ) -> None:
        """Says how the epoch went."""
        if state.is_world_process_zero and "eval_loss" in metrics:
            loss = next(
                (entry["loss"] for entry in reversed(state.log_history) if "loss" in entry), float("nan")
            )
            logger.info(
                "epoch %g  train_loss %.4f  eval_loss %.4f  eval_accuracy %.4f",
                round(state.epoch or 0, 2),
                loss,
                metrics["eval_loss"],
                metrics.get("eval_accuracy", float("nan")),
            )

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Writes the best value: it is known only after the evaluation that made it."""
        if state.is_world_process_zero and state.best_metric is not None:
            self._store.update_run(
                self._run_id, best_value=float(state.best_metric), best_step=state.best_global_step,
                accuracy=best_metrics(state).get("accuracy"),
            )  # fmt: skip


class Heartbeat:
    """Writes that a run gets on while its images are opened, now and then.

    Args:
        store: Where to.
        run_id: Which run.
    """

    def __init__(self, store: RunStore, run_id: str) -> None:
        self._store, self._run_id = store, run_id
        self._written_at = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        """Hears how many images are open."""
        if time.monotonic() - self._written_at > HEARTBEAT_SECONDS:
            self._written_at = time.monotonic()
            self._store.update_run(self._run_id, progress_at=now())


def best_metrics(state: TrainerState) -> dict[str, float]:
    """The eval figures of the best step, without prefixes."""
    for entry in state.log_history:
        if entry.get("step") == state.best_global_step and "eval_loss" in entry:
            return strip_prefix(entry, "eval")
    return {}


def strip_prefix(metrics: dict[str, float], split: str) -> dict[str, float]:
    """`{"eval_loss": 1}` to `{"loss": 1}`, without run times."""
    start = f"{split}_"
    return {
        key.removeprefix(start): value
        for key, value in metrics.items()
        if key.startswith(start) and not key.endswith(_LEFT_OUT)
    }
