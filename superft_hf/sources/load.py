"""From a `data:` group to the train, eval and test images of a run.

The same function serves the worker, the pre-flight check and the pages, so what is shown before the start
is what is trained on.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np

from superft_hf.config import DataConfig
from superft_hf.errors import ClassMismatchError, DataError, DataNotFoundError
from superft_hf.paths import UNPACKED, HomePaths
from superft_hf.samples import SAMPLE_PREFIX, fetch_images
from superft_hf.sources.archive import unpack
from superft_hf.sources.folder import EVAL_NAMES, FileImages, read_file, read_folder
from superft_hf.sources.hub_data import HubImages, read_hub
from superft_hf.sources.splits import cut_splits, stratified_part


class Images(Protocol):
    """Rows of encoded images."""

    def encoded(self, row: int) -> bytes:
        """The bytes of the image file."""

    def reference(self, row: int) -> str:
        """A text that finds the image again, see `open_reference`."""


@dataclass(frozen=True)
class ImageSplit:
    """The images of one split, in a fixed order.

    Attributes:
        images: Where the encoded images come from.
        rows: Rows of `images`, shape (N,), dtype int64.
        labels: Class ids, shape (N,), dtype int64.
    """

    images: Images
    rows: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        """N."""
        return len(self.rows)

    def encoded(self, index: int) -> bytes:
        """The bytes of the image file at a position in [0, N)."""
        return self.images.encoded(int(self.rows[index]))

    def reference(self, index: int) -> str:
        """The reference of the image at a position in [0, N)."""
        return self.images.reference(int(self.rows[index]))

    def select(self, indices: np.ndarray) -> "ImageSplit":
        """The part at these positions."""
        return replace(self, rows=self.rows[indices], labels=self.labels[indices])


@dataclass(frozen=True)
class ImageSet:
    """All images of a run.

    Attributes:
        class_names: Names by class id.
        splits: `train`, `eval` and `test`, in this order.
        is_cut: Which of eval and test were cut from train rather than given.
    """

    class_names: tuple[str, ...]
    splits: Mapping[str, ImageSplit]
    is_cut: tuple[str, ...]

    def counts(self) -> dict[str, dict[str, int]]:
        """Images by class name, by split."""
        size = len(self.class_names)
        return {
            name: dict(zip(self.class_names, np.bincount(split.labels, minlength=size).tolist(), strict=True))
            for name, split in self.splits.items()
        }


def load_images(data: DataConfig, home: Path) -> ImageSet:
    """Finds the images, gives or cuts the splits, and checks the classes.

    Args:
        data: The `data:` group of a run.
        home: Where a zip is unpacked to.

    Raises:
        DataNotFoundError: If the source does not exist or cannot be reached.
        ArchiveError: If a zip is refused.
        DataError: If there are no images, one class only, or an empty split.
        ClassMismatchError: If eval or test has classes that train lacks.
    """
    given, class_names = _read(data, home)
    odd = next((name for name in class_names if not name.strip() or "\n" in name), None)
    if odd is not None:
        raise DataError(
            f"The class name {odd!r} of {data.name_or_path} is empty or has a line break.", hint="Rename it."
        )
    splits = _name_splits(given, data)
    train = splits["train"]
    is_cut = tuple(name for name in ("eval", "test") if name not in splits)
    if is_cut:
        fractions = {name: getattr(data, f"{name}_fraction") for name in is_cut}
        splits |= {
            name: train.select(part)
            for name, part in cut_splits(train.labels, fractions, data.split_seed).items()
        }
    if data.max_train_samples is not None:
        part = stratified_part(splits["train"].labels, data.max_train_samples, data.split_seed)
        splits["train"] = splits["train"].select(part)
    found = ImageSet(tuple(class_names), {name: splits[name] for name in ("train", "eval", "test")}, is_cut)
    return check_classes(found, data)


def check_classes(found: ImageSet, data: DataConfig) -> ImageSet:
    """Returns the set when a classifier can be trained on it.

    Raises:
        DataError: If a split is empty, or all training images are of one class.
        ClassMismatchError: If eval or test has classes that train lacks.
    """
    name = data.name_or_path
    present = set(np.unique(found.splits["train"].labels).tolist())
    for split, images in found.splits.items():
        unknown = sorted(set(np.unique(images.labels).tolist()) - present) if present else []
        if unknown:
            raise ClassMismatchError(split, [found.class_names[index] for index in unknown])
    if len(present) == 1:
        raise DataError(
            f"All training images of {name} are of one class, {found.class_names[next(iter(present))]!r}.",
            hint="A classifier needs at least two classes: one folder each.",
        )
    for split, images in found.splits.items():
        if not len(images):
            setting = f"{split}_fraction" if split in found.is_cut else f"{split}_split"
            raise DataError(
                f"The {split} split of {name} is empty.", hint=f"Add images, or change data.{setting}."
            )
    return found


def shown_reference(data: DataConfig, reference: str) -> str:
    """A reference as a person knows it: below the folder as it was typed, or as a name within the zip."""
    path = Path(reference)
    typed = Path(data.name_or_path)
    if typed.suffix.lower() == ".zip" and UNPACKED in path.parts:
        inside = path.parts[path.parts.index(UNPACKED) + 2 :]
        return f"{Path(*inside)} in {data.name_or_path}"
    folder = local_path(data.name_or_path)
    if folder is not None and path.is_relative_to(folder.absolute()):
        return str(typed / path.relative_to(folder.absolute()))
    return reference


def open_reference(data: DataConfig, reference: str) -> bytes:
    """The bytes of an image that a prediction file names. Raises DataNotFoundError if it is gone."""
    if not reference.startswith("hub:"):
        return read_file(reference)
    _, split, row = reference.split(":")
    return _read_hub_once(data)[split][0].encoded(int(row))


# A gallery opens dozens of references of one data set.
_read_hub_once = lru_cache(maxsize=2)(read_hub)


def local_folder(data: DataConfig, home: Path) -> Path | None:
    """The folder that holds the images: itself, an unpacked zip or a fetched sample; None for the Hub."""
    name = data.name_or_path
    if name.startswith(SAMPLE_PREFIX):
        return fetch_images(name)
    path = local_path(name)
    if name.lower().endswith(".zip") and (path is None or path.is_file()):
        if path is None:
            raise DataNotFoundError(f"There is no file {name}.", hint="Check the path.")
        return unpack(path, HomePaths(home).unpacked, name)
    if path is not None and not path.is_dir():
        raise DataError(
            f"{name} is a file, neither a folder nor a .zip.", hint="Give the folder that holds the images."
        )
    if path is None and looks_like_path(name):
        raise DataNotFoundError(
            f"There is no folder {name}.", hint="Check the path; it may be relative to the server."
        )
    return path


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


def _read(data: DataConfig, home: Path) -> tuple[dict[str, ImageSplit], list[str]]:
    folder = local_folder(data, home)
    if folder is None:
        found = read_hub(data)
        names = next(iter(found.values()))[2]
        return {split: _labelled(images, labels) for split, (images, labels, _) in found.items()}, names
    asked = [one for one in (data.train_split, data.eval_split, data.test_split) if one]
    rows = read_folder(folder, name=data.name_or_path, split_names=asked)
    names = sorted({name for split in rows.values() for _, name in split})
    ids = {name: index for index, name in enumerate(names)}
    made = {}
    for split, pairs in rows.items():
        labels = np.array([ids[name] for _, name in pairs], dtype=np.int64)
        made[split] = ImageSplit(FileImages([path for path, _ in pairs]), np.arange(len(pairs)), labels)
    return made, names


def _labelled(images: HubImages, labels: np.ndarray) -> ImageSplit:
    rows = np.flatnonzero(labels >= 0)
    return ImageSplit(images, rows, labels[rows])


def _name_splits(given: Mapping[str, ImageSplit], data: DataConfig) -> dict[str, ImageSplit]:
    """Chooses among the given splits; eval and test are left out when there are none to choose."""
    filled = {name: split for name, split in given.items() if len(split)}
    train = _pick(filled, data.train_split, ("training",) if data.train_split == "train" else ())
    if train is None:
        raise _no_split(filled, data.train_split, "Change data.train_split.")
    eval_split = _pick(filled, data.eval_split, () if data.eval_split else EVAL_NAMES)
    if eval_split is None and data.eval_split is not None:
        hint = "Change data.eval_split, or set it to null to cut eval from train."
        raise _no_split(filled, data.eval_split, hint)
    others = ("testing",) if data.test_split == "test" else ()
    test_split = _pick(filled, data.test_split, others) if data.test_split else None
    for name, split in (("eval", eval_split), ("test", test_split)):
        if split is train:
            raise DataError(
                f"data.{name}_split names the split to train on, {data.train_split!r}.",
                hint=f"Set data.{name}_split to another split, or to null to cut {name} from train.",
            )
    chosen = {"train": train}
    if eval_split is not None:
        chosen["eval"] = eval_split
    if test_split is not None and test_split is not eval_split:
        chosen["test"] = test_split
    return chosen


def _no_split(filled: Mapping[str, ImageSplit], asked: str, hint: str) -> DataError:
    given = ", ".join(filled) or "none"
    return DataError(f"There is no split {asked!r} with labelled images; there is {given}.", hint=hint)


def _pick(given: Mapping[str, ImageSplit], asked: str | None, others: tuple[str, ...]) -> ImageSplit | None:
    lowered = {name.lower(): split for name, split in given.items()}
    for name in (asked.lower(), *others) if asked else others:
        if name in lowered:
            return lowered[name]
    return None
