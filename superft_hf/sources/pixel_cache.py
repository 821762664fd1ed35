"""Prepared images on disk, so that each is decoded once and not once an epoch, by whichever run comes first.

A folder holds the images of one set, prepared in one way:

- `about.json`: its version, what is in it, and how large it is.
- `pixels`: the images one after the other, each at its own place, whether it is there yet or not; places
  without an image take no space on the disk.
- `rows`: for each image 8 bytes, written after its pixels: whether it is there, and its CRC-32. What a
  process reads for the first time is checked against it, so a damaged or half-written image counts as none.
- `reserved`: the bytes that the folder may grow to, then for each image whether it may be kept.
- `in_use`: locked, shared, by every process that reads or fills the folder, and touched when it is opened.

Any number of processes may fill it at once: an image is a function of its file and the way of preparing, so
two who write the same place write the same bytes. See `superft_hf.sources.cache_room` for how folders come
and go.

Pixels are read and written by position from the system's page cache, which all processes share, rather than
by a mapping into memory. For whole images that is no slower; a full disk or a damaged file is an error to be
caught, where a mapping would end the process (SIGBUS); and the images do not count as the process's memory.
"""

import fcntl
import json
import logging
import os
import struct
import weakref
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

logger = logging.getLogger(__name__)

VERSION = 1

ABOUT, PIXELS, ROWS, RESERVED, IN_USE = "about.json", "pixels", "rows", "reserved", "in_use"

_ROW = struct.Struct("<B3xI")  # mark and CRC-32
_EXACT, _ROUNDED = 1, 2
_TOTAL_BYTES = 8


@dataclass(frozen=True)
class Contents:
    """What a folder is to hold.

    Attributes:
        key: Its name: equal for equal images that are prepared in the same way.
        title: Of the data set, for people.
        words: How the images are prepared, for people.
        sizes: Bytes of each of M images, shape (M,), dtype int64.
    """

    key: str
    title: str
    words: str
    sizes: np.ndarray

    def make(self, folder: Path) -> None:
        """Makes the folder without an image in it. Raises OSError."""
        folder.mkdir()
        for name, size in self._file_sizes().items():
            with (folder / name).open("wb") as file:
                file.truncate(size)
        (folder / ABOUT).write_text(json.dumps({"title": self.title, **self._about()}), encoding="utf-8")

    def is_sound(self, folder: Path) -> bool:
        """Whether a folder is one for these contents, with all its files."""
        try:
            about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
            sizes = {name: (folder / name).stat().st_size for name in self._file_sizes()}
        except (OSError, ValueError):
            return False
        return isinstance(about, dict) and {**about, **self._about()} == about and sizes == self._file_sizes()

    def _about(self) -> dict[str, Any]:
        return {"version": VERSION, "words": self.words, "images": len(self.sizes)}

    def _file_sizes(self) -> dict[str, int]:
        images = len(self.sizes)
        return {
            PIXELS: int(self.sizes.sum()),
            ROWS: images * _ROW.size,
            RESERVED: _TOTAL_BYTES + images,
            IN_USE: 0,
        }


class PixelCache:
    """An open folder, for any number of threads, forked processes, and processes that it is sent to.

    Nothing here raises once it is open: what cannot be read is not there, what cannot be written is not
    kept, and the log says so once.

    Args:
        folder: A sound one.
        sizes: Bytes of each of M images, shape (M,).

    Raises:
        OSError: If it cannot be opened.
    """

    def __init__(self, folder: Path, sizes: np.ndarray) -> None:
        self.folder = folder
        self._sizes = sizes
        self._starts = np.concatenate([[0], np.cumsum(sizes)])
        self._is_told = False
        opened: list[int] = []
        self.close = weakref.finalize(self, _close, opened)
        """Gives the folder up, so that it may be removed."""
        for name, flags in ((IN_USE, os.O_RDONLY), (ROWS, os.O_RDWR), (PIXELS, os.O_RDWR)):
            opened.append(os.open(folder / name, flags | os.O_CLOEXEC))
        fcntl.flock(opened[0], fcntl.LOCK_SH)
        self._rows, self._pixels = opened[1:]
        self._may_keep = read_reserved(folder)[1]
        self._is_checked = np.zeros(len(sizes), dtype=bool)

    def __reduce__(self) -> tuple[Callable[..., "PixelCache"], tuple[Path, np.ndarray]]:
        """Sent to another process, it is opened there."""
        return PixelCache, (self.folder, self._sizes)

    def read(self, row: int) -> tuple[np.ndarray, bool] | None:
        """An image.

        Args:
            row: Its position among the M.

        Returns:
            Its bytes, shape (size,), and whether they were written as exact; None when it is not there.
        """
        found = np.empty(int(self._sizes[row]), dtype=np.uint8)
        try:
            entry = os.pread(self._rows, _ROW.size, row * _ROW.size)
            mark, crc = _ROW.unpack(entry) if len(entry) == _ROW.size else (0, 0)
            if mark not in (_EXACT, _ROUNDED):
                return None
            is_whole = os.preadv(self._pixels, [found], int(self._starts[row])) == len(found)
        except OSError as error:
            self._tell(f"cannot be read ({error.strerror or error})")
            return None
        if not self._is_checked[row]:
            if not is_whole or zlib.crc32(found) != crc:
                self._tell("has damaged images, which are made again")
                return None
            self._is_checked[row] = True
        return found, mark == _EXACT

    def write(self, row: int, pixels: np.ndarray, *, is_exact: bool = True) -> None:
        """Keeps an image, where there is room for it.

        Args:
            row: Its position among the M.
            pixels: Of its size, any shape, uint8, contiguous.
            is_exact: Comes back with it.
        """
        if not self._may_keep[row] or pixels.nbytes != self._sizes[row]:
            return
        entry = _ROW.pack(_EXACT if is_exact else _ROUNDED, zlib.crc32(pixels))
        try:
            _write_all(self._pixels, pixels, int(self._starts[row]))
            _write_all(self._rows, entry, row * _ROW.size)
        except OSError as error:
            self._may_keep = np.zeros_like(self._may_keep)
            self._tell(f"takes no more images ({error.strerror or error})")

    def array(self, name: str, shape: tuple[int, ...], make: Callable[[], np.ndarray]) -> np.ndarray:
        """A float32 array that belongs to the images, kept in a file of its own once it is made."""
        path = self.folder / name
        with suppress(OSError):
            found = path.read_bytes()
            content = found[4:]
            if zlib.crc32(content).to_bytes(4, "little") == found[:4] and len(content) == 4 * np.prod(shape):
                return np.frombuffer(content, dtype="<f4").reshape(shape).astype(np.float32)
        made = make()
        content = made.astype("<f4").tobytes()
        with suppress(OSError):
            replace_file(path, zlib.crc32(content).to_bytes(4, "little") + content)
        return made

    def _tell(self, words: str) -> None:
        if not self._is_told:
            self._is_told = True
            logger.warning("the image cache %s %s", self.folder, words)


def read_reserved(folder: Path) -> tuple[int, np.ndarray]:
    """The bytes that a folder may grow to, and which of its M images may be kept, shape (M,), bool."""
    content = (folder / RESERVED).read_bytes()
    return int.from_bytes(content[:_TOTAL_BYTES], "little"), np.frombuffer(
        content[_TOTAL_BYTES:], bool
    ).copy()


def write_reserved(folder: Path, may_keep: np.ndarray, sizes: np.ndarray) -> None:
    """Notes which images may be kept. Raises OSError."""
    total = int(sizes[may_keep].sum())
    replace_file(folder / RESERVED, total.to_bytes(_TOTAL_BYTES, "little") + may_keep.tobytes())


def replace_file(path: Path, content: bytes) -> None:
    """Writes a file aside and puts it in its place. Raises OSError."""
    aside = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        aside.write_bytes(content)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def _write_all(descriptor: int, values: np.ndarray | bytes, start: int) -> None:
    left = memoryview(values).cast("B")
    while left:
        written = os.pwrite(descriptor, left, start)
        left, start = left[written:], start + written


def _close(descriptors: list[int]) -> None:
    while descriptors:
        os.close(descriptors.pop())
