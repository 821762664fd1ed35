"""What the charts and the table over many runs are drawn of: a row a run, or a row a group of seeds."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from dashboard import formats
from superft_hf.evaluation.seeds import mean_in_words, summarise
from superft_hf.kinship import flat_settings
from superft_hf.records import RunRecord
from superft_hf.run_pairs import SEED, group_name

FIGURES = {
    "accuracy": ("Eval accuracy, best", " %"),
    "last_accuracy": ("Eval accuracy, last", " %"),
    "f1_macro": ("Eval F1, macro", " %"),
    "loss": ("Eval loss, best", ""),
    "last_loss": ("Eval loss, last", ""),
    "best_epoch": ("Best epoch", ""),
    "epochs": ("Epochs", ""),
    "duration_min": ("Duration", " min"),
    "train_images": ("Training images", ""),
    "num_parameters": ("Parameters", ""),
}
"""Title and unit of each figure, by column. Test figures are none of them: nobody chooses by those."""


def make_frame(
    records: Sequence[RunRecord],
    values: Mapping[str, Mapping[str, Any]],
    accuracies: Mapping[str, Sequence[float]],
    losses: Mapping[str, Sequence[float]],
) -> pd.DataFrame:
    """One row a run.

    Args:
        records: The runs.
        values: Configurations by run id, as nested values.
        accuracies: The eval accuracies of each evaluation, by run id.
        losses: The eval losses, likewise.

    Returns:
        Columns run_id, name, data, is_done (finished, with an evaluation), the keys of FIGURES (numbers, NaN
        where not known; shares in percent), and for each setting that varies among these runs, its dotted
        key: numbers, or words.
    """
    rows = [_figures(one, accuracies.get(one.run_id, ()), losses.get(one.run_id, ())) for one in records]
    frame = pd.DataFrame(rows, columns=["run_id", "name", "data", "is_done", *FIGURES])
    flat = [flat_settings(values.get(one.run_id, {})) for one in records]
    for key in varying(flat):
        frame[key] = _column([one.get(key) for one in flat])
    return frame


def varying(flat: Sequence[Mapping[str, Any]]) -> list[str]:
    """The settings that have several values among some runs, in the order of the declaration."""
    keys = dict.fromkeys(key for one in flat for key in one)
    return [key for key in keys if key != "name" and len({_hashable(one.get(key)) for one in flat}) > 1]


def settings_of(frame: pd.DataFrame) -> list[str]:
    """The columns of settings that vary in a frame."""
    known = {"run_id", "name", "data", "is_done", "run_ids", "words", *FIGURES}
    return [one for one in frame.columns if one not in known]


def fold_seeds(frame: pd.DataFrame, groups: Mapping[str, tuple[str, ...]]) -> pd.DataFrame:
    """Runs that differ only in their seed as one row: `name (3 seeds)`, each figure as its mean.

    Of runs with the same seed the newest alone counts: a repetition says nothing about chance.

    Args:
        frame: As `make_frame` gives it.
        groups: For each run, the runs of its group.

    Returns:
        The same columns but the seed, with `run_ids` (a tuple) and `words` (the accuracy: mean ± deviation).
    """
    key = [groups.get(one, (one,))[0] for one in frame["run_id"]]
    rows = []
    for _, part in frame.groupby(key, sort=False):
        row = part.iloc[-1].to_dict()  # the runs come newest first: this is the one that began the group
        # A run that still trains would drag the mean down.
        counted = part[part["is_done"]] if part["is_done"].any() else part
        counted = counted.drop_duplicates(SEED) if SEED in counted else counted.head(1)
        accuracies = [one / 100 for one in counted["accuracy"] if math.isfinite(one)]
        row["run_ids"] = tuple(part["run_id"])
        row["words"] = mean_in_words(summarise(accuracies)) if accuracies else formats.NOTHING
        if len(part) > 1:
            row["name"] = f"{group_name([row['name']])} ({formats.counted(len(counted), 'seed')})"
            row |= counted[list(FIGURES)].mean().to_dict()
        rows.append(row)
    columns = [one for one in frame.columns if one != SEED]
    return pd.DataFrame(rows, columns=[*columns, "run_ids", "words"])


def unfolded(frame: pd.DataFrame) -> pd.DataFrame:
    """Each run a row of its own, with the columns that `fold_seeds` adds."""
    words = [
        formats.percent(one / 100) if math.isfinite(one) else formats.NOTHING for one in frame["accuracy"]
    ]
    return frame.assign(run_ids=[(one,) for one in frame["run_id"]], words=words)


def _figures(record: RunRecord, accuracies: Sequence[float], losses: Sequence[float]) -> dict[str, Any]:
    duration_s = formats.run_duration_s(record)
    is_loss = record.best_metric == "eval_loss"
    epochs = record.num_train_epochs
    counts = record.facts.get("counts", {})
    known = {
        "accuracy": _percent(record.accuracy),
        "last_accuracy": _percent(accuracies[-1] if accuracies else None),
        "f1_macro": _percent(record.evaluation.get("eval", {}).get("f1_macro")),
        "loss": record.best_value if is_loss else record.evaluation.get("eval", {}).get("loss"),
        "last_loss": losses[-1] if losses else None,
        "best_epoch": record.best_step * epochs / record.max_steps
        if record.best_step and record.max_steps
        else None,
        "epochs": record.epoch or None,
        "duration_min": duration_s / 60 if duration_s is not None else None,
        "train_images": counts.get("train"),
        "num_parameters": record.facts.get("num_parameters"),
    }
    numbers = {key: math.nan if value is None else float(value) for key, value in known.items()}
    is_done = record.accuracy is not None and not record.is_unfinished
    return {
        "run_id": record.run_id, "name": record.name, "data": record.data, "is_done": is_done, **numbers,
    }  # fmt: skip


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _hashable(value: Any) -> Any:
    return json.dumps(value, sort_keys=True) if isinstance(value, dict | list) else value


def _column(values: Sequence[Any]) -> list[Any]:
    """Numbers where all that are set are numbers, else words: an axis is of one kind."""
    is_number = all(
        one is None or (isinstance(one, int | float) and not isinstance(one, bool)) for one in values
    )
    if is_number:
        return [math.nan if one is None else float(one) for one in values]
    return [formats.setting_value(one) for one in values]
