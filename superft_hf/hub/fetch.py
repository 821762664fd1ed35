"""Fetching a model and a data set into the cache that all programs of this machine share.

A child process does it (`superft_hf.hub.fetch_child`): only its environment holds the token, and it can be
stopped at any moment. Whole files are kept when a download is cut off, so a repetition goes on with the next;
half a file is never used.
"""

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

from superft_hf import errors
from superft_hf.config import RunConfig
from superft_hf.errors import BrokenDownloadError, SuperFTError
from superft_hf.hub.local_copies import is_data_here, is_local, is_model_here
from superft_hf.sources.hub_cache import is_commit

TOKEN_VARIABLE = "HF_TOKEN"
POLL_S = 0.3
_QUIET = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}  # fmt: skip


class FetchCancelledError(SuperFTError):
    """A person stopped a download."""

    def __init__(self) -> None:
        super().__init__("The download was stopped.", hint="Start it again: files that are here are kept.")


class Fetch:
    """A download at work, in a child process of its own; safe to look at from several threads.

    Args:
        config: Whose model and images to fetch; what is local is left alone.
        token: What to show to the Hub; None: what the environment or a login gives.
    """

    def __init__(self, config: RunConfig, token: str | None = None) -> None:
        self.done = 0
        self.total: int | None = None
        self.stage = "Asking the Hub"
        self._config = config
        self._token = token
        self._answer: Mapping[str, Any] | None = None
        self._is_cancelled = False
        environment = {**os.environ, **_QUIET, **({TOKEN_VARIABLE: token} if token else {})}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "superft_hf.hub.fetch_child"], env=environment, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, encoding="utf-8",
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, name="hub-fetch", daemon=True)
        self._reader.start()

    @property
    def is_running(self) -> bool:
        """Whether it is still at work."""
        return self._reader.is_alive()

    def cancel(self) -> None:
        """Stops it; files that are complete stay in the cache."""
        self._is_cancelled = True
        self._process.terminate()

    def result(self, timeout_s: float | None = None) -> RunConfig | None:
        """The configuration with its revisions pinned to the commits that were fetched; None while at work.

        Raises:
            FetchCancelledError: If it was stopped.
            BrokenDownloadError: If the child ended without a word.
            SuperFTError: What the child says went wrong, see `superft_hf.hub_failures`.
        """
        self._reader.join(timeout_s)
        if self._reader.is_alive():
            return None
        answer = self._answer
        if answer is None and self._is_cancelled:
            raise FetchCancelledError
        if answer is None:
            raise BrokenDownloadError(
                f"The download ended unexpectedly (exit code {self._process.returncode}).",
                hint="Try again: nothing half-downloaded is used. Memory or disk may be short.",
            )
        if answer["event"] == "failed":
            raise _error_of(answer)
        return _pinned(self._config, answer["model"], answer["data"])

    def _read(self) -> None:
        """Follows what the child says until it ends."""
        stdin, stdout = self._process.stdin, self._process.stdout
        with contextlib.suppress(OSError):  # it may have ended already
            stdin.write(self._config.model_dump_json(include={"model", "data"}))
            stdin.close()
        for line in stdout:
            self._hear(line)
        self._process.wait()

    def _hear(self, line: str) -> None:
        try:
            said = json.loads(line)
        except ValueError:  # a library that writes to stdout
            return
        if said.get("event") in ("done", "failed"):
            self._answer = said
        elif said.get("event") == "progress":
            self.done, self.total, self.stage = said["done"], said["total"], said["stage"]


def fetch(
    config: RunConfig,
    token: str | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> RunConfig:
    """Brings the model and the images of a run onto this machine, and waits for it.

    Args:
        config: What to fetch; local folders and samples are left alone.
        token: What to show to the Hub; None: what the environment or a login gives.
        progress: Called with the bytes that are here and the bytes in all, which is None until known.

    Returns:
        The same configuration with its revisions pinned to the commits that were fetched.

    Raises:
        HubError: If the Hub does not give them, see its kinds; whole files are kept for the next try.
        DataError: If the data set cannot be made into rows.
        ModelNotFoundError: If there is no such model.
    """
    if is_here(config) and _is_pinned(config):
        return config
    running = Fetch(config, token)
    # Told from this thread: a page may be drawn by its own thread only.
    while (found := running.result(POLL_S)) is None:
        if progress:
            progress(running.done, running.total)
    if progress:
        progress(running.done, running.total)
    return found


def is_here(config: RunConfig) -> bool:
    """Whether model and images lie in this machine's caches, or are local, or samples; asks nobody."""
    return is_model_here(config.model) and is_data_here(config.data)


def _pinned(config: RunConfig, model: str, data: str) -> RunConfig:
    return config.model_copy(
        update={
            "model": config.model.model_copy(update={"revision": model}),
            "data": config.data.model_copy(update={"revision": data}),
        }
    )


def _error_of(answer: Mapping[str, Any]) -> SuperFTError:
    """The child's error as one of its class; kinds with arguments of their own become the plain one."""
    kind = getattr(errors, answer["kind"], SuperFTError)
    if not (isinstance(kind, type) and issubclass(kind, SuperFTError)) or "__init__" in vars(kind):
        kind = SuperFTError
    return kind(answer["message"], hint=answer["hint"])


def _is_pinned(config: RunConfig) -> bool:
    return all(is_local(one.name_or_path) or is_commit(one.revision) for one in (config.model, config.data))
