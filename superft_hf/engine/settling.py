"""How a run ends that cannot say so itself: its worker is gone, or a person stopped it hard or discarded it.

The supervisor and a run in the foreground share this. Both write by compare-and-set, so it does not matter
which of them, or the worker itself, is first.
"""

import shutil
import signal
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from superft_hf.config import RunConfig
from superft_hf.doctor import diagnose
from superft_hf.engine.processes import living, processes_of_run
from superft_hf.errors import SuperFTError, WorkerDiedError
from superft_hf.paths import RunPaths
from superft_hf.recipe.decided import decided_config
from superft_hf.records import (
    LIVE_STATES,
    TERMINAL_STATES,
    UNFINISHED_STATES,
    PauseReason,
    ProcessRecord,
    Request,
    RunRecord,
    RunState,
)
from superft_hf.store import RunStore

LAUNCHER = "launcher"
"""The role of the process that starts ranks."""

UNRECORDED_S = 15.0
"""How long a run may be starting before its first process must have been recorded."""

_LOG_TAIL_BYTES = 4096


def resting_runs_to_discard(store: RunStore) -> list[RunRecord]:
    """Paused and failed runs that are to be discarded; unfinished ones are looked at in any case."""
    return store.list_runs((RunState.PAUSED, RunState.FAILED), request=Request.DISCARD)


def runs_to_go_on(store: RunStore) -> list[RunRecord]:
    """Runs that were paused by a shutdown, which go on by themselves."""
    paused = store.list_runs((RunState.PAUSED,))
    return [
        run for run in paused if run.pause_reason == PauseReason.SHUTDOWN and run.request != Request.DISCARD
    ]


def needs_supervisor(store: RunStore) -> bool:
    """Whether a run waits, is at work, is to be discarded, or was paused by a shutdown."""
    return bool(store.list_runs(UNFINISHED_STATES) or resting_runs_to_discard(store) or runs_to_go_on(store))


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
        found = processes_of_run(store.run_paths(run_id).folder)
        left += [process for process in living(found) if process.pid not in known]
    return RunProcesses(tuple(left), bool(recorded), has_lost_launcher and bool(left))


def is_gone(run: RunRecord, processes: RunProcesses) -> bool:
    """Whether no process works on a live run any more."""
    if processes.living or processes.is_recorded:
        return not processes.living
    began = datetime.fromisoformat(run.started_at or run.created_at)
    return (datetime.now(UTC) - began).total_seconds() > UNRECORDED_S


def settle_gone(
    store: RunStore,
    run_id: str,
    returncode: int | None = None,
    *,
    by: str,
    error: SuperFTError | None = None,
) -> bool:
    """Settles a run whose processes are gone, as it was asked to end; without being asked it failed.

    Args:
        store: Where the run is.
        run_id: The run.
        returncode: As subprocess has it; None when the process was not our child.
        by: Who noticed, for the run's events.
        error: Why its processes were ended; None when they ended by themselves.

    Returns:
        Whether this changed its state.
    """
    request = store.get_run(run_id).request
    if request == Request.DISCARD:
        return settle_discarded(store, run_id, by=by)
    if request == Request.STOP_HARD:
        return settle_paused(store, run_id, PauseReason.STOPPED_HARD, by=by)
    error = error or death(returncode, store.run_paths(run_id).log)
    return settle_failed(store, run_id, error, by=by, states=LIVE_STATES)


def settle_failed(
    store: RunStore,
    run_id: str,
    error: BaseException,
    *,
    by: str,
    states: Collection[RunState] = (RunState.QUEUED, *LIVE_STATES),
) -> bool:
    """Marks a run as failed if it is in one of these states; returns whether it was."""
    paths = store.run_paths(run_id)
    failure = diagnose(error, _config(paths), paths.log)
    return store.change_state(run_id, states, RunState.FAILED, by=by, failure=failure, waiting_for=None)


def settle_paused(store: RunStore, run_id: str, reason: PauseReason, *, by: str) -> bool:
    """Marks a live run as paused whose processes are gone; returns whether it was live."""
    return store.change_state(run_id, LIVE_STATES, RunState.PAUSED, by=by, pause_reason=str(reason))


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
            hint="It may have been killed, or the machine was restarted. Resume the run; its log has what it "
            "said last.",
        )
    if returncode == -signal.SIGKILL:
        return WorkerDiedError(
            "The worker was killed (signal 9); the system may have been out of memory.",
            hint="Resume the run; if it happens again, lower training.per_device_train_batch_size or "
            "model.image_size.",
            returncode=returncode,
        )
    if returncode < 0:
        return WorkerDiedError(
            f"The worker was ended by signal {-returncode} ({_signal_name(-returncode)}).",
            hint="Resume the run; its log has what it said last.",
            returncode=returncode,
        )
    if returncode == 0:
        return WorkerDiedError(
            "The worker ended before the run was complete.",
            hint="Its log has what it said last.",
            returncode=0,
        )
    last_words = _last_words(log)
    said = f"; it said last: {last_words}" if last_words else " without a word."
    return WorkerDiedError(
        f"The worker ended with exit code {returncode}{said}",
        hint="The log of the run has the details.",
        returncode=returncode,
    )


def _config(paths: RunPaths) -> RunConfig | None:
    """The configuration of a run as it was decided, else as asked; None when it cannot be read."""
    try:
        return decided_config(paths)
    except SuperFTError:
        return None


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
