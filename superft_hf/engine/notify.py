"""Messages to a webhook when a run ends, fails or is paused, such as one of Slack, Discord or Mattermost.

The address is a secret, since whoever has it can write there: it stands in the home's settings only, never in
an event, a log or an error, and what is shown of it is its host. A message is sent once, by a thread of its
own, so that a receiver that does not answer keeps nobody waiting.
"""

import http.client
import json
import logging
import math
import queue
import socket
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any

from superft_hf.errors import ConfigError, StoreError
from superft_hf.records import RunRecord, RunState
from superft_hf.store import RunStore
from superft_hf.words import percent

logger = logging.getLogger(__name__)

NOTIFIED, NOT_NOTIFIED = "notified", "notification failed"
"""Events of a run's history."""

ENDS = (RunState.COMPLETED, RunState.FAILED, RunState.PAUSED)
"""States of which a message tells."""

TIMEOUT_S = 10.0

_MAX_WAITING = 100
_MAX_TEXT = 1900
"""Discord refuses a message of more than 2,000 characters."""


@dataclass(frozen=True)
class Answer:
    """What became of a message: whether it was taken, and in words that are free of the address."""

    is_delivered: bool
    words: str


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A message goes where a person said, and nowhere else."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Refuses, so that the redirect counts as the answer."""


def check_webhook(url: str) -> str:
    """The address of a webhook without spaces around it.

    Raises:
        ConfigError: If it is none to which a message can be sent. The sentence does not repeat it.
    """
    url = url.strip()
    try:
        parts = urllib.parse.urlsplit(url)
        is_fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_fine = False
    if not is_fine or not url.isascii() or not url.isprintable() or " " in url:
        raise ConfigError(
            "The webhook is no web address.",
            hint="Copy it as a whole from Slack, Discord or the like; it begins with https:// or http://.",
        )
    return url


def mask_webhook(url: str | None) -> str:
    """What may be shown of a webhook.

    Example:
        >>> mask_webhook("https://hooks.slack.com/services/T0/B0/secret")
        'https://hooks.slack.com/…'
    """
    if not url:
        return ""
    parts = urllib.parse.urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}/…"


def sentence(run: RunRecord) -> str:
    """What happened to a run that has ended, failed or is paused."""
    if run.state is RunState.COMPLETED:
        accuracy = run.evaluation.get("eval", {}).get("accuracy")
        return f"{run.name} completed" + (f": {percent(accuracy)} on eval." if accuracy is not None else ".")
    if run.state is RunState.FAILED and run.failure:
        return f"{run.name} failed: {run.failure.message} {run.failure.hint}".strip()
    place = f" at step {run.global_step:,} of {run.max_steps:,}" if run.max_steps else ""
    reason = f": {run.pause_reason}" if run.pause_reason else ""
    return f"{run.name} is {run.state}{place}{reason}."


def message_of(run: RunRecord) -> dict[str, Any]:
    """What is sent: `text` for Slack and its like, `content` for Discord, and figures for programs."""
    words = sentence(run)[:_MAX_TEXT]
    failure = run.failure
    return {
        # Slack reads these three as marks, and a name such as <!channel> would wake everybody.
        "text": words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"),
        "content": words,
        "allowed_mentions": {"parse": []},  # the same of Discord
        "run_id": run.run_id,
        "name": run.name,
        "state": str(run.state),
        "pause_reason": run.pause_reason,
        "failure": failure and {"kind": failure.kind, "message": failure.message, "hint": failure.hint},
        "global_step": run.global_step,
        "max_steps": run.max_steps,
        "best": {"metric": run.best_metric, "value": _finite(run.best_value), "step": run.best_step},
        # No figures of test: each look at them is counted, and nobody asked for this one.
        "eval": {key: _finite(value) for key, value in run.evaluation.get("eval", {}).items()},
    }


def send(url: str, message: dict[str, Any], timeout_s: float = TIMEOUT_S) -> Answer:
    """Sends one message. Never raises: what went wrong is the answer."""
    try:
        request = urllib.request.Request(
            check_webhook(url),
            data=json.dumps(message).encode(),
            headers={"Content-Type": "application/json", "User-Agent": "superft"},
            method="POST",
        )
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=timeout_s) as answer:
            return Answer(True, f"the webhook answered {answer.status}")
    except ConfigError as error:
        return Answer(False, error.message)
    except urllib.error.HTTPError as error:
        error.close()
        return Answer(False, f"the webhook answered {error.code}")
    except (OSError, http.client.HTTPException, ValueError) as error:
        return Answer(False, _words(error, timeout_s))


class Notifier:
    """Sends messages about runs of one home, and notes in their history what became of them.

    Args:
        store: Where the runs are.
        by: Who sends, for the runs' events.
        timeout_s: How long a receiver may take.
    """

    def __init__(self, store: RunStore, by: str, timeout_s: float = TIMEOUT_S) -> None:
        self._store = store
        self._by = by
        self._timeout_s = timeout_s
        self._waiting: queue.Queue[tuple[str, RunRecord]] = queue.Queue(_MAX_WAITING)
        self._thread: threading.Thread | None = None

    def tell(self, run: RunRecord) -> None:
        """Sends a message about a run, if the home has a webhook; returns at once."""
        url = self._store.read_settings().webhook_url
        if not url or run.state not in ENDS:
            return
        try:
            self._waiting.put_nowait((url, run))
        except queue.Full:
            self._note(run, Answer(False, f"{_MAX_WAITING} messages wait already"))
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="notifier", daemon=True)
            self._thread.start()

    def finish(self, wait_s: float) -> None:
        """Waits until all messages are sent, but no longer than this."""
        deadline = time.monotonic() + wait_s
        while self._waiting.unfinished_tasks and time.monotonic() < deadline:
            time.sleep(0.05)

    def _work(self) -> None:
        while True:
            url, run = self._waiting.get()
            self._note(run, send(url, message_of(run), self._timeout_s))
            self._waiting.task_done()

    def _note(self, run: RunRecord, answer: Answer) -> None:
        what = NOTIFIED if answer.is_delivered else NOT_NOTIFIED
        logger.info("%s: %s, %s", run.run_id, what, answer.words)
        try:
            self._store.add_event(run.run_id, by=self._by, what=what, detail=answer.words)
        except StoreError:
            logger.exception("the event could not be written")


def _finite(value: float | None) -> float | None:
    """JSON knows no NaN."""
    return value if value is not None and math.isfinite(value) else None


def _words(error: Exception, timeout_s: float) -> str:
    """Why a message could not be sent, without the error's own words: they may repeat the address."""
    reason = getattr(error, "reason", error)
    if isinstance(reason, TimeoutError):
        return f"no answer within {timeout_s:g} s"
    if isinstance(reason, ConnectionRefusedError):
        return "the connection was refused"
    if isinstance(reason, socket.gaierror):
        return "its host is not known"
    if isinstance(reason, ssl.SSLError):
        return "its certificate is not accepted"
    return f"the connection failed ({type(reason).__name__})"
