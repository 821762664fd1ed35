"""Slices of one evaluation of a run: reads what `superft_hf.evaluation.slices` judges."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from superft_hf import saved_filters
from superft_hf.errors import DataNotFoundError
from superft_hf.evaluation import prediction_query, slices
from superft_hf.evaluation.example_files import read_examples
from superft_hf.evaluation.prediction_files import read_class_names, read_numbers, read_texts
from superft_hf.paths import RunPaths
from superft_hf.store import RunStore


@dataclass(frozen=True)
class SliceReview:
    """The slices of one evaluation.

    Attributes:
        table: As `slices.worst` gives it.
        rows: The evaluation: label, prediction, N rows.
        examples: What is known of the images; None for a run of an earlier version.
        saved: Positions of the images of each saved filter, by its name.
    """

    table: pd.DataFrame
    rows: pd.DataFrame
    examples: pd.DataFrame | None
    saved: Mapping[str, np.ndarray]

    def wrong(self, row: int) -> np.ndarray:
        """Positions of the wrong images of a slice, highest loss first."""
        found = slices.members(self.table["filter"].iloc[row], self.rows, self.examples, self.saved)
        rows = self.rows.iloc[found]
        is_wrong = rows["label"] != rows["prediction"]
        return rows[is_wrong].sort_values("loss", ascending=False, kind="stable").index.to_numpy()


def review(paths: RunPaths, split: str, step: int, saved: Mapping[str, np.ndarray]) -> SliceReview:
    """Judges the slices of an evaluation. Raises DataNotFoundError if its file is gone or damaged."""
    path = paths.prediction_file(split, step)
    rows, names = read_numbers(path), read_class_names(path)
    examples = read_examples(paths.examples_file(split), read_texts(path)["example_id"])
    return SliceReview(slices.worst(rows, examples, names, saved), rows, examples, saved)


def saved_positions(
    store: RunStore, data: str, paths: RunPaths, split: str, step: int
) -> dict[str, np.ndarray]:
    """Positions of the images of each filter that is saved for a set of images, by its name.

    A filter on a column that these images do not have is left out.
    """
    path = paths.prediction_file(split, step)
    found = {}
    for name, chosen in saved_filters.read(store, data, read_class_names(path)).items():
        try:
            found[name] = prediction_query.find(path, chosen, examples_path=paths.examples_file(split))
        except DataNotFoundError:
            continue
    return found
