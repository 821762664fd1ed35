"""Which images a set consists of, whatever their order, labels or splits."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Catalogue:
    """The M different images of a set, ordered by id, those that a run leaves out among them.

    Caches of images are made for a catalogue, so that another split seed, another fold or a corrected label
    finds the images where they are.

    Attributes:
        ids: The first 16 hexadecimal digits of each image's SHA-256 as a number, shape (M,), dtype uint64,
            ascending.
        sizes: Widths and heights in pixels, upright, shape (M, 2), dtype int64.
    """

    ids: np.ndarray
    sizes: np.ndarray

    def __len__(self) -> int:
        """M."""
        return len(self.ids)

    @cached_property
    def fingerprint(self) -> str:
        """Equal for equal images: a hexadecimal SHA-256."""
        return hashlib.sha256(self.ids.astype("<u8").tobytes()).hexdigest()

    def rows(self, example_ids: Sequence[str]) -> np.ndarray:
        """Positions in the catalogue.

        Args:
            example_ids: Of images of the set, with or without the number of a copy.

        Returns:
            Shape (N,), dtype int64; copies of an image have the same position.

        Raises:
            KeyError: If an image is not of the set.

        Example:
            >>> images = catalogue([("00000000000000ff" * 4, 8, 6), ("0000000000000001" * 4, 4, 4)])
            >>> images.rows(["00000000000000ff", "0000000000000001", "00000000000000ff-2"]).tolist()
            [1, 0, 1]
        """
        wanted = np.array([int(one[:16], 16) for one in example_ids], dtype=np.uint64)
        found = np.searchsorted(self.ids, wanted)
        if len(wanted) and (not len(self) or (self.ids[np.minimum(found, len(self) - 1)] != wanted).any()):
            raise KeyError("an image is not in the catalogue")
        return found.astype(np.int64)


def catalogue(images: Iterable[tuple[str, int, int]]) -> Catalogue:
    """Makes a catalogue of the digest, width and height of each image, in any order, copies among them."""
    listed = list(images)
    ids = np.array([int(digest[:16], 16) for digest, _, _ in listed], dtype=np.uint64)
    sizes = np.array([(width, height) for _, width, height in listed], dtype=np.int64).reshape(-1, 2)
    ids, first = np.unique(ids, return_index=True)
    return Catalogue(ids, sizes[first])
