"""A CSV or JSONL of paths and labels, or of further facts about the images of a folder."""

import csv
import io
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from superft_hf.config import DataConfig
from superft_hf.errors import DataError, DataNotFoundError
from superft_hf.sources import hub_columns
from superft_hf.sources.folder import FileImages, image_suffixes
from superft_hf.sources.metadata import few_valued
from superft_hf.sources.rows import SourceSplit

SUFFIXES = (".csv", ".jsonl")
IMAGE_NAMES = ("file_name", "path", "image", "filename", "file", "image_path", "filepath")
LABEL_NAMES = (*hub_columns.LABEL_NAMES, "class_name", "label_name")
SPLIT_NAME = "split"

_SEPARATORS = ",;\t|"
_WHOLE_NUMBER = re.compile(r"-?\d+")


@dataclass(frozen=True)
class Table:
    """The rows of a table as texts; None stands for an empty cell.

    Attributes:
        name: What errors call it.
        folder: What its paths are relative to.
        columns: Values by column, each of the table's length.
    """

    name: str
    folder: Path
    columns: Mapping[str, list[str | None]]

    @property
    def names(self) -> list[str]:
        """The columns' names, in the table's order."""
        return list(self.columns)

    def find(self, wanted: Sequence[str]) -> str | None:
        """The first column with one of these names, in any case; the order of `wanted` decides."""
        lowered = {name.lower().strip(): name for name in reversed(self.names)}
        return next((lowered[one] for one in wanted if one in lowered), None)

    def image_column(self, asked: str | None = None) -> str | None:
        """The column of paths: as asked for, else by its name, else the only one that looks like it."""
        if asked is not None:
            return asked if asked in self.columns else None
        named = self.find(IMAGE_NAMES)
        if named is not None:
            return named
        looking = [name for name, values in self.columns.items() if values and _is_image_path(values[0])]
        return looking[0] if len(looking) == 1 else None

    def label_column(self, asked: str | None = None) -> str | None:
        """The column of labels: as asked for, else by its name."""
        return (asked if asked in self.columns else None) if asked is not None else self.find(LABEL_NAMES)

    def paths(self, column: str) -> list[str | None]:
        """Absolute paths of the images; None where the cell is empty."""
        return [None if one is None else _absolute(self.folder, one) for one in self.columns[column]]


@dataclass(frozen=True)
class TableSplits:
    """What a table gives.

    Attributes:
        splits: By name, see SourceSplit.
        num_missing: Rows whose file does not exist, which were left out.
    """

    splits: dict[str, SourceSplit]
    num_missing: int


def read_table(path: Path, name: str = "") -> Table:
    """Reads a CSV or JSONL whole.

    Args:
        path: The file; a CSV may be separated by comma, semicolon, tab or bar, and begin with a byte order
            mark. Its first line names the columns.
        name: What errors call it; empty: its path.

    Raises:
        DataNotFoundError: If it cannot be read.
        DataError: If it is not such a file, or has no rows.
    """
    name = name or str(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"The table {name} is not UTF-8 text.", hint="Save it as UTF-8.") from error
    except OSError as error:
        raise DataNotFoundError(
            f"The table {name} cannot be read: {error.strerror or error}.", hint="Check the path."
        ) from error
    columns = _read_json_lines(text, name) if path.suffix.lower() == ".jsonl" else _read_csv(text, name)
    if not columns or not len(next(iter(columns.values()))):
        raise DataError(f"The table {name} has no rows.", hint="The first line names the columns.")
    return Table(name, path.absolute().parent, columns)


def table_splits(table: Table, data: DataConfig) -> TableSplits:
    """Images, labels and groups of a table, by split.

    Raises:
        DataNotFoundError: If files are missing and may not be skipped.
        DataError: If a column is missing.
    """
    image_column = _require(table, table.image_column(data.image_column), "image", data.image_column)
    paths = table.paths(image_column)
    splits = _split_names(table, data)
    exists = np.fromiter((path is not None and os.path.isfile(path) for path in paths), bool, len(paths))  # noqa: PTH113
    missing = np.flatnonzero(~exists)
    if len(missing) and data.on_bad_image == "error":
        first = table.columns[image_column][missing[0]] or "an empty cell"
        raise DataNotFoundError(
            f"{len(missing):,} of {len(paths):,} images that {table.name} names do not exist; the first is "
            f"{first}.",
            hint="Paths are relative to the table. Mend them, or set data.on_bad_image to skip.",
        )
    labels, names = label_ids(_labels(table, paths, data))
    groups = _group_texts(table, data)
    label_column = table.label_column(data.label_column)
    further = tuple(one for one in table.names if one not in (image_column, label_column))
    split_column = data.split_column or table.find((SPLIT_NAME,))
    metadata = few_valued(table.columns, but=(image_column, label_column, split_column))
    found = {}
    for split in dict.fromkeys(splits):
        rows = np.flatnonzero((np.array(splits, dtype=object) == split) & exists)
        found[split] = SourceSplit(
            FileImages(
                [str(paths[row]) for row in rows], {name: one.take(rows) for name, one in metadata.items()}
            ),
            labels[rows],
            names,
            None if groups is None else groups[rows],
            further,
        )
    return TableSplits(found, len(missing))


def label_ids(texts: Sequence[str | None]) -> tuple[np.ndarray, list[str]]:
    """Class ids of shape (N,), -1 for None, and the class names: by value when all are whole numbers."""
    found = {text for text in texts if text is not None}
    is_number = all(_WHOLE_NUMBER.fullmatch(text) for text in found)
    names = sorted(found, key=lambda text: (int(text), text) if is_number else text)
    ids = {name: index for index, name in enumerate(names)}
    return np.array([-1 if text is None else ids[text] for text in texts], dtype=np.int64), names


def as_groups(values: Sequence[str | None]) -> np.ndarray:
    """Group texts of shape (N,), dtype object; an empty text belongs to no group."""
    made = np.empty(len(values), dtype=object)
    made[:] = ["" if value is None else value.strip() for value in values]
    return made


def _read_csv(text: str, name: str) -> dict[str, list[str | None]]:
    head = text[: text.find("\n") + 1] or text
    separator = max(_SEPARATORS, key=head.count)
    try:
        # Without the parser's limit of 128 KiB a cell could hold anything; a path or label is shorter.
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        header = [one.strip() for one in next(reader, [])]
        rows = [row for row in reader if row]
    except csv.Error as error:
        raise DataError(f"The table {name} cannot be read: {error}.", hint="Save it as CSV again.") from error
    if len(set(header)) != len(header):
        raise DataError(f"The table {name} names a column twice.", hint="Rename one in its first line.")
    uneven = next((number for number, row in enumerate(rows, 2) if len(row) != len(header)), None)
    if uneven is not None:
        raise DataError(
            f"Row {uneven} of {name} has {len(rows[uneven - 2])} cells; the first has {len(header)}.",
            hint="Put cells that hold the separator into quotation marks.",
        )
    columns = zip(*rows, strict=True) if rows else ([] for _ in header)
    return {
        one: [cell if cell.strip() else None for cell in cells]
        for one, cells in zip(header, columns, strict=True)
    }


def _read_json_lines(text: str, name: str) -> dict[str, list[str | None]]:
    rows = list(_json_rows(text, name))
    names = list(dict.fromkeys(key for row in rows for key in row))
    return {key: [_json_text(row.get(key), key, name) for row in rows] for key in names}


def _json_rows(text: str, name: str) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise DataError(
                f"Line {number} of {name} is no JSON object.",
                hint='One line each, such as {"path": "1.jpg"}.',
            )
        yield row


def _json_text(value: Any, column: str, name: str) -> str | None:
    if value is None or value == "" or value != value:  # noqa: PLR0124 -- NaN
        return None
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _require(table: Table, found: str | None, kind: str, asked: str | None) -> str:
    if found is not None:
        return found
    which = f"column {asked!r}" if asked else f"{kind} column"
    raise DataError(
        f"The table {table.name} has no {which} among {', '.join(table.names)}.",
        hint=f"Set data.{kind}_column to the name of one of them.",
    )


def _labels(table: Table, paths: Sequence[str | None], data: DataConfig) -> list[str | None]:
    column = table.label_column(data.label_column)
    if column is not None:
        return table.columns[column]
    folders = [None if path is None else Path(path).parent for path in paths]
    if data.label_column is not None or len({one for one in folders if one is not None}) < 2:
        _require(table, None, "label", data.label_column)
    return [None if folder is None else folder.name for folder in folders]


def _split_names(table: Table, data: DataConfig) -> list[str]:
    column = data.split_column or table.find((SPLIT_NAME,))
    if column is None:
        return ["train"] * len(next(iter(table.columns.values())))
    values = table.columns[_require(table, column if column in table.columns else None, "split", column)]
    empty = sum(value is None for value in values)
    if empty:
        raise DataError(
            f"{empty:,} of {len(values):,} rows of {table.name} have no split in column {column!r}.",
            hint="Fill it in, or rename the column and let the splits be cut.",
        )
    return [str(value).strip().lower() for value in values]


def _group_texts(table: Table, data: DataConfig) -> np.ndarray | None:
    if data.group_column is None:
        return None
    if data.group_column not in table.columns:
        raise DataError(
            f"{table.name} has no column {data.group_column!r}; it has {', '.join(table.names)}.",
            hint="Change data.group_column.",
        )
    return as_groups(table.columns[data.group_column])


def _absolute(folder: Path, text: str) -> str:
    """An image's path; tables written on Windows have its separators. pathlib would take 10 times as long."""
    text = os.path.expanduser(text) if text.startswith("~") else text.strip()  # noqa: PTH111
    joined = os.path.join(folder, os.path.normpath(text) if "." in text[:2] or "/." in text else text)  # noqa: PTH118
    if "\\" in text and not os.path.isfile(joined):  # noqa: PTH113
        joined = os.path.join(folder, text.replace("\\", "/"))  # noqa: PTH118
    return joined


def _is_image_path(value: str | None) -> bool:
    return value is not None and os.path.splitext(value)[1].lower() in image_suffixes()  # noqa: PTH122
