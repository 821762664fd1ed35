"""How a model's probabilities become answers: a temperature, a threshold by class, and "not sure".

The rule: p = softmax(logits / temperature). The class with the greatest p / threshold is the answer, unless
its p is below threshold + abstain band: then there is none. Thresholds of 1 / C each are "the likeliest
class", and for two classes thresholds t and 1 - t are the usual single threshold.

It is kept as JSON beside the model, and goes where the model goes. What stays true: a file that is damaged,
or that was chosen for other classes, is an error and never a silent default.
"""

import json
import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from superft_hf.errors import DecisionError
from superft_hf.evaluation.calibration import MAX_TEMPERATURE, MIN_TEMPERATURE, log_sum_exp, scaled_blocks
from superft_hf.paths import RunPaths

VERSION = 1
FILE_NAME = RunPaths(Path()).decision.name
ABSTAINS = -1
MIN_THRESHOLD = 1e-4
"""A lower one would take everything for the class: a ratio p / threshold has no other end."""

MAX_BAND = 0.9
_SLACK = 1e-9


@dataclass(frozen=True)
class ChosenOn:
    """The evaluation that a decision was chosen on.

    Attributes:
        run_id: The run.
        split: eval.
        step: Global step of the evaluation.
        num_images: Its size.
    """

    run_id: str
    split: str
    step: int
    num_images: int


@dataclass(frozen=True)
class Decision:
    """How probabilities become answers.

    Attributes:
        class_names: C names by class id.
        chosen_on: What it was chosen on.
        temperature: Divides the logits; 1 leaves them as they are.
        thresholds: By class id, each in [`MIN_THRESHOLD`, 1]; None for the likeliest class.
        abstain_band: By how much the answer must exceed its threshold, in [0, `MAX_BAND`].
        costs_fp: Cost of an image wrongly taken for each class; None for 1 each.
        costs_fn: Cost of an image of each class that is not taken for it; None for 1 each.
        figures: By split, what it does there: see superft_hf.decisions.
    """

    class_names: tuple[str, ...]
    chosen_on: ChosenOn
    temperature: float = 1.0
    thresholds: tuple[float, ...] | None = None
    abstain_band: float = 0.0
    costs_fp: tuple[float, ...] | None = None
    costs_fn: tuple[float, ...] | None = None
    figures: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)

    @property
    def num_classes(self) -> int:
        """C."""
        return len(self.class_names)

    @property
    def limits(self) -> np.ndarray:
        """The threshold of each class, shape (C,); 1 / C each for the likeliest class."""
        if self.thresholds is None:
            return np.full(self.num_classes, 1 / max(self.num_classes, 1))
        return np.asarray(self.thresholds, dtype=np.float64)

    @property
    def false_positive_costs(self) -> np.ndarray:
        """By class id, shape (C,)."""
        return np.ones(self.num_classes) if self.costs_fp is None else np.asarray(self.costs_fp)

    @property
    def false_negative_costs(self) -> np.ndarray:
        """By class id, shape (C,)."""
        return np.ones(self.num_classes) if self.costs_fn is None else np.asarray(self.costs_fn)

    @property
    def is_plain(self) -> bool:
        """Whether it changes nothing about the plain model."""
        return self.temperature == 1 and self.takes_likeliest

    @property
    def takes_likeliest(self) -> bool:
        """Whether the answer is always the likeliest class."""
        return self.thresholds is None and not self.abstain_band

    def without_thresholds(self) -> "Decision":
        """The same temperature, and the likeliest class as the answer."""
        return replace(self, thresholds=None, abstain_band=0.0, figures={})


@dataclass(frozen=True)
class Answer:
    """What is said about one image.

    Attributes:
        label: The class name; None when the model is not sure.
        predictions: The likeliest classes with their probabilities, highest first.
    """

    label: str | None
    predictions: tuple[tuple[str, float], ...]

    @property
    def is_sure(self) -> bool:
        """Whether there is an answer."""
        return self.label is not None


def decide(logits: np.ndarray, decision: Decision, normalizer: np.ndarray | None = None) -> np.ndarray:
    """Class ids by the rule of the module, -1 where there is no answer; also for a row with a NaN.

    Args:
        logits: Shape (N, C), every class.
        decision: For C classes.
        normalizer: The logarithm of the sum of exponentials of each row of logits / temperature, shape (N,),
            where it is at hand: it is most of the work.

    Returns:
        Shape (N,), dtype int64.
    """
    limits, made = decision.limits, np.empty(len(logits), dtype=np.int64)
    log_limits = np.log(limits)
    for part, scaled in scaled_blocks(logits, decision.temperature):
        rows = np.arange(len(scaled))
        with np.errstate(invalid="ignore"):
            whole = log_sum_exp(scaled) if normalizer is None else normalizer[part]
            scaled -= log_limits  # in place: a second array of this size costs more than the subtraction
            answers = scaled.argmax(axis=1)
            chosen = logits[part][rows, answers].astype(np.float64) / decision.temperature
            probability = np.exp(chosen - whole)
            # Not `<`: a NaN is below nothing. The slack is for thresholds written with few digits.
            is_sure = probability >= limits[answers] + decision.abstain_band - _SLACK
        made[part] = np.where(is_sure, answers, ABSTAINS)
    return made


def plain_decision(class_names: Sequence[str], chosen_on: ChosenOn) -> Decision:
    """The likeliest class at temperature 1."""
    return Decision(tuple(class_names), chosen_on)


def answer(
    logits: np.ndarray, class_names: Sequence[str], decision: Decision | None, top_k: int
) -> list[Answer]:
    """What is said about some images.

    Args:
        logits: Shape (N, C).
        class_names: C names.
        decision: None for the plain model.
        top_k: How many classes an image.
    """
    applied = decision or plain_decision(class_names, ChosenOn("", "", 0, 0))
    found = []
    scaled = logits.astype(np.float64) / applied.temperature
    probabilities = np.exp(scaled - log_sum_exp(scaled)[:, None])
    for row, chosen in zip(probabilities, decide(logits, applied), strict=True):
        order = np.argsort(-row, kind="stable")[:top_k]
        likeliest = tuple((class_names[index], float(row[index])) for index in order)
        found.append(Answer(None if chosen == ABSTAINS else class_names[chosen], likeliest))
    return found


def read(path: Path, class_names: Sequence[str] | None = None) -> Decision | None:
    """Reads a decision; None when there is none.

    Args:
        path: The file.
        class_names: Of the model; None takes those of the file.

    Raises:
        DecisionError: If the file is damaged, of another version, or for other classes.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise _damaged(path, str(error).splitlines()[0]) from error
    try:
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError("it holds no object")
        if values.get("version") != VERSION:
            raise ValueError(f"it is of version {values.get('version')!r}, this program reads {VERSION}")
        found = _parsed(values)
        check(found)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else str(error).splitlines()[0]
        raise _damaged(path, reason) from error
    if class_names is not None and list(found.class_names) != list(class_names):
        raise DecisionError(
            f"The operating point in {path.name} was chosen for other classes than the model's.",
            hint="Choose it again: `superft thresholds RUN --reset` removes it.",
        )
    return found


def write(path: Path, decision: Decision) -> None:
    """Writes a decision aside and renames it, so that a file that exists is complete.

    Raises:
        DecisionError: If it is not valid, or cannot be written.
    """
    try:
        check(decision)
    except ValueError as error:
        raise DecisionError(
            f"This operating point cannot be used: {error}.", hint="Change that, and save again."
        ) from error
    text = to_json(decision)
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=".", suffix=".writing", delete=False
        ) as aside:
            aside.write(text)
            aside.flush()
            os.fsync(aside.fileno())
        Path(aside.name).chmod(0o644)
        Path(aside.name).replace(path)
    except OSError as error:
        raise DecisionError(
            f"{path} cannot be written: {error.strerror or error}.",
            hint="Look after free space and permissions.",
        ) from error


def to_json(decision: Decision) -> str:
    """The file's text."""
    values = {"version": VERSION, **asdict(decision)}
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


def check(decision: Decision) -> None:
    """Raises ValueError, with a reason that can stand in a sentence, for values the rule cannot use."""
    count = decision.num_classes
    if count < 2:
        raise ValueError("it names fewer than two classes")
    if not MIN_TEMPERATURE <= decision.temperature <= MAX_TEMPERATURE:  # also for a NaN
        raise ValueError(f"the temperature {decision.temperature:g} is not within "
                         f"{MIN_TEMPERATURE:g} and {MAX_TEMPERATURE:g}")  # fmt: skip
    if not 0 <= decision.abstain_band <= MAX_BAND:
        raise ValueError(f"the abstain band {decision.abstain_band:g} is not within 0 and {MAX_BAND:g}")
    for name in ("thresholds", "costs_fp", "costs_fn"):
        values = getattr(decision, name)
        if values is not None and len(values) != count:
            raise ValueError(f"{name} has {len(values)} values for {count} classes")
    if not all(MIN_THRESHOLD <= one <= 1 for one in decision.thresholds or ()):
        raise ValueError(f"a threshold is not within {MIN_THRESHOLD:g} and 1")
    costs = (decision.costs_fp or ()) + (decision.costs_fn or ())
    if not all(one >= 0 and math.isfinite(one) for one in costs):
        raise ValueError("a cost is negative or no number")


def in_words(decision: Decision) -> list[str]:
    """What a decision does, a sentence a line: for `superft show`, the card and the pages.

    Example:
        >>> in_words(Decision(("cat", "dog"), ChosenOn("r", "eval", 40, 120), 1.5, (0.2, 0.8)))
        ['Probabilities are calibrated by temperature 1.50.', 'Thresholds: cat at 0.200, dog at 0.800.', \
'Chosen on 120 eval images, at step 40.']
    """
    lines = []
    if decision.temperature != 1:
        lines.append(f"Probabilities are calibrated by temperature {decision.temperature:.2f}.")
    if decision.thresholds is not None:
        lines.append(f"Thresholds: {_thresholds_words(decision)}.")
    if decision.abstain_band:
        lines.append(f"Not sure within {decision.abstain_band:.3g} above a threshold.")
    if decision.takes_likeliest:
        lines.append("The answer is the likeliest class.")
    chosen = decision.chosen_on
    noun = "image" if chosen.num_images == 1 else "images"
    lines.append(f"Chosen on {chosen.num_images:,} {chosen.split} {noun}, at step {chosen.step:,}.")
    return lines


def _thresholds_words(decision: Decision, limit: int = 6) -> str:
    """Those that differ from the most frequent one, or all of few."""
    limits = np.round(decision.limits, 4)
    values, counts = np.unique(limits, return_counts=True)
    usual = values[counts.argmax()]
    names = decision.class_names
    if decision.num_classes <= limit:
        return ", ".join(f"{name} at {one:.3f}" for name, one in zip(names, limits, strict=True))
    others = np.flatnonzero(limits != usual)
    if not len(others):
        return f"{usual:.3g} for every class"
    shown = ", ".join(f"{names[one]} at {limits[one]:.3f}" for one in others[:limit])
    rest = f" and {len(others) - limit:,} more" if len(others) > limit else ""
    return f"{shown}{rest}" + (f", {usual:.3g} for the others" if counts.max() > 1 else "")


def _parsed(values: Mapping[str, Any]) -> Decision:
    """Raises ValueError, TypeError or KeyError for what is no decision."""
    chosen = values["chosen_on"]
    names = values["class_names"]
    if not isinstance(names, list) or not all(isinstance(one, str) for one in names):
        raise ValueError("class_names is no list of names")
    return Decision(
        class_names=tuple(names),
        chosen_on=ChosenOn(
            str(chosen["run_id"]), str(chosen["split"]), int(chosen["step"]), int(chosen["num_images"])
        ),
        temperature=float(values["temperature"]),
        thresholds=_numbers(values["thresholds"]),
        abstain_band=float(values["abstain_band"]),
        costs_fp=_numbers(values.get("costs_fp")),
        costs_fn=_numbers(values.get("costs_fn")),
        figures={str(split): dict(found) for split, found in dict(values.get("figures") or {}).items()},
    )


def _numbers(values: Any) -> tuple[float, ...] | None:
    return None if values is None else tuple(float(one) for one in values)


def _damaged(path: Path, reason: str) -> DecisionError:
    return DecisionError(
        f"The operating point in {path.name} cannot be used: {reason}.",
        hint="Choose it again: `superft thresholds RUN --reset` removes it. Until then, `--plain` asks the "
        "model without it.",
    )
