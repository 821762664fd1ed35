"""The figures of an evaluation as a page shows them: reckoned once, each with its interval."""

import math

import streamlit as st

from dashboard import examples, formats, readers
from dashboard.examples import Evaluation
from superft_hf import frozen_baseline, run_headline
from superft_hf.errors import DataNotFoundError
from superft_hf.evaluation.headline import Figure, Headline
from superft_hf.frozen_baseline import FrozenBaseline
from superft_hf.records import RunRecord


def find(record: RunRecord, evaluation: Evaluation, frozen: RunRecord | None = None) -> Headline:
    """The headline of an evaluation.

    Args:
        record: The run.
        evaluation: One of its evaluations.
        frozen: Its frozen-backbone baseline, if its figures may be shown, see `may_hold_against`.
    """
    key = (str(evaluation.path), evaluation.stamp, record.best_step)
    return _headline(key, frozen.run_id if frozen else None, record, evaluation, frozen)


def of_kept(record: RunRecord, split: str) -> Headline | None:
    """The headline of the checkpoint that is kept; None when its prediction file is gone or damaged."""
    step = run_headline.evaluation_step(record, readers.run_paths(record.run_id), split)
    if step is None:
        return None
    try:
        return find(record, examples.evaluation(record.run_id, split, step))
    except DataNotFoundError:
        return None


def frozen_of(run_id: str) -> FrozenBaseline:
    """How it stands with the baseline of a run; looked for again after each write to the store."""
    return _frozen(run_id, readers.version())


def may_hold_against(frozen: FrozenBaseline, split: str) -> bool:
    """Whether there is a baseline whose figures on a split may be shown: on test, once they were opened."""
    return frozen.completed is not None and run_headline.may_hold_against(
        readers.store(), frozen.completed, split
    )


def value_words(figure: Figure) -> str:
    """A figure for a person; a dash where it cannot be told."""
    return formats.NOTHING if math.isnan(figure.value) else formats.metric_value(figure.key, figure.value)


def ends_words(figure: Figure) -> str:
    """Its interval for a person; a dash where it cannot be told."""
    if math.isnan(figure.low) or math.isnan(figure.value):
        return formats.NOTHING
    if figure.is_loss:
        return f"{formats.loss(figure.low)} – {formats.loss(figure.high)}"
    return formats.interval(figure.low, figure.high)


@st.cache_data(max_entries=64, show_spinner=False)
def _headline(
    key: tuple[str, int, int | None],
    frozen_id: str | None,
    _record: RunRecord,
    _evaluation: Evaluation,
    _baseline: RunRecord | None,
) -> Headline:
    return run_headline.of_run(
        readers.store(), _record, _evaluation.split, _evaluation.step, _evaluation.rows,
        _evaluation.class_names, _baseline,
    )  # fmt: skip


@st.cache_resource(max_entries=16, show_spinner=False)
def _frozen(run_id: str, version: readers.Version) -> FrozenBaseline:
    return frozen_baseline.find(readers.store(), readers.run(run_id), readers.run_list())
