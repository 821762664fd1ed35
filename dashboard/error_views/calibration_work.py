"""What Calibration computes from the logits of every class: beside the page where that takes long.

A page draws at once what the file says of each image, and asks again for the rest. What stays true: the same
evaluation is gone through once for all who look; logits are not kept; one such work runs at a time; and small
evaluations are computed while the page waits, since a placeholder would only flicker.
"""

import os
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from threading import Lock, get_native_id
from typing import TypeVar

import numpy as np
import streamlit as st

from dashboard.error_views import thresholds_data
from dashboard.error_views.thresholds_data import Scores
from superft_hf import decisions
from superft_hf.evaluation.calibration import (
    Calibration,
    Change,
    Temperature,
    fit_passes,
    judge_passes,
    measure_confidence,
    measure_passes,
)
from superft_hf.evaluation.calibration_rows import Passes
from superft_hf.evaluation.decision import ChosenOn, Decision
from superft_hf.evaluation.operating_points import outcome_of
from superft_hf.evaluation.prediction_files import read_logit_blocks

INLINE_VALUES = 2_000_000
"""Logits of up to so many are computed while the page waits: under 0.2 s."""

T = TypeVar("T")

Pair = tuple[Calibration, Calibration | None]
"""At temperature 1, and at another one if there is one."""


@dataclass(frozen=True)
class Found:
    """What there is to draw.

    Attributes:
        fitted: The temperature; None while it is being fitted.
        pairs: By split.
        confidence: Of the likeliest class in the evaluation that is open, at the temperature, without NaN.
        judged: What the temperature does on test; None without test.
        is_final: Whether nothing is left to compute.
    """

    fitted: Temperature | None
    pairs: Mapping[str, Pair]
    confidence: np.ndarray
    judged: Change | None = None
    is_final: bool = True


class Work:
    """What is computed of one or two evaluations, or has been."""

    def __init__(self, key: tuple[object, ...], future: Future[Found]) -> None:
        self._key, self._future = key, future

    @property
    def is_done(self) -> bool:
        """Whether `result` comes at once."""
        return self._future.done()

    def result(self) -> Found:
        """What was found.

        Raises:
            DataNotFoundError: If a file is gone, damaged or another one by now; the next to ask tries again.
        """
        if self._future.exception() is not None:
            _begun.clear(*self._key)
        return self._future.result()


def measure_ahead(scores: Scores, test: Scores | None, temperature: float) -> None:
    """Starts to measure, beside the page, what saving at a temperature will need; small ones can wait."""
    fixed = Temperature(temperature, "", None, None, 0)
    if scores.num_values > INLINE_VALUES:
        begin(scores, test, fixed)


@dataclass(frozen=True)
class Judged:
    """One evaluation for `decisions.save`: what was computed of it for a page is not computed again.

    Attributes:
        scores: The evaluation.
    """

    scores: Scores

    @property
    def chosen_on(self) -> ChosenOn:
        """What is noted in a decision that is chosen on it."""
        return self.scores.chosen_on

    def figures(self, decision: Decision) -> decisions.Figures:
        """What a decision does on it.

        Raises:
            DataNotFoundError: If the file is gone, damaged or another one by now.
        """
        one, source = self.scores, _source(*self.scores.key, self.scores)
        plain = replace(decision.without_thresholds(), temperature=1.0)
        likeliest = one.plain_answers
        answers = likeliest if decision.takes_likeliest else one.answers(decision)
        after, before = source.measured(decision.temperature), source.measured(1.0)
        source.passes.let_go()
        return decisions.figures(
            decision, outcome_of(answers, one.labels, decision), outcome_of(likeliest, one.labels, plain),
            after, before,
        )  # fmt: skip


def judged(scores: Scores, test: Scores | None) -> dict[str, Judged | None]:
    """Eval, and test where it may be shown, by split."""
    return {"eval": Judged(scores), "test": Judged(test) if test else None}


class _Source:
    """One evaluation, the temperature that was fitted on it, and what was measured at some."""

    def __init__(self, path: str, stamp: int, labels: np.ndarray, num_classes: int) -> None:
        self.passes = Passes(
            lambda take: read_logit_blocks(thresholds_data.unchanged(path, stamp), take), labels, num_classes
        )
        self._fitted: Temperature | None = None
        self._measured: dict[float, Calibration] = {}
        self._lock = Lock()

    def fitted(self) -> Temperature:
        with self._lock:
            if self._fitted is None:
                self._fitted = fit_passes(self.passes)
            return self._fitted

    def measured(self, temperature: float) -> Calibration:
        with self._lock:
            if temperature not in self._measured:
                self._measured[temperature] = measure_passes(self.passes, temperature)
            return self._measured[temperature]


def begin(scores: Scores, test: Scores | None, fixed: Temperature | None) -> Work:
    """Starts what has not been started yet; small evaluations are done when it returns.

    Args:
        scores: The evaluation that is open.
        test: That of test, to stand beside it.
        fixed: A temperature that is only applied; None: it is fitted on `scores`.

    Raises:
        DataNotFoundError: As `Work.result`, of small evaluations.
    """
    shown = {scores.evaluation.split: scores} | ({"test": test} if test else {})
    sources = {split: _source(*one.key, one) for split, one in shown.items()}
    key = tuple((split, *one.key) for split, one in shown.items()), fixed
    is_small = sum(one.num_values for one in shown.values()) <= INLINE_VALUES
    return Work(key, _begun(*key, partial(_compute, sources, fixed), is_small))


def from_file(scores: Scores, test: Scores | None, fixed: Temperature | None) -> Found:
    """What is known at once: confidence, answers and losses, which a file says of each image."""
    shown = {scores.evaluation.split: scores} | ({"test": test} if test else {})
    pairs: dict[str, Pair] = {split: (_measured(one), None) for split, one in shown.items()}
    return Found(fixed, pairs, scores.confidence[np.isfinite(scores.confidence)], is_final=False)


def _measured(scores: Scores) -> Calibration:
    rows = scores.evaluation.rows
    losses = rows["loss"].to_numpy(dtype=np.float64)
    return measure_confidence(scores.confidence, rows["is_right"].to_numpy(), losses)


def _compute(sources: Mapping[str, _Source], fixed: Temperature | None) -> Found:
    first, test = next(iter(sources.values())), list(sources.values())[1:]
    fitted = fixed or first.fitted()
    value = fitted.value
    pairs = {
        split: (one.measured(1.0), one.measured(value) if value != 1 else None)
        for split, one in sources.items()
    }
    judged = judge_passes(test[0].passes, value) if test and value != 1 else None
    for one in sources.values():
        one.passes.let_go()
    rows = first.passes.at(value)
    return Found(fitted, pairs, rows.confidence[rows.is_finite], judged)


@st.cache_resource(max_entries=8, show_spinner=False)
def _begun(
    splits: tuple[tuple[str, str, int], ...],
    fixed: Temperature | None,
    _compute: Callable[[], Found],
    _is_small: bool,
) -> Future[Found]:
    return _submitted(_compute, is_small=_is_small)


def begun(compute: Callable[[], T], scores: Scores) -> Future[T]:
    """Computes something of one evaluation, beside the page unless it is small.

    The page waits for a small one, whose errors are raised here.
    """
    return _submitted(compute, is_small=scores.num_values <= INLINE_VALUES)


def _submitted(compute: Callable[[], T], *, is_small: bool) -> Future[T]:
    if not is_small:
        return _pool().submit(compute)
    done: Future[T] = Future()
    done.set_result(compute())
    return done


@st.cache_resource(max_entries=4, show_spinner=False)
def _source(path: str, stamp: int, _scores: Scores) -> _Source:
    return _Source(path, stamp, _scores.labels, len(_scores.evaluation.class_names))


@st.cache_resource(show_spinner=False)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="calibration", initializer=_give_way)


def _give_way() -> None:
    """Pages come first: with two cores a press took three times as long meanwhile. Readers inherit it."""
    if sys.platform == "linux":  # elsewhere it is of a process, not of a thread
        thread = get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, min(19, os.getpriority(os.PRIO_PROCESS, thread) + 10))
