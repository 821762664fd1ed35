"""Which image caches a home has, and how they come and go.

Each is a folder of `HOME/cache/images`, see `superft_hf.sources.pixel_cache`. They are made, reserved and
removed under one lock, which no one holds for long. Together they reserve no more than a limit; the least
recently used go first, whole, and never one that a process has open.

Nothing here fails a run: without space, permission or a sound folder there is less of a cache, or none.
"""

import errno
import fcntl
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from superft_hf.sources.pixel_cache import (
    ABOUT,
    IN_USE,
    Contents,
    PixelCache,
    read_reserved,
    write_reserved,
)

logger = logging.getLogger(__name__)

DISK_SHARE = 0.5
"""A cache takes no more than this share of the free disk, which checkpoints need as well."""

LOCK_TIMEOUT_S = 30.0

_ASIDE = ".aside-"


@dataclass(frozen=True)
class CacheFolder:
    """One cache.

    Attributes:
        folder: Where it lies.
        title: The data set for which it was made.
        words: How its images are prepared.
        size_bytes: Space on the disk.
        reserved_bytes: What it may grow to.
        used_at: When it was opened last, in seconds since 1970.
        is_in_use: Whether a process has it open.
    """

    folder: Path
    title: str
    words: str
    size_bytes: int
    reserved_bytes: int
    used_at: float
    is_in_use: bool


def list_caches(root: Path) -> list[CacheFolder]:
    """The caches of a home, the most recently used first."""
    if not root.is_dir():
        return []
    found = [one for path in sorted(root.iterdir()) if (one := _describe(path)) is not None]
    return sorted(found, key=lambda one: one.used_at, reverse=True)


def clear_caches(root: Path) -> int:
    """Removes every cache that nobody uses. Returns the bytes that became free. Raises OSError."""
    if not root.is_dir():
        return 0
    with _locked(root):
        _sweep(root)
        return sum(one.size_bytes for one in list_caches(root) if _remove(root, one.folder))


def open_cache(root: Path, contents: Contents, wanted: np.ndarray, limit_bytes: int) -> PixelCache | None:
    """Opens the cache of some images, which is made when there is none.

    Args:
        root: The folder of a home's caches.
        contents: What it is to hold.
        wanted: Positions of the images that will be asked for. Where they do not all fit, the first are kept
            and the others never.
        limit_bytes: What all caches together may take; 0: there are none.

    Returns:
        None when it cannot be had; the log says why.
    """
    if limit_bytes <= 0:
        return None
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _locked(root):
            _sweep(root)
            folder = root / contents.key
            _make_sound(root, folder, contents, limit_bytes)
            os.utime(folder / IN_USE)
            _reserve(root, folder, contents, wanted, limit_bytes)
            return PixelCache(folder, contents.sizes)
    except OSError as error:
        logger.warning("images are prepared without the cache %s: %s", root, error.strerror or error)
        return None


def _make_sound(root: Path, folder: Path, contents: Contents, limit_bytes: int) -> None:
    """Leaves a sound folder there, made anew where it is missing, broken or too large. Raises OSError."""
    if folder.exists():
        is_sound = contents.is_sound(folder)
        if is_sound and read_reserved(folder)[0] <= limit_bytes:
            return
        if not _remove(root, folder):
            if is_sound:
                return
            raise OSError(errno.EBUSY, f"{folder} is damaged, and another process uses it")
        if not is_sound:
            logger.warning("the image cache %s was damaged or of another version: it is made anew", folder)
    aside = _aside(root)
    contents.make(aside / folder.name)
    (aside / folder.name).rename(folder)
    aside.rmdir()


def _reserve(root: Path, folder: Path, contents: Contents, wanted: np.ndarray, limit_bytes: int) -> None:
    """Reserves places for as many images as fit once other caches made room. Raises OSError."""
    own_bytes, may_keep = read_reserved(folder)
    wanted = wanted[np.sort(np.unique(wanted, return_index=True)[1])]
    missing = wanted[~may_keep[wanted]]
    ends = np.cumsum(contents.sizes[missing])
    needed = int(ends[-1]) if len(ends) else 0
    others = [one for one in list_caches(root) if one.folder != folder]
    taken = own_bytes + sum(one.reserved_bytes for one in others)
    room = _room(root, limit_bytes - taken)
    while needed > room and others:
        last = others.pop()
        if _remove(root, last.folder):
            logger.info("the image cache of %s was removed to make room for another", last.title)
            taken -= last.reserved_bytes
            room = _room(root, limit_bytes - taken)
    fitting = missing[: np.searchsorted(ends, room, side="right")]
    if len(fitting) < len(missing):
        logger.info(
            "the image cache has room for %d of %d images, as hardware.image_cache_gb or the disk allows",
            len(wanted) - len(missing) + len(fitting), len(wanted),
        )  # fmt: skip
    if len(fitting):
        may_keep[fitting] = True
        write_reserved(folder, may_keep, contents.sizes)


def _room(root: Path, within_limit: int) -> int:
    return max(0, min(within_limit, int(DISK_SHARE * shutil.disk_usage(root).free)))


def _describe(folder: Path) -> CacheFolder | None:
    """What is known of a folder; None when it is none of a cache."""
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        return CacheFolder(
            folder=folder,
            title=str(about["title"]),
            words=str(about["words"]),
            size_bytes=sum(path.stat().st_blocks * 512 for path in folder.iterdir()),
            reserved_bytes=read_reserved(folder)[0],
            used_at=(folder / IN_USE).stat().st_mtime,
            is_in_use=_is_in_use(folder),
        )
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _is_in_use(folder: Path) -> bool:
    descriptor = os.open(folder / IN_USE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _remove(root: Path, folder: Path) -> bool:
    """Removes a folder that nobody uses. Returns whether it is gone."""
    try:
        if (folder / IN_USE).exists() and _is_in_use(folder):
            return False
        aside = _aside(root)
        folder.rename(aside / folder.name)
    except OSError:
        return False
    shutil.rmtree(aside, ignore_errors=True)
    return True


def _aside(root: Path) -> Path:
    return Path(tempfile.mkdtemp(dir=root, prefix=_ASIDE))


def _sweep(root: Path) -> None:
    """Removes what was left half made or half removed, and folders that are none of a cache."""
    for path in root.glob(f"{_ASIDE}*"):
        shutil.rmtree(path, ignore_errors=True)
    for path in root.iterdir():
        if path.is_dir() and _describe(path) is None:
            _remove(root, path)


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    """Keeps others from making, reserving and removing. Raises OSError when they take too long."""
    descriptor = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + LOCK_TIMEOUT_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise
            time.sleep(0.02)
        yield
    finally:
        os.close(descriptor)
