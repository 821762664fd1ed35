"""What the views of thresholds and calibration read: logits, and what follows from them alone.

Logits of 50,000 images and 1,000 classes are 200 MB, so only two sets are kept: eval and test of one run.
Everything else is as long as the images, or as the classes.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import streamlit as st

from dashboard import examples, formats, messages, readers, state
from dashboard.error_views.view import View
from dashboard.examples import Evaluation
from superft_hf import decisions
from superft_hf.errors import DataNotFoundError, DecisionError
from superft_hf.evaluation import curves
from superft_hf.evaluation import decision as decision_files
from superft_hf.evaluation.calibration import Calibration, Temperature, fit_temperature, measure
from superft_hf.evaluation.curves import Averages, Counts
from superft_hf.evaluation.decision import ABSTAINS, Decision, decide
from superft_hf.evaluation.operating_points import class_probabilities, normalizers
from superft_hf.evaluation.prediction_files import Logits, read_logits
from superft_hf.records import RunState

MISSING = "the 20 highest logits"


@dataclass(frozen=True)
class Scores:
    """The logits of one evaluation, every class.

    Attributes:
        evaluation: The evaluation.
        logits: Shape (N, C), dtype float32. Do not change it in place.
        labels: Shape (N,).
    """

    evaluation: Evaluation
    logits: np.ndarray
    labels: np.ndarray

    @property
    def key(self) -> tuple[str, int]:
        """For caches."""
        return str(self.evaluation.path), self.evaluation.stamp

    @property
    def measured(self) -> decisions.Measured:
        """What a decision is measured on."""
        one = self.evaluation
        return decisions.Measured(one.run_id, one.split, one.step, one.class_names, self.logits, self.labels)

    def of_class(self, label: int, temperature: float) -> np.ndarray:
        """Probability of one class, shape (N,)."""
        return _of_class(self.key, label, temperature, self)

    def counts(self, label: int, temperature: float) -> Counts | None:
        """The curves of one class against the rest; None when they are not defined."""
        return _counts(self.key, label, temperature, self)

    def averages(self, temperature: float) -> Averages:
        """The curves of all classes, averaged."""
        return _averages(self.key, temperature, self)

    def answers(self, decision: Decision) -> np.ndarray:
        """Class ids by a decision, -1 where there is no answer, shape (N,)."""
        return decide(self.logits, decision, _normalizers(self.key, decision.temperature, self))

    def plain_answers(self, decision: Decision) -> np.ndarray:
        """The same without its thresholds; of equal temperatures computed once."""
        return _plain_answers(self.key, decision.temperature, self, decision)

    def confidence(self, temperature: float) -> np.ndarray:
        """Probability of the likeliest class, shape (N,); NaN where logits are no numbers."""
        highest = self.logits.max(axis=1).astype(np.float64) / temperature
        return np.exp(highest - _normalizers(self.key, temperature, self))

    def calibration(self, temperature: float) -> Calibration:
        """At a temperature."""
        return _calibration(self.key, temperature, self)

    def fitted(self) -> Temperature:
        """The temperature that fits best."""
        return _fitted(self.key, self)


def read(evaluation: Evaluation) -> Scores | None:
    """The logits of an evaluation; None when it keeps only the highest ones.

    Raises:
        DataNotFoundError: If the file is gone or damaged.
    """
    found = _logits(str(evaluation.path), evaluation.stamp)
    if not found.is_complete:
        return None
    return Scores(evaluation, found.values, evaluation.rows["label"].to_numpy())


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


def _is_complete(run_id: str, step: int) -> bool:
    try:
        one = examples.evaluation(run_id, "eval", step)
        return _logits(str(one.path), one.stamp).is_complete
    except DataNotFoundError:
        return False


@st.cache_resource(max_entries=2, show_spinner="Reading the logits")
def _logits(path: str, stamp: int) -> Logits:
    return read_logits(Path(path))


@st.cache_resource(max_entries=4, show_spinner=False)
def _normalizers(key: tuple[str, int], temperature: float, _scores: Scores) -> np.ndarray:
    if temperature == 1:  # the file says it already: the probability of the likeliest class
        found = _logits(*key)
        with np.errstate(divide="ignore"):
            return found.values.max(axis=1).astype(np.float64) - np.log(found.confidence)
    return normalizers(_scores.logits, temperature)


@st.cache_resource(max_entries=16, show_spinner=False)
def _of_class(key: tuple[str, int], label: int, temperature: float, _scores: Scores) -> np.ndarray:
    normalizer = _normalizers(key, temperature, _scores)
    return class_probabilities(_scores.logits, [label], temperature, normalizer)[0]


@st.cache_resource(max_entries=16, show_spinner=False)
def _counts(key: tuple[str, int], label: int, temperature: float, _scores: Scores) -> Counts | None:
    return curves.count(_scores.of_class(label, temperature), _scores.labels == label)


@st.cache_resource(max_entries=4, show_spinner="Averaging the curves of the classes")
def _averages(key: tuple[str, int], temperature: float, _scores: Scores) -> Averages:
    probabilities = _scores.logits / np.float32(temperature)
    probabilities -= _normalizers(key, temperature, _scores)[:, None].astype(np.float32)
    return curves.average(np.exp(probabilities, out=probabilities), _scores.labels)


@st.cache_resource(max_entries=4, show_spinner=False)
def _plain_answers(
    key: tuple[str, int], temperature: float, _scores: Scores, _decision: Decision
) -> np.ndarray:
    # The file says them already: no temperature changes which class is the likeliest.
    likeliest = _scores.evaluation.rows["prediction"].to_numpy().astype(np.int64)
    return np.where(np.isnan(_logits(*key).confidence), ABSTAINS, likeliest)


@st.cache_resource(max_entries=8, show_spinner="Measuring the calibration")
def _calibration(key: tuple[str, int], temperature: float, _scores: Scores) -> Calibration:
    return measure(_scores.logits, _scores.labels, temperature)


@st.cache_resource(max_entries=8, show_spinner="Fitting a temperature")
def _fitted(key: tuple[str, int], _scores: Scores) -> Temperature:
    return fit_temperature(_scores.logits, _scores.labels)
