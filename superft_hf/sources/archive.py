"""Unpacking a zip from anywhere without trusting it."""

import hashlib
import lzma
import re
import shutil
import stat
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from superft_hf.errors import ArchiveError

MAX_FILES = 2_000_000
MAX_BYTES = 200 * 2**30
MAX_RATIO = 200
"""Largest expansion of a whole archive; images hardly compress, so a larger one is a bomb."""

_SMALL = 64 * 2**20


def unpack(archive: Path, into: Path, name: str = "") -> Path:
    """Unpacks a zip into a folder named after its content, once.

    Args:
        archive: The zip.
        into: Folder under which the unpacked folder lies; made when missing.
        name: What errors call the zip, such as the path as a person typed it; empty: its path.

    Returns:
        The folder with the archive's files. A second call with the same content returns at once.

    Raises:
        ArchiveError: If it is no zip, is damaged or encrypted, holds links or names that leave the
            folder, or would grow beyond the limits; nothing is left behind.
    """
    name = name or str(archive)
    try:
        target = into / _content_name(archive)
        if target.is_dir():
            return target
        into.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(dir=into, prefix=".unpacking-"))
    except OSError as error:
        raise _failed(name, error) from error
    try:
        with zipfile.ZipFile(archive) as opened:
            _check(opened, archive.stat().st_size, name)
            _extract(opened, aside)
        aside.rename(target)
    except zipfile.BadZipFile as error:
        raise ArchiveError(
            f"The file {name} is not an intact zip: {_text(error)}.", hint="Pack it again."
        ) from error
    except (RuntimeError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
        raise _failed(name, error) from error
    except OSError as error:
        if not target.is_dir():  # another process may have been faster
            raise _failed(name, error) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return target


def _content_name(archive: Path) -> str:
    with archive.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()[:16]


def _extract(opened: zipfile.ZipFile, folder: Path) -> None:
    for entry in opened.infolist():
        entry.filename = _plain_name(entry)
        opened.extract(entry, folder)


def _plain_name(entry: zipfile.ZipInfo) -> str:
    """The name with the separators of this system: some programs write those of Windows."""
    return entry.filename.replace("\\", "/")


def _check(opened: zipfile.ZipFile, packed: int, name: str) -> None:
    """Refuses what must not be unpacked; `packed` is the size of the zip file in bytes."""
    entries = opened.infolist()
    size = sum(entry.file_size for entry in entries)
    if len(entries) > MAX_FILES or size > MAX_BYTES or (size > _SMALL and size > packed * MAX_RATIO):
        raise ArchiveError(
            f"The zip {name} would grow from {packed / 2**20:,.1f} MiB to {size / 2**20:,.0f} MiB in "
            f"{len(entries):,} files, which is refused.",
            hint="Unpack it yourself if you trust it, and give the folder.",
        )
    for entry in entries:
        path = PurePosixPath(_plain_name(entry))
        if path.is_absolute() or ".." in path.parts or re.match(r"[A-Za-z]:(/|$)", str(path)):
            raise ArchiveError(
                f"The zip {name} holds the name {entry.filename!r}, which leaves its folder.",
                hint="Do not use this file unless you know why; pack the images again with plain names.",
            )
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise ArchiveError(
                f"The zip {name} holds the link {entry.filename!r}.", hint="Pack the images themselves."
            )
        if entry.flag_bits & 1:
            raise ArchiveError(f"The zip {name} is encrypted.", hint="Pack it without a password.")


def _failed(name: str, error: BaseException) -> ArchiveError:
    return ArchiveError(
        f"The zip {name} cannot be unpacked: {_text(error)}.",
        hint="Pack it again, or unpack it yourself and give the folder.",
    )


def _text(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).rstrip(".") or type(error).__name__
