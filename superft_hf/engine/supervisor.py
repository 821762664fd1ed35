"""The supervisor of a home: takes queued runs in order, starts their workers, and notices how they end.

There is one per home, by a lock on a file that is held for life. It trains nothing and can be killed at any
moment: workers go on without it, and the next supervisor adopts them, since all it knows is in the store. It
leaves when it has been idle for a while, or when its home is gone.
"""

import argparse
import contextlib
import fcntl
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from logging.handlers import RotatingFileHandler
from pathlib import Path

from superft_hf.config import RunConfig
from superft_hf.engine.devices import Lease, find_devices, try_lease
from superft_hf.engine.launcher import Launcher
from superft_hf.engine.processes import STOP_GRACE_S, send_signal
from superft_hf.engine.settling import (
    ORPHAN_GRACE_S,
    is_gone,
    look_at_processes,
    needs_supervisor,
    runs_to_discard,
    settle_dead,
    settle_discarded,
    settle_failed,
)
from superft_hf.errors import SuperFTError
from superft_hf.paths import HomePaths
from superft_hf.records import UNFINISHED_STATES, ProcessRecord, RunRecord, RunState
from superft_hf.store import RunStore

logger = logging.getLogger(__name__)

BY = "supervisor"
IDLE_S = 600.0
POLL_S = 0.5

_ADOPTED_GRACE_S = 1.0
"""Whoever started a worker knows its exit code, and is given this long to settle the run first."""

_LOCK_ATTEMPTS = 10
_AFTER_ERROR_S = 5.0
_LOG_BYTES = 1_000_000


@dataclass
class _Child:
    """A worker that this supervisor started, and the devices it was given."""

    process: "subprocess.Popen[bytes]"
    lease: Lease


class Supervisor:
    """What is done in one pass over the runs of a home.

    Args:
        home: The home; it must exist.
        launcher: Starts the workers.
    """

    def __init__(self, home: Path, launcher: Launcher | None = None) -> None:
        self._store = RunStore(home)
        self._launcher = launcher or Launcher()
        self._children: dict[str, _Child] = {}
        self._configs: dict[str, RunConfig] = {}
        self._first_seen: dict[tuple[str, str], float] = {}

    def step(self) -> bool:
        """Looks at every run once; returns whether there is anything to wait for."""
        discarded = {run.run_id: run for run in runs_to_discard(self._store)}
        unfinished = self._store.list_runs(UNFINISHED_STATES)
        runs = [run for run in unfinished if run.run_id not in discarded]
        at_work = {*discarded, *(run.run_id for run in runs)}
        self._first_seen = {key: when for key, when in self._first_seen.items() if key[0] in at_work}
        for run in discarded.values():
            self._discard(run)
        for run in runs:
            if run.is_live:
                self._watch(run)
        self._release_ended()
        self._start_queued([run for run in reversed(runs) if run.state is RunState.QUEUED])
        return bool(self._children) or bool(at_work)

    def has_work(self) -> bool:
        """Whether a supervisor is needed, without doing anything."""
        return needs_supervisor(self._store)

    def end_children(self) -> None:
        """Ends the workers that were started here; for a home that is gone, where nothing can be recorded."""
        for child in self._children.values():
            if child.process.poll() is None:
                child.process.terminate()

    def close(self) -> None:
        """Closes the store."""
        self._store.close()

    # Ends

    def _watch(self, run: RunRecord) -> None:
        """Settles a live run whose processes are gone."""
        processes = look_at_processes(self._store, run.run_id)
        if processes.is_orphaned and self._has_lasted(run, "orphaned", ORPHAN_GRACE_S):
            send_signal(processes.living, signal.SIGKILL)
        if not is_gone(run, processes):
            return
        child = self._children.get(run.run_id)
        returncode = child.process.poll() if child else None
        if child is None and not self._has_lasted(run, "gone", _ADOPTED_GRACE_S):
            return
        if settle_dead(self._store, run.run_id, returncode, by=BY):
            logger.warning("%s failed: its worker is gone (exit code %s)", run.run_id, returncode)

    def _discard(self, run: RunRecord) -> None:
        """Ends the processes of a run, over several passes, and then discards it."""
        processes = look_at_processes(self._store, run.run_id)
        if processes.living:
            self._stop(run, processes.living)
            return
        if run.is_live and not is_gone(run, processes):
            return
        if settle_discarded(self._store, run.run_id, by=BY):
            logger.info("%s is discarded", run.run_id)

    def _stop(self, run: RunRecord, processes: Sequence[ProcessRecord]) -> None:
        if (run.run_id, "stopping") not in self._first_seen:
            send_signal(processes, signal.SIGTERM)
        if self._has_lasted(run, "stopping", STOP_GRACE_S):
            send_signal(processes, signal.SIGKILL)

    def _release_ended(self) -> None:
        """Gives devices on once every process of their run is gone, and waits for our own children."""
        for run_id, child in list(self._children.items()):
            if child.process.poll() is None or look_at_processes(self._store, run_id).living:
                continue
            if self._store.has_run(run_id) and self._store.get_run(run_id).is_live:
                continue  # it ended in the middle of this pass; the next one settles it by its exit code
            child.lease.close()
            del self._children[run_id]

    def _has_lasted(self, run: RunRecord, what: str, seconds: float) -> bool:
        """Whether something was first seen of a run at least so many seconds ago."""
        first = self._first_seen.setdefault((run.run_id, what), time.monotonic())
        return time.monotonic() - first >= seconds

    # Starts

    def _start_queued(self, queued: Sequence[RunRecord]) -> None:
        """Starts what can be started, oldest first; a run waits for an earlier one that wants its devices."""
        waiting = {run.run_id for run in queued}
        self._configs = {key: config for key, config in self._configs.items() if key in waiting}
        wanted: set[str] = set()
        for run in queued:
            if run.is_held:
                continue
            try:
                wanted |= self._start_or_wait(run, wanted)
            except SuperFTError as error:
                if settle_failed(self._store, run.run_id, error, by=BY):
                    logger.warning("%s could not be started: %s", run.run_id, error)

    def _start_or_wait(self, run: RunRecord, wanted: set[str]) -> set[str]:
        """Starts a run if its devices are free; else returns the names of the devices it waits for."""
        if run.run_id not in self._configs:  # written once, and slow to parse
            self._configs[run.run_id] = self._store.read_config(run.run_id)
        config = self._configs[run.run_id]
        devices = find_devices(config.hardware)
        lease = None if wanted & set(devices.names) else try_lease(config.hardware)
        if lease is None:
            if run.waiting_for != devices.waiting_words:
                self._store.update_run(run.run_id, waiting_for=devices.waiting_words)
            return set(devices.names)
        try:
            self._start(run, config, lease)
        finally:
            if run.run_id not in self._children:
                lease.close()
        return set()

    def _start(self, run: RunRecord, config: RunConfig, lease: Lease) -> None:
        # Compare-and-set: it may have been discarded since it was read.
        if self._store.change_state(run.run_id, (RunState.QUEUED,), RunState.STARTING, by=BY):
            process = self._launcher.start(self._store, run.run_id, config, lease)
            self._children[run.run_id] = _Child(process, lease)
            logger.info("%s starts on %s as process %s", run.run_id, lease.devices.words, process.pid)


def try_lock(path: Path, attempts: int = _LOCK_ATTEMPTS) -> int | None:
    """Locks the supervisor's file and writes the pid into it.

    Args:
        path: The file.
        attempts: How often to try, a tenth of a second apart: whoever only looks holds it for a moment too.

    Returns:
        The descriptor, which holds the lock while it is open; None when another supervisor has it, or the
        home is gone.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        return None
    for attempt in range(attempts):
        time.sleep(0.1 if attempt else 0)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            return descriptor
    os.close(descriptor)
    return None


def run_supervisor(
    home: Path, launcher: Launcher | None = None, *, idle_s: float = IDLE_S, poll_s: float = POLL_S
) -> int:
    """Supervises a home until there is a reason to leave; the body of the process.

    Args:
        home: An absolute path. If it does not exist, or has a supervisor, nothing is done.
        launcher: Starts the workers.
        idle_s: How long to stay without anything to do.
        poll_s: Time between two passes.

    Returns:
        The exit code of the process.
    """
    stop = threading.Event()
    paths = HomePaths(home)
    while (lock := try_lock(paths.supervisor_lock)) is not None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        _set_up_logging(paths)
        try:
            supervisor = Supervisor(home, launcher)
        except SuperFTError:
            logger.exception("the runs cannot be read")
            return 1
        logger.info("supervisor of %s, process %s", home, os.getpid())
        _loop(supervisor, _Pace(idle_s, poll_s), lambda: _is_own(paths.supervisor_lock, lock), stop)
        os.close(lock)
        # A run that was queued while we were leaving found the lock taken: look once more, without it.
        has_work = home.is_dir() and not stop.is_set() and supervisor.has_work()
        supervisor.close()
        if not has_work:
            break
    return 0


@dataclass(frozen=True)
class _Pace:
    idle_s: float
    poll_s: float


def _loop(supervisor: Supervisor, pace: _Pace, has_home: Callable[[], bool], stop: threading.Event) -> None:
    """Passes over the runs until told to stop, idle for too long, or without a home."""
    idle_since = time.monotonic()
    pause = 0.0
    while not stop.wait(pause):
        pause = pace.poll_s
        if not has_home():
            logger.warning("the home is gone")
            supervisor.end_children()
            return
        try:
            if supervisor.step():
                idle_since = time.monotonic()
        except Exception:
            # The top of a process: one bad pass must not leave the runs without a supervisor.
            logger.exception("a pass over the runs failed")
            pause = _AFTER_ERROR_S
        if time.monotonic() - idle_since >= pace.idle_s:
            logger.info("nothing to do for %.0f s", pace.idle_s)
            return


def _is_own(path: Path, descriptor: int) -> bool:
    """Whether the path still names the file that we hold: a home may be deleted, and made anew."""
    try:
        return path.stat().st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False


def _set_up_logging(paths: HomePaths) -> None:
    handler = RotatingFileHandler(paths.supervisor_log, maxBytes=_LOG_BYTES, backupCount=1, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m superft_hf.engine.supervisor HOME`."""
    parser = argparse.ArgumentParser(prog="superft_hf.engine.supervisor", description="Supervises a home.")
    parser.add_argument("home", type=Path)
    parser.add_argument("--idle-s", type=float, default=IDLE_S, help="seconds to stay without anything to do")
    asked = parser.parse_args(arguments)
    return run_supervisor(asked.home.absolute(), idle_s=asked.idle_s)


if __name__ == "__main__":
    sys.exit(main())
