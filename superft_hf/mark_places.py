"""Where marked images stand: in the splits of a run, and in whose predictions they can be seen.

Everything is read from the files of runs; a file that is gone or damaged only tells less.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from superft_hf.errors import DataNotFoundError
from superft_hf.evaluation.prediction_files import (
    read_class_names,
    read_numbers,
    read_texts,
)
from superft_hf.marks import ID_LENGTH, SPLITS, Places, short_id
from superft_hf.paths import RunPaths
from superft_hf.records import RunRecord
from superft_hf.store import RunStore


@dataclass(frozen=True)
class Seen:
    """An image as a run's predictions have it.

    Attributes:
        run_id: The run whose predictions these are.
        split: train, eval or test, in the run that was asked about.
        step: The global step of the evaluation; -1 where there is none.
        row: Its place there, from 0; -1 likewise.
        label: Name of the class that it counts as; empty when unknown.
        image: Finds it again; empty when unknown.
        evaluated_as: The split whose evaluation it is: eval or test; empty where there is none.
    """

    run_id: str
    split: str
    step: int
    row: int
    label: str
    image: str
    evaluated_as: str


def places_of(paths: RunPaths, example_ids: Collection[str]) -> Places:
    """Where images stand in a run, by what it wrote so far.

    Args:
        paths: The files of the run.
        example_ids: Of the images.
    """
    short = {short_id(one) for one in example_ids}
    counts: dict[str, dict[str, int]] = {}
    known = set()
    for split in SPLITS:
        ids = _ids_of_split(paths, split)
        if ids is None:
            continue
        known.add(split)
        for one in _matching(ids, short)[1]:
            of_image = counts.setdefault(one, {})
            of_image[split] = of_image.get(split, 0) + 1
    return Places(counts, frozenset(known))


def find_seen(store: RunStore, record: RunRecord, example_ids: Collection[str]) -> dict[str, Seen]:
    """Looks images of a run up, in its own predictions and, for its train split, in those of other runs.

    Args:
        store: Where the runs are.
        record: The run.
        example_ids: As prediction files have them.

    Returns:
        By example id; what is not there is no image of the run, as far as its files tell. Of a run that did
        not note its train images, an image that another run on the same data evaluated is taken for one.
    """
    paths, missing = store.run_paths(record.run_id), set(example_ids)
    found: dict[str, Seen] = {}
    for split in ("eval", "test"):
        found |= _in_predictions(paths, record.run_id, split, missing - found.keys())
    missing -= found.keys()
    train = _ids_of_split(paths, "train") if missing else None
    if train is not None:
        missing = set(_matching(train, missing, is_short=False)[1])
    for other in store.list_runs() if missing else ():
        if other.data == record.data and other.run_id != record.run_id:
            elsewhere = store.run_paths(other.run_id)
            for split in ("eval", "test"):
                seen = _in_predictions(elsewhere, other.run_id, split, missing)
                found |= {one: replace(place, split="train") for one, place in seen.items()}
                missing -= seen.keys()
    if train is not None:
        found |= {one: Seen(record.run_id, "train", -1, -1, "", "", "") for one in missing}
    return found


def _in_predictions(paths: RunPaths, run_id: str, split: str, wanted: Collection[str]) -> dict[str, Seen]:
    for step in reversed(paths.prediction_steps(split)):
        path = paths.prediction_file(split, step)
        ids = _ids(path)
        if ids is None:
            continue
        try:
            rows, _ = _matching(ids, wanted, is_short=False)
            if not rows:
                return {}  # all evaluations of a split have the same images
            names, labels, texts = read_class_names(path), read_numbers(path)["label"], read_texts(path, rows)
        except DataNotFoundError:
            continue
        return {
            one: Seen(run_id, split, step, row, names[int(labels.iloc[row])], image, split)
            for row, one, image in zip(rows, texts["example_id"], texts["image"], strict=True)
        }
    return {}


def _ids_of_split(paths: RunPaths, split: str) -> pa.Array | None:
    """The example ids of a split, or None when no readable file tells them."""
    return next((ids for path in _files_of_split(paths, split) if (ids := _ids(path)) is not None), None)


def _files_of_split(paths: RunPaths, split: str) -> Iterator[Path]:
    yield paths.examples_file(split)
    if split != "train":
        for step in reversed(paths.prediction_steps(split)):
            yield paths.prediction_file(split, step)


def _ids(path: Path) -> pa.Array | None:
    try:
        column = pq.read_table(path, columns=["example_id"])["example_id"]
        return pa.concat_arrays(column.cast(pa.string()).chunks) if column.num_chunks else None
    except (OSError, pa.ArrowInvalid, KeyError):
        return None


def _matching(
    ids: pa.Array, wanted: Collection[str], *, is_short: bool = True
) -> tuple[list[int], list[str]]:
    """Positions and ids of the rows that are wanted."""
    if not wanted:
        return [], []
    keys = pc.utf8_slice_codeunits(ids, 0, ID_LENGTH) if is_short else ids
    rows = np.flatnonzero(
        pc.is_in(keys, value_set=pa.array(list(wanted), pa.string())).to_numpy(zero_copy_only=False)
    )
    return rows.tolist(), keys.take(pa.array(rows)).to_pylist()
