"""Reading `train|validation|test/<class>/…` or `<class>/…` from a folder."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from PIL import Image

from superft_hf.errors import DataError, DataNotFoundError

EVAL_NAMES = ("validation", "valid", "val", "eval", "dev")
_SPLIT_NAMES = {"train", "training", "test", "testing", *EVAL_NAMES}


class FileImages:
    """Images that are files; a row's reference is its path."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = list(paths)

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self._paths)

    def encoded(self, row: int) -> bytes:
        """The bytes of the file. Raises DataNotFoundError if it is gone."""
        return read_file(self._paths[row])

    def reference(self, row: int) -> str:
        """The path."""
        return self._paths[row]


def read_file(path: str) -> bytes:
    """The bytes of an image file. Raises DataNotFoundError if it is gone or cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise DataNotFoundError(
            f"The image {path} cannot be read: {error.strerror or error}.",
            hint="Put it back, or start again with the folder as it is now.",
        ) from error


def read_folder(root: Path) -> dict[str, list[tuple[str, str]]]:
    """Lists the images of a folder.

    Args:
        root: A folder of class folders, or of split folders that hold class folders.

    Returns:
        `(path, class name)` by split folder, ordered by class and path; a folder of class folders is one
        split named `train`. Files that are not named like images are passed over.

    Raises:
        DataNotFoundError: If there is no such folder.
        DataError: If it holds no images in class folders.
    """
    if not root.is_dir():
        raise DataNotFoundError(
            f"There is no folder {root}.", hint="Check the path; it may be relative to the server."
        )
    base = _descend(root)
    folders = _subfolders(base)
    splits = [one for one in folders if one.name.lower() in _SPLIT_NAMES and _subfolders(one)]
    is_split = any(one.name.lower().startswith("train") for one in splits)
    named = {one.name.lower(): _classes(one) for one in splits} if is_split else {"train": _classes(base)}
    found = {name: rows for name, rows in named.items() if rows}
    if not found:
        loose = sum(1 for one in base.iterdir() if _is_image_name(one))
        detail = f" It has {loose:,} images that lie in no class folder." if loose else ""
        raise DataError(
            f"The folder {root} holds no images in class folders.{detail}",
            hint="Make one folder a class, such as cat/1.jpg and dog/1.jpg, optionally below train, validation and test.",
        )
    return found


def _descend(root: Path) -> Path:
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
        if folders[0].name.lower() in _SPLIT_NAMES:
            return base
        base = folders[0]
    return base


def _classes(folder: Path) -> list[tuple[str, str]]:
    return [
        (str(path.absolute()), one.name)
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
    return path.suffix.lower() in _image_suffixes() and not path.name.startswith(".")


@lru_cache(maxsize=1)
def _image_suffixes() -> frozenset[str]:
    return frozenset(Image.registered_extensions()) - {".pdf", ".mpg", ".mpeg", ".h5", ".hdf"}
