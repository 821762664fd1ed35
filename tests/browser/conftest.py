"""The real dashboard in a process of its own, and a headless Chromium that looks at it."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from superft_hf.engine.control import supervisor_pid
from superft_hf.store import RunStore

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run",
]  # fmt: skip
TIMEOUT_MS = 60_000


class Dashboard:
    """`superft serve` on a home.

    Args:
        home: The home.
        environment: Variables besides those of the tests.
    """

    def __init__(self, home: Path, **environment: str) -> None:
        self.home = home
        self._log = home.parent / f"serve-{time.monotonic_ns()}.log"
        command = [sys.executable, "-m", "superft_hf.cli", "--home", str(home), "serve"]
        command += ["--port", str(_free_port())]  # tests in several processes must not find the same one free
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env={**os.environ, **environment}
            )
        self.url = self._address()

    def _address(self) -> str:
        """The address that it prints, once it answers there."""
        until = time.monotonic() + 60
        while time.monotonic() < until:
            found = re.search(r"http://localhost:\d+", self._log.read_text())
            try:
                if found and urllib.request.urlopen(f"{found[0]}/_stcore/health", timeout=5).status == 200:
                    return found[0]
            except OSError:
                pass
            assert self.process.poll() is None, self._log.read_text()
            time.sleep(0.2)
        raise AssertionError(f"no answer: {self._log.read_text()}")

    @property
    def log(self) -> str:
        """What it said."""
        return self._log.read_text()

    def kill(self) -> None:
        """kill -9, as a crash would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def _free_port() -> int:
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        return tried.getsockname()[1]


def chromium() -> str | None:
    """The system's browser; None stands for Playwright's own."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((found for name in names if (found := shutil.which(name))), None)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    opened = context.new_page()
    opened.set_default_timeout(TIMEOUT_MS)
    yield opened
    context.close()


@pytest.fixture
def serve(home: Path) -> Iterator[Callable[[], Dashboard]]:
    """Starts dashboards on the test's home; afterwards nothing that was started is alive."""
    started: list[Dashboard] = []

    def start(**environment: str) -> Dashboard:
        started.append(Dashboard(home, **environment))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.terminate()
            one.process.wait(timeout=30)
    _end_engine(home)


def _end_engine(home: Path) -> None:
    pid = supervisor_pid(home)
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
        psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=15)
    store = RunStore(home)
    for record in store.list_runs():
        for process in store.read_processes(record.run_id):
            assert not psutil.pid_exists(process.pid), f"a process of {record.run_id} is left"
    store.close()
