"""The images in the rows of a data set of the Hub, as the datasets library keeps them on this machine."""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from superft_hf.sources.folder import file_identity, read_file
from superft_hf.sources.hub_columns import class_texts
from superft_hf.sources.metadata import few_valued
from superft_hf.sources.rows import Identity

if TYPE_CHECKING:
    import datasets


class HubImages:
    """Images in the rows of a data set; a reference is `hub:<split>:<row>`.

    Args:
        dataset: The rows, their images not decoded.
        split: Its name.
        column: That of the images.
        further: Columns of plain values, which are read when somebody asks for them.
    """

    def __init__(
        self, dataset: "datasets.Dataset", split: str, column: str, further: Sequence[str] = ()
    ) -> None:
        self._dataset = dataset
        self._split = split
        self._column = column
        self._further = list(further)

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self._dataset)

    def encoded(self, row: int) -> bytes:
        """The bytes of the image file. Raises DataNotFoundError if its file is gone."""
        image = self._dataset[int(row)][self._column]
        if image is None:
            return b""
        if image["bytes"] is not None:
            return image["bytes"]
        return read_file(image["path"])

    def identity(self, row: int) -> Identity | None:
        """What the row is known again by: the files of its revision, or the image's own where it has one."""
        revision, own_file = self._known_by
        if row in own_file:
            return file_identity(own_file[row])
        return revision and Identity(f"{revision.place}:{row}", revision.stamp)

    @cached_property
    def _known_by(self) -> tuple[Identity | None, dict[int, str]]:
        """What all rows are known again by, and the files of those that lie outside the rows.

        Rows that lie in no file, or in another order than in theirs, are known by nothing.
        """
        files = [file_identity(one["filename"]) for one in self._dataset.cache_files]
        found = [one for one in files if one is not None]
        if not found or len(found) < len(files) or self._dataset._indices is not None:  # noqa: SLF001
            return None, {}
        place, stamp = (
            hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]
            for texts in ([one.place for one in found], [one.stamp for one in found])
        )
        return Identity(f"hub:{place}:{self._column}", stamp), _own_files(self._dataset, self._column)

    def reference(self, row: int) -> str:
        """Where the row stands in the data set."""
        return f"hub:{self._split}:{row}"

    def metadata(self, rows: np.ndarray) -> dict[str, list[str | None]]:
        """What else is known of some rows: texts by column."""
        if not self._further:
            return {}
        part = self._dataset.select_columns(self._further)
        values = part[rows.tolist()]
        named = {name: class_texts(part.features[name], values[name]) for name in self._further}
        everything = np.arange(len(rows))
        return {name: column.texts(everything) for name, column in few_valued(named).items()}


def _own_files(dataset: "datasets.Dataset", image_column: str) -> dict[int, str]:
    """The paths of the images that the rows do not hold themselves, by row."""
    import pyarrow.compute as pc

    column = dataset.with_format("arrow").data.column(image_column)
    is_outside = pc.is_null(pc.struct_field(column, "bytes"))
    if not pc.any(is_outside).as_py():
        return {}
    paths = pc.struct_field(column, "path").to_pylist()
    return {row: path for row, path in enumerate(paths) if path is not None and is_outside[row].as_py()}
