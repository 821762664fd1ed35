"""What Thresholds computes beside the page where it takes long: suggestions, and averages over the classes.

A press comes back at once, and the page looks again until the answer is there. What stays true: a suggestion
is taken only while the operating point is the one that it was asked for; small evaluations are computed while
the page waits.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import streamlit as st

from dashboard import state
from dashboard.error_views import calibration_work, thresholds_data
from dashboard.error_views.thresholds_data import Scores
from superft_hf.evaluation import curves
from superft_hf.evaluation.curves import Averages
from superft_hf.evaluation.decision import Decision
from superft_hf.evaluation.operating_points import normalizers
from superft_hf.evaluation.threshold_search import suggest_thresholds

SEARCHING = "Searching. The page may be used meanwhile."
AVERAGING = "the averages over the classes are being computed"


@dataclass(frozen=True)
class Search:
    """A search for thresholds.

    Attributes:
        start: The operating point that it was asked for.
        future: Thresholds by class id.
    """

    start: Decision
    future: Future[tuple[float, ...]]


def search(run_id: str, scores: Scores, decision: Decision, classes: Sequence[int] | None) -> None:
    """Begins to search thresholds; the last search alone counts.

    Args:
        run_id: The run.
        scores: What they are chosen on.
        decision: The operating point so far.
        classes: Class ids; None for all.
    """
    read, asked = thresholds_data.logits_reader(scores), list(classes) if classes is not None else None

    def find() -> tuple[float, ...]:
        return suggest_thresholds(read(), scores.labels, decision, asked)

    state.put_value(_key(run_id), Search(decision, calibration_work.begun(find, scores)))


def take_found(run_id: str, decision: Decision) -> tuple[Decision, Search | None]:
    """The operating point with what was found meanwhile, and the search while it goes on.

    Raises:
        DataNotFoundError: If the file is gone, damaged or another one by now.
    """
    found: Search | None = state.get_value(_key(run_id))
    if found is None:
        return decision, None
    if found.start != decision:
        state.drop_value(_key(run_id))
        return decision, None
    if not found.future.done():
        return decision, found
    state.drop_value(_key(run_id))
    changed = replace(decision, thresholds=found.future.result())
    state.change_operating_point(run_id, changed)
    return changed, None


def averages(scores: Scores, temperature: float) -> Future[Averages]:
    """The curves of all classes, averaged; computed once for all who ask.

    Its result raises DataNotFoundError if the file is gone, damaged or another one by now.
    """
    read = thresholds_data.logits_reader(scores)
    future = _averages(*scores.key, temperature, partial(_average, read, scores.labels, temperature), scores)
    if future.done() and future.exception() is not None:
        _averages.clear(*scores.key, temperature)  # the next to ask tries again
    return future


def _average(read: Callable[[], np.ndarray], labels: np.ndarray, temperature: float) -> Averages:
    logits = read()
    probabilities = logits / np.float32(temperature)
    probabilities -= normalizers(logits, temperature)[:, None].astype(np.float32)
    return curves.average(np.exp(probabilities, out=probabilities), labels)


@st.cache_resource(max_entries=4, show_spinner=False)
def _averages(
    path: str, stamp: int, temperature: float, _compute: Callable[[], Averages], _scores: Scores
) -> Future[Averages]:
    return calibration_work.begun(_compute, _scores)


def _key(run_id: str) -> str:
    return f"thresholds_search_{run_id}"
