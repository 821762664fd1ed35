"""Checkpoints that cannot be half-written: which of a run's are complete, and how one becomes so.

A checkpoint is written into a hidden folder beside its place, then sealed: every file is flushed to the
disk, a manifest with their sizes and checksums is added, and the folder is renamed. A folder without a
manifest that holds is no checkpoint, whatever killed its writer.
"""

import json
import os
import re
import shutil
import zlib
from dataclasses import dataclass
from pathlib import Path

MANIFEST = "complete.json"
TRAINER_STATE = "trainer_state.json"

_NAME = re.compile(r"checkpoint-(\d+)")
_ASIDE = ".checkpoint-"
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint.

    Attributes:
        folder: Where it lies.
        global_step: Optimizer updates made before it.
        best_step: The step of the best checkpoint known then; None when none was evaluated yet.
    """

    folder: Path
    global_step: int
    best_step: int | None

    @property
    def size_bytes(self) -> int:
        """Of all its files."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())


@dataclass(frozen=True)
class Found:
    """What a run's folder of checkpoints holds.

    Attributes:
        newest: The one to go on from; None: from the beginning.
        damaged: Names of folders that look like checkpoints but do not hold what was written.
    """

    newest: Checkpoint | None
    damaged: tuple[str, ...]


def checkpoint_folder(root: Path, global_step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return root / f"checkpoint-{global_step}"


def aside_folder(root: Path, global_step: int) -> Path:
    """Where it is written until it is complete."""
    return root / f"{_ASIDE}{global_step}.writing"


def seal(aside: Path, target: Path) -> None:
    """Makes a checkpoint of the files in `aside`; from then on it stands at `target`, or nothing does.

    Raises:
        OSError: If the disk does not take it.
    """
    files = {}
    for path in sorted(path for path in aside.rglob("*") if path.is_file()):
        files[str(path.relative_to(aside))] = {"size": path.stat().st_size, "crc32": _crc32(path)}
        _flush(path)
    manifest = aside / MANIFEST
    manifest.write_text(json.dumps({"files": files}, indent=1), encoding="utf-8")
    _flush(manifest)
    _flush(aside)
    if target.exists():  # one that was found damaged, or was evaluated only now
        shutil.rmtree(target)
    aside.rename(target)
    _flush(target.parent)


def find_checkpoints(root: Path, *, is_thorough: bool = False) -> Found:
    """Looks for the newest checkpoint that is complete, and whose best one is, too.

    Args:
        root: The run's folder of checkpoints; it may be missing.
        is_thorough: Whether to read every file and compare checksums, not sizes alone.
    """
    folders = {int(match[1]): path for path in _folders(root) if (match := _NAME.fullmatch(path.name))}
    whole = {step: path for step, path in folders.items() if is_complete(path, is_thorough=is_thorough)}
    damaged = tuple(path.name for step, path in sorted(folders.items()) if step not in whole)
    for step in sorted(whole, reverse=True):
        best_step = _best_step(whole[step])
        if best_step is None or best_step in whole:
            return Found(Checkpoint(whole[step], step, best_step), damaged)
    return Found(None, damaged)


def is_complete(folder: Path, *, is_thorough: bool = False) -> bool:
    """Whether a checkpoint holds all that was written into it."""
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        return all(
            (folder / name).stat().st_size == known["size"]
            and (not is_thorough or _crc32(folder / name) == known["crc32"])
            for name, known in files.items()
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def tidy(root: Path, newest: Checkpoint | None) -> None:
    """Removes what a killed writer left, and checkpoints later than the one to go on from."""
    limit = newest.global_step if newest else -1
    for path in _folders(root):
        match = _NAME.fullmatch(path.name)
        if path.name.startswith(_ASIDE) or (match and int(match[1]) > limit):
            shutil.rmtree(path, ignore_errors=True)


def _folders(root: Path) -> list[Path]:
    return [path for path in root.iterdir() if path.is_dir()] if root.is_dir() else []


def _best_step(folder: Path) -> int | None:
    state = json.loads((folder / TRAINER_STATE).read_text(encoding="utf-8"))
    return state.get("best_global_step")


def _crc32(path: Path) -> int:
    value = 0
    with path.open("rb") as opened:
        while block := opened.read(_BLOCK):
            value = zlib.crc32(block, value)
    return value


def _flush(path: Path) -> None:
    """Makes the system write a file or a folder's entries to the disk now."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
