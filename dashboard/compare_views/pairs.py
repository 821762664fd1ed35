"""Cached comparing of evaluations, image by image. Nothing is compared twice while the files stay."""

from pathlib import Path

import streamlit as st

from dashboard import examples, readers
from dashboard.compare_views.view import Pair
from superft_hf.errors import DataNotFoundError
from superft_hf.evaluation import comparison
from superft_hf.evaluation.comparison import Joined, PairedComparison, Side
from superft_hf.evaluation.prediction_files import read_texts
from superft_hf.records import RunRecord
from superft_hf.run_pairs import kept_step, read_side

Stamped = tuple[Path, int]
"""A prediction file, and what changes when it does."""


def load(first: examples.Evaluation, second: examples.Evaluation) -> Pair | None:
    """Compares two evaluations; None when they have no image in common with the same label.

    Raises:
        DataNotFoundError: If a file is gone or damaged.
    """
    if not len(joined(first, second).labels):
        return None
    return _pair((first.path, first.stamp), (second.path, second.stamp), first, second)


def joined(first: examples.Evaluation, second: examples.Evaluation) -> Joined:
    """The images that two evaluations have in common. Raises DataNotFoundError as `load`."""
    return _joined((first.path, first.stamp), (second.path, second.stamp), first, second)


def against(reference: RunRecord, record: RunRecord, split: str) -> PairedComparison | None:
    """Compares the kept checkpoints of two runs; None when that cannot be said."""
    try:
        files = [_kept_file(one, split) for one in (reference, record)]
        return _against(*files) if all(files) else None
    except DataNotFoundError:
        return None


def _kept_file(record: RunRecord, split: str) -> Stamped | None:
    paths = readers.run_paths(record.run_id)
    step = kept_step(record, paths, split)
    if step is None:
        return None
    path = paths.prediction_file(split, step)
    try:
        return path, path.stat().st_mtime_ns
    except OSError:
        return None


def _side(evaluation: examples.Evaluation) -> Side:
    rows = evaluation.rows
    ids = read_texts(evaluation.path)["example_id"].to_numpy()
    return Side(ids, rows["label"].to_numpy(), rows["prediction"].to_numpy(), evaluation.class_names)


@st.cache_resource(max_entries=6, show_spinner=False)
def _pair(first: Stamped, second: Stamped, _first: examples.Evaluation, _second: examples.Evaluation) -> Pair:
    common = joined(_first, _second)
    found = comparison.compare(common, read_texts(first[0])["example_id"].to_numpy())
    return Pair(_first, _second, common, found, comparison.f1_difference(common))


@st.cache_resource(max_entries=6, show_spinner=False)
def _joined(
    first: Stamped, second: Stamped, _first: examples.Evaluation, _second: examples.Evaluation
) -> Joined:
    return comparison.join(_side(_first), _side(_second))


@st.cache_resource(max_entries=512, show_spinner=False)
def _against(reference: Stamped, other: Stamped) -> PairedComparison | None:
    side_a, side_b = _reference_side(reference), read_side(other[0])
    common = comparison.join(side_a, side_b)
    return comparison.compare(common, side_a.example_ids) if len(common.labels) else None


@st.cache_resource(max_entries=4, show_spinner=False)
def _reference_side(reference: Stamped) -> Side:
    return read_side(reference[0])
