"""What the stand-in Hub does with a push: upload modes, large files, commits, pull requests."""

import base64
import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.stand_ins.hub_answers import Refusal
from tests.stand_ins.hub_cards import check_card
from tests.stand_ins.hub_repos import HIDDEN, Repository, commit_of, is_large, oid_of


class LargeFiles:
    """Files that were uploaded before the commit that names them, by their SHA-256.

    Args:
        folder: Where they are kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, oid: str) -> Path:
        return self.folder / oid

    def batch(self, objects: Iterable[dict[str, Any]], url: str) -> dict[str, Any]:
        """Where to send which; those that are here already need no sending."""
        answers = []
        for one in objects:
            answer = {"oid": one["oid"], "size": one["size"]}
            if not self.path(one["oid"]).exists():
                answer["actions"] = {"upload": {"href": f"{url}/lfs/{one['oid']}"}}
            answers.append(answer)
        return {"transfer": "basic", "objects": answers}

    def store(self, oid: str, content: bytes) -> None:
        if hashlib.sha256(content).hexdigest() != oid:
            raise Refusal(400, "The content does not have the SHA-256 that it was announced with")
        aside = self.folder / f"{oid}.part"
        aside.write_bytes(content)
        aside.replace(self.path(oid))


def upload_modes(folder: Path, files: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """How to send each file, and what its present content is known by."""
    answers = []
    for one in files:
        present = folder / one["path"]
        answers.append(
            {
                "path": one["path"],
                "uploadMode": "lfs" if is_large(one["path"], one["size"]) else "regular",
                "shouldIgnore": False,
                "oid": oid_of(present) if present.is_file() else None,
            }
        )
    return {"files": answers}


def open_pull_request(repo: Repository, title: str, author: str) -> int:
    """Makes a pull request without changes, and returns its number."""
    numbers = [int(ref["name"]) for ref in repo.refs()["pullRequests"]]
    number = max(numbers, default=0) + 1
    repo.add_branch(f"refs/pr/{number}")
    repo.record(f"refs/pr/{number}", title, "", author)
    return number


def discussion(repo: Repository, number: int) -> dict[str, Any]:
    """A pull request as the client's `get_discussion_details` reads it."""
    folder = repo.at(f"refs/pr/{number}")
    if folder is None:
        raise Refusal(404, "Discussion not found")
    commits = repo.commits(f"refs/pr/{number}")[::-1]
    author = {"name": commits[0]["authors"][0]["user"]}
    events = [
        {"id": str(index), "type": "commit", "createdAt": one["date"], "author": author,
         "data": {"subject": one["title"], "oid": one["id"]}}
        for index, one in enumerate(commits)
    ]  # fmt: skip
    return {
        "num": number, "title": commits[0]["title"], "author": author, "createdAt": commits[0]["date"],
        "status": "open", "isPullRequest": True, "repo": {"name": repo.id, "type": repo.kind.rstrip("s")},
        "changes": {"base": "refs/heads/main"}, "filesWithConflicts": [], "events": events, "diff": "",
    }  # fmt: skip


def commit(repo: Repository, revision: str, body: bytes, author: str, large: LargeFiles) -> str:
    """Applies a commit (ndjson) to a branch or pull request, all of it or nothing; returns its hash."""
    lines = [json.loads(line) for line in body.splitlines() if line.strip()]
    header = next(line["value"] for line in lines if line["key"] == "header")
    folder = repo.at(revision)
    if folder is None:
        raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
    parent = header.get("parentCommit")
    if parent and parent != commit_of(folder):
        raise Refusal(412, "A commit has happened since. Please refresh and try again.")
    changes = [line for line in lines if line["key"] != "header"]
    _check(folder, changes, large, repo.kind)
    repo.keep(folder)
    for change in changes:
        _apply(folder, change["key"], change["value"], large)
    repo.record(revision, header["summary"], header.get("description", ""), author)
    return commit_of(folder)


def _check(folder: Path, changes: list[dict[str, Any]], large: LargeFiles, kind: str) -> None:
    for change in changes:
        key, value = change["key"], change["value"]
        parts = Path(value["path"]).parts
        if ".." in parts or HIDDEN & set(parts) or Path(value["path"]).is_absolute():
            raise Refusal(400, f"Invalid path: {value['path']}")
        if key == "lfsFile" and not large.path(value["oid"]).exists():
            raise Refusal(400, f"The large file {value['path']} was not uploaded")
        if key in ("deletedFile", "deletedFolder") and not (folder / value["path"]).exists():
            raise Refusal(404, "A file with this name doesn't exist", "EntryNotFound")
        if key == "file" and value["path"] == "README.md":
            errors, _ = check_card(base64.b64decode(value["content"]).decode(), kind.rstrip("s"))
            if errors:
                raise Refusal(400, f"Invalid metadata in README.md: {errors[0]}")


def _apply(folder: Path, key: str, value: dict[str, Any], large: LargeFiles) -> None:
    target = folder / value["path"]
    if key == "deletedFile":
        target.unlink()
    elif key == "deletedFolder":
        shutil.rmtree(target)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.with_name(f"{target.name}.part-of-a-commit")
        if key == "lfsFile":
            shutil.copyfile(large.path(value["oid"]), aside)
        else:
            aside.write_bytes(base64.b64decode(value["content"]))
        aside.replace(target)
        now = datetime.now(UTC).timestamp()
        os.utime(target, (now, now))
