"""The figures of one evaluation, each with its interval and with what to hold it against.

N is the number of examples, C the number of classes. Shares are fractions.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from superft_hf.evaluation.baselines import Baseline
from superft_hf.evaluation.class_counts import count_classes
from superft_hf.evaluation.comparison import Difference, accuracy_difference
from superft_hf.evaluation.intervals import confusion_intervals, mean_interval, wilson_interval
from superft_hf.words import count, counted, percent, points

WILSON, BOOTSTRAP = "Wilson", "bootstrap"
METHODS = {
    WILSON: "the score interval of a share (Wilson 1927)",
    BOOTSTRAP: "the images drawn anew up to 2,000 times from a fixed seed, corrected for bias and skewness",
}
FEW_IMAGES = 10
"""With fewer images in the split, the recall of a class says little."""

WIDE = 0.05
"""A half width of an accuracy's interval from which on the split is called small."""

AIM = 0.02
"""The half width for which the number of images needed is told."""

_Z = 1.959964
_BY_CLASS = (
    "balanced_accuracy", "f1_macro", "f1_weighted", "precision_macro", "precision_weighted", "recall_macro",
)  # fmt: skip


@dataclass(frozen=True)
class Figure:
    """One metric with its 95 % interval.

    Attributes:
        key: Such as `accuracy`, without the split.
        value: NaN when it cannot be told.
        low: Lower end of the interval; NaN when it cannot be told, likewise high.
        method: How the interval was found, see METHODS.
        baselines: The same metric of each baseline that has it, in the order of `Headline.baselines`; else
            None.
    """

    key: str
    value: float
    low: float
    high: float
    method: str
    baselines: tuple[float | None, ...] = ()

    @property
    def is_loss(self) -> bool:
        """Whether lower is better, and the value is no share."""
        return self.key == "loss"


@dataclass(frozen=True)
class Headline:
    """The figures of one evaluation.

    Attributes:
        split: eval or test.
        num_images: N.
        num_classes: C.
        figures: By key.
        baselines: What they are held against: the guess first, then the frozen backbone.
        warnings: Why the split may be too small to tell, in sentences, the gravest first.
        over_frozen: Accuracy less that of the frozen backbone on the same images; None where the two cannot
            be joined image by image.
    """

    split: str
    num_images: int
    num_classes: int
    figures: Mapping[str, Figure]
    baselines: tuple[Baseline, ...] = ()
    warnings: tuple[str, ...] = ()
    over_frozen: Difference | None = field(default=None)


def of_evaluation(
    rows: pd.DataFrame,
    class_names: Sequence[str],
    split: str,
    *,
    guess: Baseline | None = None,
    frozen: Baseline | None = None,
    frozen_rows: pd.DataFrame | None = None,
    top5_accuracy: float | None = None,
    seed: int = 0,
) -> Headline:
    """Reckons the figures of an evaluation.

    Args:
        rows: One row an example: label, prediction, loss.
        class_names: C names by class id.
        split: eval or test.
        guess: The majority baseline, see `superft_hf.evaluation.baselines.majority`.
        frozen: The frozen-backbone baseline.
        frozen_rows: Its predictions for the same examples in the same order; None where they are others.
        top5_accuracy: As the run reported it: it needs the logits, which are most of a prediction file.
        seed: Of the bootstrap.
    """
    labels, predictions = rows["label"].to_numpy(), rows["prediction"].to_numpy()
    baselines = tuple(one for one in (guess, frozen) if one is not None)
    found = {"accuracy": _accuracy(labels == predictions)}
    found |= _by_class(labels, predictions, len(class_names), seed)
    if top5_accuracy is not None and len(class_names) > 5 and len(rows):
        low, high = wilson_interval(round(top5_accuracy * len(rows)), len(rows))
        found["top5_accuracy"] = Figure("top5_accuracy", top5_accuracy, low, high, WILSON)
    losses = rows["loss"].to_numpy(dtype=np.float64)
    low, high = mean_interval(losses, seed)
    found["loss"] = Figure("loss", float(losses.mean()) if len(losses) else math.nan, low, high, BOOTSTRAP)
    figures = {key: _with_baselines(figure, baselines) for key, figure in found.items()}
    support = np.bincount(labels, minlength=len(class_names))
    over = None
    if frozen_rows is not None and len(frozen_rows) == len(rows) and len(rows):
        other = frozen_rows["prediction"].to_numpy() == labels
        mine = predictions == labels
        over = accuracy_difference(int((mine & ~other).sum()), int((other & ~mine).sum()), len(rows), seed)
    warnings = (*_biased(figures), *_warnings(figures["accuracy"], len(rows), support, guess, losses))
    return Headline(split, len(rows), len(class_names), figures, baselines, warnings, over)


def images_needed(share: float, half_width: float = AIM) -> int:
    """About how many images tell a share to within a half width: the normal approximation of a binomial.

    Example:
        >>> images_needed(0.9, 0.02)
        865
    """
    spread = max(share * (1 - share), 0.05 * 0.95)  # nearly none wrong so far may be chance
    return math.ceil(_Z**2 * spread / half_width**2)


def class_figures(rows: pd.DataFrame, class_names: Sequence[str]) -> pd.DataFrame:
    """Figures by class, each share of images with its Wilson interval.

    Args:
        rows: One row an example: label, prediction.
        class_names: C names by class id.

    Returns:
        One row a class, by id: class_id, class_name, support, predicted, right, recall, recall_low,
        recall_high, precision, precision_low, precision_high, f1. What has no denominator is NaN.
    """
    counts = count_classes(rows["label"].to_numpy(), rows["prediction"].to_numpy(), len(class_names))
    table = pd.DataFrame(
        {
            "class_id": np.arange(len(class_names)),
            "class_name": list(class_names),
            "support": counts.support,
            "predicted": counts.predicted,
            "right": counts.right,
        }
    )
    for name, totals in (("recall", counts.support), ("precision", counts.predicted)):
        pairs = zip(counts.right.tolist(), totals.tolist(), strict=True)
        ends = np.array([wilson_interval(hit, n) if n else (math.nan, math.nan) for hit, n in pairs])
        table[name] = np.where(totals > 0, counts.right / np.maximum(totals, 1), math.nan)
        table[f"{name}_low"], table[f"{name}_high"] = ends.reshape(-1, 2).T
    occurs = (counts.support + counts.predicted) > 0
    return table.assign(f1=np.where(occurs, counts.f1, math.nan))


def figures_table(found: Headline) -> pd.DataFrame:
    """The figures as a table, for a page, a report or a CSV file.

    Returns:
        One row a metric: metric, value, low, high, method, and a column for each baseline. What cannot be
        told is NaN.
    """
    rows = []
    for figure in found.figures.values():
        row = {
            "metric": figure.key, "value": figure.value, "low": figure.low, "high": figure.high,
            "method": figure.method,
        }  # fmt: skip
        for baseline, value in zip(found.baselines, figure.baselines, strict=True):
            row[baseline.name] = math.nan if value is None else value
        rows.append(row)
    return pd.DataFrame(rows)


def _accuracy(is_right: np.ndarray) -> Figure:
    right, total = int(is_right.sum()), len(is_right)
    return Figure("accuracy", right / total if total else math.nan, *wilson_interval(right, total), WILSON)


def _by_class(labels: np.ndarray, predictions: np.ndarray, num_classes: int, seed: int) -> dict[str, Figure]:
    ends = confusion_intervals(labels, predictions, num_classes, seed)
    values = count_classes(labels, predictions, num_classes).figures()
    return {
        key: Figure(key, float(values[key]) if len(labels) else math.nan, *ends[key], BOOTSTRAP)
        for key in _BY_CLASS
    }


def _with_baselines(figure: Figure, baselines: Sequence[Baseline]) -> Figure:
    values = tuple(one.figures.get(figure.key) for one in baselines)
    return Figure(figure.key, figure.value, figure.low, figure.high, figure.method, values)


def _warnings(
    accuracy: Figure, total: int, support: np.ndarray, guess: Baseline | None, losses: np.ndarray
) -> tuple[str, ...]:
    if not total:
        return ("There is no image in this split.",)
    found = []
    broken = int((~np.isfinite(losses)).sum())
    if broken:
        found.append(
            f"The loss of {counted(broken, 'image')} is no number: training diverged; there is no mean."
        )
    width = accuracy.high - accuracy.low
    gain = None if guess is None else accuracy.value - guess.figures["accuracy"]
    if guess is not None and gain is not None and gain <= 0:
        found.append(f"No better than {guess.name}, which is right for {percent(guess.figures['accuracy'])}.")
    elif guess is not None and gain is not None and gain < width:
        found.append(
            f"Too few images to tell it from {guess.name}: the gain of {points(gain)} is less than the "
            f"interval is wide ({points(width).removeprefix('+')})."
        )
    if width / 2 > WIDE:
        found.append(
            f"With {counted(total, 'image')} accuracy is known to ± {100 * width / 2:.0f} points; "
            f"± {100 * AIM:.0f} points would take about {count(_rounded(images_needed(accuracy.value)))}."
        )
    few, none = int(((support > 0) & (support < FEW_IMAGES)).sum()), int((support == 0).sum())
    if few:
        verb = "has" if few == 1 else "have"
        found.append(
            f"{few:,} of {counted(len(support), 'class', 'classes')} {verb} fewer than {FEW_IMAGES} images "
            "here: the recall of one says little."
        )
    if none:
        verb = "has" if none == 1 else "have"
        found.append(f"{counted(none, 'class', 'classes')} {verb} no image here, and no recall.")
    return tuple(found)


def _biased(figures: Mapping[str, Figure]) -> tuple[str, ...]:
    """A sentence when averages over many small classes are so biased that they lie beside their intervals."""
    beside = [one for one in figures.values() if one.value < one.low or one.value > one.high]
    if not beside:
        return ()
    return (
        "With so few images a class, averages over the classes are off to one side; their intervals are "
        "corrected for that, and lie beside them.",
    )


def _rounded(number: int) -> int:
    """To two digits: an estimate looks like one."""
    step = 10 ** max(len(str(number)) - 2, 0)
    return round(number / step) * step
