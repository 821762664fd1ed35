"""The Hugging Face Hub, from a folder: the real clients are tested with no network.

Folders: `<root>/<owner>/<name>/…` are models, `<root>/datasets/<owner>/<name>/…` data sets. `main` and the
tag `v1` name the files that lie there. What a repository's folder may hold besides:

- `.gated`: its files are refused without a token that has access (401 without any, 403 with another's);
- `.private`: it exists for its owner and the members of its organisation only;
- `.hub.json`: `{"downloads", "likes", "trendingScore", "lastModified", "createdAt"}`;
- `.revisions/refs%2Fconvert%2Fparquet/…`: the files of another revision, here `refs/convert/parquet`.

Pushed files land in these folders, a pull request's in `.revisions/refs%2Fpr%2F1`.
"""

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import uvicorn
from starlette.requests import Request

from tests.stand_ins.hub_answers import BAD_TOKEN, Refusal
from tests.stand_ins.hub_push import LargeFiles
from tests.stand_ins.hub_repos import commit_of
from tests.stand_ins.hub_server import Hub

__all__ = [
    "READ_TOKEN", "STRANGER_TOKEN", "TOKENS", "WRITE_TOKEN", "HubStandIn", "ask_hub", "commit_of",
]  # fmt: skip

WRITE_TOKEN = "hf_standinwritetokenwritetokenwrite"
READ_TOKEN = "hf_standinreadtokenreadtokenreadtok"
STRANGER_TOKEN = "hf_standinstrangertokenstrangertoke"
TOKENS: dict[str, dict[str, Any]] = {
    WRITE_TOKEN: {"name": "tester", "orgs": ["acme"], "role": "write"},
    READ_TOKEN: {"name": "tester", "orgs": ["acme"], "role": "read"},
    STRANGER_TOKEN: {"name": "stranger", "orgs": [], "role": "write", "accepted": []},
}
"""Who each token speaks for. `accepted`: ids of the gated repositories that it may read (default: all)."""


@dataclass
class _Fault:
    part: str
    kind: str
    amount: float
    left: int | None = None
    headers: Mapping[str, str] | None = None


class HubStandIn:
    """Serves a folder while it is entered: `with HubStandIn(root) as hub: hub.url`.

    Args:
        root: The folder of repositories; pushes write into it.
        tokens: Who each token speaks for, see TOKENS.
        port: 0 takes any that is free.
    """

    def __init__(self, root: Path, tokens: Mapping[str, dict] | None = None, port: int = 0) -> None:
        self.root = root
        self.requests: list[str] = []
        self._faults: list[_Fault] = []
        self._uploads = tempfile.TemporaryDirectory(prefix="hub-large-files-")
        self._socket = socket.create_server(("127.0.0.1", port))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._hub = Hub(
            root, TOKENS if tokens is None else tokens, LargeFiles(Path(self._uploads.name)), self.url
        )
        config = uvicorn.Config(
            self._serve, log_level="critical", lifespan="off", timeout_graceful_shutdown=1, interface="asgi3"
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True
        )

    def __enter__(self) -> "HubStandIn":
        self._thread.start()
        until = time.monotonic() + 10
        while not self._server.started and time.monotonic() < until:
            time.sleep(0.01)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        self._socket.close()
        self._uploads.cleanup()

    # Faults: `path_part` is looked for in "METHOD /quoted/path?query"

    def fail(
        self, path_part: str, status: int, times: int | None = 1, headers: Mapping[str, str] | None = None
    ) -> None:
        """Answers matching requests with a status, `times` times; None stands for ever."""
        self._faults.append(_Fault(path_part, "fail", status, times, headers))

    def slow(self, path_part: str, seconds: float) -> None:
        """Waits before each answer to a matching request."""
        self._faults.append(_Fault(path_part, "slow", seconds))

    def cut(self, path_part: str, after_bytes: int, times: int = 1) -> None:
        """Breaks the connection within the body: of the answer to a GET, of the request otherwise.

        A request that was cut changes nothing.
        """
        self._faults.append(_Fault(path_part, "cut", after_bytes, times))

    def mend(self) -> None:
        """Takes all faults back."""
        self._faults.clear()

    async def _serve(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        self.requests.append(f"{request.method} {request.url.path}")
        faults = self._due(request)
        for fault in faults:
            if fault.kind == "slow":
                await asyncio.sleep(fault.amount)
        failing = next((fault for fault in faults if fault.kind == "fail"), None)
        if failing:
            await _failure(failing).response()(scope, receive, send)
            return
        cutting = next((fault for fault in faults if fault.kind == "cut"), None)
        if cutting and request.method != "GET":
            await _break_off(request, int(cutting.amount), send)
        if cutting:
            send = _Cutter(send, int(cutting.amount))
        await (await self._hub.answer(request))(scope, receive, send)

    def _due(self, request: Request) -> list[_Fault]:
        raw, query = request.scope["raw_path"].decode(), request.scope["query_string"].decode()
        asked = f"{request.method} {raw}" + (f"?{query}" if query else "")
        due = []
        for fault in self._faults:
            # A HEAD has no body to cut.
            is_due = (
                fault.part in asked
                and fault.left != 0
                and not (fault.kind == "cut" and request.method == "HEAD")
            )
            if is_due and not any(one.kind == fault.kind for one in due):
                fault.left = None if fault.left is None else fault.left - 1
                due.append(fault)
        return due


class _CutOffError(Exception):
    """Makes the server close the connection."""


class _Cutter:
    """Sends the beginning of an answer's body, then breaks the connection."""

    def __init__(self, send: Any, after_bytes: int) -> None:
        self._send = send
        self._left = after_bytes

    async def __call__(self, message: dict[str, Any]) -> None:
        if message["type"] != "http.response.body":
            await self._send(message)
            return
        body = message.get("body", b"")
        if len(body) <= self._left:
            self._left -= len(body)
            await self._send(message)
            return
        await self._send({**message, "body": body[: self._left], "more_body": True})
        raise _CutOffError


async def _break_off(request: Request, after_bytes: int, send: Any) -> None:
    """Reads the beginning of a request, then breaks the connection in the middle of an answer."""
    got = 0
    async for part in request.stream():
        got += len(part)
        if got >= after_bytes:
            break
    headers = [(b"content-length", b"100"), (b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"{", "more_body": True})
    raise _CutOffError


def _failure(fault: _Fault) -> Refusal:
    status = int(fault.amount)
    words = {401: BAD_TOKEN, 429: "You have reached the rate limit", 503: "The Hub is overloaded"}
    return Refusal(status, words.get(status, "A failure that was asked for"), headers=fault.headers)


def ask_hub(code: str, endpoint: str, folder: Path, token: str | None = None, **environment: str) -> Any:
    """Runs code in a fresh process that takes `endpoint` for the Hub, and returns the JSON it prints.

    Args:
        code: Prints one JSON value on its last line.
        endpoint: The address of a stand-in, or one where nobody answers.
        folder: Holds the process's caches.
        token: Its HF_TOKEN.
        environment: More variables.
    """
    variables = {
        **os.environ, "HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "0", "HF_HOME": str(folder / "huggingface"),
        "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", **environment,
    }  # fmt: skip
    variables |= {"HF_TOKEN": token} if token else {}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=variables, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    return {**answer, "stderr": done.stderr} if isinstance(answer, dict) else answer
