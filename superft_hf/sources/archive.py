"""Unpacking a zip from anywhere without trusting it."""

import hashlib
import shutil
import stat
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from superft_hf.errors import ArchiveError

MAX_FILES = 2_000_000
MAX_BYTES = 200 * 2**30
MAX_RATIO = 200
"""Largest expansion of a whole archive; images hardly compress, so a larger one is a bomb."""

_SMALL = 64 * 2**20


def unpack(archive: Path, into: Path) -> Path:
    """Unpacks a zip into a folder named after its content, once.

    Args:
        archive: The zip.
        into: Folder under which the unpacked folder lies; made when missing.

    Returns:
        The folder with the archive's files. A second call with the same content returns at once.

    Raises:
        ArchiveError: If it is no zip, is damaged or encrypted, holds links or names that leave the
            folder, or would grow beyond the limits; nothing is left behind.
    """
    target = into / _content_name(archive)
    if target.is_dir():
        return target
    into.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=into, prefix=".unpacking-"))
    try:
        with zipfile.ZipFile(archive) as opened:
            _check(opened, archive)
            opened.extractall(aside)
        aside.rename(target)
    except zipfile.BadZipFile as error:
        raise ArchiveError(
            f"The file {archive} is not an intact zip: {error}.", hint="Pack it again."
        ) from error
    except (NotImplementedError, RuntimeError, EOFError, zipfile.zlib.error) as error:
        raise ArchiveError(
            f"The zip {archive} cannot be unpacked: {error}.", hint="Pack it again."
        ) from error
    except OSError:
        if not target.is_dir():  # another process may have been faster
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return target


def _content_name(archive: Path) -> str:
    with archive.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()[:16]


def _check(opened: zipfile.ZipFile, archive: Path) -> None:
    entries = opened.infolist()
    size = sum(entry.file_size for entry in entries)
    packed = sum(entry.compress_size for entry in entries)
    if len(entries) > MAX_FILES or size > MAX_BYTES or (size > _SMALL and size > packed * MAX_RATIO):
        raise ArchiveError(
            f"The zip {archive} would grow to {len(entries):,} files and {size / 2**30:,.1f} GiB, which is refused.",
            hint="Unpack it yourself if you trust it, and give the folder.",
        )
    for entry in entries:
        name = PurePosixPath(entry.filename.replace("\\", "/"))
        if name.is_absolute() or ".." in name.parts or ":" in entry.filename.split("/")[0]:
            raise ArchiveError(
                f"The zip {archive} holds the name {entry.filename!r}, which leaves its folder.",
                hint="Do not use this file unless you know why; pack the images again with plain names.",
            )
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise ArchiveError(
                f"The zip {archive} holds the link {entry.filename!r}.", hint="Pack the images themselves."
            )
        if entry.flag_bits & 1:
            raise ArchiveError(f"The zip {archive} is encrypted.", hint="Pack it without a password.")
