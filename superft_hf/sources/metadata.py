"""What a source knows of its images besides their labels: columns of few values, kept small.

They are what slices and filters are made of, so a column that names each image apart tells nothing and is
left out, and long texts are cut.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

MAX_COLUMNS = 20
MAX_VALUES = 1000
MAX_LETTERS = 100


@dataclass(frozen=True)
class Column:
    """One column of N rows.

    Attributes:
        codes: Positions in `values`, shape (N,), dtype int32; -1 where the row has no value.
        values: The different values as texts.
    """

    codes: np.ndarray
    values: tuple[str, ...]

    def take(self, rows: np.ndarray) -> "Column":
        """The same of some rows."""
        return Column(self.codes[rows], self.values)

    def texts(self, rows: np.ndarray) -> list[str | None]:
        """The values of some rows."""
        values = np.array([*self.values, None], dtype=object)
        return values[self.codes[rows]].tolist()  # -1 is the last


def few_valued(
    columns: Mapping[str, Sequence[object]], but: Collection[str | None] = ()
) -> dict[str, Column]:
    """The columns that part the rows into groups, at most MAX_COLUMNS of them.

    Args:
        columns: Values by column name, each of N rows; None, NaN and empty texts stand for no value.
        but: Names to leave out, such as those of the image and the label column.

    Returns:
        By name, in the order given: those with at most MAX_VALUES different values, two images each on
        average.

    Example:
        >>> found = few_valued({"site": ["a", "b", "a", "b"], "id": ["1", "2", "3", "4"]})
        >>> list(found), found["site"].texts(np.arange(4))
        (['site'], ['a', 'b', 'a', 'b'])
    """
    found: dict[str, Column] = {}
    for name, cells in columns.items():
        if name in but or len(found) == MAX_COLUMNS:
            continue
        raw = np.empty(len(cells), dtype=object)
        raw[:] = cells
        codes, values = pd.factorize(raw)
        if len(values) > MAX_VALUES:
            continue
        merged, texts = pd.factorize(np.array([*map(_text, values), None], dtype=object))
        codes = merged[codes]  # -1 is the last, which is no text
        if 0 < len(texts) <= max((codes >= 0).sum() // 2, 1):
            found[name] = Column(codes.astype(np.int32), tuple(texts.tolist()))
    return found


def joined(
    parts: Sequence[tuple[np.ndarray, Mapping[str, Sequence[str | None]]]], size: int
) -> dict[str, list[str | None]]:
    """Columns of several sources put together.

    Args:
        parts: For each source the positions that its rows take, and its columns.
        size: Rows in all.
    """
    whole: dict[str, list[str | None]] = {}
    for places, columns in parts:
        for name, texts in columns.items():
            target = whole.setdefault(name, [None] * size)
            for place, text in zip(places.tolist(), texts, strict=True):
                target[place] = text
    return whole


def _text(cell: object) -> str | None:
    if cell is None or cell != cell:  # noqa: PLR0124 -- NaN
        return None
    if isinstance(cell, bool | np.bool_):
        return "yes" if cell else "no"
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    return " ".join(str(cell).split())[:MAX_LETTERS] or None
