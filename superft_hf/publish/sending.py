"""A push at work in a process of its own, so that a page can be left, redrawn or closed meanwhile.

Only that process has the token, and only in its environment. It outlives the web server.
"""

import contextlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

from superft_hf import errors
from superft_hf.errors import PublishError, SuperFTError
from superft_hf.hub_failures import scrub
from superft_hf.publish.options import PublishOptions
from superft_hf.publish.push import PushResult
from superft_hf.publish.push_child import TOKEN_VARIABLE

_KINDS = (
    errors.HubUnreachableError, errors.TokenRefusedError, errors.GatedError, errors.RateLimitedError,
    errors.HubError, errors.StateError, errors.ModelNotFoundError, errors.PublishError,
)  # fmt: skip


class Sending:
    """One push. Safe to look at from the threads of several tabs.

    Args:
        home: Where the run is.
        run_id: A completed run.
        repo_id: `OWNER/NAME`.
        options: What its author chose.
        token: With the right to write; kept in the child's environment only.
        by: Who asked, for the run's history.
    """

    def __init__(
        self, home: Path, run_id: str, repo_id: str, options: PublishOptions, *, token: str, by: str
    ) -> None:
        self.repo_id = repo_id
        self.done = 0
        self.total = 0
        self.result: PushResult | None = None
        self.error: SuperFTError | None = None
        self._is_stopped = False
        asked = {
            "home": str(home),
            "run_id": run_id,
            "repo_id": repo_id,
            "options": options.to_dict(),
            "by": by,
        }
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "superft_hf.publish.push_child"],
            env={**os.environ, TOKEN_VARIABLE: str(token), "HF_HUB_DISABLE_PROGRESS_BARS": "1"},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, encoding="utf-8", start_new_session=True,
        )  # fmt: skip
        self._words: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, args=(json.dumps(asked),), name="push", daemon=True),
            threading.Thread(target=self._read_words, name="push-words", daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    @property
    def is_running(self) -> bool:
        """Whether it is still at work."""
        return self._readers[0].is_alive()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Waits for its end. Returns whether it has ended."""
        self._readers[0].join(timeout_s)
        return not self.is_running

    def stop(self) -> None:
        """Ends it: unless the commit is being made at this moment, the repository stays as it was."""
        self._is_stopped = True
        self._process.terminate()

    def _read(self, asked: str) -> None:
        with contextlib.suppress(OSError):  # it may have ended already
            self._process.stdin.write(asked)
            self._process.stdin.close()
        for line in self._process.stdout:
            self._hear(line)
        self._process.wait()
        self._readers[1].join(5)
        if self.result is None and self.error is None:
            self.error = self._silent_end()

    def _read_words(self) -> None:
        for line in self._process.stderr:
            if line.strip():
                self._words = [line.strip()]  # the last one tells most

    def _hear(self, line: str) -> None:
        try:
            said = json.loads(line)
        except ValueError:  # a library that writes to stdout
            return
        event = said.pop("event", "")
        if event == "progress":
            self.done, self.total = said["done"], said["total"]
        elif event == "done":
            self.result = PushResult(**said)
        elif event == "failed":
            made = {kind.__name__: kind for kind in _KINDS}.get(said["kind"], PublishError)
            self.error = made(said["message"], hint=said["hint"])

    def _silent_end(self) -> PublishError:
        if self._is_stopped:
            return PublishError(
                f"Sending to {self.repo_id} was stopped.",
                hint="The run is as it was. Publish again: files that have arrived are not sent again.",
            )
        words = scrub(self._words[-1])[:300] if self._words else "no reason given"
        return PublishError(
            f"The process that sent the run ended with exit code {self._process.returncode}: {words}",
            hint=f"Look at {self.repo_id} on the Hub, then publish again.",
        )
