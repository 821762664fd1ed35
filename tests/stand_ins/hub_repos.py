"""A repository of the stand-in Hub: a folder, its revisions, and what the Hub tells about it.

The files of `main` lie in the folder itself. Any other revision is a whole folder of its own below
`.revisions/`, named by the quoted revision: `refs%2Fpr%2F1`, `refs%2Fconvert%2Fparquet`, or the hash of a
commit that is no longer the newest. Names in HIDDEN are the stand-in's own notes and are never served.
"""

import hashlib
import io
import json
import math
import shutil
import struct
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from ruamel.yaml import YAML, YAMLError

GATED, PRIVATE, NOTES, REVISIONS, COMMITS = ".gated", ".private", ".hub.json", ".revisions", ".commits.jsonl"
HIDDEN = {GATED, PRIVATE, NOTES, REVISIONS, COMMITS}
LARGE_BYTES = 10 * 2**20
LARGE_SUFFIXES = {".safetensors", ".bin", ".parquet", ".onnx", ".pt", ".pth", ".npz", ".zip", ".arrow"}
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
TASK_OF_ENDING = {
    "ForImageClassification": "image-classification",
    "ForObjectDetection": "object-detection",
    "ForSemanticSegmentation": "image-segmentation",
    "ForMaskedLM": "fill-mask",
}


class Repository:
    """One model or data set.

    Args:
        folder: Where it lies: `<root>/[datasets/]<owner>/<name>`.
        kind: models or datasets.
    """

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder = folder
        self.kind = kind

    @property
    def id(self) -> str:
        return f"{self.folder.parent.name}/{self.folder.name}"

    @property
    def owner(self) -> str:
        return self.folder.parent.name

    @property
    def exists(self) -> bool:
        return self.folder.is_dir()

    @property
    def is_private(self) -> bool:
        return (self.folder / PRIVATE).exists()

    @property
    def gated(self) -> str | bool:
        """`auto` or `manual`: what the file `.gated` says; False without one."""
        mark = self.folder / GATED
        return (mark.read_text(encoding="utf-8").strip() or "auto") if mark.exists() else False

    @property
    def notes(self) -> dict[str, Any]:
        """What `.hub.json` says: downloads, likes, lastModified, createdAt, trendingScore."""
        path = self.folder / NOTES
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def at(self, revision: str) -> Path | None:
        """The folder with the files of a branch, tag, pull request or commit; None when there is none."""
        if revision in ("main", "v1", commit_of(self.folder)):
            return self.folder
        other = self._other(revision)
        if other.is_dir():
            return other
        return next((one for one in self._others() if commit_of(one) == revision), None)

    def refs(self) -> dict[str, list[dict[str, str]]]:
        """Branches, pull requests and converted branches, as the Hub lists them."""
        found: dict[str, list[dict[str, str]]] = {
            "branches": [_ref("main", "refs/heads/main", commit_of(self.folder))],
            "tags": [], "converts": [], "pullRequests": [],
        }  # fmt: skip
        for folder in self._others():
            name = unquote(folder.name)
            if name.startswith("refs/pr/"):
                found["pullRequests"].append(_ref(name.removeprefix("refs/pr/"), name, commit_of(folder)))
            elif name.startswith("refs/convert/"):
                found["converts"].append(_ref(name.removeprefix("refs/convert/"), name, commit_of(folder)))
            elif not _is_hash(name):
                found["branches"].append(_ref(name, f"refs/heads/{name}", commit_of(folder)))
        return found

    def add_branch(self, name: str, start: Path | None = None) -> bool:
        """Copies main (or `start`) to a branch; False when there is one of that name."""
        target = self._other(name)
        if target.exists() or name == "main":
            return False
        copy_files(start or self.folder, target)
        return True

    def delete_branch(self, name: str) -> bool:
        target = self._other(name)
        shutil.rmtree(target, ignore_errors=True)
        return name != "main"

    def commits(self, revision: str) -> list[dict[str, Any]]:
        """Commits of a revision, newest first; a folder that nobody pushed to has one."""
        folder, path = self.at(revision), self.folder / COMMITS
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        pushed = [json.loads(line) for line in lines]
        found = [one for one in pushed if one.pop("revision") == ("main" if revision == "v1" else revision)]
        if found:
            return found[::-1]
        when = _stamp(self._changed_at())
        return [_commit(commit_of(folder or self.folder), "initial commit", "", when, self.owner)]

    def record(self, revision: str, title: str, message: str, author: str) -> None:
        """Notes that a commit was made, after its files were written."""
        folder = self.at(revision) or self.folder
        entry = _commit(commit_of(folder), title, message, _stamp(datetime.now(UTC)), author)
        with (self.folder / COMMITS).open("a", encoding="utf-8") as opened:
            opened.write(json.dumps({**entry, "revision": revision}) + "\n")

    def keep(self, folder: Path) -> None:
        """Keeps the present files of a revision under their commit hash, before it changes."""
        kept = self._other(commit_of(folder))
        if not kept.exists():
            copy_files(folder, kept)

    def info(self, folder: Path, *, with_sizes: bool = False) -> dict[str, Any]:
        """Everything that the Hub tells about a revision, by the Hub's names."""
        notes, changed = self.notes, self._changed_at()
        files = list(files_of(folder))
        card = read_card(folder)
        found = {
            "id": self.id, "author": self.owner, "sha": commit_of(folder), "private": self.is_private,
            "gated": self.gated, "disabled": False,
            "downloads": notes.get("downloads", 7), "likes": notes.get("likes", 1),
            "trendingScore": notes.get("trendingScore", 0),
            "lastModified": notes.get("lastModified") or _stamp(changed),
            "createdAt": notes.get("createdAt") or notes.get("lastModified") or _stamp(changed),
            "siblings": [_sibling(folder, path, with_sizes=with_sizes) for path in files],
            "cardData": card, "usedStorage": sum(path.stat().st_size for path in files),
        }  # fmt: skip
        if self.kind == "models":
            return {**found, "modelId": self.id, **_model_facts(folder, files, card)}
        return {**found, "description": "", "tags": _data_tags(card, files)}

    def _other(self, revision: str) -> Path:
        return self.folder / REVISIONS / quote(revision, safe="")

    def _others(self) -> list[Path]:
        folder = self.folder / REVISIONS
        return sorted(folder.iterdir()) if folder.is_dir() else []

    def _changed_at(self) -> datetime:
        times = [path.stat().st_mtime for path in files_of(self.folder)]
        return datetime.fromtimestamp(max(times, default=self.folder.stat().st_mtime), UTC)


# Files


def commit_of(folder: Path) -> str:
    """The commit hash of a repository's (or a revision's) files: changes with any of them."""
    whole = hashlib.sha1()
    for path in files_of(folder):
        whole.update(f"{path.relative_to(folder)} {oid_of(path)}\n".encode())
    return whole.hexdigest()


def files_of(folder: Path) -> Iterator[Path]:
    """The files that the Hub shows, in order."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return (path for path in found if not HIDDEN & set(path.relative_to(folder).parts))


def copy_files(source: Path, target: Path) -> None:
    """Copies what the Hub shows of one revision."""
    target.mkdir(parents=True, exist_ok=True)
    for path in files_of(source):
        copied = target / path.relative_to(source)
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copied)


def is_large(path: str, size: int) -> bool:
    """Whether the Hub keeps a file of that name apart from git (LFS)."""
    return size > 0 and (size > LARGE_BYTES or Path(path).suffix in LARGE_SUFFIXES)


def oid_of(path: Path) -> str:
    """What identifies a file's content: the SHA-256 of a large file, git's SHA-1 of any other."""
    stat = path.stat()
    return _oid(str(path), stat.st_size, stat.st_mtime_ns, is_large(path.name, stat.st_size))


@lru_cache(maxsize=20_000)
def _oid(path: str, size: int, changed_ns: int, large: bool) -> str:
    digest = hashlib.sha256() if large else hashlib.sha1(f"blob {size}\0".encode())
    digest.update(Path(path).read_bytes())
    return digest.hexdigest()


def node_of(folder: Path, path: Path) -> dict[str, Any]:
    """A file or folder as trees list it."""
    name = path.relative_to(folder).as_posix()
    if path.is_dir():
        return {"type": "directory", "path": name, "oid": hashlib.sha1(name.encode()).hexdigest(), "size": 0}
    size, oid = path.stat().st_size, oid_of(path)
    node = {"type": "file", "path": name, "oid": oid[:40], "size": size}
    return {**node, "lfs": {"oid": oid, "size": size, "pointerSize": 134}} if is_large(name, size) else node


def tree_of(folder: Path, path: str, *, is_recursive: bool) -> list[dict[str, Any]] | None:
    """The nodes below a path; None when it is no folder."""
    top = folder / path
    if not top.is_dir():
        return None
    found = sorted(top.rglob("*") if is_recursive else top.iterdir())
    return [node_of(folder, one) for one in found if not HIDDEN & set(one.relative_to(folder).parts)]


def _sibling(folder: Path, path: Path, *, with_sizes: bool) -> dict[str, Any]:
    name = path.relative_to(folder).as_posix()
    if not with_sizes:
        return {"rfilename": name}
    size, oid = path.stat().st_size, oid_of(path)
    found = {"rfilename": name, "size": size, "blobId": oid[:40]}
    if is_large(name, size):
        found["lfs"] = {"sha256": oid, "size": size, "pointerSize": 134}
    return found


# What the Hub reads out of the files


def read_card(folder: Path) -> dict[str, Any]:
    """The YAML at the top of README.md; empty when there is none, or a broken one."""
    readme = folder / "README.md"
    if not readme.exists():
        return {}
    stat = readme.stat()
    return _card(str(readme), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=2000)
def _card(path: str, size: int, changed_ns: int) -> dict[str, Any]:
    text = Path(path).read_text(encoding="utf-8")
    parts = text.split("---\n") if text.startswith("---\n") else []
    try:
        found = YAML(typ="safe", pure=True).load(io.StringIO(parts[1])) if len(parts) > 2 else {}
    except YAMLError:
        return {}
    return found if isinstance(found, dict) else {}


def _model_facts(folder: Path, files: list[Path], card: dict[str, Any]) -> dict[str, Any]:
    config = _read_json(folder / "config.json")
    names = {path.name for path in files}
    library = card.get("library_name") or _library(config)
    task = card.get("pipeline_tag") or _task(config)
    numbers = count_numbers([path for path in files if path.suffix == ".safetensors"])
    marks = [
        library,
        "safetensors" if numbers else None,
        "pytorch" if "pytorch_model.bin" in names else None,
        config.get("model_type"),
        task,
        "custom_code" if config.get("auto_map") else None,
    ]
    tags = list(dict.fromkeys([str(mark) for mark in marks if mark] + _card_tags(card)))
    kept = ("architectures", "auto_map", "model_type", "architecture")
    facts: dict[str, Any] = {"tags": tags, "config": {key: config[key] for key in kept if key in config}}
    facts |= {"pipeline_tag": task} if task else {}
    facts |= {"library_name": library} if library else {}
    facts |= {"model-index": card["model-index"]} if "model-index" in card else {}
    if numbers:
        facts["safetensors"] = {"parameters": dict(numbers), "total": sum(numbers.values())}
    return facts


def _library(config: dict[str, Any]) -> str | None:
    if "architecture" in config:
        return "timm"
    return "transformers" if config.get("model_type") else None


def _task(config: dict[str, Any]) -> str | None:
    if "architecture" in config:
        return "image-classification"
    names = [str(one) for one in config.get("architectures") or []]
    return next(
        (task for end, task in TASK_OF_ENDING.items() if any(name.endswith(end) for name in names)), None
    )


def _card_tags(card: dict[str, Any]) -> list[str]:
    tags = [str(tag) for tag in _several(card.get("tags"))]
    for key, prefix in (("license", "license"), ("datasets", "dataset"), ("base_model", "base_model")):
        tags += [f"{prefix}:{one}" for one in _several(card.get(key))]
    return [*tags, "region:us"]


def _data_tags(card: dict[str, Any], files: list[Path]) -> list[str]:
    tags = []
    for key in ("task_categories", "license", "size_categories", "language"):
        tags += [f"{key}:{one}" for one in _several(card.get(key))]
    tags += [str(tag) for tag in _several(card.get("tags"))]
    if "modality:image" not in tags and _has_images(card, files):
        tags.append("modality:image")
    return [*tags, "region:us"]


def _has_images(card: dict[str, Any], files: list[Path]) -> bool:
    told = json.dumps(card.get("dataset_info", {}), default=str)
    return '"dtype": "image"' in told or any(path.suffix in IMAGE_SUFFIXES for path in files)


def count_numbers(weights: list[Path]) -> Counter:
    """Numbers in safetensors files by type, F32 and so on, as the Hub counts them."""
    numbers: Counter = Counter()
    for path in weights:
        stat = path.stat()
        numbers.update(_count(str(path), stat.st_mtime_ns))
    return numbers


@lru_cache(maxsize=1000)
def _count(path: str, changed_ns: int) -> Counter:
    found: Counter = Counter()
    try:
        with Path(path).open("rb") as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
            header = json.loads(opened.read(min(length, 100_000_000)))
    except (ValueError, struct.error):
        return found
    for name, tensor in header.items():
        if name != "__metadata__":
            found[tensor["dtype"]] += math.prod(tensor["shape"])
    return found


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _several(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value] if value else []


def _ref(name: str, ref: str, commit: str) -> dict[str, str]:
    return {"name": name, "ref": ref, "targetCommit": commit}


def _commit(oid: str, title: str, message: str, date: str, author: str) -> dict[str, Any]:
    return {"id": oid, "title": title, "message": message, "date": date, "authors": [{"user": author}]}


def _is_hash(name: str) -> bool:
    return len(name) == 40 and not set(name) - set("0123456789abcdef")


def _stamp(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%S.000Z")
