"""Bounded, cached reading of prediction files and of the pictures they name.

What stays true: a page never loads a whole split of images, only the pictures on one page of a gallery; and a
file that is damaged or gone costs a sentence, not the page.
"""

import io
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import streamlit as st
from PIL import Image

from dashboard import readers
from superft_hf.errors import DataNotFoundError, SuperFTError
from superft_hf.evaluation.comparison import PairedComparison, compare_predictions
from superft_hf.evaluation.prediction_files import read_class_names, read_predictions
from superft_hf.records import RunRecord
from superft_hf.sources.images import open_rgb
from superft_hf.sources.load import open_reference

PICTURE_SIDE = 256
SMALL_SIDE = 96
"""Up to this size an image is enlarged pixel by pixel, so that it is not blurred."""


@dataclass(frozen=True)
class Evaluation:
    """One prediction file.

    Attributes:
        split: eval or test.
        step: The global step of the evaluation.
        rows: One row an example, in the order of the split, and `is_right`. Do not change it in place.
        class_names: Names by class id.
    """

    split: str
    step: int
    rows: pd.DataFrame
    class_names: tuple[str, ...]


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
    return _evaluation(path, stamp, split, step)


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


def compare(first: Evaluation, second: Evaluation) -> PairedComparison | None:
    """Compares two evaluations image by image; None when they have no image in common."""
    try:
        return compare_predictions(first.rows, second.rows)
    except ValueError:
        return None


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
def _evaluation(path: Path, stamp: int, split: str, step: int) -> Evaluation:
    rows = read_predictions(path)
    rows["is_right"] = rows["label"] == rows["prediction"]
    return Evaluation(split, step, rows, tuple(read_class_names(path)))


@st.cache_resource(max_entries=1500, show_spinner=False)
def _picture(home: str, run_id: str, reference: str) -> Picture:
    return make_picture(open_reference(readers.config(run_id).data, reference))
