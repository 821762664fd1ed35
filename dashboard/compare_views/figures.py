"""The figures of the compared runs side by side: best value and last value told apart."""

import math

import pandas as pd
import streamlit as st

from dashboard import charts, formats, readers
from dashboard.compare_views import baseline, groups
from dashboard.compare_views.view import RunSide, View, heading
from dashboard.look import card_head
from superft_hf import vault
from superft_hf.evaluation import seeds
from superft_hf.records import RunRecord

_SEALED = "sealed"

MAX_COLUMNS = 3
"""More runs than this get a row each instead of a column."""


def draw(view: View) -> None:
    """Draws the figures: a column a run, or where these are many, a row a run."""
    is_kept = all(side.is_kept for side in view.sides)
    note = "of the kept checkpoint" if is_kept else "at the epochs chosen"
    card_head(f"Figures on {view.split}", note)
    rows = [_rows(side) for side in view.sides]
    reference = baseline.reference_of(view)
    if any(side.is_sealed for side in view.sides):
        reference = None
    if reference is not None:
        _add_differences(rows, view, reference)
    heads = [heading(side, len(view.sides)) for side in view.sides]
    if len(view.sides) > MAX_COLUMNS:
        names = [
            f"{head} {formats.plain(charts.shortened(side.record.name, 28))}"
            for head, side in zip(heads, view.sides, strict=True)
        ]
        table = {"": names} | {key: [one[key] for one in rows] for key in rows[0]}
    else:
        table = {"": list(rows[0])} | {
            head: list(one.values()) for head, one in zip(heads, rows, strict=True)
        }
    st.table(pd.DataFrame(table), hide_index=True, border="horizontal")
    if reference is not None:
        st.markdown(
            f":small[:gray[Accuracy less that of {formats.plain(reference.name)}, in points, with the 95 % "
            "interval, on the images in common. “Better” and “worse” hold at 5 % for all of these "
            "comparisons together (Holm).]]"
        )


def _add_differences(rows: list[dict[str, str]], view: View, reference: RunRecord) -> None:
    """Adds to the rows of each run how much it differs from one of them, or from the baseline."""
    found = baseline.against(reference, view.records, view.split)
    title = f"Against {formats.plain(charts.shortened(reference.name, 20))}"
    for row, side in zip(rows, view.sides, strict=True):
        run_id = side.record.run_id
        words = baseline.in_short(*found[run_id]) if run_id in found else formats.NOTHING
        row[title] = "itself" if run_id == reference.run_id else words


def _rows(side: RunSide) -> dict[str, str]:
    """What the table says of one run, by the head of the row."""
    points = readers.metrics(side.record.run_id)
    at = _values(points, side.step) if side.split == "eval" else side.record.evaluation.get("test", {})
    size = int(side.record.facts.get("counts", {}).get(side.split, 0))
    if side.is_sealed:
        shown = {"Accuracy": _SEALED, "95 % interval": _SEALED, "Macro F1": _SEALED, "Loss": _SEALED}
    else:
        accuracy = at.get("accuracy")
        shown = {
            "Accuracy": formats.percent(accuracy),
            "95 % interval": _tight(formats.accuracy_interval(accuracy, size)),
            "Macro F1": formats.percent(at.get("f1_macro")),
            "Loss": _loss(at.get("loss")),
        }
    if side.split == "eval":
        evaluated = points[points["key"].str.startswith("eval_")]
        last = _values(points, int(evaluated["step"].max())) if len(evaluated) else {}
        shown["Accuracy, last epoch"] = formats.percent(last.get("accuracy"))
        shown["Loss, last epoch"] = _loss(last.get("loss"))
        shown["Epoch"] = epoch_in_words(side, points)
    else:
        number = vault.standing(readers.store(), side.record).num_earlier
        shown["Opened before on this test set"] = formats.counted(number, "run")
    shown["Duration"] = formats.duration(formats.run_duration_s(side.record))
    shown["Eval over seeds"] = _over_seeds(side.record.run_id)
    return shown


def epoch_in_words(side: RunSide, points: pd.DataFrame) -> str:
    """Which epoch stands for the run, and of how many: `5 of 8`."""
    at = points[(points["step"] == side.step) & points["key"].str.startswith("eval_")]["epoch"]
    if not len(at):
        return formats.NOTHING
    best = ", best" if side.step == side.record.best_step else ""
    return f"{formats.epochs(at.iloc[0])} of {side.record.num_train_epochs:g}{best}"


def _values(points: pd.DataFrame, step: int | None) -> dict[str, float]:
    """The eval figures of one evaluation, by name without the split."""
    at = points[(points["step"] == step) & points["key"].str.startswith("eval_")]
    names = at["key"].str.removeprefix("eval_")
    return dict(zip(names, at["value"], strict=True))


def _loss(value: float | None) -> str:
    return formats.NOTHING if value is None or not math.isfinite(value) else formats.loss(value)


def _tight(text: str) -> str:
    """An interval that is not broken at the end of a line."""
    return text.replace(" – ", "\u00a0–\u2060\u00a0").replace(" %", "\u00a0%")


def _over_seeds(run_id: str) -> str:
    group = groups.group_of(run_id)
    found = groups.summary(group)
    if found is None or len(found.values) < 2:
        return formats.NOTHING
    return f"{seeds.mean_in_words(found)} ({len(found.values)})"
