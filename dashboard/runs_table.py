"""The table of runs. A selection belongs to runs, not to places: it stays when a new run comes in above."""

import zlib
from collections.abc import Sequence

import pandas as pd
import streamlit as st

from dashboard import formats, readers, state
from superft_hf.records import PauseReason, RunRecord, RunState

STATES = (
    RunState.RUNNING, RunState.STARTING, RunState.QUEUED, RunState.PAUSED, RunState.COMPLETED,
    RunState.FAILED, RunState.DISCARDED,
)  # fmt: skip
"""In the order of the filters."""

_CHIPS = {
    RunState.RUNNING: "primary",
    RunState.STARTING: "primary",
    RunState.PAUSED: "yellow",
    RunState.FAILED: "red",
}
_REASONS = {
    PauseReason.PERSON: "by a person",
    PauseReason.SHUTDOWN: "shutdown",
    PauseReason.DISK: "disk is full",
    PauseReason.STOPPED_HARD: "stopped hard",
}
ROW_HEIGHT = 38


def draw(records: Sequence[RunRecord]) -> list[RunRecord]:
    """Draws the table and returns the selected runs."""
    run_ids = [record.run_id for record in records]
    chosen = set(state.get_value(state.RUNS_SELECTED, []))
    event = st.dataframe(
        make_frame(records, readers.sparklines(tuple(run_ids))),
        hide_index=True, height="content", row_height=ROW_HEIGHT, placeholder=formats.NOTHING,
        column_config=_columns([state_words(record) for record in records]), on_select="rerun",
        selection_mode="multi-row",
        selection_default={"selection": {"rows": [row for row, one in enumerate(run_ids) if one in chosen]}},
        key=table_key(run_ids),
    )  # fmt: skip
    selected = [records[row] for row in event["selection"]["rows"] if row < len(records)]
    state.put_value(state.RUNS_SELECTED, [record.run_id for record in selected])
    return selected


def table_key(run_ids: Sequence[str]) -> str:
    """The widget key of the table of these runs: with other rows it is another table."""
    return f"runs_table_{zlib.crc32(','.join(run_ids).encode()):08x}"


def make_frame(records: Sequence[RunRecord], lines: dict[str, list[float]]) -> pd.DataFrame:
    """One row a run, worded for people."""
    return pd.DataFrame([_row(record, lines.get(record.run_id)) for record in records])


def _row(record: RunRecord, line: list[float] | None) -> dict[str, object]:
    size = formats.eval_size(record)
    images = record.facts.get("counts", {}).get("train")
    return {
        "State": [state_words(record)],
        "Run": record.name,
        "Model": formats.source_title(record.model),
        "Images": formats.source_title(record.data),
        "Train": formats.count(images) if images else None,
        "Accuracy": formats.percent(record.accuracy) if record.accuracy is not None else None,
        "95 % interval": formats.accuracy_interval(record.accuracy, size)
        if record.accuracy is not None and size
        else None,
        "Eval loss": line,
        "Best epoch": best_epoch(record),
        "Duration": formats.duration(formats.run_duration_s(record)) if record.started_at else None,
    }


def state_words(record: RunRecord) -> str:
    """The state, with why a run is paused, and what is special about its place in the queue."""
    if record.state is RunState.PAUSED and record.pause_reason in _REASONS:
        return f"{record.state}: {_REASONS[record.pause_reason]}"
    if record.state is RunState.QUEUED:
        special = "held" if record.is_held else f"priority {record.priority}" if record.priority else ""
        return f"{record.state}: {special}" if special else str(record.state)
    return str(record.state)


def best_epoch(record: RunRecord) -> str | None:
    """Such as `18 of 40`; None before the first evaluation."""
    if not record.best_step or not record.max_steps or not record.num_train_epochs:
        return None
    epochs = record.num_train_epochs
    return f"{round(record.best_step * epochs / record.max_steps)} of {epochs:.0f}"


def _columns(states: Sequence[str]) -> dict[str, object]:
    """How the columns look; the first is as wide as the longest state.

    Args:
        states: The words of the states shown.
    """
    words = list(dict.fromkeys([*(one.value for one in STATES), *states]))
    colors = [_CHIPS.get(RunState(one.partition(":")[0]), "gray") for one in words]
    width = 96 if max(map(len, states), default=0) < 10 else 148
    text, right = st.column_config.TextColumn, {"alignment": "right"}
    return {
        "State": st.column_config.MultiselectColumn(options=words, color=colors, width=width),
        "Run": text(),
        "Model": text(width=122),
        "Images": text(width=88),
        "Train": text(width=64, help="Training images", **right),
        "Accuracy": text(width=76, help="Eval accuracy of the best checkpoint", **right),
        "95 % interval": text(width=112, help="Wilson interval of the eval accuracy", **right),
        "Eval loss": st.column_config.LineChartColumn(width=104, y_min=0, color="violet"),
        "Best epoch": text(width=80, help="The epoch whose checkpoint was kept", **right),
        "Duration": text(width=88, **right),
    }
