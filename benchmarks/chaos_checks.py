"""What must hold for a run that was killed again and again: it is the run that was left alone.

Each function returns sentences about what does not hold; none means that all is well.
"""

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.parquet as pq
from safetensors.numpy import load_file

from superft_hf.engine.processes import living
from superft_hf.records import Event, RunRecord, RunState
from superft_hf.store import RunStore

ALLOWED: Mapping[RunState, tuple[RunState, ...]] = {
    RunState.QUEUED: (RunState.STARTING, RunState.FAILED, RunState.DISCARDED),
    # COMPLETED: one that was killed after its last step only has to be tested, and makes no step any more.
    RunState.STARTING: (
        RunState.RUNNING, RunState.COMPLETED, RunState.FAILED, RunState.PAUSED, RunState.DISCARDED
    ),
    RunState.RUNNING: (RunState.COMPLETED, RunState.FAILED, RunState.PAUSED, RunState.DISCARDED),
    RunState.PAUSED: (RunState.QUEUED, RunState.DISCARDED),
    RunState.FAILED: (RunState.QUEUED, RunState.DISCARDED),
    RunState.COMPLETED: (),
    RunState.DISCARDED: (),
}  # fmt: skip
"""Which state may follow which."""

_QUEUES = ("created", "resumed")
"""Events after which a run is queued; any other change of state has the state's name."""

_TIMES = ("_per_second", "_runtime")
"""Ends of the names of metrics that tell how fast a machine was."""

_LEAVE_S = 15.0
"""How long a worker may take to leave after it has completed its run."""

_EQUAL_FIELDS = ("global_step", "max_steps", "epoch", "best_metric", "best_value", "best_step", "accuracy")


def differences(store: RunStore, run_id: str, alone_id: str) -> list[str]:
    """In what a run differs from the one that was left alone, or contradicts itself."""
    run, alone = store.get_run(run_id), store.get_run(alone_id)
    found = state_problems(store.read_events(run_id), run.state)
    if run.state is not RunState.COMPLETED:
        return [*found, f"the run is {run.state} instead of completed"]
    found += _record_differences(run, alone)
    found += _weight_differences(store, run_id, alone_id)
    found += _metric_differences(store, run_id, alone_id)
    found += _prediction_differences(store, run_id, alone_id)
    found += _leftovers(store, run_id)
    return found


def state_problems(events: Sequence[Event], last: RunState) -> list[str]:
    """Changes of state that must not be, in a run's history; `last` is its state now."""
    found, state = [], None
    for event in events:
        new = RunState.QUEUED if event.what in _QUEUES else _state_of(event.what)
        if new is None:
            continue
        if state is None and event.what != "created":
            found.append(f"its history begins with {event.what}")
        if state is not None and new not in ALLOWED[state]:
            found.append(f"{new} after {state} at {event.time}")
        state = new
    if state is not last:
        found.append(f"its history ends with {state}, and it is {last}")
    return found


def processes_of(folder: Path) -> list[psutil.Process]:
    """Every process that was started for something in a folder, and works."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        is_named = any(str(folder) in part for part in process.info["cmdline"] or ())
        if (
            is_named
            and process.pid != psutil.Process().pid
            and process.info["status"] != psutil.STATUS_ZOMBIE
        ):
            found.append(process)
    return found


def _state_of(what: str) -> RunState | None:
    return RunState(what) if what in list(RunState) else None


def _record_differences(run: RunRecord, alone: RunRecord) -> list[str]:
    found = [
        f"{name} is {getattr(run, name)} instead of {getattr(alone, name)}"
        for name in _EQUAL_FIELDS
        if getattr(run, name) != getattr(alone, name)
    ]
    if _without_times(run.evaluation) != _without_times(alone.evaluation):
        found.append("its evaluation differs")
    if run.failure is not None or run.pause_reason is not None or run.request is not None:
        found.append("it is completed, yet has a failure, a pause's reason or a request")
    return found


def _without_times(evaluation: Mapping[str, Mapping[str, float]]) -> dict[tuple[str, str], Any]:
    return {
        (split, key): value
        for split, values in evaluation.items()
        for key, value in values.items()
        if not f"_{key}".endswith(_TIMES)
    }


def _weight_differences(store: RunStore, run_id: str, alone_id: str) -> list[str]:
    one, other = (load_file(store.run_paths(each).model / "model.safetensors") for each in (run_id, alone_id))
    if one.keys() != other.keys():
        return [f"tensors missing or added: {sorted(one.keys() ^ other.keys())[:5]}"]
    return [
        f"tensor {name} differs by {_distance(tensor, other[name])}"
        for name, tensor in one.items()
        if tensor.tobytes() != other[name].tobytes()
    ]


def _distance(one: np.ndarray, other: np.ndarray) -> str:
    return f"{np.abs(one - other).max():.2g}" if one.shape == other.shape else "its shape"


def _metric_differences(store: RunStore, run_id: str, alone_id: str) -> list[str]:
    read = store.read_metrics(run_id)
    found = [
        f"{row.key} twice at step {row.step}" for row in read[read.duplicated(["key", "step"])].itertuples()
    ]
    one, other = _points(store, run_id), _points(store, alone_id)
    found += [f"no {key} at step {step}" for key, step in sorted(other.keys() - one.keys())]
    found += [f"a {key} too many at step {step}" for key, step in sorted(one.keys() - other.keys())]
    found += [
        f"{point[0]} at step {point[1]} is {one[point]} instead of {other[point]}"
        for point in sorted(one.keys() & other.keys())
        if one[point] != other[point]
    ]
    return found


def _points(store: RunStore, run_id: str) -> dict[tuple[str, int], tuple[float | None, float]]:
    """(key, step): (value, epoch) of every point; None stands for NaN, which equals nothing."""
    return {
        (row.key, row.step): (None if math.isnan(row.value) else row.value, row.epoch)
        for row in store.read_metrics(run_id).itertuples()
        if not row.key.endswith(_TIMES)
    }


def _prediction_differences(store: RunStore, run_id: str, alone_id: str) -> list[str]:
    folders = [store.run_paths(each).predictions for each in (run_id, alone_id)]
    one, other = ({path.name: path for path in folder.iterdir()} for folder in folders)
    found = [f"no prediction file {name}" for name in sorted(other.keys() - one.keys())]
    found += [f"a file {name} too many among the predictions" for name in sorted(one.keys() - other.keys())]
    for name in sorted(one.keys() & other.keys()):
        if not pq.read_table(one[name]).equals(pq.read_table(other[name]), check_metadata=True):
            found.append(f"the prediction file {name} differs")
    return found


def _leftovers(store: RunStore, run_id: str) -> list[str]:
    deadline = time.monotonic() + _LEAVE_S
    while (left := living(store.read_processes(run_id))) and time.monotonic() < deadline:
        time.sleep(0.1)
    found = [f"process {process.pid} ({process.role}) is left" for process in left]
    checkpoints = store.run_paths(run_id).checkpoints
    found += [f"{path.name} is left beside the checkpoints" for path in checkpoints.glob(".*")]
    return found
