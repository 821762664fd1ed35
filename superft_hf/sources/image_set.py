"""The images of a run: three splits, each with rows, labels and perhaps groups."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from superft_hf.sources.metadata import joined
from superft_hf.sources.rows import Identity, Images


@dataclass(frozen=True)
class ImageSplit:
    """The images of one split, in a fixed order.

    Attributes:
        images: Where the encoded images come from.
        rows: Rows of `images`, shape (N,), dtype int64.
        labels: Class ids, shape (N,), dtype int64.
        groups: Values of `data.group_column` as texts, shape (N,), dtype object; an empty text belongs to no
            group. None when no group column is set.
    """

    images: Images
    rows: np.ndarray
    labels: np.ndarray
    groups: np.ndarray | None = None

    def __len__(self) -> int:
        """N."""
        return len(self.rows)

    def encoded(self, index: int) -> bytes:
        """The bytes of the image file at a position in [0, N)."""
        return self.images.encoded(int(self.rows[index]))

    def identity(self, index: int) -> Identity | None:
        """What the image at a position in [0, N) is known again by, if anything."""
        return self.images.identity(int(self.rows[index]))

    def reference(self, index: int) -> str:
        """The reference of the image at a position in [0, N)."""
        return self.images.reference(int(self.rows[index]))

    def metadata(self) -> dict[str, list[str | None]]:
        """What else is known of the images: texts by column, in the order of the split."""
        return self.images.metadata(self.rows)

    def select(self, indices: np.ndarray) -> "ImageSplit":
        """The part at these positions."""
        groups = None if self.groups is None else self.groups[indices]
        return replace(self, rows=self.rows[indices], labels=self.labels[indices], groups=groups)


@dataclass(frozen=True)
class ImageSet:
    """All images of a run.

    Attributes:
        class_names: Names by class id.
        splits: `train`, `eval` and `test`, in this order.
        is_cut: Which of the splits were cut rather than given: eval or test from train, or all three.
        columns: Names that `data.group_column` may take.
        num_unlabelled: Rows without a label, which are left out.
        num_missing: Rows whose file does not exist, which are left out when `data.on_bad_image` is skip.
        has_folds: Whether eval is a part of the train split, see `superft_hf.sources.folds`.
    """

    class_names: tuple[str, ...]
    splits: Mapping[str, ImageSplit]
    is_cut: tuple[str, ...]
    columns: tuple[str, ...] = ()
    num_unlabelled: int = 0
    num_missing: int = 0
    has_folds: bool = False

    @property
    def groups(self) -> dict[str, np.ndarray] | None:
        """Values of `data.group_column` by split, in the split's order; None when it is not set."""
        found = {name: split.groups for name, split in self.splits.items() if split.groups is not None}
        return found or None

    def origin(self, split: str) -> str:
        """The split to which these images belong without folds: what `train:` means in `data.exclude`."""
        return "train" if self.has_folds and split == "eval" else split

    def counts(self) -> dict[str, dict[str, int]]:
        """Images by class name, by split."""
        size = len(self.class_names)
        return {
            name: dict(zip(self.class_names, np.bincount(split.labels, minlength=size).tolist(), strict=True))
            for name, split in self.splits.items()
        }

    def num_groups(self) -> dict[str, int]:
        """Groups by split; empty when no group column is set."""
        return {
            name: len({group for group in groups.tolist() if group})
            for name, groups in (self.groups or {}).items()
        }


class JoinedImages:
    """The rows of several sources, one after the other."""

    def __init__(self, parts: Sequence[ImageSplit]) -> None:
        self._parts = list(parts)
        self._ends = np.cumsum([len(part) for part in self._parts])

    def encoded(self, row: int) -> bytes:
        """The bytes of the image file."""
        part, index = self._find(row)
        return part.encoded(index)

    def identity(self, row: int) -> Identity | None:
        """What the part itself knows the image again by."""
        part, index = self._find(row)
        return part.identity(index)

    def reference(self, row: int) -> str:
        """The reference that the part itself gives."""
        part, index = self._find(row)
        return part.reference(index)

    def metadata(self, rows: np.ndarray) -> dict[str, list[str | None]]:
        """What else is known of some rows; a part that lacks a column has nothing in it."""
        numbers = np.searchsorted(self._ends, rows, side="right")
        found = []
        for number, part in enumerate(self._parts):
            places = np.flatnonzero(numbers == number)
            begin = int(self._ends[number - 1]) if number else 0
            found.append((places, part.images.metadata(part.rows[rows[places] - begin])))
        return joined(found, len(rows))

    def _find(self, row: int) -> tuple[ImageSplit, int]:
        number = int(np.searchsorted(self._ends, row, side="right"))
        return self._parts[number], row - (int(self._ends[number - 1]) if number else 0)


def join(parts: Sequence[ImageSplit]) -> ImageSplit:
    """One split of all the images of several, in their order."""
    if len(parts) == 1:
        return parts[0]
    labels = np.concatenate([part.labels for part in parts])
    has_groups = all(part.groups is not None for part in parts)
    groups = np.concatenate([part.groups for part in parts]) if has_groups else None
    return ImageSplit(JoinedImages(parts), np.arange(len(labels)), labels, groups)
