"""The figures of an evaluation, with their uncertainty and what to hold them against."""

import math

import pandas as pd
import streamlit as st

from dashboard import formats, hub_access, messages, readers, run_figures
from dashboard.error_views.view import View
from superft_hf import frozen_baseline, vault
from superft_hf.errors import SuperFTError
from superft_hf.evaluation.baselines import Baseline
from superft_hf.evaluation.headline import (
    BOOTSTRAP,
    METHODS,
    Figure,
    Headline,
    class_figures,
    figures_table,
)
from superft_hf.frozen_baseline import FrozenBaseline
from superft_hf.records import RunRecord

SHOWN = ("accuracy", "f1_macro", "balanced_accuracy", "loss")
"""The metrics that stand above the views; the rest is in the table."""

TABLE_ROWS, TABLE_HEIGHT = 12, 420
ALL_FIGURES = "errors_all_figures"
_CSV = "text/csv"


def draw(view: View) -> None:
    """Draws four metrics with their intervals, the baselines, a warning if any, and the folded table."""
    if view.evaluation.split == vault.TEST and not view.is_test_open:
        return
    frozen = run_figures.frozen_of(view.record.run_id)
    may_hold = run_figures.may_hold_against(frozen, view.evaluation.split)
    found = run_figures.find(view.record, view.evaluation, frozen.completed if may_hold else None)
    _draw_row(found, view.record, frozen, may_hold)
    if found.warnings:
        st.markdown(f":yellow[:material/warning:] :small[{formats.worded(found.warnings[0])}]")
    folded = st.expander("All figures", key=ALL_FIGURES, on_change="rerun", icon=":material/table_rows:")
    if folded.open:
        with folded:
            _draw_all(view, found)


def _draw_row(found: Headline, record: RunRecord, frozen: FrozenBaseline, may_hold: bool) -> None:
    grid = st.grid(5, min_column_width=150, gap="small", key="errors_figures")
    for key in SHOWN:
        with grid.cell():
            _draw_metric(found.figures[key])
    with grid.cell(), st.container(border=True, height="stretch", gap=None):
        _draw_baselines(found, record, frozen, may_hold)


def _draw_metric(figure: Figure) -> None:
    st.metric(
        formats.metric_title(figure.key), run_figures.value_words(figure), run_figures.ends_words(figure),
        delta_color="off", delta_arrow="off", border=True, height="stretch",
        help=f"Below: its 95 % interval, by {figure.method}: {METHODS[figure.method]}.",
    )  # fmt: skip


def _draw_baselines(found: Headline, record: RunRecord, frozen: FrozenBaseline, may_hold: bool) -> None:
    """What the accuracy is held against: the guess, and the frozen backbone or the way to it."""
    guess = next((one for one in found.baselines if one.run_id is None), None)
    lines = [":gray[:small[Accuracy to beat]]"]
    if guess is not None:
        lines.append(_beaten(guess))
    other = next((one for one in found.baselines if one.run_id is not None), None)
    if other is not None and other.figures.get("accuracy") is not None:
        lines.append(_beaten(other, "frozen backbone"))
    elif frozen.is_itself:
        lines.append(":gray[:small[this run is the frozen backbone]]")
    elif frozen.completed is not None and not may_hold:
        lines.append(":gray[:small[:material/lock: frozen backbone: its test is sealed]]")
    elif frozen.pending is not None:
        lines.append(f":gray[:small[frozen backbone: {frozen.pending.state}]]")
    st.markdown("  \n".join(lines), help=_help(found, guess, other))
    if frozen.completed is None and frozen.pending is None and not frozen.is_itself:
        _offer(record)


def _beaten(one: Baseline, name: str = "") -> str:
    share = formats.percent(one.figures.get("accuracy"))
    return f"{share} :small[:gray[{formats.plain(name or one.name)}]]"


def _help(found: Headline, guess: Baseline | None, other: Baseline | None) -> str:
    parts = []
    if guess is not None:
        parts.append(f"Answering {formats.plain(guess.name)}, the commonest class of train, without looking.")
    parts.append("Frozen backbone: the same run with its head trained alone. What lies above it is what")
    parts.append("training all layers brought.")
    if other is not None and found.over_frozen is not None:
        over = found.over_frozen
        parts.append(
            f"Against {formats.plain(other.name)}: {formats.points(over.value)}, 95 % interval "
            f"{formats.points(over.low)} to {formats.points(over.high)}, by paired bootstrap, same images."
        )
    elif other is not None:
        parts.append("It was evaluated on other images, so the difference has no paired interval.")
    return " ".join(parts)


def _offer(record: RunRecord) -> None:
    if not st.button(
        "Train the baseline", type="tertiary", icon=":material/ac_unit:", key="errors_train_baseline",
        help="Queues this run again with the head trained alone: the frozen-backbone baseline.",
    ):  # fmt: skip
        return
    try:
        with st.spinner("Checking model and images"):
            queued = frozen_baseline.queue(
                readers.store(), record, by="page", token=hub_access.session_token()
            )
    except SuperFTError as error:
        messages.show(error)
        return
    st.toast(f"{formats.plain(queued.name)} is queued.", icon=":material/schedule:")
    st.rerun()


def _draw_all(view: View, found: Headline) -> None:
    """The whole table, then the classes; both as CSV."""
    table, classes = figures_table(found), _classes(str(view.evaluation.path), view.evaluation.stamp, view)
    st.dataframe(
        pd.DataFrame([_row(found, figure) for figure in found.figures.values()]), hide_index=True,
        height="content", placeholder=formats.NOTHING, key="errors_figures_table",
        column_config=dict.fromkeys(
            ["Value", "95 % interval", *(name for one in found.baselines for name in (one.name, _over(one)))],
            st.column_config.TextColumn(alignment="right"),
        ),
    )  # fmt: skip
    st.markdown(f":gray[:small[{_explained(found)}]]")
    for warning in found.warnings[1:]:
        st.markdown(f":yellow[:material/warning:] :small[{formats.worded(warning)}]")
    st.dataframe(
        _class_rows(classes), hide_index=True, placeholder=formats.NOTHING, key="errors_figures_classes",
        height="content" if len(classes) <= TABLE_ROWS else TABLE_HEIGHT,
        column_config={
            **dict.fromkeys(("Recall", "Precision", "F1"), st.column_config.NumberColumn(format="%.1f %%")),
            **dict.fromkeys(
                ("Recall, 95 %", "Precision, 95 %"), st.column_config.TextColumn(alignment="right")
            ),
        },
    )  # fmt: skip
    stem = f"{view.record.run_id}-{view.evaluation.split}-{view.evaluation.step}"
    with st.container(horizontal=True):
        for title, frame, name in (("Figures", table, "figures"), ("Classes", classes, "classes")):
            st.download_button(
                f"{title} as CSV", frame.to_csv(index=False), f"{stem}-{name}.csv", _CSV,
                key=f"errors_{name}_csv", icon=":material/download:", on_click="ignore",
            )  # fmt: skip


def _row(found: Headline, figure: Figure) -> dict[str, str | None]:
    row = {
        "Metric": formats.metric_title(figure.key),
        "Value": run_figures.value_words(figure),
        "95 % interval": run_figures.ends_words(figure),
        "By": figure.method,
    }
    for one, value in zip(found.baselines, figure.baselines, strict=True):
        row[one.name] = None if value is None else formats.metric_value(figure.key, value)
        row[_over(one)] = None if value is None else _difference(figure, value)
    return row


def _over(one: Baseline) -> str:
    """The heading of the column with the gain over a baseline."""
    return "Gain" if one.run_id is None else "Gain over frozen"


def _difference(figure: Figure, baseline: float) -> str:
    gain = figure.value - baseline
    if math.isnan(gain):
        return formats.NOTHING
    return f"{gain:+.3f}".replace("-", "−") if figure.is_loss else formats.points(gain)


def _explained(found: Headline) -> str:
    classes = formats.counted(found.num_classes, "class", "classes")
    return (
        f"{formats.counted(found.num_images, 'image')} in {classes}. Macro counts every class alike, "
        f"weighted every image alike. Bootstrap: {METHODS[BOOTSTRAP]}."
    )


@st.cache_data(max_entries=8, show_spinner=False)
def _classes(path: str, stamp: int, _view: View) -> pd.DataFrame:
    return class_figures(_view.evaluation.rows, _view.evaluation.class_names)


def _class_rows(classes: pd.DataFrame) -> pd.DataFrame:
    """The classes for a person, worst recall first."""
    table = classes.sort_values("recall", kind="stable", ignore_index=True)
    return pd.DataFrame(
        {
            "Class": table["class_name"],
            "Images": table["support"],
            "Recall": 100 * table["recall"],
            "Recall, 95 %": _ends(table["recall_low"], table["recall_high"]),
            "Predicted": table["predicted"],
            "Precision": 100 * table["precision"],
            "Precision, 95 %": _ends(table["precision_low"], table["precision_high"]),
            "F1": 100 * table["f1"],
        }
    )


def _ends(lows: pd.Series, highs: pd.Series) -> list[str | None]:
    return [
        None if math.isnan(low) else formats.interval(low, high)
        for low, high in zip(lows, highs, strict=True)
    ]
