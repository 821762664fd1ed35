"""What the views of thresholds and calibration read: logits, and what follows from them alone.

Logits of 50,000 images and 1,000 classes are 200 MB. So what is a number for each image is made while the
file is read; only what needs them all at once (averages, suggestions, saving) keeps them, and two sets at
most: eval and test of one run. Everything else is as long as the images, or as the classes.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import streamlit as st

from dashboard import examples, formats, messages, readers, state
from dashboard.error_views.view import View
from dashboard.examples import Evaluation
from superft_hf.errors import DataNotFoundError, DecisionError
from superft_hf.evaluation import curves
from superft_hf.evaluation import decision as decision_files
from superft_hf.evaluation.curves import Counts
from superft_hf.evaluation.decision import ABSTAINS, ChosenOn, Decision, decide
from superft_hf.evaluation.operating_points import class_probabilities, normalizers
from superft_hf.evaluation.prediction_files import (
    Logits,
    keeps_every_class,
    read_confidence,
    read_logit_blocks,
    read_logits,
)
from superft_hf.records import RunState

MISSING = "the 20 highest logits"


class _Held:
    """The logits of a file, from when somebody needed them all at once."""

    def __init__(self, path: str, stamp: int) -> None:
        self.logits: Logits | None = None
        self._file = path, stamp
        self._lock = threading.Lock()

    def read(self) -> Logits:
        with self._lock:
            if self.logits is None:
                self.logits = read_logits(unchanged(*self._file))
            return self.logits


@dataclass(frozen=True)
class Scores:
    """The logits of one evaluation, every class.

    Attributes:
        evaluation: The evaluation.
        labels: Shape (N,).
    """

    evaluation: Evaluation
    labels: np.ndarray

    @property
    def num_values(self) -> int:
        """N times C."""
        return len(self.labels) * len(self.evaluation.class_names)

    @property
    def chosen_on(self) -> ChosenOn:
        """What is noted in a decision that is chosen on it."""
        one = self.evaluation
        return ChosenOn(one.run_id, one.split, one.step, len(self.labels))

    @property
    def key(self) -> tuple[str, int]:
        """For caches."""
        return str(self.evaluation.path), self.evaluation.stamp

    def of_class(self, label: int, temperature: float) -> np.ndarray:
        """Probability of one class, shape (N,)."""
        return _of_class(self.key, label, temperature, self)

    def counts(self, label: int, temperature: float) -> Counts | None:
        """The curves of one class against the rest; None when they are not defined."""
        return _counts(self.key, label, temperature, self)

    def answers(self, decision: Decision) -> np.ndarray:
        """Class ids by a decision, -1 where there is no answer, shape (N,). Do not change them in place."""
        asked = decision.temperature, decision.thresholds, decision.abstain_band
        return _answers(self.key, asked, self, decision)

    @property
    def plain_answers(self) -> np.ndarray:
        """The same without thresholds: the likeliest class, which no temperature changes."""
        rows = self.evaluation.rows
        return np.where(np.isnan(rows["confidence"]), ABSTAINS, rows["prediction"]).astype(np.int64)

    @property
    def confidence(self) -> np.ndarray:
        """Of the likeliest class, shape (N,), as the file has it; NaN where logits are no numbers."""
        return _confidence(*self.key)


def read(evaluation: Evaluation) -> Scores | None:
    """The logits of an evaluation; None when it keeps only the highest ones.

    Raises:
        DataNotFoundError: If the file is gone or damaged.
    """
    if not _keeps_every_class(str(evaluation.path), evaluation.stamp):
        return None
    return Scores(evaluation, evaluation.rows["label"].to_numpy())


def logits_reader(scores: Scores) -> Callable[[], np.ndarray]:
    """Reads the logits of every class when it is called, in whichever thread, and keeps them.

    Shape (N, C), dtype float32. Do not change them in place. It raises DataNotFoundError if the file is gone,
    damaged or another one by now.
    """
    held = _held(*scores.key)
    return lambda: held.read().values


def read_test(view: View) -> Scores | None:
    """The test logits of the run, when they may be shown and are there."""
    steps = examples.steps(view.record.run_id, "test")
    if not view.is_test_open or not steps:
        return None
    try:
        return read(examples.evaluation(view.record.run_id, "test", steps[-1]))
    except DataNotFoundError:  # eval can be shown without it
        return None


def is_choosable(view: View) -> bool:
    """Whether an operating point can be chosen on this evaluation: of the model that is kept, on eval."""
    record, one = view.record, view.evaluation
    return (
        record.state is RunState.COMPLETED
        and one.split == "eval"
        and one.step == record.best_step
        and readers.run_paths(record.run_id).model.is_dir()
    )


def why_not_choosable(view: View) -> str:
    """A sentence for those who look at another evaluation."""
    if view.record.state is not RunState.COMPLETED:
        return "It can be chosen once the run is completed: until then this shows the curves."
    if view.evaluation.split != "eval":
        return "It is chosen on eval, and only applied to test."
    if view.evaluation.step != view.record.best_step:
        return "It is chosen on the best epoch, whose model is kept."
    return "The model of this run is gone, so there is nothing to choose it for."


def saved(view: View) -> Decision | None:
    """The operating point of the run; None without one. A damaged file is shown as a sentence."""
    try:
        return decision_files.read(
            readers.run_paths(view.record.run_id).decision, view.evaluation.class_names
        )
    except DecisionError as error:
        messages.show(error)
        return None


def draw_incomplete(view: View, what: str) -> None:
    """Says why something cannot be shown of this evaluation, and offers the one of which it can.

    Args:
        view: What is looked at.
        what: Such as `Curves`, which need the probability of every class.
    """
    record = view.record
    advice = "This run kept no more; a new run keeps every class for its best epoch and for test."
    best = record.best_step
    is_other = best is not None and best != view.evaluation.step and _is_complete(record.run_id, best)
    if is_other:
        advice = "The best epoch keeps those of every class."
    messages.empty(
        f"{what} need the probability of every class, and this evaluation keeps {MISSING}.", advice,
        ":material/filter_alt:",
    )  # fmt: skip
    if is_other:
        st.button(
            "Show the best epoch", key=f"{what.split()[0].lower()}_best_epoch", icon=":material/star:",
            on_click=state.choose_step, args=(record.run_id, None),
        )  # fmt: skip


def dropped_words(number: int) -> str:
    """What is said of images whose logits are no numbers; empty without any."""
    if not number:
        return ""
    noun = formats.counted(number, "image")
    return f"{noun} left out: the probabilities are no numbers"


def unchanged(path: str, stamp: int) -> Path:
    """The path, while its file is the one that the page shows: it may be read long after its numbers.

    Raises:
        DataNotFoundError: Else.
    """
    found = Path(path)
    if not found.is_file() or found.stat().st_mtime_ns != stamp:
        raise DataNotFoundError(
            f"The prediction file {found.name} was removed or written anew meanwhile.",
            hint="Load the page again.",
        )
    return found


def _is_complete(run_id: str, step: int) -> bool:
    try:
        one = examples.evaluation(run_id, "eval", step)
        return _keeps_every_class(str(one.path), one.stamp)
    except DataNotFoundError:
        return False


@st.cache_resource(max_entries=32, show_spinner=False)
def _keeps_every_class(path: str, stamp: int) -> bool:
    return keeps_every_class(Path(path))


@st.cache_resource(max_entries=2, show_spinner=False)
def _held(path: str, stamp: int) -> _Held:
    return _Held(path, stamp)


def _by_image(scores: Scores, of: Callable[[slice, np.ndarray], np.ndarray], dtype: np.dtype) -> np.ndarray:
    """A number for each image, shape (N,): from the logits in memory, else from the file as it is read."""
    made = np.empty(len(scores.labels), dtype=dtype)

    def take(rows: slice, logits: np.ndarray) -> None:
        made[rows] = of(rows, logits)

    held = _held(*scores.key)
    if held.logits is not None:
        take(slice(None), held.logits.values)
    else:
        read_logit_blocks(unchanged(*scores.key), take)
    return made


def _normalizer(scores: Scores, temperature: float, rows: slice, logits: np.ndarray) -> np.ndarray:
    """The logarithm of the sum of exponentials of each of some rows of scaled logits."""
    if temperature != 1:
        return _normalizers(scores.key, temperature, scores)[rows]
    # The file says it already: the probability of the likeliest class.
    with np.errstate(divide="ignore"):
        return logits.max(axis=1).astype(np.float64) - np.log(_confidence(*scores.key)[rows])


@st.cache_resource(max_entries=4, show_spinner=False)
def _answers(
    key: tuple[str, int], asked: tuple[object, ...], _scores: Scores, _decision: Decision
) -> np.ndarray:
    def of(rows: slice, logits: np.ndarray) -> np.ndarray:
        return decide(logits, _decision, _normalizer(_scores, _decision.temperature, rows, logits))

    return _by_image(_scores, of, np.dtype(np.int64))


@st.cache_resource(max_entries=4, show_spinner=False)
def _normalizers(key: tuple[str, int], temperature: float, _scores: Scores) -> np.ndarray:
    def of(rows: slice, logits: np.ndarray) -> np.ndarray:
        if temperature == 1:
            return _normalizer(_scores, temperature, rows, logits)
        return normalizers(logits, temperature)

    return _by_image(_scores, of, np.dtype(np.float64))


@st.cache_resource(max_entries=4, show_spinner=False)
def _confidence(path: str, stamp: int) -> np.ndarray:
    return read_confidence(unchanged(path, stamp))


@st.cache_resource(max_entries=16, show_spinner=False)
def _of_class(key: tuple[str, int], label: int, temperature: float, _scores: Scores) -> np.ndarray:
    def of(rows: slice, logits: np.ndarray) -> np.ndarray:
        normalizer = _normalizer(_scores, temperature, rows, logits)
        return class_probabilities(logits, [label], temperature, normalizer)[0]

    return _by_image(_scores, of, np.dtype(np.float64))


@st.cache_resource(max_entries=16, show_spinner=False)
def _counts(key: tuple[str, int], label: int, temperature: float, _scores: Scores) -> Counts | None:
    return curves.count(_scores.of_class(label, temperature), _scores.labels == label)
