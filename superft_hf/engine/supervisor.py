"""The supervisor of a home: takes queued runs in order, starts their workers, and notices how they end.

There is one per home, by a lock on a file that is held for life. It trains nothing and can be killed at any
moment: workers go on without it, and the next supervisor adopts them, since all it knows is in the store. It
leaves when it has been idle for a while, or when its home is gone. SIGTERM, which a machine sends that shuts
down, pauses all runs first; SIGUSR1 makes it leave at once.
"""

import argparse
import contextlib
import fcntl
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from logging.handlers import RotatingFileHandler
from pathlib import Path

from superft_hf.engine.launcher import Launcher
from superft_hf.engine.notify import Notifier
from superft_hf.engine.ready import READY_WORKER
from superft_hf.engine.settling import needs_supervisor, resting_runs_to_discard, settle_failed
from superft_hf.engine.shutdown import SHUTDOWN_WAIT_S, go_on_after_shutdown, pause_for_shutdown
from superft_hf.engine.starting import Starter, in_order
from superft_hf.engine.watching import Watch
from superft_hf.errors import StoreError, SuperFTError
from superft_hf.paths import HomePaths
from superft_hf.records import UNFINISHED_STATES, Request, RunRecord
from superft_hf.store import RunStore

logger = logging.getLogger(__name__)

BY = "supervisor"
IDLE_S = 600.0
POLL_S = 0.5

_LOCK_ATTEMPTS = 10
_AFTER_ERROR_S = 5.0
_LOG_BYTES = 1_000_000
_NOTIFY_WAIT_S = 5.0
"""How long messages may keep a supervisor that leaves."""

_MAX_NEW_CONFIGS = 20
"""Configurations read in one pass: a long queue must not keep it from noticing what happens to live runs."""


class Supervisor:
    """What is done in one pass over the runs of a home.

    Args:
        home: The home; it must exist.
        launcher: Starts the workers.
    """

    def __init__(self, home: Path, launcher: Launcher | None = None) -> None:
        launcher = launcher or Launcher()
        self._store = RunStore(home)
        self._watch = Watch(self._store, BY)
        self._ready = launcher.ready_place(home)
        self._starter = Starter(self._store, launcher, BY, self._ready)
        self._notifier = Notifier(self._store, BY)
        self._unfinished: set[str] = set()

    def begin(self) -> bool:
        """Queues runs that a shutdown paused; returns whether there is a wish for a supervisor at all."""
        if self._store.read_settings().is_supervisor_stopped:
            return False
        go_on_after_shutdown(self._store, by=BY)
        return True

    def step(self) -> bool:
        """Looks at every run once; returns whether there is anything to wait for."""
        unfinished = self._store.list_runs(UNFINISHED_STATES)
        to_discard = resting_runs_to_discard(self._store)
        run_ids = {run.run_id for run in (*unfinished, *to_discard)}
        self._watch.keep(run_ids)
        self._starter.keep(run_ids)
        for run in (*unfinished, *to_discard):
            if run.is_live or run.request == Request.DISCARD:
                self._look(run)
        self._starter.release_ended()
        self._start_queued([run for run in in_order(unfinished) if run.request != Request.DISCARD])
        self._notice_ends({run.run_id for run in unfinished})
        if self._ready is not None:
            is_idle = not self._starter.children and all(run.is_held for run in unfinished)
            self._ready.look_after(self._store.read_settings().cpu_slots, is_idle=is_idle)
        return bool(self._starter.children) or bool(run_ids)

    @property
    def expected_at(self) -> float:
        """When somebody last said that a run will come, see `control.expect_run`."""
        try:
            return HomePaths(self._store.home).supervisor_start_lock.stat().st_mtime
        except OSError:
            return 0.0

    def has_work(self) -> bool:
        """Whether a supervisor is needed, without doing anything."""
        return needs_supervisor(self._store)

    def shut_down(self, wait_s: float, is_cancelled: Callable[[], bool]) -> None:
        """Pauses every live run, waits for their checkpoints, and ends what does not obey."""
        logger.info("told to shut down: pauses the runs")
        pause_for_shutdown(self._store, by=BY, wait_s=wait_s, is_cancelled=is_cancelled)
        self._notice_ends({run.run_id for run in self._store.list_runs(UNFINISHED_STATES)})

    def end_children(self) -> None:
        """Ends the workers that were started here; for a home that is gone, where nothing can be recorded."""
        for child in self._starter.children.values():
            if child.process.poll() is None:
                child.process.kill()

    def close(self) -> None:
        """Ends the worker that waits for a run, sends what is left to be sent, and closes the store."""
        if self._ready is not None:
            self._ready.close()
        self._notifier.finish(_NOTIFY_WAIT_S)
        self._store.close()

    def _look(self, run: RunRecord) -> None:
        child = self._starter.children.get(run.run_id)
        try:
            self._watch.look(run, child.process if child else None)
        except StoreError:
            raise
        except Exception:
            # The top of a process: trouble with one run must not keep the others from being looked at.
            logger.exception("%s could not be looked at", run.run_id)

    def _start_queued(self, queued: Sequence[RunRecord]) -> None:
        """Starts what can be started, in order; a run waits for an earlier one that wants its devices."""
        if not queued:
            return
        slots = self._store.read_settings().cpu_slots
        wanted: set[str] = set()
        new = 0
        for run in queued:
            if run.is_held:
                self._starter.hold(run)
                continue
            new += not self._starter.knows(run)
            if new > _MAX_NEW_CONFIGS:  # it and all after it wait for the next pass: none is overtaken
                return
            try:
                wanted |= self._starter.start_or_wait(run, wanted, slots, self._watch.has_lasted)
            except StoreError:
                raise
            except Exception as error:
                # The top of a process: a run that cannot be started fails, and the next one has its turn.
                if not isinstance(error, SuperFTError):
                    logger.exception("%s could not be started", run.run_id)
                if settle_failed(self._store, run.run_id, error, by=BY):
                    logger.warning("%s could not be started: %s", run.run_id, error)

    def _notice_ends(self, unfinished: Collection[str]) -> None:
        """Tells the webhook of runs that were unfinished in the last pass and are no more."""
        ended, self._unfinished = self._unfinished.difference(unfinished), set(unfinished)
        for run_id in ended:
            if self._store.has_run(run_id):
                self._notifier.tell(self._store.get_run(run_id))


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


class _Signals:
    """What the process was told; heard even while it is being set up."""

    def __init__(self) -> None:
        self.is_shutdown = False
        self.is_leaving = False
        self.wake = threading.Event()

    def install(self) -> None:
        """Listens from now on."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            signal.signal(number, self._hear)

    def _hear(self, number: int, _: object) -> None:
        if number == signal.SIGUSR1:
            self.is_leaving = True
        else:
            self.is_shutdown = True
        self.wake.set()


@dataclass(frozen=True)
class Pace:
    """How long a supervisor stays idle, rests between two passes, and waits for checkpoints at a shutdown."""

    idle_s: float = IDLE_S
    poll_s: float = POLL_S
    shutdown_s: float = SHUTDOWN_WAIT_S


DEFAULT_PACE = Pace()


def run_supervisor(
    home: Path, launcher: Launcher | None = None, pace: Pace = DEFAULT_PACE, claim: int | None = None
) -> int:
    """Supervises a home until there is a reason to leave; the body of the process.

    Args:
        home: An absolute path. If it does not exist, or has a supervisor, nothing is done.
        launcher: Starts the workers.
        pace: Its times.
        claim: The descriptor with which whoever started it keeps others from starting another one.

    Returns:
        The exit code of the process.
    """
    if not home.is_dir():
        return 0
    told = _Signals()
    told.install()
    paths = HomePaths(home)
    while (lock := try_lock(paths.supervisor_lock)) is not None:
        if claim is not None:  # from now on the lock says that there is one
            os.close(claim)
            claim = None
        _set_up_logging(paths)
        try:
            supervisor = Supervisor(home, launcher)
        except SuperFTError:
            logger.exception("the runs cannot be read")
            return 1
        logger.info("supervisor of %s, process %s", home, os.getpid())
        is_home = _loop(supervisor, pace, lambda: _is_own(paths.supervisor_lock, lock), told)
        if is_home and told.is_shutdown and not told.is_leaving:
            supervisor.shut_down(pace.shutdown_s, lambda: told.is_leaving)
        os.close(lock)
        # A run that was queued while we were leaving found the lock taken: look once more, without it.
        has_work = is_home and not told.wake.is_set() and home.is_dir() and supervisor.has_work()
        supervisor.close()
        if not has_work:
            break
    return 0


def _loop(supervisor: Supervisor, pace: Pace, has_home: Callable[[], bool], told: _Signals) -> bool:
    """Passes over the runs until told to leave, idle for too long, or not wanted.

    Returns:
        Whether the home is still there and wants to be looked after.
    """
    if not supervisor.begin():
        logger.info("a person stopped the supervisor of this home")
        return False
    idle_since, expected_at = time.monotonic(), supervisor.expected_at
    pause = 0.0
    while not told.wake.wait(pause):
        pause = pace.poll_s
        if not has_home():
            logger.warning("the home is gone")
            supervisor.end_children()
            return False
        try:
            if supervisor.step() or supervisor.expected_at != expected_at:
                idle_since, expected_at = time.monotonic(), supervisor.expected_at
        except Exception:
            # The top of a process: one bad pass must not leave the runs without a supervisor.
            logger.exception("a pass over the runs failed")
            pause = _AFTER_ERROR_S
        if time.monotonic() - idle_since >= pace.idle_s:
            logger.info("nothing to do for %.0f s", pace.idle_s)
            return True
    return True


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
    parser.add_argument("--claim", type=int, help="a descriptor to close once the supervisor has its lock")
    asked = parser.parse_args(arguments)
    launcher, pace = Launcher(ready=READY_WORKER), Pace(idle_s=asked.idle_s)
    return run_supervisor(asked.home.absolute(), launcher, pace, asked.claim)


if __name__ == "__main__":
    sys.exit(main())
