"""The read side of the Hugging Face Hub, from a folder: the real clients are tested with no network.

Folders: `<root>/<owner>/<name>/…` are models, `<root>/datasets/<owner>/<name>/…` data sets. Each has one
commit, which `main` and the tag `v1` name. A file `.gated` in a repository makes it gated.
"""

import hashlib
import io
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import uvicorn
from ruamel.yaml import YAML
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route


class HubStandIn:
    """Serves a folder while it is entered: `with HubStandIn(root) as hub: hub.url`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.requests: list[str] = []
        routes = [
            Route("/api/{kind}/{owner}/{name}{rest:path}", self._api, methods=["GET", "POST"]),
            Route("/datasets/{owner}/{name}/resolve/{revision}/{path:path}", self._dataset_file),
            Route("/{owner}/{name}/resolve/{revision}/{path:path}", self._model_file),
        ]
        config = uvicorn.Config(Starlette(routes=routes), log_level="error", lifespan="off")
        self._server = uvicorn.Server(config)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

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

    async def _api(self, request: Request) -> Response:
        self.requests.append(f"{request.method} {request.url.path}")
        kind, rest = request.path_params["kind"], request.path_params["rest"].strip("/")
        repo = self._repo(kind, request)
        refused = _refused(repo)
        if refused:
            return refused
        verb, _, tail = rest.partition("/")
        revision, _, path = tail.partition("/")
        if revision and not _is_known(repo, revision):
            return _not_found("RevisionNotFound")
        if verb in ("", "revision"):
            return JSONResponse(_info(repo, kind))
        if verb == "refs":
            main = {"name": "main", "ref": "refs/heads/main", "targetCommit": commit_of(repo)}
            return JSONResponse({"branches": [main], "tags": [], "converts": []})
        if verb == "tree":
            return _tree(repo, path, is_recursive=request.query_params.get("recursive", "").lower() == "true")
        if verb == "paths-info":
            asked = (await request.form()).getlist("paths")
            return JSONResponse([_node(repo, repo / str(one)) for one in asked if (repo / str(one)).exists()])
        return _not_found("EntryNotFound")

    async def _model_file(self, request: Request) -> Response:
        return self._file("models", request)

    async def _dataset_file(self, request: Request) -> Response:
        return self._file("datasets", request)

    def _file(self, kind: str, request: Request) -> Response:
        self.requests.append(f"{request.method} {request.url.path}")
        repo, path = self._repo(kind, request), request.path_params["path"]
        refused = _refused(repo)
        if refused:
            return refused
        if not _is_known(repo, request.path_params["revision"]):
            return _not_found("RevisionNotFound")
        headers = {"X-Repo-Commit": commit_of(repo)}
        file = repo / path
        if not file.is_file():
            return _not_found("EntryNotFound", headers)
        headers["ETag"] = f'"{hashlib.sha1(file.read_bytes()).hexdigest()}"'
        return FileResponse(file, headers=headers)

    def _repo(self, kind: str, request: Request) -> Path:
        folder = self.root / "datasets" if kind == "datasets" else self.root
        return folder / request.path_params["owner"] / request.path_params["name"]


def commit_of(repo: Path) -> str:
    """The commit hash of a repository: changes with its files."""
    whole = hashlib.sha1()
    for path in _files(repo):
        whole.update(f"{path.relative_to(repo)} {path.stat().st_size}\n".encode())
    return whole.hexdigest()


def _files(repo: Path) -> Iterator[Path]:
    return (path for path in sorted(repo.rglob("*")) if path.is_file() and path.name != ".gated")


def _is_known(repo: Path, revision: str) -> bool:
    return revision in ("main", "v1", commit_of(repo))


def _refused(repo: Path) -> Response | None:
    if not repo.is_dir():
        return _not_found("RepoNotFound")
    if (repo / ".gated").exists():
        return JSONResponse({}, 403, {"X-Error-Code": "GatedRepo", "X-Error-Message": "gated"})
    return None


def _not_found(code: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": code}, 404, {**(headers or {}), "X-Error-Code": code})


def _info(repo: Path, kind: str) -> dict[str, Any]:
    files = [{"rfilename": str(path.relative_to(repo)), "size": path.stat().st_size} for path in _files(repo)]
    total = sum(_numbers(path) for path in _files(repo) if path.suffix == ".safetensors")
    return {
        "id": f"{repo.parent.name}/{repo.name}", "sha": commit_of(repo), "private": False, "gated": False,
        "downloads": 7, "likes": 1, "tags": [], "siblings": files, "cardData": _card(repo),
        **({"safetensors": {"parameters": {"F32": total}, "total": total}} if total else {}),
    }  # fmt: skip


def _card(repo: Path) -> dict[str, Any]:
    readme = repo / "README.md"
    parts = readme.read_text(encoding="utf-8").split("---\n") if readme.exists() else []
    return YAML(typ="safe", pure=True).load(io.StringIO(parts[1])) if len(parts) > 2 else {}


def _numbers(path: Path) -> int:
    with path.open("rb") as opened:
        (length,) = struct.unpack("<Q", opened.read(8))
        header = json.loads(opened.read(length))
    ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
    return max(ends, default=0) // 4


def _tree(repo: Path, path: str, *, is_recursive: bool) -> Response:
    folder = repo / path
    if not folder.is_dir():
        return _not_found("EntryNotFound")
    found = sorted(folder.rglob("*") if is_recursive else folder.iterdir())
    return JSONResponse([_node(repo, one) for one in found])


def _node(repo: Path, path: Path) -> dict[str, Any]:
    name = str(path.relative_to(repo))
    if path.is_dir():
        return {"type": "directory", "path": name, "oid": hashlib.sha1(name.encode()).hexdigest()}
    oid = hashlib.sha1(path.read_bytes()).hexdigest()
    return {"type": "file", "path": name, "oid": oid, "size": path.stat().st_size}


def ask_hub(code: str, endpoint: str, folder: Path) -> Any:
    """Runs code in a fresh process that takes `endpoint` for the Hub, and returns the JSON it prints.

    Args:
        code: Prints one JSON value on its last line.
        endpoint: The address of a stand-in, or one where nobody answers.
        folder: Holds the process's caches.
    """
    environment = {
        **os.environ, "HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "0", "HF_HOME": str(folder / "huggingface"),
        "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }  # fmt: skip
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    return {**answer, "stderr": done.stderr} if isinstance(answer, dict) else answer
