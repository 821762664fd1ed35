"""How a run ends that cannot say so itself: its worker is gone, or a person discarded it.

The supervisor and a run in the foreground share this. Both write by compare-and-set, so it does not matter
which of them, or the worker itself, is first.
"""

import shutil
import signal
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from superft_hf.engine.processes import living, processes_naming
from superft_hf.errors import SuperFTError, WorkerDiedError
from superft_hf.records import (
    LIVE_STATES,
    TERMINAL_STATES,
    UNFINISHED_STATES,
    Failure,
    ProcessRecord,
    Request,
    RunRecord,
    RunState,
)
from superft_hf.store import RunStore

LAUNCHER = "launcher"
"""The role of the process that starts ranks."""

ORPHAN_GRACE_S = 5.0
"""How long ranks may outlive their launcher."""

UNRECORDED_S = 15.0
"""How long a run may be starting before its first process must have been recorded."""

_LOG_TAIL_BYTES = 4096


def runs_to_discard(store: RunStore) -> list[RunRecord]:
    """Runs that are to be discarded and are not yet."""
    states = [state for state in RunState if state not in TERMINAL_STATES]
    return store.list_runs(states, request=Request.DISCARD)


def needs_supervisor(store: RunStore) -> bool:
    """Whether a run waits, is at work, or is to be discarded."""
    return bool(store.list_runs(UNFINISHED_STATES) or runs_to_discard(store))


@dataclass(frozen=True)
class RunProcesses:
    """What works on a run at one moment.

    Attributes:
        living: The processes that work on it.
        is_recorded: Whether any was ever recorded, alive or not.
        is_orphaned: Whether ranks live whose launcher, which alone could tell them to stop, does not.
    """

    living: tuple[ProcessRecord, ...]
    is_recorded: bool
    is_orphaned: bool


def look_at_processes(store: RunStore, run_id: str) -> RunProcesses:
    """Which processes work on a run; of a dead launcher also ranks that are not recorded yet.

    A rank records itself only when it has imported torch. One whose launcher is killed before that would
    otherwise be overlooked, and train on devices that another run was given.
    """
    recorded = store.read_processes(run_id)
    left = living(recorded)
    has_lost_launcher = any(process.role == LAUNCHER and process not in left for process in recorded)
    if has_lost_launcher:
        known = {process.pid for process in left}
        found = processes_naming(str(store.run_paths(run_id).folder))
        left += [process for process in living(found) if process.pid not in known]
    return RunProcesses(tuple(left), bool(recorded), has_lost_launcher and bool(left))


def is_gone(run: RunRecord, processes: RunProcesses) -> bool:
    """Whether no process works on a live run any more."""
    if processes.living or processes.is_recorded:
        return not processes.living
    began = datetime.fromisoformat(run.started_at or run.created_at)
    return (datetime.now(UTC) - began).total_seconds() > UNRECORDED_S


def settle_dead(store: RunStore, run_id: str, returncode: int | None, *, by: str) -> bool:
    """Marks a live run as failed whose processes are gone, unless the worker has settled it.

    Args:
        store: Where the run is.
        run_id: The run.
        returncode: As subprocess has it; None when the process was not our child.
        by: Who noticed, for the run's events.

    Returns:
        Whether the run failed by this.
    """
    error = death(returncode, store.run_paths(run_id).log)
    return settle_failed(store, run_id, error, by=by)


def settle_failed(store: RunStore, run_id: str, error: SuperFTError, *, by: str) -> bool:
    """Marks a queued or live run as failed; returns whether it was one."""
    states = (RunState.QUEUED, *LIVE_STATES)
    return store.change_state(
        run_id, states, RunState.FAILED, by=by, failure=Failure.of(error), waiting_for=None
    )


def settle_discarded(store: RunStore, run_id: str, *, by: str) -> bool:
    """Marks a run as discarded whose processes are gone, and removes its weights; the record stays."""
    states = [state for state in RunState if state not in TERMINAL_STATES]
    is_changed = store.change_state(run_id, states, RunState.DISCARDED, by=by, waiting_for=None)
    if is_changed:
        paths = store.run_paths(run_id)
        for folder in (paths.checkpoints, paths.model):
            shutil.rmtree(folder, ignore_errors=True)
    return is_changed


def death(returncode: int | None, log: Path) -> WorkerDiedError:
    """Why a worker is gone that did not say so, as far as it can be known."""
    if returncode is None:
        return WorkerDiedError(
            "The worker ended without a word.",
            hint="It may have been killed, or the machine was restarted. Start the run again; its log has "
            "what it said last.",
        )
    if returncode == -signal.SIGKILL:
        return WorkerDiedError(
            "The worker was killed (signal 9); the system may have been out of memory.",
            hint="Start the run again; if it happens again, lower training.per_device_train_batch_size or "
            "model.image_size.",
        )
    if returncode < 0:
        return WorkerDiedError(
            f"The worker was ended by signal {-returncode} ({_signal_name(-returncode)}).",
            hint="Start the run again; its log has what it said last.",
        )
    if returncode == 0:
        return WorkerDiedError(
            "The worker ended before the run was complete.", hint="Its log has what it said last."
        )
    last_words = _last_words(log)
    said = f"; it said last: {last_words}" if last_words else " without a word."
    return WorkerDiedError(
        f"The worker ended with exit code {returncode}{said}", hint="The log of the run has the details."
    )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"


def _last_words(log: Path) -> str:
    """The last line of a log that holds words; empty when there is none."""
    try:
        with log.open("rb") as opened:
            opened.seek(max(0, log.stat().st_size - _LOG_TAIL_BYTES))
            lines = opened.read().decode("utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    spoken = [line.strip() for line in lines if any(letter.isalpha() for letter in line)]
    return spoken[-1][:200] if spoken else ""
