"""What every source of images gives: rows of encoded images with labels, split by split."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np


class Identity(NamedTuple):
    """What tells, without reading an image, that it is the one of an earlier look.

    Attributes:
        place: Where it lies.
        stamp: Another one whenever what lies there may be another image.
        changed_at: When it changed last, in seconds since 1970.
    """

    place: str
    stamp: str
    changed_at: float = 0.0


class Images(Protocol):
    """Rows of encoded images."""

    def encoded(self, row: int) -> bytes:
        """The bytes of the image file."""

    def identity(self, row: int) -> Identity | None:
        """What the image is known again by; None when nothing but its bytes tells, or it is gone."""

    def reference(self, row: int) -> str:
        """A text that finds the image again, see `superft_hf.sources.load.open_reference`."""

    def metadata(self, rows: np.ndarray) -> dict[str, list[str | None]]:
        """What else is known of some rows: texts by column, see `superft_hf.sources.metadata`."""


@dataclass(frozen=True)
class SourceSplit:
    """One split as its source has it; N is the number of its rows.

    Attributes:
        images: The encoded images.
        labels: Class ids of shape (N,), dtype int64; -1 where a row has no label.
        class_names: C names by class id, equal for all splits of a source.
        groups: Values of `data.group_column` as texts, shape (N,), dtype object; None when it is not set.
        columns: Names that `data.group_column` may take.
    """

    images: Images
    labels: np.ndarray
    class_names: Sequence[str]
    groups: np.ndarray | None = None
    columns: tuple[str, ...] = ()
