"""A home of its own, and the certainty that no process is left behind in it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from superft_hf.config import RunConfig
from superft_hf.config_file import make_config
from superft_hf.engine.launcher import Launcher
from superft_hf.engine.supervisor import Supervisor

STAND_INS = Path(__file__).parents[1] / "stand_ins"
Until = Callable[[Callable[[], bool]], None]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache, and with it the locks of the devices, that no other run on this machine uses."""
    monkeypatch.setenv("SUPERFT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def home(tmp_path: Path, cache: Path) -> Iterator[Path]:
    """A home; whatever still works for it after the test is an error."""
    folder = tmp_path / "home"
    folder.mkdir()
    yield folder
    deadline = time.monotonic() + 3
    while (left := _processes_of(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.05)
    names = [process.info["cmdline"] for process in left]
    for process in left:
        os.kill(process.pid, signal.SIGKILL)
    assert not names, "processes were left behind"


@pytest.fixture
def launcher() -> Launcher:
    return Launcher(worker=(str(STAND_INS / "worker.py"),))


@pytest.fixture
def supervisor(home: Path, launcher: Launcher) -> Iterator[Supervisor]:
    """A supervisor in this process, of which a test calls `step`."""
    made = Supervisor(home, launcher)
    yield made
    made.end_children()
    made.step()
    made.close()


@pytest.fixture
def start_supervisor(home: Path) -> Iterator[Callable[..., "subprocess.Popen[bytes]"]]:
    """Starts supervisors in processes of their own, and ends those that are left."""
    started: list[subprocess.Popen[bytes]] = []

    def start(idle_s: float = 60, shutdown_s: float = 20, ready: bool = False) -> subprocess.Popen[bytes]:
        log = (home / "out.log").open("ab")
        command = [sys.executable, str(STAND_INS / "supervisor.py"), str(home), str(idle_s), str(shutdown_s)]
        command += ["ready"] if ready else []
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        log.close()
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def until() -> Until:
    """Waits for something, at most 20 s."""

    def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.05)

    return wait


def make_run_config(name: str, **hardware: object) -> RunConfig:
    values = {
        "name": name,
        "model": {"name_or_path": "sample:efficientnet-lite0"},
        "data": {"name_or_path": "sample:digits"},
        "hardware": {"devices": "cpu", **hardware},
    }
    return make_config(values)


@pytest.fixture
def config() -> Callable[..., RunConfig]:
    """Makes the configuration of a run whose name tells the stand-in what to do."""
    return make_run_config


def _processes_of(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        line = process.info["cmdline"] or []
        is_ours = any(str(folder) in part for part in line) and process.pid != os.getpid()
        if is_ours and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found
