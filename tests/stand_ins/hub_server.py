"""The routes of the stand-in Hub: which request is answered by what."""

import json
import re
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response

from tests.stand_ins import hub_push as push
from tests.stand_ins.hub_answers import (
    NOT_LOGGED_IN,
    Refusal,
    caller,
    require_accepted,
    require_reader,
    require_writer,
    whoami,
)
from tests.stand_ins.hub_cards import check_card
from tests.stand_ins.hub_repos import (
    GATED,
    HIDDEN,
    PRIVATE,
    Repository,
    commit_of,
    files_of,
    node_of,
    oid_of,
    read_card,
    tree_of,
)
from tests.stand_ins.hub_search import chosen, listed, repositories

KINDS = ("models", "datasets")
NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}")


class Hub:
    """Answers requests out of a folder.

    Args:
        root: The folder of repositories.
        tokens: Who each token speaks for.
        large: The large files that were uploaded.
        url: Its own address.
    """

    def __init__(
        self, root: Path, tokens: Mapping[str, Mapping[str, Any]], large: push.LargeFiles, url: str
    ) -> None:
        self.root = root
        self.tokens = tokens
        self.large = large
        self.url = url
        self._verbs = {
            "GET": {"": self._info, "revision": self._info, "refs": self._refs, "commits": self._commits,
                    "tree": self._tree, "discussions": self._discussion},
            "POST": {"paths-info": self._paths_info, "preupload": self._preupload, "commit": self._commit,
                     "branch": self._add_branch, "discussions": self._open_discussion},
            "DELETE": {"branch": self._delete_branch},
            "PUT": {"settings": self._settings},
        }  # fmt: skip

    async def answer(self, request: Request) -> Response:
        # The raw path: `refs%2Fpr%2F1` is one part of it, as the client meant it.
        raw = request.scope["raw_path"].decode()
        parts = [unquote(part) for part in raw.strip("/").split("/")]
        try:
            user = caller(request, self.tokens)
            if parts[0] == "api":
                return await self._api(request, parts[1:], user)
            if parts[0] == "lfs" and request.method == "PUT":
                return self._store(parts[-1], await request.body())
            return await self._files(request, parts, user)
        except Refusal as refusal:
            return refusal.response()

    async def _api(self, request: Request, parts: list[str], user: Any) -> Response:
        if parts[0] in KINDS:
            if len(parts) == 1:
                return self._list(request, parts[0], user)
            return await self._repository(request, parts, user)
        whole = "/".join(parts)
        if whole == "whoami-v2":
            return JSONResponse(whoami(user))
        if whole == "validate-yaml":
            return _validate(await request.json())
        if whole == "repos/create":
            return self._create(await request.json(), user)
        if whole == "repos/delete":
            return self._delete(await request.json(), user)
        raise Refusal(404, "Not found")

    # Lists and repositories

    def _list(self, request: Request, kind: str, user: Any) -> Response:
        seen = [one for one in repositories(self.root, kind) if not one.is_private or _is_seen(user, one)]
        try:
            page, following = listed(seen, kind, request.query_params)
        except ValueError as error:
            raise Refusal(400, str(error)) from error
        links = {"Link": f'<{self.url}/api/{kind}?{following}>; rel="next"'} if following else {}
        return JSONResponse(page, headers=links)

    async def _repository(self, request: Request, parts: list[str], user: Any) -> Response:
        kind, (owner, name) = parts[0], (parts[1:3] if len(parts) > 2 else ["", parts[1]])
        verb, rest = (parts[3] if len(parts) > 3 else ""), parts[4:]
        repo = self._repo(kind, owner, name)
        require_reader(user, repo)
        answer = self._verbs.get(request.method, {}).get(verb)
        if answer is None:
            raise Refusal(404, "Not found")
        return await answer(request, repo, rest, user)

    def _repo(self, kind: str, owner: str, name: str) -> Repository:
        if not NAME.fullmatch(owner) or not NAME.fullmatch(name):
            return Repository(self.root / "nobody" / "nothing-of-that-name", kind)
        return Repository((self.root / "datasets" if kind == "datasets" else self.root) / owner / name, kind)

    async def _info(self, request: Request, repo: Repository, rest: list[str], user: Any) -> Response:
        folder = _folder(repo, rest[0] if rest else "main")
        with_sizes = request.query_params.get("blobs", "").lower() == "true"
        info = repo.info(folder, with_sizes=with_sizes)
        return JSONResponse(chosen(info, repo.kind, request.query_params, is_list=False))

    async def _refs(self, request: Request, repo: Repository, rest: list[str], user: Any) -> Response:
        return JSONResponse(repo.refs())

    async def _commits(self, request: Request, repo: Repository, rest: list[str], user: Any) -> Response:
        revision = rest[0] if rest else "main"
        _folder(repo, revision)
        return JSONResponse(repo.commits(revision))

    async def _tree(self, request: Request, repo: Repository, rest: list[str], user: Any) -> Response:
        folder = _folder(repo, rest[0] if rest else "main")
        is_recursive = request.query_params.get("recursive", "").lower() in ("true", "1")
        nodes = tree_of(folder, _inside("/".join(rest[1:])), is_recursive=is_recursive)
        if nodes is None:
            raise Refusal(404, "No such folder", "EntryNotFound")
        return JSONResponse(nodes)

    async def _paths_info(self, request: Request, repo: Repository, rest: list[str], user: Any) -> Response:
        folder = _folder(repo, rest[0] if rest else "main")
        asked = [_inside(str(one)) for one in (await request.form()).getlist("paths")]
        return JSONResponse([node_of(folder, folder / one) for one in asked if (folder / one).exists()])

    # Writing

    def _create(self, asked: dict[str, Any], user: Any) -> Response:
        if user is None:
            raise Refusal(401, NOT_LOGGED_IN)
        kind, owner = f"{asked.get('type') or 'model'}s", asked.get("organization") or user["name"]
        if kind not in KINDS or not NAME.fullmatch(asked["name"]):
            raise Refusal(400, f"Invalid repository name or type: {asked['name']}")
        require_writer(user, owner, f"create a {kind[:-1]}")
        repo = self._repo(kind, owner, asked["name"])
        url = f"{self.url}/{_prefix(repo)}{repo.id}"
        if repo.exists:
            raise Refusal(409, f"You already created this {kind[:-1]} repo: {repo.id}", url=url, name=repo.id)
        repo.folder.mkdir(parents=True)
        if asked.get("visibility") == "private" or asked.get("private"):
            (repo.folder / PRIVATE).touch()
        return JSONResponse({"url": url, "name": repo.id, "id": repo.id})

    def _delete(self, asked: dict[str, Any], user: Any) -> Response:
        owner = asked.get("organization") or (user or {}).get("name", "")
        repo = self._repo(f"{asked.get('type') or 'model'}s", owner, asked["name"])
        require_reader(user, repo)
        require_writer(user, repo.owner, "delete a repository")
        push.shutil.rmtree(repo.folder)
        return JSONResponse({})

    async def _settings(self, request: Request, repo: Repository, rest: list[str], user: Any) -> Response:
        require_writer(user, repo.owner, "change a repository")
        asked = await request.json()
        is_private = asked.get("visibility") == "private" or asked.get("private")
        if "visibility" in asked or "private" in asked:
            (repo.folder / PRIVATE).touch() if is_private else (repo.folder / PRIVATE).unlink(missing_ok=True)
        if asked.get("gated"):
            (repo.folder / GATED).write_text(asked["gated"], encoding="utf-8")
        elif "gated" in asked:
            (repo.folder / GATED).unlink(missing_ok=True)
        return JSONResponse({"private": repo.is_private, "gated": repo.gated})

    async def _preupload(self, request: Request, repo: Repository, rest: list[str], user: Any) -> Response:
        _require_pusher(request, repo, user)
        return JSONResponse(push.upload_modes(_folder(repo, rest[0]), (await request.json())["files"]))

    async def _commit(self, request: Request, repo: Repository, rest: list[str], user: Any) -> Response:
        author = _require_pusher(request, repo, user)["name"]
        body, revision, answer = await request.body(), rest[0], {"success": True}
        if request.query_params.get("create_pr") == "1":
            summary = json.loads(body.splitlines()[0])["value"]["summary"]
            number = push.open_pull_request(repo, summary, author)
            revision = f"refs/pr/{number}"
            answer["pullRequestUrl"] = f"{self.url}/{_prefix(repo)}{repo.id}/discussions/{number}"
        oid = push.commit(repo, revision, body, author, self.large)
        url = f"{self.url}/{_prefix(repo)}{repo.id}/commit/{oid}"
        return JSONResponse({**answer, "commitOid": oid, "commitUrl": url, "hookOutput": ""})

    async def _add_branch(self, request: Request, repo: Repository, rest: list[str], user: Any) -> Response:
        require_writer(user, repo.owner, "create a branch")
        start = (json.loads(await request.body() or b"{}")).get("startingPoint")
        if not repo.add_branch(rest[0], _folder(repo, start) if start else None):
            raise Refusal(409, f"Reference {rest[0]} already exists")
        return JSONResponse({})

    async def _delete_branch(
        self, request: Request, repo: Repository, rest: list[str], user: Any
    ) -> Response:
        require_writer(user, repo.owner, "delete a branch")
        if not repo.delete_branch(rest[0]):
            raise Refusal(403, "The branch main cannot be deleted")
        return JSONResponse({})

    async def _open_discussion(
        self, request: Request, repo: Repository, rest: list[str], user: Any
    ) -> Response:
        if user is None:
            raise Refusal(401, NOT_LOGGED_IN)
        return JSONResponse(
            {"num": push.open_pull_request(repo, (await request.json())["title"], user["name"])}
        )

    async def _discussion(self, request: Request, repo: Repository, rest: list[str], user: Any) -> Response:
        if not rest:
            numbers = [int(ref["name"]) for ref in repo.refs()["pullRequests"]]
            found = [push.discussion(repo, number) for number in numbers]
            return JSONResponse({"discussions": found, "count": len(found), "start": 0})
        return JSONResponse(push.discussion(repo, int(rest[0])))

    def _store(self, oid: str, content: bytes) -> Response:
        self.large.store(oid, content)
        return Response()

    # Files and pages

    async def _files(self, request: Request, parts: list[str], user: Any) -> Response:
        kind = "datasets" if parts[0] == "datasets" else "models"
        parts = parts[1:] if kind == "datasets" else parts
        if len(parts) > 1 and parts[1] == "resolve":  # a name without an owner
            parts = ["", *parts]
        if len(parts) < 2:
            raise Refusal(404, "Not found")
        repo = self._repo(kind, parts[0], parts[1].removesuffix(".git"))
        require_reader(user, repo)
        if parts[2:] == ["info", "lfs", "objects", "batch"]:
            _require_pusher(request, repo, user, may_be_proposed=True)
            return JSONResponse(self.large.batch((await request.json())["objects"], self.url))
        if len(parts) > 4 and parts[2] == "resolve":
            return _file(repo, parts[3], "/".join(parts[4:]), user)
        return _page(repo)


def _file(repo: Repository, revision: str, path: str, user: Any) -> Response:
    if path != "README.md":
        require_accepted(user, repo)
    folder = _folder(repo, revision)
    headers = {"X-Repo-Commit": commit_of(folder)}
    file = folder / _inside(path)
    if not file.is_file():
        raise Refusal(404, "Entry not found", "EntryNotFound", headers)
    return FileResponse(file, headers={**headers, "ETag": f'"{oid_of(file)}"'})


def _page(repo: Repository) -> Response:
    """What a person sees who opens the address of a repository."""
    card = read_card(repo.folder)
    files = "".join(
        f"<li>{escape(str(path.relative_to(repo.folder)))} ({path.stat().st_size:,} bytes)</li>"
        for path in files_of(repo.folder)
    )
    readme = repo.folder / "README.md"
    text = readme.read_text(encoding="utf-8") if readme.exists() else ""
    marks = " · ".join(f"{key}: {value}" for key, value in card.items() if isinstance(value, str | bool))
    kinds = f"{repo.kind[:-1]}{', private' if repo.is_private else ''}{', gated' if repo.gated else ''}"
    return HTMLResponse(
        f"<!doctype html><meta charset=utf-8><title>{escape(repo.id)}</title>"
        "<style>body{font:16px/1.5 system-ui;max-width:52rem;margin:2rem auto}</style>"
        f"<h1>{escape(repo.id)}</h1><p>{kinds} · {escape(marks)}</p><ul>{files}</ul>"
        f"<pre style='white-space:pre-wrap'>{escape(text)}</pre>"
    )


def _validate(asked: dict[str, Any]) -> Response:
    errors, warnings = check_card(asked["content"], asked.get("repoType", "model"))
    told = {
        "errors": [{"message": message} for message in errors],
        "warnings": [{"message": message} for message in warnings],
    }
    return JSONResponse(told, 400 if errors else 200)


def _require_pusher(
    request: Request, repo: Repository, user: Any, *, may_be_proposed: bool = False
) -> Mapping[str, Any]:
    """A writer of the repository; for a pull request anyone with a token that may write."""
    is_proposal = may_be_proposed or request.query_params.get("create_pr") == "1"
    if user is not None and is_proposal and (user.get("role") == "write" or "fineGrained" in user):
        return user
    if user is not None and user.get("role") == "read":
        raise Refusal(403, "Forbidden: you must use a write token to upload to a repository.")
    return require_writer(user, repo.owner, f"push to {repo.id}")


def _folder(repo: Repository, revision: str) -> Path:
    folder = repo.at(revision)
    if folder is None:
        raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
    return folder


def _inside(path: str) -> str:
    """The path, if it stays within the repository and names nothing that is hidden."""
    parts = Path(path).parts
    if ".." in parts or path.startswith("/") or HIDDEN & set(parts):
        raise Refusal(404, "Entry not found", "EntryNotFound")
    return path


def _is_seen(user: Any, repo: Repository) -> bool:
    try:
        require_reader(user, repo)
    except Refusal:
        return False
    return True


def _prefix(repo: Repository) -> str:
    return "datasets/" if repo.kind == "datasets" else ""
