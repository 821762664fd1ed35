"""The curves of a run as the rules of `superft_hf.advice` look at them."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from superft_hf.config import RunConfig
from superft_hf.records import RunRecord
from superft_hf.train_loss import CROSS_ENTROPY, train_loss_key

SPIKE = 2.0
"""Train losses of neighbouring points differ by tens of percent; twice their median is a jump."""

SPIKE_SHARE = 0.5
"""Of the loss at the beginning: a small loss doubles by chance."""

MIN_SPIKES = 2
"""One jump may be one odd batch."""

NEIGHBOURS = 5
"""Points before one, whose median it is compared with."""

POINTS = 10
"""Between two evaluations, as a run logs by default: single small batches waver by much more."""

RISE = 1.25
"""A mean train loss a quarter above its lowest was not wavering."""


@dataclass(frozen=True)
class Curves:
    """What is known of how a run went.

    Attributes:
        metric: What chose the best checkpoint, such as `eval_loss`.
        points: Train losses by step, at most some ten between two evaluations: means of neighbours.
        train: Mean train loss since the evaluation before, indexed by the evaluation's step.
        eval_loss: Indexed by step.
        watched: Values of `metric`, indexed by step.
        figures: All finite points: columns step, key, value.
        best_step: Step of the best checkpoint; None before the first.
        accuracy: At the best step; None when unknown.
        chance: Share of the largest class in eval; None when unknown.
        guessing_loss: ln of the number of classes: what knowing nothing costs; 0 when unknown.
        is_comparable: Whether train and eval loss are the same quantity.
    """

    metric: str
    points: pd.Series
    train: pd.Series
    eval_loss: pd.Series
    watched: pd.Series
    figures: pd.DataFrame
    best_step: int | None
    accuracy: float | None
    chance: float | None
    guessing_loss: float
    is_comparable: bool

    @classmethod
    def of(cls, record: RunRecord, config: RunConfig, points: pd.DataFrame) -> "Curves":
        """Sorts the points of a run.

        Args:
            record: The run.
            config: Its settings.
            points: Columns step, epoch, key, value.
        """
        finite = points[np.isfinite(points["value"].astype(float))].sort_values("step", kind="stable")
        metric = record.best_metric or config.early_stopping.metric
        train_key = train_loss_key(set(finite["key"]))
        logged, eval_loss = _series(finite, train_key), _series(finite, "eval_loss")
        by_class = record.facts.get("counts_by_class", {}).get("eval", {})
        total = sum(by_class.values())
        training = config.training
        is_plain = not training.label_smoothing_factor and training.l1 == 0 and training.l2 == 0
        return cls(
            metric, _smoothed(logged, len(eval_loss)), _between(logged, eval_loss), eval_loss,
            _series(finite, metric), finite,
            record.best_step, record.accuracy,
            max(by_class.values()) / total if total else None,
            math.log(len(by_class)) if by_class else 0.0,
            train_key == CROSS_ENTROPY or (is_plain and training.class_weights == "none"),
        )  # fmt: skip

    @property
    def is_loss(self) -> bool:
        """Whether lower is better in `watched`."""
        return self.metric.endswith("loss")

    @property
    def since_best(self) -> int | None:
        """Evaluations after that of the best checkpoint; None when it is not among them."""
        steps = self.watched.index.tolist()
        return len(steps) - 1 - steps.index(self.best_step) if self.best_step in steps else None

    def at_best(self, key: str) -> float | None:
        """A figure of the best checkpoint's evaluation."""
        found = self.figures[(self.figures["key"] == key) & (self.figures["step"] == self.best_step)]["value"]
        return None if found.empty else float(found.iloc[-1])

    def spikes(self) -> list[int]:
        """Steps at which the train loss jumped far above its neighbours; empty when that happened once."""
        values = self.points.to_numpy()
        if len(values) <= NEIGHBOURS:
            return []
        floor = SPIKE_SHARE * float(np.median(values[:NEIGHBOURS]))
        found = [
            int(self.points.index[place])
            for place in range(NEIGHBOURS, len(values))
            if values[place] > max(SPIKE * float(np.median(values[place - NEIGHBOURS : place])), floor)
        ]
        return found if len(found) >= MIN_SPIKES else []

    def has_risen(self) -> bool:
        """Whether the train loss ended well above its lowest mean, and high."""
        if len(self.train) < 2:
            return False
        last, lowest = self.train.iloc[-1], self.train.min()
        return last > RISE * lowest and last > SPIKE_SHARE * self.train.iloc[0]

    def is_poor(self, skill: float) -> bool:
        """Whether the best accuracy is less than this share of the way from chance to perfect."""
        if self.accuracy is None or self.chance is None or self.chance >= 1:
            return False
        return self.accuracy - self.chance < skill * (1 - self.chance)

    def has_gap(self, ratio: float, difference: float) -> bool:
        """Whether the last eval loss is that far above the last train loss, by both measures."""
        if not self.is_comparable or self.train.empty or self.eval_loss.empty:
            return False
        train, evaluated = self.train.iloc[-1], self.eval_loss.iloc[-1]
        return evaluated >= ratio * train and evaluated - train >= difference


def _series(points: pd.DataFrame, key: str) -> pd.Series:
    """The values of one key by step."""
    found = points[points["key"] == key].drop_duplicates("step", keep="last")
    return pd.Series(found["value"].to_numpy(dtype=float), index=found["step"].to_numpy(dtype=int))


def _smoothed(logged: pd.Series, num_evals: int) -> pd.Series:
    """Means of so many neighbours that some ten points lie between two evaluations."""
    width = math.ceil(len(logged) / (POINTS * max(num_evals, 1)))
    if width < 2:
        return logged
    blocks = np.arange(len(logged)) // width
    steps = logged.index.to_series().groupby(blocks).last()
    return pd.Series(logged.groupby(blocks).mean().to_numpy(), index=steps.to_numpy())


def _between(logged: pd.Series, evaluated: pd.Series) -> pd.Series:
    """Mean of the values logged since the evaluation before, for each evaluation that has some."""
    places = np.searchsorted(evaluated.index.to_numpy(), logged.index.to_numpy(), side="left")
    is_inside = places < len(evaluated)
    means = logged[is_inside].groupby(evaluated.index.to_numpy()[places[is_inside]]).mean()
    return means.sort_index()
