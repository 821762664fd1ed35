"""What a page or a command may do to runs: queue one, discard one, and see to it that a supervisor lives."""

import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from superft_hf.config import RunConfig
from superft_hf.engine.settling import needs_supervisor
from superft_hf.errors import HomeError, StateError
from superft_hf.hub.fetch import fetch, is_here
from superft_hf.hub.models import require_model
from superft_hf.paths import HomePaths
from superft_hf.preflight import report as preflight
from superft_hf.records import Request, RunRecord
from superft_hf.samples import SAMPLE_PREFIX
from superft_hf.store import RunStore

_POLL_S = 0.1

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


def discard(store: RunStore, run_id: str, by: str = "page") -> RunRecord:
    """Asks for a run to be stopped and its weights to be removed; its record stays.

    Raises:
        RunNotFoundError: If there is no such run.
        StateError: If it is completed, or discarded already.
    """
    record = store.set_request(run_id, Request.DISCARD, by=by)
    ensure_supervisor(store.home)
    return record


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


def ensure_supervisor(home: Path) -> None:
    """Starts a supervisor if a run needs one and none lives. Two at once do no harm: the second leaves.

    Raises:
        HomeError: If the home or its database cannot be used, or the process cannot be started.
    """
    if supervisor_pid(home) is not None or not HomePaths(home).database.exists():
        return
    store = RunStore(home)
    try:
        is_needed = needs_supervisor(store)
    finally:
        store.close()
    if is_needed:
        _start_supervisor(home)


def _start_supervisor(home: Path) -> None:
    # -P: a file of the user's in the present folder, such as queue.py, must not stand for a library.
    command = [sys.executable, "-P", "-m", "superft_hf.engine.supervisor", str(home)]
    try:
        with HomePaths(home).supervisor_log.open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                close_fds=True,
            )
    except OSError as error:
        raise HomeError(
            f"The supervisor could not be started: {error}.", hint="Look after free memory and disk space."
        ) from error
    # Waited for in the background, so that it leaves no zombie in a web server that outlives it.
    threading.Thread(target=process.wait, name="supervisor-wait", daemon=True).start()


def _absolute(name_or_path: str) -> str:
    path = Path(name_or_path).expanduser()
    is_local = not name_or_path.startswith(SAMPLE_PREFIX) and path.exists()
    return str(path.absolute()) if is_local else name_or_path
