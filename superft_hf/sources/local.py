"""Images of this machine: a table, a folder of class folders, or a folder with a table in it.

What a table says wins where it names images and labels; otherwise the folders are the classes, and a
`metadata.csv` or `metadata.jsonl` (the convention of the datasets library) adds columns to group by.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from superft_hf.config import DataConfig
from superft_hf.errors import DataError
from superft_hf.sources.folder import FileImages, FolderRow, read_folder, split_folders, unwrap
from superft_hf.sources.metadata import few_valued
from superft_hf.sources.rows import SourceSplit
from superft_hf.sources.table import (
    SPLIT_NAME,
    SUFFIXES,
    Table,
    as_groups,
    label_ids,
    read_table,
    table_splits,
)

METADATA = "metadata"
SUBFOLDER = "subfolder"
FILE_PREFIX = "file_prefix"


@dataclass(frozen=True)
class LocalSplits:
    """Splits by name, and the number of rows whose file does not exist."""

    splits: Mapping[str, SourceSplit]
    num_missing: int = 0


def read_local(place: Path, data: DataConfig) -> LocalSplits:
    """Reads a table or a folder.

    Args:
        place: The file or folder.
        data: Its columns and splits, and what errors call the place.

    Raises:
        DataNotFoundError: If files are missing.
        DataError: If there are no labelled images, or no such column.
    """
    if place.is_file():
        return _from_table(read_table(place, data.name_or_path), data)
    asked = [one for one in (data.train_split, data.eval_split, data.test_split) if one]
    try:
        base = unwrap(place, asked)
        folders = [base, *split_folders(base, asked)]
        metadata = [_metadata(folder, base, data) for folder in folders]
        lone = _lone_table(base, data)
    except OSError as error:
        raise DataError(
            f"The folder {data.name_or_path} cannot be read: {error.strerror or error}.",
            hint="Check its permissions.",
        ) from error
    if lone is not None:
        return _from_table(lone, data)
    tables = [one for one in metadata if one is not None]
    labelled = _labelled_metadata(tables, data)
    rows = _class_rows(place, data, asked, or_else=labelled)
    if rows is None and labelled is not None:
        return _from_table(labelled, data)
    return LocalSplits(_folder_splits(rows or {}, tables, data))


def _from_table(table: Table, data: DataConfig) -> LocalSplits:
    found = table_splits(table, data)
    return LocalSplits(found.splits, found.num_missing)


def _class_rows(
    place: Path, data: DataConfig, asked: Sequence[str], or_else: Table | None
) -> dict[str, list[FolderRow]] | None:
    """The images in class folders; None where the metadata's labels say more than the folders."""
    if or_else is not None and data.label_column is not None:
        return None
    try:
        rows = read_folder(place, name=data.name_or_path, split_names=asked)
    except DataError:
        if or_else is None:
            raise
        return None
    has_classes = len({row.label for part in rows.values() for row in part}) > 1
    return rows if has_classes or or_else is None else None


def _folder_splits(
    rows: Mapping[str, Sequence[FolderRow]], metadata: Sequence[Table], data: DataConfig
) -> dict[str, SourceSplit]:
    flat = [row for part in rows.values() for row in part]
    labels, names = label_ids([row.label for row in flat])
    columns = _columns(flat, metadata)
    useful = _useful(columns, flat)
    groups = _groups(columns, useful, data)
    known = few_valued({name: columns[name] for name in useful}, but=(SPLIT_NAME,))
    found, start = {}, 0
    for split, part in rows.items():
        where = np.arange(start, start + len(part))
        start += len(part)
        images = FileImages(
            [row.path for row in part], {name: one.take(where) for name, one in known.items()}
        )
        found[split] = SourceSplit(
            images, labels[where], names, None if groups is None else groups[where], useful
        )
    return found


def _columns(rows: Sequence[FolderRow], metadata: Sequence[Table]) -> dict[str, list[str | None]]:
    """What is known of the images besides their classes, by column; what a table says wins."""
    further: dict[str, dict[str, str | None]] = {}
    for table in metadata:
        column = table.image_column()
        if column is None:
            continue
        paths = table.paths(column)
        for name in table.names:
            if name != column:
                further.setdefault(name, {}).update(zip(paths, table.columns[name], strict=False))
    found = {name: [values.get(row.path) for row in rows] for name, values in further.items()}
    own: dict[str, list[str | None]] = {
        SUBFOLDER: [row.subfolder or None for row in rows],
        FILE_PREFIX: [re.split("[_-]", Path(row.path).stem, maxsplit=1)[0] or None for row in rows],
    }
    return {**found, **{name: values for name, values in own.items() if name not in found}}


def _useful(columns: Mapping[str, Sequence[str | None]], rows: Sequence[FolderRow]) -> tuple[str, ...]:
    """The columns without those of our own that would tell nothing."""
    return tuple(
        name
        for name, values in columns.items()
        if not (name == SUBFOLDER and not any(values))
        and not (name == FILE_PREFIX and len(set(values)) == len(rows))
    )


def _groups(
    columns: Mapping[str, Sequence[str | None]], useful: Sequence[str], data: DataConfig
) -> np.ndarray | None:
    """The groups of the column asked for."""
    if data.group_column is None:
        return None
    if data.group_column in columns:
        return as_groups(columns[data.group_column])
    there = ", ".join(useful) or "none"
    raise DataError(
        f"The folder {data.name_or_path} has no column {data.group_column!r} to group by; it has {there}.",
        hint=f"{SUBFOLDER} and {FILE_PREFIX} group by folder and file name; a metadata.csv adds columns.",
    )


def _metadata(folder: Path, base: Path, data: DataConfig) -> Table | None:
    """The metadata table of a folder, its split in a column of its own."""
    path = next(
        (folder / f"{METADATA}{end}" for end in SUFFIXES if (folder / f"{METADATA}{end}").is_file()), None
    )
    if path is None:
        return None
    try:
        table = read_table(path, f"{path.name} of {data.name_or_path}")
    except DataError:
        if data.group_column is None and data.label_column is None:
            return None  # a file of this name for another purpose
        raise
    if folder == base or table.find((SPLIT_NAME,)):
        return table
    size = len(next(iter(table.columns.values())))
    return Table(table.name, table.folder, {**table.columns, SPLIT_NAME: [folder.name.lower()] * size})


def _labelled_metadata(tables: Sequence[Table], data: DataConfig) -> Table | None:
    """All metadata tables that name images and labels as one, with absolute paths."""
    whole: dict[str, list[str | None]] = {}
    for table in tables:
        column = table.image_column()
        if column is None or table.label_column(data.label_column) is None:
            continue
        more = {**table.columns, "file_name": table.paths(column)}
        before = len(next(iter(whole.values()))) if whole else 0
        size = len(more["file_name"])
        for name in dict.fromkeys([*whole, *more]):
            whole[name] = whole.get(name, [None] * before) + more.get(name, [None] * size)
    if not whole:
        return None
    if SPLIT_NAME not in whole and data.split_column is None:
        whole[SPLIT_NAME] = _splits_by_folder(whole["file_name"], tables[0].folder, data)
    return Table(f"the metadata of {data.name_or_path}", tables[0].folder, whole)


def _splits_by_folder(paths: Sequence[str | None], base: Path, data: DataConfig) -> list[str | None]:
    """A root table names `train/1.jpg`: the first folder is the split when it has a split's name."""
    known = {one.name: one.name.lower() for one in split_folders(base, [data.train_split])}
    inside = [Path(path) for path in paths if path is not None]
    first = {str(one): one.relative_to(base).parts[0] for one in inside if one.is_relative_to(base)}
    return [known.get(first.get(path or "", ""), "train") for path in paths]


def _lone_table(base: Path, data: DataConfig) -> Table | None:
    """The only table at the top of a folder, when it names images that are there, and their labels."""
    found = [
        path
        for path in base.iterdir()
        if path.suffix.lower() in SUFFIXES and path.stem.lower() != METADATA and not path.name.startswith(".")
    ]
    if len(found) != 1:
        return None
    try:
        table = read_table(found[0], f"{found[0].name} of {data.name_or_path}")
    except DataError:  # any other file that happens to lie there
        return None
    column = table.image_column(data.image_column)
    if column is None or table.label_column(data.label_column) is None:
        return None
    first = next((path for path in table.paths(column) if path is not None), None)
    return table if first is not None and Path(first).is_file() else None
