"""Reading `train|validation|test/<class>/…` or `<class>/…` from a folder."""

import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from superft_hf.errors import DataError, DataNotFoundError
from superft_hf.sources.metadata import Column
from superft_hf.sources.rows import Identity

EVAL_NAMES = ("validation", "valid", "val", "eval", "dev")
_SPLIT_NAMES = {"train", "training", "test", "testing", *EVAL_NAMES}
_LAYOUT = (
    "Make one folder a class, such as cat/1.jpg and dog/1.jpg, optionally below train, validation and test."
)


class FolderRow(NamedTuple):
    """One image of a folder: its path, its class, and the folder below the class folder, if any."""

    path: str
    label: str
    subfolder: str


class FileImages:
    """Images that are files; a row's reference is its path.

    Args:
        paths: One a row.
        columns: What else is known of the rows.
    """

    def __init__(self, paths: Sequence[str], columns: Mapping[str, Column] | None = None) -> None:
        self._paths = list(paths)
        self._columns = dict(columns or {})

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self._paths)

    def encoded(self, row: int) -> bytes:
        """The bytes of the file. Raises DataNotFoundError if it is gone."""
        return read_file(self._paths[row])

    def identity(self, row: int) -> Identity | None:
        """What the file is known again by; None if it is gone."""
        return file_identity(self._paths[row])

    def reference(self, row: int) -> str:
        """The path."""
        return self._paths[row]

    def metadata(self, rows: np.ndarray) -> dict[str, list[str | None]]:
        """What else is known of some rows: texts by column."""
        return {name: column.texts(rows) for name, column in self._columns.items()}


def read_file(path: str) -> bytes:
    """The bytes of an image file. Raises DataNotFoundError if it is gone or cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise DataNotFoundError(
            f"The image {path} cannot be read: {error.strerror or error}.",
            hint="Put it back, or start again with the folder as it is now.",
        ) from error


def file_identity(path: str) -> Identity | None:
    """What a file is known again by: its size, its times of change and its number; None if it is gone."""
    try:
        found = os.stat(path)  # noqa: PTH116 - a Path of each of a million images takes seconds
    except OSError:
        return None
    stamp = f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_dev} {found.st_ino}"
    place = os.path.abspath(path).encode("utf-8", "backslashreplace").decode()  # noqa: PTH100
    return Identity(place, stamp, found.st_mtime)


def read_folder(root: Path, *, name: str = "", split_names: Sequence[str] = ()) -> dict[str, list[FolderRow]]:
    """Lists the images of a folder.

    Args:
        root: A folder of class folders, or of split folders that hold class folders.
        name: What errors call the folder, such as the path as a person typed it; empty: its path.
        split_names: Further names that a split folder may have, the one for training first.

    Returns:
        Rows by split folder, ordered by class and path; a folder of class folders is one split named `train`.
        Files that are not named like images are passed over.

    Raises:
        DataNotFoundError: If there is no such folder.
        DataError: If it holds no images in class folders, or splits but none to train on.
    """
    name = name or str(root)
    if not root.is_dir():
        raise DataNotFoundError(
            f"There is no folder {name}.", hint="Check the path; it may be relative to the server."
        )
    known = _known(split_names)
    try:
        base = _descend(root, known)
        found = _splits(base, name, known, split_names[0].lower() if split_names else "train")
        found = {split: rows for split, rows in found.items() if rows}
        loose = 0 if found else sum(1 for one in base.iterdir() if _is_image_name(one))
    except OSError as error:
        raise DataError(
            f"The folder {name} cannot be read: {error.strerror or error}.", hint="Check its permissions."
        ) from error
    if not found:
        detail = f" It has {loose:,} images that lie in no class folder." if loose else ""
        raise DataError(f"The folder {name} holds no images in class folders.{detail}", hint=_LAYOUT)
    return found


def unwrap(root: Path, split_names: Sequence[str] = ()) -> Path:
    """The folder below the wrapper folders that zips often have. Raises OSError."""
    return _descend(root, _known(split_names))


def split_folders(base: Path, split_names: Sequence[str] = ()) -> list[Path]:
    """The folders that have the name of a split. Raises OSError."""
    return [one for one in _subfolders(base) if one.name.lower() in _known(split_names)]


@lru_cache(maxsize=1)
def image_suffixes() -> frozenset[str]:
    """Endings of the names of images that can be opened, lower case, with the dot."""
    no_images = {".pdf", ".eps", ".ps", ".wmf", ".emf", ".mpg", ".mpeg", ".h5", ".hdf"}
    return frozenset(Image.registered_extensions()) - no_images


def _known(split_names: Sequence[str]) -> set[str]:
    return _SPLIT_NAMES | {one.lower() for one in split_names}


def _splits(base: Path, name: str, known: set[str], train: str) -> dict[str, list[FolderRow]]:
    folders = _subfolders(base)
    splits = [one for one in folders if one.name.lower() in known and _subfolders(one)]
    if any(one.name.lower() == train or one.name.lower().startswith("train") for one in splits):
        return {one.name.lower(): _classes(one) for one in splits}
    is_nested = not any(_is_image_name(path) for one in folders for path in one.iterdir())
    if (splits and is_nested) or (folders and all(one.name.lower() in known for one in folders)):
        # Taken for classes, they would make a network that tells the splits apart.
        given = ", ".join(one.name for one in folders)
        raise DataError(
            f"The folder {name} has {given}, but no train folder with class folders in it.",
            hint=f"{_LAYOUT} Another name for train is set by data.train_split.",
        )
    return {"train": _classes(base)}


def _descend(root: Path, known: set[str]) -> Path:
    """Passes wrapper folders, which zips often have: a lone folder that itself holds only folders."""
    base = root
    for _ in range(4):
        folders = _subfolders(base)
        if (
            len(folders) != 1
            or not _subfolders(folders[0])
            or any(_is_image_name(one) for one in base.iterdir())
        ):
            return base
        if folders[0].name.lower() in known:
            return base
        base = folders[0]
    return base


def _classes(folder: Path) -> list[FolderRow]:
    return [
        FolderRow(str(path.absolute()), one.name, next(iter(path.relative_to(one).parts[:-1]), ""))
        for one in _subfolders(folder)
        for path in sorted(one.rglob("*"))
        if _is_image_name(path) and path.is_file()
    ]


def _subfolders(folder: Path) -> list[Path]:
    return sorted(
        one
        for one in folder.iterdir()
        if one.is_dir() and not one.name.startswith(".") and one.name != "__MACOSX"
    )


def _is_image_name(path: Path) -> bool:
    return path.suffix.lower() in image_suffixes() and not path.name.startswith(".")
