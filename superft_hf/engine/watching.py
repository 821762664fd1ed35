"""Looks after runs at work: notices deaths and hangs, and ends what has to end at once.

Nothing here waits: each look does what is due by then, so that one run never keeps the others from being
looked at.
"""

import logging
import signal
import subprocess
import time
from collections.abc import Collection
from datetime import UTC, datetime

from superft_hf.config import TrainingConfig
from superft_hf.engine.processes import processes_of_run, send_signal
from superft_hf.engine.settling import RunProcesses, is_gone, look_at_processes, settle_gone
from superft_hf.errors import NoProgressError, SuperFTError
from superft_hf.records import ProcessRecord, Request, RunRecord
from superft_hf.store import RunStore
from superft_hf.words import duration

logger = logging.getLogger(__name__)

ORPHAN_GRACE_S = 5.0
"""How long ranks may outlive their launcher."""

ADOPTED_GRACE_S = 1.0
"""Whoever started a worker knows its exit code, and is given this long to settle the run first."""

HANG_GRACE_S = 30.0
"""How long a run that seems to hang is watched before it is ended: the clock of a machine that slept, or was
set, makes every run look as if it hung. It is also the least that `training.hang_timeout_s` may be."""

AT_ONCE = (Request.STOP_HARD, Request.DISCARD)
"""Requests that nothing is waited for."""


class Watch:
    """What is known of runs from one look to the next.

    Args:
        store: Where the runs are.
        by: Who watches, for the runs' events.
    """

    def __init__(self, store: RunStore, by: str) -> None:
        self._store = store
        self._by = by
        self._first_seen: dict[tuple[str, str], float] = {}
        self._timeouts: dict[str, float] = {}
        self._errors: dict[str, SuperFTError] = {}

    def keep(self, run_ids: Collection[str]) -> None:
        """Forgets all runs but these."""
        self._first_seen = {key: when for key, when in self._first_seen.items() if key[0] in run_ids}
        self._timeouts = {key: value for key, value in self._timeouts.items() if key in run_ids}
        self._errors = {key: error for key, error in self._errors.items() if key in run_ids}

    def look(self, run: RunRecord, child: "subprocess.Popen[bytes] | None" = None) -> bool:
        """Looks once at a run; only one that is live or is to be discarded can be settled.

        Args:
            run: The run as it is now.
            child: Its worker or launcher, if this process started it.

        Returns:
            Whether it was settled by this.
        """
        processes = look_at_processes(self._store, run.run_id)
        if processes.living:
            self._end_if_due(run, processes)
            return False
        if not run.is_live and run.request != Request.DISCARD:
            return False  # it has an end already
        if run.is_live and (not is_gone(run, processes) or self._is_unrecorded(run, processes)):
            return False
        returncode = child.poll() if child is not None else None
        is_known = child is not None or run.request in AT_ONCE
        if not is_known and not self.has_lasted(run, "gone", ADOPTED_GRACE_S):
            return False
        error = self._errors.get(run.run_id)
        is_settled = settle_gone(self._store, run.run_id, returncode, by=self._by, error=error)
        if is_settled:
            logger.info("%s is settled as %s", run.run_id, self._store.get_run(run.run_id).state)
        return is_settled

    def has_lasted(self, run: RunRecord, what: str, seconds: float) -> bool:
        """Whether something was first seen of a run at least so many seconds ago."""
        first = self._first_seen.setdefault((run.run_id, what), time.monotonic())
        return time.monotonic() - first >= seconds

    def _is_unrecorded(self, run: RunRecord, processes: RunProcesses) -> bool:
        """Whether a worker lives that is in no record yet: whoever started it was killed at that moment."""
        folder = self._store.run_paths(run.run_id).folder
        return not processes.is_recorded and bool(processes_of_run(folder))

    def _end_if_due(self, run: RunRecord, processes: RunProcesses) -> None:
        if run.request in AT_ONCE:
            self._end(run, processes.living, f"asked to {run.request}")
        elif processes.is_orphaned and self.has_lasted(run, "orphaned", ORPHAN_GRACE_S):
            self._end(run, processes.living, "its launcher is gone")
        elif run.is_live and self._is_hung(run):
            self._errors[run.run_id] = NoProgressError(duration(self._timeout_s(run)))
            self._end(run, processes.living, "no progress")

    def _end(self, run: RunRecord, processes: Collection[ProcessRecord], why: str) -> None:
        if (run.run_id, "ending") not in self._first_seen:
            logger.warning("%s: ends %s of its processes, %s", run.run_id, len(processes), why)
        self.has_lasted(run, "ending", 0)
        send_signal(tuple(processes), signal.SIGKILL)

    def _is_hung(self, run: RunRecord) -> bool:
        since = run.progress_at or run.started_at
        if since is None:
            return False
        idle_s = (datetime.now(UTC) - datetime.fromisoformat(since)).total_seconds()
        if idle_s <= HANG_GRACE_S or idle_s <= self._timeout_s(run):
            return False
        return self.has_lasted(run, f"hung since {since}", HANG_GRACE_S)

    def _timeout_s(self, run: RunRecord) -> float:
        """`training.hang_timeout_s` of a run; read once, since YAML is slow."""
        if run.run_id not in self._timeouts:
            try:
                training = self._store.read_config(run.run_id).training
            except SuperFTError:  # its file is gone, which must not keep a run from being watched
                training = TrainingConfig()
            self._timeouts[run.run_id] = training.hang_timeout_s
        return self._timeouts[run.run_id]
