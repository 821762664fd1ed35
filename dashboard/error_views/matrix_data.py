"""What the matrix view counts once for each evaluation, and which images are behind a choice in it."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.examples import Evaluation
from dashboard.state import Selection
from superft_hf.evaluation import matrices
from superft_hf.evaluation.classification import confused_pairs, confusion_matrix, per_class_table

MAX_PAIRS = 500
"""Of the confused pairs the first are listed."""


@dataclass(frozen=True)
class Confusions:
    """The counts of one evaluation.

    Attributes:
        matrix: Shape (C, C).
        by_class: See `per_class_table`, worst recall first.
        pairs: See `confused_pairs`: the first `MAX_PAIRS`.
        num_pairs: How many there are in all.
    """

    matrix: np.ndarray
    by_class: pd.DataFrame
    pairs: pd.DataFrame
    num_pairs: int


def confusions(evaluation: Evaluation) -> Confusions:
    """Counts an evaluation, once."""
    return _confusions(str(evaluation.path), evaluation.stamp, evaluation)


def ordered(evaluation: Evaluation, by: str) -> np.ndarray:
    """The classes in an order, see `superft_hf.evaluation.matrices.order`; found once."""
    return _ordered(str(evaluation.path), evaluation.stamp, by, evaluation)


def first_choice(matrix: np.ndarray) -> Selection:
    """The most confused cell, else the fullest."""
    wrong = matrices.off_diagonal(matrix)
    found = wrong if wrong.any() else matrix
    label, prediction = np.unravel_index(int(found.argmax()), found.shape)
    return Selection("cell", int(label), int(prediction))


def fits(chosen: Selection, num_classes: int) -> bool:
    """Whether a choice names classes that there are: it may be of a run with other images."""
    return max(chosen.label, chosen.prediction) < num_classes


def rows_behind(evaluation: Evaluation, chosen: Selection) -> np.ndarray:
    """Positions of the images behind a cell, row or column, highest loss first, dtype int64."""
    rows = evaluation.rows
    is_meant = np.ones(len(rows), dtype=bool)
    if chosen.kind != "column":
        is_meant &= (rows["label"] == chosen.label).to_numpy()
    if chosen.kind != "row":
        is_meant &= (rows["prediction"] == chosen.prediction).to_numpy()
    if chosen.is_wrong_only:
        is_meant &= ~rows["is_right"].to_numpy()
    found = np.flatnonzero(is_meant)
    losses = rows["loss"].to_numpy()[found]
    return found[np.argsort(-np.nan_to_num(losses, nan=-1.0), kind="stable")]


@st.cache_resource(max_entries=4, show_spinner=False)
def _confusions(path: str, stamp: int, _evaluation: Evaluation) -> Confusions:
    labels, predictions = (_evaluation.rows[name].to_numpy() for name in ("label", "prediction"))
    names = _evaluation.class_names
    table = per_class_table(labels, predictions, names)
    pairs = confused_pairs(labels, predictions, names)
    return Confusions(
        confusion_matrix(labels, predictions, len(names)),
        table.sort_values("recall", kind="stable", ignore_index=True),
        pairs.head(MAX_PAIRS), len(pairs),
    )  # fmt: skip


@st.cache_resource(max_entries=16, show_spinner=False)
def _ordered(path: str, stamp: int, by: str, _evaluation: Evaluation) -> np.ndarray:
    return matrices.order(confusions(_evaluation).matrix, _evaluation.class_names, by)
