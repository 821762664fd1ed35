"""What the curves of a run suggest for the next one, by rules with stated limits.

Each piece of advice has the numbers it rests on, so that a reader can disagree, and names the setting to
change. A rule is silent when its figures are missing or cannot be compared: with label smoothing, L1, L2 or
class weights the train loss is another quantity than the eval loss. Rules that explain the same thing stand
in one group, of which only the first that fits speaks.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from superft_hf.advice_curves import Curves
from superft_hf.config import RunConfig
from superft_hf.evaluation.intervals import wilson_interval
from superft_hf.records import Remedy, RunRecord, RunState
from superft_hf.settings import find_setting
from superft_hf.words import count, counted, interval, loss, percent, significant

ENDED_STATES = (RunState.COMPLETED, RunState.FAILED, RunState.PAUSED)

MIN_EVALS = 3
"""Two evaluations make no trend."""

MIN_STEPS, GOOD_STEPS = 50, 200
"""Warm-up and the falling learning rate take their share of the steps: below 50 hardly any is left."""

SATURATED = 0.995
"""Above it hardly an image is wrong: more training has nothing left to win that eval could show."""

OVERFIT_RISE = 1.10
"""Eval loss wavers by a few percent from epoch to epoch; a mean that is 10 % above the best is a rise."""

MIN_RISE = 0.02
"""In nats: a fiftieth of the label's probability; a smaller loss rises by 10 % without meaning anything."""

STILL_FALLING = 0.95
"""A train loss that fell by less than 5 % has not moved."""

GAP_RATIO, GAP = 2.0, 0.2
"""Both at once: twice a tiny loss is tiny, and 0.2 nats are a fifth of the label's probability."""

POOR_SKILL = 0.5
"""Half the way from always naming the largest class to naming every class rightly."""

NO_SKILL = 0.1
"""So near to naming the largest class that nothing was learned."""

HIGH_SHARE = 0.5
"""Of the loss of pure guessing, ln(classes): a train loss above it was not learned, whatever eval says."""

SLOW_FALL = 0.7
"""A train loss still above 70 % of where it began, and falling, is on its way, only too slowly."""

END_SLOPE, END_POINTS = 0.98, 0.005
"""Over the last two epochs: 2 % of a loss, or half a point of a score, is more than wavering."""

LATE_EPOCHS, PATIENCE = 5, 3
"""More epochs in vain than the default patience allows, and the patience that is proposed then."""

SHORT_PATIENCE, LONGER_PATIENCE = 2, 5
"""Eval wavers: two epochs without a better value happen by chance, five hardly."""

WAVERING, WAVERING_POINTS = 1.05, 0.01
"""An eval loss within 5 % of the best, or a score within a point, has not turned yet."""

IMBALANCE = 3.0
"""From here on a network gains by naming the large class when in doubt."""

F1_GAP = 0.05
"""Accuracy so far above macro F1 means that the rare classes are the ones that are missed."""

WIDE = 0.05
"""Half the 95 % interval: runs that differ by less cannot be told apart."""

STRONGER = {"none": "light", "light": "strong", "photos": "strong"}
"""The next stronger preset; those for one kind of picture have none that is as safe."""

USUAL_RATES = {
    "sgd": 1e-2, "schedule_free_sgd": 1e-1, "schedule_free_adamw": 5e-4, "adagrad": 1e-3, "rmsprop": 1e-4,
    "lion": 5e-5,
}  # fmt: skip
USUAL_RATE = 2e-4
"""Of AdamW and its like, which scale each step. SGD does not; of Lion a step has its full length always."""


@dataclass(frozen=True)
class Advice:
    """One finding about a run that ended.

    Attributes:
        code: Stable name for scripts and tests, such as `over-fitting`.
        title: The finding with its number, a sentence.
        text: What it means and what to do, plain text.
        setting: Dotted key of the setting to change.
        remedy: The change made, or None when no single change is to be recommended.
    """

    code: str
    title: str
    text: str
    setting: str
    remedy: Remedy | None = None


Rule = Callable[[RunRecord, RunConfig, Curves], Advice | None]


def advise(record: RunRecord, config: RunConfig, points: pd.DataFrame) -> list[Advice]:
    """What could be better next time, the weightiest first; empty for a run that did well.

    Args:
        record: A run that completed, is paused or failed; of others nothing is said.
        config: Its settings.
        points: Its metrics: columns step, epoch, key, value.
    """
    if record.state not in ENDED_STATES:
        return []
    curves = Curves.of(record, config, points)
    found: list[Advice] = []
    for group in _GROUPS:
        advice = next((made for rule in group if (made := rule(record, config, curves)) is not None), None)
        if advice is not None:
            found.append(advice)
    return found


def _few_steps(record: RunRecord, config: RunConfig, curves: Curves) -> Advice | None:
    steps, training = record.global_step, config.training
    if record.state is not RunState.COMPLETED or not 0 < steps < MIN_STEPS or _is_saturated(record):
        return None
    if record.max_steps >= MIN_STEPS:  # a person finished it early, or early stopping did
        return None
    remedy = None
    if training.time_budget_s is None:
        epochs = min(math.ceil(training.num_train_epochs * GOOD_STEPS / steps), _most_epochs())
        remedy = Remedy(f"Repeat with {counted(epochs, 'epoch')}", {"training.num_train_epochs": epochs})
    return Advice(
        "few-steps", f"The weights were updated only {counted(steps, 'time')}.",
        f"A few hundred updates are usual. More epochs, or fewer than "
        f"{training.per_device_train_batch_size} images per step, give more of them.",
        "training.num_train_epochs" if remedy else "training.time_budget_s", remedy,
    )  # fmt: skip


def _too_fast(record: RunRecord, config: RunConfig, curves: Curves) -> Advice | None:
    spikes = curves.spikes()
    rose = curves.has_risen()
    if not spikes and not rose:
        return None
    rate = float(f"{config.training.learning_rate / 3:.2g}")
    what = (
        f"jumped up {counted(len(spikes), 'time')}, at first in step {count(spikes[0])}"
        if spikes
        else f"rose from {loss(curves.train.min())} to {loss(curves.train.iloc[-1])}"
    )
    return Advice(
        "learning-rate-high", f"The train loss {what}.",
        f"The learning rate of {significant(config.training.learning_rate)} is likely too high: a third of "
        "it, or a longer warm-up, trains more calmly.",
        "training.learning_rate",
        Remedy(f"Repeat with learning rate {significant(rate)}", {"training.learning_rate": rate}),
    )  # fmt: skip


def _too_slow(record: RunRecord, config: RunConfig, curves: Curves) -> Advice | None:
    train = curves.train
    if not curves.is_poor(POOR_SKILL) or len(train) < MIN_EVALS or config.model.strategy == "head":
        return None
    falls = all(later < earlier for earlier, later in zip(train, train[1:], strict=False))
    if not falls or not SLOW_FALL * train.iloc[0] <= train.iloc[-1] < STILL_FALLING * train.iloc[0]:
        return None
    return _other_rate(
        config, 10, "learning-rate-low",
        f"The train loss falls steadily, but only from {loss(train.iloc[0])} to {loss(train.iloc[-1])}.",
    )  # fmt: skip


def _under_fitting(record: RunRecord, config: RunConfig, curves: Curves) -> Advice | None:
    train = curves.train
    if len(train) < 2 or not curves.is_poor(POOR_SKILL) or curves.has_gap(1.5, 0.0):
        return None
    if curves.is_comparable and train.iloc[-1] < HIGH_SHARE * curves.guessing_loss:
        return None
    figures = (
        f"{percent(record.accuracy)} on eval, where always naming the largest class gives "
        f"{percent(curves.chance)}"
    )
    if train.iloc[-1] >= STILL_FALLING * train.iloc[0] and curves.is_poor(NO_SKILL):
        is_high = config.training.learning_rate > USUAL_RATES.get(config.training.optim, USUAL_RATE)
        title = f"Nothing was learned: {figures}."
        return _other_rate(config, 0.1 if is_high else 10, "under-fitting", title)
    setting, remedy, text = _more_freedom(config)
    return Advice(
        "under-fitting", f"The train images themselves were not learned: {figures}.",
        f"Train loss {loss(train.iloc[-1])} and eval loss {loss(curves.eval_loss.iloc[-1])} are both high. "
        f"{text}",
        setting, remedy,
    )  # fmt: skip


def _more_freedom(config: RunConfig) -> tuple[str, Remedy | None, str]:
    """Setting, remedy and words for a network that cannot follow its images."""
    if config.model.strategy == "head":
        remedy = Remedy("Repeat with the full network", {"model.strategy": "full"})
        return "model.strategy", remedy, "Only the head was trained: the full network can learn more."
    if config.augmentation.preset == "strong":
        remedy = Remedy("Repeat with light augmentation", {"augmentation.preset": "light"})
        return "augmentation.preset", remedy, "Strong augmentation makes each image hard to know again."
    setting, remedy = _longer(config)
    return setting, remedy, "Give it more epochs, or take a larger model."


def _still_improving(record: RunRecord, config: RunConfig, curves: Curves) -> Advice | None:
    watched = curves.watched
    is_whole = record.state is RunState.COMPLETED and record.epoch >= record.num_train_epochs - 0.01
    if not is_whole or len(watched) < MIN_EVALS or _is_saturated(record) or curves.since_best:
        return None
    before, last = watched.iloc[-3], watched.iloc[-1]
    is_steep = last <= END_SLOPE * before if curves.is_loss else last >= before + END_POINTS
    if not is_steep:
        return None
    figure = loss if curves.is_loss else percent
    setting, remedy = _longer(config)
    return Advice(
        "still-improving", f"Still improving at the end: the best epoch is the last of {len(watched)}.",
        f"{find_title(curves.metric)} went from {figure(before)} to {figure(last)} in the last two epochs: "
        "more epochs may do better.",
        setting, remedy,
    )  # fmt: skip


def _over_fitting(record: RunRecord, config: RunConfig, curves: Curves) -> Advice | None:
    losses, train = curves.eval_loss, curves.train
    if len(losses) < MIN_EVALS or len(train) != len(losses) or curves.since_best == 0:
        return None
    best = int(losses.to_numpy().argmin())
    after = losses.iloc[best + 1 :]
    lowest = losses.iloc[best]
    limit = max(OVERFIT_RISE * lowest, lowest + MIN_RISE)
    is_learned = train.iloc[-1] < STILL_FALLING * train.iloc[best]
    has_turned = len(after) >= 2 and after.mean() >= limit and is_learned
    has_gap = len(after) > 0 and curves.has_gap(GAP_RATIO, GAP)
    if not has_turned and not has_gap:
        return None
    title = (
        f"Over-fitting: eval loss rose from {loss(lowest)} to {loss(losses.iloc[-1])} while train "
        f"loss fell to {loss(train.iloc[-1])}."
        if has_turned
        else f"Over-fitting: eval loss is {loss(losses.iloc[-1])}, train loss {loss(train.iloc[-1])}."
    )
    setting, remedy, what = _less_freedom(config)
    text = f"The network learns its images by heart. More images help most; {what}."
    return Advice("over-fitting", title, text, setting, remedy)


def _less_freedom(config: RunConfig) -> tuple[str, Remedy | None, str]:
    """Setting, remedy and words against learning by heart: the next step of a ladder."""
    stronger = STRONGER.get(config.augmentation.preset)
    if stronger:
        changes = {"augmentation.preset": stronger}
        remedy = Remedy(f"Repeat with {stronger} augmentation", changes)
        return "augmentation.preset", remedy, f"{stronger} augmentation makes more of those there are"
    if not config.model.dropout:
        remedy = Remedy("Repeat with dropout 0.2", {"model.dropout": 0.2})
        return "model.dropout", remedy, "dropout before the head keeps it from leaning on single features"
    if config.training.weight_decay < 0.1:
        remedy = Remedy("Repeat with weight decay 0.1", {"training.weight_decay": 0.1})
        return "training.weight_decay", remedy, "more weight decay keeps the weights small"
    return "model.name_or_path", None, "so may a smaller model"


def _stopped_late(record: RunRecord, config: RunConfig, curves: Curves) -> Advice | None:
    done, since = len(curves.watched), curves.since_best
    patience = config.early_stopping.patience
    has_patience = patience is not None and patience <= PATIENCE
    if since is None or since < LATE_EPOCHS or 2 * (done - since) > done or has_patience:
        return None
    title = f"Repeat, stopping after {PATIENCE} epochs without gain"
    return Advice(
        "stopped-late", f"The best epoch is {done - since} of {done}.",
        f"The {since} epochs after it took {percent(since / done)} of the time and made nothing better: "
        "early stopping ends a run sooner.",
        "early_stopping.patience", Remedy(title, {"early_stopping.patience": PATIENCE}),
    )  # fmt: skip


def _stopped_soon(record: RunRecord, config: RunConfig, curves: Curves) -> Advice | None:
    patience, since = config.early_stopping.patience, curves.since_best
    was_stopped = patience is not None and since == patience <= SHORT_PATIENCE
    if not was_stopped or record.epoch > record.num_train_epochs / 2 or len(curves.train) <= patience:
        return None
    best, after = curves.watched.iloc[-1 - since], curves.watched.iloc[-since:].mean()
    wavers = after <= WAVERING * best if curves.is_loss else after >= best - WAVERING_POINTS
    if not wavers or curves.train.iloc[-1] >= STILL_FALLING * curves.train.iloc[-1 - since]:
        return None
    return Advice(
        "stopped-soon",
        f"Early stopping ended it in epoch {record.epoch:g} of {record.num_train_epochs:g}.",
        f"It waited for {counted(patience, 'epoch')} without a better value, but eval had hardly turned and "
        "the train loss was still falling: it may only have wavered.",
        "early_stopping.patience",
        Remedy(f"Repeat, waiting {LONGER_PATIENCE} epochs", {"early_stopping.patience": LONGER_PATIENCE}),
    )  # fmt: skip


def _imbalance(record: RunRecord, config: RunConfig, curves: Curves) -> Advice | None:
    counts = {name: n for name, n in record.facts.get("counts_by_class", {}).get("train", {}).items() if n}
    if len(counts) < 2 or config.training.class_weights != "none":
        return None
    largest, smallest = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
    ratio = counts[largest] / counts[smallest]
    f1 = record.evaluation.get("eval", {}).get("f1_macro", curves.at_best("eval_f1_macro"))
    is_missed = f1 is not None and record.accuracy is not None and record.accuracy - f1 >= F1_GAP
    by_accuracy = config.early_stopping.metric == "eval_accuracy"
    if ratio < IMBALANCE or not (is_missed or by_accuracy):
        return None
    changes = {"training.class_weights": "balanced"}
    if by_accuracy:
        changes["early_stopping.metric"] = "eval_f1_macro"
    figures = f" Macro F1 is {percent(f1)}, accuracy {percent(record.accuracy)}." if is_missed else ""
    return Advice(
        "imbalance", f"Class {largest} has {ratio:.1f} × the training images of class {smallest}.",
        f"Nothing makes up for it, so rare classes are missed more often, which accuracy hides.{figures}",
        "training.class_weights", Remedy("Repeat with balanced class weights", changes),
    )  # fmt: skip


def _small_eval(record: RunRecord, config: RunConfig, curves: Curves) -> Advice | None:
    size = int(record.facts.get("counts", {}).get("eval", 0))
    if not size or record.accuracy is None or config.data.num_folds is not None:
        return None  # the eval of a fold is as large as it is; all folds together are all of train
    low, high = wilson_interval(round(record.accuracy * size), size)
    if (high - low) / 2 <= WIDE:
        return None
    is_cut, data = "eval" in record.facts.get("is_cut", ()), config.data
    remedy = None
    if is_cut and 2 * data.eval_fraction + data.test_fraction <= 0.5:
        share = round(2 * data.eval_fraction, 3)
        remedy = Remedy(f"Repeat with {100 * share:g} % for eval", {"data.eval_fraction": share})
    return Advice(
        "small-eval", f"Eval has only {counted(size, 'image')}.",
        f"The true accuracy may lie anywhere in {interval(low, high)}: smaller differences between runs mean "
        "nothing. More images in eval tell more.",
        "data.eval_fraction" if is_cut else "data.eval_split", remedy,
    )  # fmt: skip


_GROUPS: tuple[tuple[Rule, ...], ...] = (
    (_few_steps, _too_fast, _too_slow, _under_fitting, _still_improving),
    (_over_fitting,),
    (_stopped_late, _stopped_soon),
    (_imbalance,),
    (_small_eval,),
)


def find_title(metric: str) -> str:
    """A metric's key in words.

    Example:
        >>> find_title("eval_f1_macro")
        'Eval f1 macro'
    """
    return metric.replace("_", " ").capitalize()


def _other_rate(config: RunConfig, factor: float, code: str, title: str) -> Advice:
    old = config.training.learning_rate
    rate = min(float(f"{old * factor:.2g}"), 1.0)
    word = "low: ten times as much" if factor > 1 else "high: a tenth of it"
    return Advice(
        code, title,
        f"The learning rate of {significant(old)} is likely too {word} may do.",
        "training.learning_rate",
        Remedy(f"Repeat with learning rate {significant(rate)}", {"training.learning_rate": rate}),
    )  # fmt: skip


def _longer(config: RunConfig) -> tuple[str, Remedy]:
    """Twice the epochs, or twice the time where that decides."""
    training = config.training
    if training.time_budget_s is not None:
        key, value = "training.time_budget_s", 2 * training.time_budget_s
        return key, Remedy("Repeat with twice the time", {key: value})
    key, epochs = "training.num_train_epochs", min(2 * training.num_train_epochs, _most_epochs())
    return key, Remedy(f"Repeat with {counted(epochs, 'epoch')}", {key: epochs})


def _most_epochs() -> int:
    return int(find_setting("training.num_train_epochs").maximum or 1)


def _is_saturated(record: RunRecord) -> bool:
    return record.accuracy is not None and record.accuracy >= SATURATED
