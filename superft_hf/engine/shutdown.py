"""A machine that shuts down: every run is paused with its checkpoint, and goes on when it is back."""

import logging
import signal
import time
from collections.abc import Callable

from superft_hf.engine.processes import send_signal
from superft_hf.engine.settling import (
    LAUNCHER,
    look_at_processes,
    runs_to_go_on,
    settle_gone,
    settle_paused,
)
from superft_hf.engine.watching import AT_ONCE
from superft_hf.errors import StateError, StoreError
from superft_hf.records import LIVE_STATES, PauseReason, Request
from superft_hf.store import RunStore

logger = logging.getLogger(__name__)

SHUTDOWN_WAIT_S = 60.0
"""How long workers may take to write their checkpoints."""

_KILL_WAIT_S = 5.0
"""How long a process may take to be gone after SIGKILL; one that waits for a broken disk may never be."""

_POLL_S = 0.2


def pause_for_shutdown(
    store: RunStore, *, by: str, wait_s: float = SHUTDOWN_WAIT_S, is_cancelled: Callable[[], bool] = bool
) -> None:
    """Tells all workers to pause, waits for them, and ends those that do not.

    Ranks are told and never their launcher, which would end them instead of waiting for them.

    Args:
        store: Where the runs are.
        by: Who pauses them, for the runs' events.
        wait_s: How long the workers may take.
        is_cancelled: Asked again and again; true ends the waiting at once, and leaves the workers alone.
    """
    runs = [run.run_id for run in store.list_runs(LIVE_STATES)]
    told: set[int] = set()
    deadline = time.monotonic() + wait_s
    while runs and not is_cancelled() and time.monotonic() < deadline + _KILL_WAIT_S:
        is_late = time.monotonic() >= deadline
        for run_id in list(runs):
            try:
                if _is_over(store, run_id, told, by=by, is_late=is_late):
                    runs.remove(run_id)
            except StoreError:  # such as a full disk: the others are told all the same
                logger.exception("%s could not be settled", run_id)
        if runs:
            time.sleep(_POLL_S)
    if runs:
        logger.warning("left without an end: %s", ", ".join(runs))


def go_on_after_shutdown(store: RunStore, *, by: str) -> None:
    """Queues the runs again that a shutdown paused, where they stood in the queue before."""
    for run in runs_to_go_on(store):
        try:
            store.requeue(run.run_id, by=by)
        except StateError:  # a person was faster
            continue
        store.update_run(run.run_id, queued_at=run.queued_at)
        logger.info("%s goes on after the shutdown", run.run_id)


def _is_over(store: RunStore, run_id: str, told: set[int], *, by: str, is_late: bool) -> bool:
    """Whether no process works on the run and it is settled; tells those that do not know yet."""
    run = store.get_run(run_id)
    processes = look_at_processes(store, run_id)
    if processes.living:
        if is_late or run.request in AT_ONCE:
            send_signal(processes.living, signal.SIGKILL)
            return False
        # A rank records itself some time after its launcher, so that new ones may come while we wait.
        new = [one for one in processes.living if one.role != LAUNCHER and one.pid not in told]
        send_signal(new, signal.SIGTERM)
        told.update(one.pid for one in new)
        return False
    if not run.is_live:
        return True
    if not processes.is_recorded and not is_late:
        return False  # another command is starting it
    if run.request in AT_ONCE:
        settle_gone(store, run_id, by=by)
    else:
        is_persons = run.request == Request.PAUSE
        settle_paused(store, run_id, PauseReason.PERSON if is_persons else PauseReason.SHUTDOWN, by=by)
    return True
