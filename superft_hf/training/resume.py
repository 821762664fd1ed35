"""Where a run begins or goes on, and what has to be taken back before that."""

import logging
from dataclasses import dataclass

from transformers import TrainerState

from superft_hf import checkpoints
from superft_hf.checkpoints import Checkpoint
from superft_hf.paths import RunPaths
from superft_hf.store import RunStore
from superft_hf.training.callbacks import best_metrics

logger = logging.getLogger(__name__)

RESUMED, DAMAGED = "goes on", "damaged checkpoint"
"""Events of a run's history."""


@dataclass(frozen=True)
class RunContext:
    """Where a run lives."""

    store: RunStore
    run_id: str

    @property
    def paths(self) -> RunPaths:
        """Its files."""
        return self.store.run_paths(self.run_id)


def go_back(context: RunContext) -> Checkpoint | None:
    """Finds the newest complete checkpoint, and takes back whatever is later than it.

    Metric points, prediction files, features and checkpoints that a killed process wrote after it are
    removed, since the run makes them again. Only the main process may call this.

    Returns:
        The checkpoint to go on from; None: the run begins anew.
    """
    store, run_id, paths = context.store, context.run_id, context.paths
    found = checkpoints.find_checkpoints(paths.checkpoints, is_thorough=True)
    newest = found.newest
    step = newest.global_step if newest else -1
    for name in found.damaged:
        store.add_event(run_id, by="worker", what=DAMAGED, detail=f"{name} does not hold what was written")
    checkpoints.tidy(paths.checkpoints, newest)
    store.drop_metrics_after(run_id, step)
    for split in ("eval", "test"):
        for later in (one for one in paths.prediction_steps(split) if one > step):
            paths.prediction_file(split, later).unlink()
        for later in (one for one in paths.embeddings_steps(split) if one > step):
            paths.embeddings_file(split, later).unlink()
    if newest is None:
        store.update_run(
            run_id, global_step=0, epoch=0.0, best_value=None, best_step=None, accuracy=None, evaluation={}
        )  # fmt: skip
        detail = "no complete checkpoint: from the beginning"
    else:
        state = TrainerState.load_from_json(str(newest.folder / checkpoints.TRAINER_STATE))
        store.update_run(
            run_id, global_step=state.global_step, epoch=float(state.epoch or 0),
            best_value=state.best_metric, best_step=state.best_global_step,
            accuracy=best_metrics(state).get("accuracy"), evaluation={},
        )  # fmt: skip
        detail = f"from step {newest.global_step}"
    store.add_event(run_id, by="worker", what=RESUMED, detail=detail)
    logger.info("goes on %s", detail)
    return newest
