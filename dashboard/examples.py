"""Bounded, cached reading of prediction files and of the pictures they name.

What stays true: a page never loads a whole split of images, only the pictures on one page of a gallery; and a
file that is damaged or gone costs a sentence, not the page.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import streamlit as st
from PIL import Image

from dashboard import readers
from superft_hf.errors import DataNotFoundError, SuperFTError
from superft_hf.evaluation.prediction_files import read_class_names, read_numbers, read_texts
from superft_hf.records import RunRecord
from superft_hf.sources.images import open_rgb
from superft_hf.sources.load import open_reference

PICTURE_SIDE = 256
SMALL_SIDE = 96
"""Up to this size an image is enlarged pixel by pixel, so that it is not blurred."""


@dataclass(frozen=True)
class Evaluation:
    """One prediction file: its numbers, which are small, and the way to its texts, which are not.

    Attributes:
        run_id: The run.
        split: eval or test.
        step: The global step of the evaluation.
        path: The file.
        stamp: Changes when the file does; for cache keys.
        rows: One row an example, by position in the split: label, prediction, confidence, loss, margin and
            is_right. Do not change it in place.
        class_names: Names by class id.
    """

    run_id: str
    split: str
    step: int
    path: Path
    stamp: int
    rows: pd.DataFrame
    class_names: tuple[str, ...]

    def texts(self, positions: Sequence[int]) -> pd.DataFrame:
        """example_id and image of some rows, in this order. Raises DataNotFoundError."""
        return read_texts(self.path, positions)

    def with_texts(self) -> pd.DataFrame:
        """All rows with example_id and image: large, where there are many. Raises DataNotFoundError."""
        return pd.concat([read_texts(self.path), self.rows], axis=1)

    def place(self, position: int) -> "Place":
        """Where the row of this position lies."""
        return Place(self.run_id, self.split, self.step, int(position))


@dataclass(frozen=True)
class Place:
    """One row of one prediction file: `row` counts from 0 in the order of the split."""

    run_id: str
    split: str
    step: int
    row: int


@dataclass(frozen=True)
class Picture:
    """A thumbnail in a square of PICTURE_SIDE pixels.

    Attributes:
        encoded: PNG.
        is_small: Whether the source is so small that its pixels are shown as squares.
        size: Width and height of the source.
    """

    encoded: bytes
    is_small: bool
    size: tuple[int, int]


def steps(run_id: str, split: str) -> list[int]:
    """The global steps at which a split was evaluated, in order."""
    return readers.run_paths(run_id).prediction_steps(split)


def evaluation(run_id: str, split: str, step: int) -> Evaluation:
    """One evaluation of a run.

    Raises:
        DataNotFoundError: If the file is gone or damaged.
    """
    path = readers.run_paths(run_id).prediction_file(split, step)
    try:
        stamp = path.stat().st_mtime_ns
    except OSError as error:
        raise DataNotFoundError(
            f"The prediction file {path.name} is gone.", hint="Choose another epoch or split."
        ) from error
    return _evaluation(run_id, path, stamp, split, step)


def best_evaluation(record: RunRecord) -> Evaluation | None:
    """The eval predictions of the checkpoint that is kept, else the newest; None when there are none.

    Raises:
        DataNotFoundError: If the file is damaged.
    """
    found = steps(record.run_id, "eval")
    if not found:
        return None
    step = record.best_step if record.best_step in found else found[-1]
    return evaluation(record.run_id, "eval", step)


def picture(run_id: str, reference: str) -> Picture | None:
    """The thumbnail of an image that a prediction file names; None when it is gone or cannot be read."""
    try:
        return _picture(str(readers.home_paths().home), run_id, reference)
    except (SuperFTError, ValueError):  # outside the cache: a file that comes back is shown again
        return None


def make_picture(encoded: bytes) -> Picture:
    """A thumbnail of an image file. Raises ValueError if it is not an image."""
    image = open_rgb(encoded)
    is_small = max(image.size) <= SMALL_SIDE
    factor = PICTURE_SIDE / max(image.size)
    size = tuple(max(1, round(side * factor)) for side in image.size)
    scaled = image.resize(size, Image.Resampling.NEAREST if is_small else Image.Resampling.LANCZOS)
    square = Image.new("RGBA", (PICTURE_SIDE, PICTURE_SIDE))
    square.paste(scaled, ((PICTURE_SIDE - size[0]) // 2, (PICTURE_SIDE - size[1]) // 2))
    out = io.BytesIO()
    square.save(out, "PNG", compress_level=1)
    return Picture(out.getvalue(), is_small, image.size)


@st.cache_resource(max_entries=12, show_spinner=False)
def _evaluation(run_id: str, path: Path, stamp: int, split: str, step: int) -> Evaluation:
    rows = read_numbers(path)
    rows["is_right"] = rows["label"] == rows["prediction"]
    return Evaluation(run_id, split, step, path, stamp, rows, tuple(read_class_names(path)))


@st.cache_resource(max_entries=1500, show_spinner=False)
def _picture(home: str, run_id: str, reference: str) -> Picture:
    return make_picture(open_reference(readers.config(run_id).data, reference))
