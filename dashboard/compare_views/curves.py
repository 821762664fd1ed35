"""Curves of the compared runs over one another: any metric, by epoch, step or time at work."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import streamlit as st

from dashboard import charts, formats, readers
from dashboard.compare_charts import overlay_figure
from dashboard.compare_views.view import View
from superft_hf import vault
from superft_hf.worked_time import seconds_at_work

CHART_HEIGHT = 300
TRAIN_LOSS = "loss"
NAME_LENGTH = 19
_UNITS = ((3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds"))


@st.fragment
def draw(view: View) -> None:
    """Draws the curves, each run once."""
    is_dark = st.context.theme.type == "dark"
    letters: dict[str, str] = {}
    for side in view.sides:
        letters.setdefault(side.record.run_id, side.letter)
    colors = charts.run_colors(list(letters), is_dark)
    points = {record.run_id: readers.metrics(record.run_id) for record in view.records}
    key, by, has_train = _choose(points)
    places, x_title = _places(points, by)
    is_loss = not _is_share(key)
    lines, dotted = [], []
    for record in view.records:
        run_id = record.run_id
        name = f"{letters[run_id]} {charts.shortened(record.name, NAME_LENGTH)}"
        at = (points[run_id], places[run_id])
        ring = record.best_step if key.startswith("eval_") else None
        lines.append(_line(*at, key, name, colors[run_id], best_step=ring))
        if has_train:
            dotted.append(_line(*at, TRAIN_LOSS, f"{letters[run_id]} train", colors[run_id]))
    figure = overlay_figure(
        lines, dotted, is_dark=is_dark, height=CHART_HEIGHT, x_title=x_title,
        value_format=".4~g" if is_loss else ".1f", unit="" if is_loss else " %", is_from_zero=is_loss,
    )  # fmt: skip
    st.plotly_chart(figure, theme="streamlit", config=charts.CONFIG, key="compare_chart", alt=key)


def _choose(points: Mapping[str, pd.DataFrame]) -> tuple[str, str, bool]:
    """The metric, what the x axis counts, and whether the loss on train is drawn as well."""
    found = {key for frame in points.values() for key in frame["key"].unique()} | {"eval_loss"}
    order = ("eval_loss", "eval_accuracy")
    options = sorted(
        (key for key in found if not vault.is_test_key(key)),
        key=lambda key: (order.index(key) if key in order else 2, not key.startswith("eval_"), key),
    )
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        key = st.selectbox(
            "Metric", options, format_func=_title, key="compare_metric", width=190,
            label_visibility="collapsed", persist_state="session",
        )  # fmt: skip
        by = st.segmented_control(
            "By", ["Epoch", "Step", "Time"], default="Epoch", required=True, key="compare_by",
            label_visibility="collapsed", persist_state="session",
            help="Time: at work, pauses and waiting left out.",
        )  # fmt: skip
        has_train = key == "eval_loss" and st.toggle(
            "Train", key="compare_train", persist_state="session", help="The loss on train, dotted."
        )
        better = "higher is better" if _is_share(key) else "lower is better" if key.endswith("loss") else ""
        ring = "ring: best" if key.startswith("eval_") else ""
        note = ", ".join(part for part in (better, ring) if part)
        if note:
            st.markdown(f":small[:gray[{note}]]", width="content")
    return key, by or "Epoch", has_train


def _title(key: str) -> str:
    return "Train loss" if key == TRAIN_LOSS else formats.metric_title(key)


def _is_share(key: str) -> bool:
    """Whether a metric is a fraction that is shown in percent."""
    return key.startswith("eval_") and not key.endswith("loss") and "_per_second" not in key


def _places(points: Mapping[str, pd.DataFrame], by: str) -> tuple[dict[str, np.ndarray], str]:
    """Where the points of each run lie on the x axis, and what that counts."""
    if by != "Time":
        column = "epoch" if by == "Epoch" else "step"
        places = {run_id: frame[column].to_numpy(dtype=float) for run_id, frame in points.items()}
        return places, "epoch" if by == "Epoch" else "optimizer step"
    seconds = {
        run_id: seconds_at_work(readers.events(run_id), frame["time"].tolist())
        for run_id, frame in points.items()
    }
    longest = max((float(one.max()) for one in seconds.values() if len(one)), default=0.0)
    factor, unit = next((one for one in _UNITS if longest >= 2 * one[0]), _UNITS[-1])
    return {run_id: one / factor for run_id, one in seconds.items()}, f"{unit} at work"


def _line(
    points: pd.DataFrame,
    places: np.ndarray,
    key: str,
    name: str,
    color: str,
    best_step: int | None = None,
) -> charts.Line:
    is_key = (points["key"] == key).to_numpy()
    steps, x = points["step"].to_numpy()[is_key], places[is_key]
    values = points["value"].to_numpy(dtype=float)[is_key] * (100 if _is_share(key) else 1)
    order = np.argsort(steps, kind="stable")
    best = x[steps == best_step] if best_step is not None else []
    ring = float(best[0]) if len(best) else None
    return charts.Line(name, x[order].tolist(), values[order].tolist(), color, best=ring)
