"""The operating point of a run: what it is chosen on, what it does there, and where it is kept.

Pages, command line and card share this. What stays true: it is chosen on eval and only applied to test; it is
kept for the model of a completed run; and whoever saves one leaves a line in the run's history.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from superft_hf.errors import DataNotFoundError, DecisionError, StateError
from superft_hf.evaluation import decision as decisions
from superft_hf.evaluation.calibration import Calibration, measure
from superft_hf.evaluation.decision import ChosenOn, Decision
from superft_hf.evaluation.operating_points import Outcome, outcome
from superft_hf.evaluation.prediction_files import read_class_names, read_logits, read_numbers
from superft_hf.paths import RunPaths
from superft_hf.records import RunRecord, RunState
from superft_hf.store import RunStore

SET = "set the operating point"
REMOVED = "removed the operating point"

Figures = dict[str, float | None]
"""What a decision does, by name: see `figures`."""


@dataclass(frozen=True)
class Measured:
    """The logits of one evaluation, every class.

    Attributes:
        run_id: The run.
        split: eval or test.
        step: Global step.
        class_names: C names.
        logits: Shape (N, C), dtype float32.
        labels: Shape (N,).
    """

    run_id: str
    split: str
    step: int
    class_names: tuple[str, ...]
    logits: np.ndarray
    labels: np.ndarray

    @property
    def chosen_on(self) -> ChosenOn:
        """What is noted in a decision that is chosen on it."""
        return ChosenOn(self.run_id, self.split, self.step, len(self.labels))

    def figures(self, decision: Decision) -> Figures:
        """What a decision does on it."""
        return figures_on(decision, self)


class Judge(Protocol):
    """An evaluation that a decision can be measured on: `Measured`, or what knows the figures already."""

    @property
    def chosen_on(self) -> ChosenOn:
        """What is noted in a decision that is chosen on it."""

    def figures(self, decision: Decision) -> Figures:
        """What a decision does on it, as the function `figures` has it."""


def best_step(record: RunRecord, paths: RunPaths, split: str) -> int | None:
    """The step at which the model that is kept was evaluated on a split; None when it was not."""
    steps = paths.prediction_steps(split)
    if split == "test":
        return steps[-1] if steps else None
    return record.best_step if record.best_step in steps else None


def read_measured(record: RunRecord, paths: RunPaths, split: str) -> Measured | None:
    """The logits of the model that is kept on a split; None when it was not evaluated on it.

    Raises:
        DataNotFoundError: If the file is damaged, or keeps the highest logits only.
    """
    step = best_step(record, paths, split)
    if step is None:
        return None
    path = paths.prediction_file(split, step)
    found = read_logits(path)
    if not found.is_complete:
        raise DataNotFoundError(
            f"The {split} predictions of {record.name} keep only the highest logits of each image.",
            hint="Thresholds and temperatures need those of every class: a new run keeps them for its best "
            "epoch.",
        )
    labels = read_numbers(path)["label"].to_numpy()
    return Measured(record.run_id, split, step, tuple(read_class_names(path)), found.values, labels)


def require_model(record: RunRecord, paths: RunPaths) -> None:
    """Raises StateError unless the run has a model to choose an operating point for."""
    if record.state is RunState.COMPLETED and paths.model.is_dir():
        return
    what = "has no model any more" if record.state is RunState.COMPLETED else f"is {record.state}"
    raise StateError(
        f"The run {record.name} {what}, so there is nothing to choose an operating point for.",
        hint="Choose a completed run: `superft runs --state completed` lists them.",
    )


def current(paths: RunPaths, measured: Measured) -> Decision:
    """The decision that is kept for the model, else the plain one. Raises DecisionError."""
    kept = decisions.read(paths.decision, measured.class_names)
    return kept or decisions.plain_decision(measured.class_names, measured.chosen_on)


def figures(
    decision: Decision, found: Outcome, plain: Outcome, after: Calibration, before: Calibration
) -> Figures:
    """What a decision does, by name; `plain_…` is the likeliest class at temperature 1."""
    return {
        "num_images": found.num_images,
        "coverage": found.coverage,
        "accuracy": found.accuracy,
        "cost": found.cost,
        "ece": after.ece,
        "brier": after.brier,
        "log_loss": after.log_loss,
        "plain_accuracy": plain.accuracy,
        "plain_cost": plain.cost,
        "plain_ece": before.ece,
        "plain_brier": before.brier,
        "plain_log_loss": before.log_loss,
    }


def figures_on(decision: Decision, measured: Measured) -> Figures:
    """As `figures`, computed."""
    before = measure(measured.logits, measured.labels)
    after = before
    if decision.temperature != 1:
        after = measure(measured.logits, measured.labels, decision.temperature)
    plain = replace(decision.without_thresholds(), temperature=1.0)
    return figures(
        decision,
        outcome(measured.logits, measured.labels, decision),
        outcome(measured.logits, measured.labels, plain),
        after,
        before,
    )


def save(
    store: RunStore,
    record: RunRecord,
    decision: Decision,
    by_split: Mapping[str, Judge | None],
    *,
    by: str,
) -> Decision:
    """Keeps a decision beside the model, with its figures on each split.

    Args:
        store: Where the run is; its history gets a line.
        record: A completed run.
        decision: For its classes.
        by_split: Eval, and test only when its figures were looked at before.
        by: Who asked, for the history.

    Returns:
        What was written.

    Raises:
        StateError: If the run has no model.
        DecisionError: If the decision is not valid, or cannot be written.
    """
    paths = store.run_paths(record.run_id)
    require_model(record, paths)
    on_eval = by_split.get("eval")
    if on_eval is None:
        raise DecisionError(
            f"The model of {record.name} has no eval predictions to choose on.",
            hint="Train the run again.",
        )
    made = {split: one.figures(decision) for split, one in by_split.items() if one is not None}
    whole = replace(decision, chosen_on=on_eval.chosen_on, figures=made)
    decisions.write(paths.decision, whole)
    store.add_event(record.run_id, by=by, what=SET, detail=_detail(whole))
    return whole


def remove(store: RunStore, record: RunRecord, *, by: str) -> bool:
    """Removes the decision of a run. Returns whether there was one."""
    path = store.run_paths(record.run_id).decision
    if not path.exists():
        return False
    path.unlink()
    store.add_event(record.run_id, by=by, what=REMOVED)
    return True


def _detail(decision: Decision) -> str:
    return " ".join(decisions.in_words(decision)[:-1])
