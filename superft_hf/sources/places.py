"""Where images lie: what a text typed by a person names, and how a place is called when it is shown."""

from functools import lru_cache
from pathlib import Path

from superft_hf.config import DataConfig
from superft_hf.errors import DataError, DataNotFoundError
from superft_hf.paths import UNPACKED, HomePaths
from superft_hf.samples import SAMPLE_PREFIX, fetch_images
from superft_hf.sources.archive import unpack
from superft_hf.sources.folder import read_file
from superft_hf.sources.hub_data import read_hub
from superft_hf.sources.rows import SourceSplit
from superft_hf.sources.table import SUFFIXES


def local_place(data: DataConfig, home: Path) -> Path | None:
    """The folder or table that names the images: itself, an unpacked zip or a fetched sample.

    Args:
        data: Its `name_or_path` is what is looked for.
        home: Where a zip is unpacked to.

    Returns:
        None when it can only be a data set of the Hub.

    Raises:
        DataNotFoundError: If it is meant as a path, and there is nothing.
        DataError: If it is a file of another kind.
        ArchiveError: If a zip is refused.
    """
    name = data.name_or_path
    if name.startswith(SAMPLE_PREFIX):
        return fetch_images(name)
    path = local_path(name)
    is_table, is_zip = name.lower().endswith(SUFFIXES), name.lower().endswith(".zip")
    if path is None and (is_table or is_zip):
        raise DataNotFoundError(f"There is no file {name}.", hint="Check the path.")
    if path is None and looks_like_path(name):
        raise DataNotFoundError(
            f"There is no folder {name}.", hint="Check the path; it may be relative to the server."
        )
    if path is None or path.is_dir() or is_table:
        return path
    if is_zip and path.is_file():
        return unpack(path, HomePaths(home).unpacked, name)
    raise DataError(
        f"{name} is a file, neither a folder nor a .zip, .csv or .jsonl.",
        hint="Give the folder that holds the images.",
    )


def local_path(name: str) -> Path | None:
    """The existing file or folder that a text names on this machine, or None."""
    try:
        path = Path(name).expanduser()
        return path if path.exists() else None
    except (OSError, RuntimeError, ValueError):  # too long for a path, no such user's home, a zero byte
        return None


def looks_like_path(name: str) -> bool:
    """Whether a text is meant as a path on this machine rather than a Hub id."""
    return name.startswith(("/", ".", "~")) or name.count("/") > 1 or "\\" in name


def shown_reference(data: DataConfig, reference: str) -> str:
    """A reference as a person knows it: below the folder as it was typed, or as a name within the zip."""
    path = Path(reference)
    typed = Path(data.name_or_path)
    if typed.suffix.lower() == ".zip" and UNPACKED in path.parts:
        inside = path.parts[path.parts.index(UNPACKED) + 2 :]
        return f"{Path(*inside)} in {data.name_or_path}"
    folder = local_path(data.name_or_path)
    if folder is not None and folder.is_file():
        typed, folder = typed.parent, folder.parent
    if folder is not None and path.is_relative_to(folder.absolute()):
        return str(typed / path.relative_to(folder.absolute()))
    return reference


def open_reference(data: DataConfig, reference: str) -> bytes:
    """The bytes of an image that a prediction file names. Raises DataNotFoundError if it is gone."""
    if not reference.startswith("hub:"):
        return read_file(reference)
    _, split, row = reference.split(":")
    return _read_hub_once(data.model_dump_json())[split].images.encoded(int(row))


@lru_cache(maxsize=2)  # a gallery opens dozens of references of one data set
def _read_hub_once(data_json: str) -> dict[str, SourceSplit]:
    return read_hub(DataConfig.model_validate_json(data_json))
