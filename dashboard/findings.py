"""What the curves of a run say, by simple rules, and what to do about it.

Each finding states the number it rests on, so that a reader can disagree. A rule is silent when its figures
cannot be compared: with label smoothing, L1, L2 or class weights the train loss is another quantity than the
eval loss, and runs of earlier versions logged no other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from dashboard.formats import counted, interval, metric_title
from superft_hf.advice import STRONGER
from superft_hf.config import RunConfig
from superft_hf.evaluation.intervals import wilson_interval
from superft_hf.records import RunRecord, RunState
from superft_hf.train_loss import CROSS_ENTROPY, train_loss_key

OVERFIT_RATIO = 2.0
MIN_EPOCHS = 3
WIDE_POINTS = 0.05
MIN_FALL = 0.05


@dataclass(frozen=True)
class Advice:
    """One finding.

    Attributes:
        icon: A Material icon, as Streamlit writes it.
        title: The finding with its number, a sentence.
        text: What it means and what to do, in Markdown.
    """

    icon: str
    title: str
    text: str


def find(record: RunRecord, config: RunConfig, metrics: pd.DataFrame) -> list[Advice]:
    """The findings of a run, the weightiest first; never empty.

    Args:
        record: The run.
        config: Its settings.
        metrics: Its points: columns step, epoch, key, value.
    """
    evals = metrics[metrics["key"] == (record.best_metric or "eval_loss")]
    if evals.empty:
        when = "when the run has started" if not record.is_live else "at the end of the first epoch"
        return [
            Advice(":material/hourglass_empty:", "Nothing to say yet.", f"The first evaluation comes {when}.")
        ]
    rules = (_overfit, _not_learning, _best_when, _small_eval)
    found = [advice for rule in rules if (advice := rule(record, config, metrics)) is not None]
    return found or [Advice(":material/check:", "Nothing stands out.", "Look at the errors next.")]


def epoch_losses(metrics: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Train and eval loss by epoch number: the mean of the epoch's points, the value of its evaluation."""
    train = metrics[metrics["key"] == train_loss_key(set(metrics["key"]))]
    by_epoch = train.groupby((train["epoch"] - 1e-6).clip(lower=0).astype(int) + 1)["value"].mean()
    evals = metrics[metrics["key"] == "eval_loss"]
    return by_epoch, pd.Series(evals["value"].to_numpy(), index=evals["epoch"].round().astype(int))


def has_comparable_losses(config: RunConfig, metrics: pd.DataFrame) -> bool:
    """Whether train and eval loss are the same quantity."""
    training = config.training
    if train_loss_key(set(metrics["key"])) == CROSS_ENTROPY:
        return True
    is_plain = not training.label_smoothing_factor and training.l1 == 0 and training.l2 == 0
    return is_plain and training.class_weights == "none"


def _overfit(record: RunRecord, config: RunConfig, metrics: pd.DataFrame) -> Advice | None:
    train, evals = epoch_losses(metrics)
    if len(evals) < MIN_EPOCHS or not has_comparable_losses(config, metrics) or train.empty:
        return None
    last = evals.index[-1]
    if last not in train.index or not train[last] > 0 or evals[last] < OVERFIT_RATIO * train[last]:
        return None
    stronger = STRONGER.get(config.augmentation.preset)
    remedy = f"`{stronger}` augmentation, dropout" if stronger else "dropout, weight decay"
    return Advice(
        ":material/insights:",
        f"Eval loss is {_ratio(evals[last] / train[last])} × train loss.",
        "The network begins to learn the training images by heart. "
        f"If eval stops falling, try {remedy} or L2.",
    )


def _not_learning(record: RunRecord, config: RunConfig, metrics: pd.DataFrame) -> Advice | None:
    train, _ = epoch_losses(metrics)
    if len(train) < 2 or train.iloc[-1] < (1 - MIN_FALL) * train.iloc[0]:
        return None
    change = 100 * (train.iloc[-1] / train.iloc[0] - 1)
    words = f"rose by {change:.0f} %" if change > 0.5 else "has not fallen"
    return Advice(
        ":material/trending_flat:",
        f"Train loss {words} in {counted(len(train), 'epoch')}.",
        "The learning rate may be too high or much too low: try a tenth, then ten times as much.",
    )


def _best_when(record: RunRecord, config: RunConfig, metrics: pd.DataFrame) -> Advice | None:
    key = record.best_metric or "eval_loss"
    evals = metrics[metrics["key"] == key]
    if len(evals) < 2 or record.best_step is None:
        return None
    steps: Sequence[int] = evals["step"].tolist()
    done = len(steps)
    best = steps.index(record.best_step) + 1 if record.best_step in steps else done
    if best == done:
        return _still_improving(record, config, best, done)
    since = done - best
    if since < 2:
        return None
    patience = config.early_stopping.patience
    if _goes_on(record) and patience is not None and since < patience:
        rest = counted(patience - since, "more epoch")
        text = f"No better {metric_title(key)} for {since} epochs; early stopping ends the run after {rest}."
    elif 2 * best <= done:
        text = "Later epochs only fitted the training images: fewer epochs or a lower learning rate would do."
    else:
        text = "The best checkpoint is the one that is kept; later epochs did not help."
    return Advice(":material/flag:", f"The best epoch is {best} of {done}.", text)


def _still_improving(record: RunRecord, config: RunConfig, best: int, done: int) -> Advice:
    if not _goes_on(record):
        return Advice(
            ":material/trending_up:",
            f"Still improving at the end: the best epoch is {best} of {done}.",
            "More epochs may do better. Repeat with more.",
        )
    patience = config.early_stopping.patience
    wait = (
        f"early stopping would wait for {counted(patience, 'epoch')} without a better value."
        if patience is not None
        else "there is no early stopping."
    )
    return Advice(":material/check:", "Still improving.", f"The best epoch is {best} of {done}; {wait}")


def _goes_on(record: RunRecord) -> bool:
    """Whether more epochs may come: advice to repeat with more of them is for runs that are over."""
    return record.is_unfinished or record.state is RunState.PAUSED


def _small_eval(record: RunRecord, config: RunConfig, metrics: pd.DataFrame) -> Advice | None:
    size = int(record.facts.get("counts", {}).get("eval", 0))
    if not size or record.accuracy is None:
        return None
    low, high = wilson_interval(round(record.accuracy * size), size)
    if (high - low) / 2 <= WIDE_POINTS:
        return None
    return Advice(
        ":material/straighten:",
        f"Eval has only {counted(size, 'image')}.",
        f"The true accuracy may lie anywhere in {interval(low, high)}: "
        "small differences between runs mean nothing.",
    )


def _ratio(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"
