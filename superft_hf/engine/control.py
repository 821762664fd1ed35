"""What a page or a command may do to runs and to the supervisor.

A verb is only recorded here: the worker or the supervisor obeys, so each verb sees to it that one lives.
"""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from superft_hf.config import DataConfig, ModelConfig, RunConfig
from superft_hf.engine.settling import is_gone, look_at_processes, needs_supervisor, settle_gone
from superft_hf.errors import HomeError, StateError
from superft_hf.hub.fetch import fetch, is_here
from superft_hf.hub.models import require_model
from superft_hf.paths import HomePaths
from superft_hf.preflight import report as preflight
from superft_hf.records import LIVE_STATES, Request, RunRecord
from superft_hf.samples import SAMPLE_PREFIX
from superft_hf.store import RunStore

_POLL_S = 0.1
_STOP_TIMEOUT_S = 10.0

OnBytes = Callable[[int, int | None], None]
"""Hears how many bytes of a download are here, and of how many; None until that is known."""


def submit(
    store: RunStore,
    config: RunConfig,
    by: str = "page",
    progress: preflight.Progress | None = None,
    on_bytes: OnBytes | None = None,
    token: str | None = None,
) -> RunRecord:
    """Checks a configuration and its images, queues a run of it, and sees to it that it is started.

    Args:
        store: Where the run goes.
        config: What to run.
        by: Who asks, for the run's events.
        progress: Hears how many images are open, and of how many.
        on_bytes: Hears how much of a download is here, and of how much.
        token: A person's token for the Hub, which no run ever sees.

    Returns:
        The queued run.

    Raises:
        SuperFTError: If something blocks the start; then no run is created.
    """
    record = store.create_run(prepare(config, store.home, progress, on_bytes, token), by=by)
    ensure_supervisor(store.home)
    return record


def submit_many(
    store: RunStore,
    configs: Sequence[RunConfig],
    by: str = "page",
    progress: preflight.Progress | None = None,
    token: str | None = None,
) -> list[RunRecord]:
    """Queues several runs of the same model and images, which are checked once, for the first of them.

    Args:
        store: Where the runs go.
        configs: What to run: such as one configuration with several seeds, or a baseline of it.
        by: Who asks, for the runs' events.
        progress: Hears how many images are open, and of how many.
        token: A person's token for the Hub, which no run ever sees.

    Raises:
        SuperFTError: If something blocks the start of the first; then no run is created.
    """
    first = prepare(configs[0], store.home, progress, token=token)
    prepared = [first]
    for one in configs[1:]:
        model = one.model.model_copy(update=_place(first.model))
        prepared.append(
            one.model_copy(update={"model": model, "data": one.data.model_copy(update=_place(first.data))})
        )
    records = [store.create_run(one, by=by) for one in prepared]
    ensure_supervisor(store.home)
    return records


def _place(part: ModelConfig | DataConfig) -> dict[str, str]:
    return {"name_or_path": part.name_or_path, "revision": part.revision}


def prepare(
    config: RunConfig,
    home: Path,
    progress: preflight.Progress | None = None,
    on_bytes: OnBytes | None = None,
    token: str | None = None,
) -> RunConfig:
    """Makes sure that a run can begin: what it needs of the Hub is here, and nothing blocks it.

    Model and images are fetched before the run is queued, by a child that alone has the token; workers use
    the cache. What was fetched is pinned to its commits.

    Raises:
        SuperFTError: If something blocks the start.
    """
    config = with_absolute_paths(config)
    if not is_here(config):
        require_model(config.model.name_or_path, config.model.revision, token)
        config = fetch(config, token, on_bytes)
    preflight.require(config, home, progress)
    return config


def finish(store: RunStore, run_id: str, by: str = "page") -> RunRecord:
    """Asks for a run to stop at its next step and to end as completed, with its best epoch so far.

    Raises:
        RunNotFoundError: If there is no such run.
        StateError: If it is not at work; likewise for the other verbs where they do not fit.
    """
    return _ask(store, run_id, Request.FINISH, by)


def pause(store: RunStore, run_id: str, by: str = "page") -> RunRecord:
    """Asks for a run to stop at its next step, with a checkpoint from which it can go on."""
    return _ask(store, run_id, Request.PAUSE, by)


def stop_hard(store: RunStore, run_id: str, by: str = "page") -> RunRecord:
    """Asks for the processes of a run to be ended at once; it is paused at its last complete checkpoint."""
    return _ask(store, run_id, Request.STOP_HARD, by)


def discard(store: RunStore, run_id: str, by: str = "page") -> RunRecord:
    """Asks for a run to be stopped and its weights to be removed; its record stays."""
    return _ask(store, run_id, Request.DISCARD, by)


def resume(store: RunStore, run_id: str, by: str = "page") -> RunRecord:
    """Queues a paused or failed run again; it goes on from its last complete checkpoint."""
    record = store.requeue(run_id, by=by)
    ensure_supervisor(store.home)
    return record


def pause_all(store: RunStore, by: str, timeout_s: float) -> list[RunRecord]:
    """Pauses every live run and waits for it; without a supervisor, which would start the next ones.

    Args:
        store: Where the runs are.
        by: Who asks, for the runs' events.
        timeout_s: How long to wait for all of them together.

    Returns:
        The runs that were live, as they are now.

    Raises:
        StateError: If some are still at work after that time; they pause whenever they get to it.
    """
    run_ids = [run.run_id for run in store.list_runs(LIVE_STATES)]
    for run_id in run_ids:
        try:
            store.set_request(run_id, Request.PAUSE, by=by)
        except StateError:  # it has ended meanwhile, or is being discarded
            continue
    deadline = time.monotonic() + timeout_s
    while left := [run for run in map(store.get_run, run_ids) if not _is_settled(store, run, by)]:
        if time.monotonic() >= deadline:
            names = ", ".join(run.name for run in left)
            raise StateError(
                f"Not paused within {timeout_s:.0f} s: {names}.",
                hint="They pause at their next step; `superft stop-hard RUN` ends one that does not answer.",
            )
        time.sleep(_POLL_S)
    return [store.get_run(run_id) for run_id in run_ids]


def wait_for(
    store: RunStore, run_id: str, predicate: Callable[[RunRecord], bool], timeout_s: float
) -> RunRecord:
    """Waits until something holds for a run, and returns it.

    Raises:
        RunNotFoundError: If there is no such run.
        StateError: If it does not hold in time.
    """
    deadline = time.monotonic() + timeout_s
    while not predicate(record := store.get_run(run_id)):
        if time.monotonic() >= deadline:
            raise StateError(
                f"The run {record.name} is still {record.state} after {timeout_s:.0f} s.",
                hint="It may need longer: look again with `superft show`.",
            )
        time.sleep(_POLL_S)
    return record


def with_absolute_paths(config: RunConfig) -> RunConfig:
    """The same configuration with local paths made absolute: a worker may run in another folder."""
    model, data = _absolute(config.model.name_or_path), _absolute(config.data.name_or_path)
    return config.model_copy(
        update={
            "model": config.model.model_copy(update={"name_or_path": model}),
            "data": config.data.model_copy(update={"name_or_path": data}),
        }
    )


def supervisor_pid(home: Path) -> int | None:
    """The process id of the home's supervisor, or None when none lives."""
    try:
        descriptor = os.open(HomePaths(home).supervisor_lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        for _ in range(20):  # it writes its pid right after it has locked the file
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return None
            except BlockingIOError:
                text = os.pread(descriptor, 32, 0).strip()
            if text.isdigit():
                return int(text)
            time.sleep(0.01)
    finally:
        os.close(descriptor)
    return None


@dataclass(frozen=True)
class SupervisorStatus:
    """How it stands with the supervisor of a home.

    Attributes:
        pid: Its process; None when none lives.
        is_stopped: Whether a person stopped it, so that it is not started by itself.
        is_needed: Whether a run waits for one.
    """

    pid: int | None
    is_stopped: bool
    is_needed: bool


def supervisor_status(home: Path) -> SupervisorStatus:
    """How it stands with the supervisor of a home that may not exist yet."""
    pid = supervisor_pid(home)
    if not HomePaths(home).database.exists():
        return SupervisorStatus(pid, is_stopped=False, is_needed=False)
    store = RunStore(home)
    try:
        return SupervisorStatus(pid, store.read_settings().is_supervisor_stopped, needs_supervisor(store))
    finally:
        store.close()


def ensure_supervisor(home: Path) -> None:
    """Starts a supervisor if a run needs one, none lives, and no person stopped it.

    Two at once do no harm: the second leaves.

    Raises:
        HomeError: If the home or its database cannot be used, or the process cannot be started.
    """
    if supervisor_pid(home) is not None:
        return
    status = supervisor_status(home)
    if status.is_needed and not status.is_stopped:
        _start_supervisor(home)


def expect_run(home: Path) -> None:
    """Has a supervisor, and with it a ready worker, before there is a run; one that lives stays longer.

    Where a person stopped it nothing is started. Raises HomeError as ensure_supervisor.
    """
    if supervisor_pid(home) is not None:
        with contextlib.suppress(OSError):
            os.utime(HomePaths(home).supervisor_start_lock)
    elif not supervisor_status(home).is_stopped:
        _start_supervisor(home)


def start_supervisor(home: Path) -> None:
    """Starts a supervisor, also where a person stopped it before; from now on it is started by itself again.

    Raises:
        HomeError: As ensure_supervisor.
    """
    store = RunStore(home)
    try:
        store.change_settings(is_supervisor_stopped=False)
    finally:
        store.close()
    if supervisor_pid(home) is None:
        _start_supervisor(home)


def stop_supervisor(home: Path) -> int | None:
    """Ends the supervisor and returns when it is gone; workers go on, and none is started by itself.

    Returns:
        The process that has ended; None when there was none.

    Raises:
        StateError: If it does not end.
    """
    if not HomePaths(home).database.exists():
        return None
    store = RunStore(home)
    try:
        store.change_settings(is_supervisor_stopped=True)
    finally:
        store.close()
    pid = supervisor_pid(home)
    if pid is None:
        return None
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGUSR1)
    deadline = time.monotonic() + _STOP_TIMEOUT_S
    while supervisor_pid(home) == pid:
        if time.monotonic() >= deadline:
            raise StateError(
                f"The supervisor, process {pid}, does not end.",
                hint=f"End it with `kill -9 {pid}`; runs go on.",
            )
        time.sleep(_POLL_S / 2)
    return pid


def _ask(store: RunStore, run_id: str, request: Request, by: str) -> RunRecord:
    record = store.set_request(run_id, request, by=by)
    ensure_supervisor(store.home)
    return record


def _is_settled(store: RunStore, run: RunRecord, by: str) -> bool:
    """Whether nothing works on the run any more; one whose worker died meanwhile is settled by this."""
    processes = look_at_processes(store, run.run_id)
    if run.is_live and is_gone(run, processes):
        settle_gone(store, run.run_id, by=by)
    return not processes.living and not store.get_run(run.run_id).is_live


def _start_supervisor(home: Path) -> None:
    """Starts the process, unless another is about to begin: it takes a second until it holds its lock."""
    descriptor = _claim_start(home)
    if descriptor is None:
        return
    # -P: a file of the user's in the present folder, such as queue.py, must not stand for a library.
    command = [sys.executable, "-P", "-m", "superft_hf.engine.supervisor", str(home)]
    command += ["--claim", str(descriptor)]
    try:
        with HomePaths(home).supervisor_log.open("ab") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                close_fds=True, pass_fds=[descriptor],
            )  # fmt: skip
    except OSError as error:
        raise HomeError(
            f"The supervisor could not be started: {error}.", hint="Look after free memory and disk space."
        ) from error
    finally:
        os.close(descriptor)
    # Waited for in the background, so that it leaves no zombie in a web server that outlives it.
    threading.Thread(target=process.wait, name="supervisor-wait", daemon=True).start()


def _claim_start(home: Path) -> int | None:
    """A descriptor that nobody else has at the same time; None when somebody has it."""
    path = HomePaths(home).supervisor_start_lock
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise HomeError(
            f"The file {path} cannot be written: {error.strerror}.",
            hint="Change the folder's permissions, or choose another home with --home.",
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _absolute(name_or_path: str) -> str:
    path = Path(name_or_path).expanduser()
    is_local = not name_or_path.startswith(SAMPLE_PREFIX) and path.exists()
    return str(path.absolute()) if is_local else name_or_path
