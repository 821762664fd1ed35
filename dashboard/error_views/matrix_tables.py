"""Classes by recall, and the most confused pairs: the keyboard's way into the matrix."""

from typing import Literal

import numpy as np
import pandas as pd
import streamlit as st

from dashboard import formats, state
from dashboard.error_views import matrix_zoom
from dashboard.error_views.matrix_data import Confusions
from dashboard.look import card_head
from dashboard.state import Selection

TABLE_ROWS, TABLE_HEIGHT = 12, 420
PAIRS, CLASSES = "errors_pairs", "errors_classes"


def draw_classes(run_id: str, found: Confusions, is_zoomed: bool) -> None:
    """Draws the classes, worst recall first; one that is selected opens its row."""
    card_head("By class", "worst recall first · select one to open its images")
    table = found.by_class
    shown = pd.DataFrame(
        {
            "Class": table["class_name"],
            "Recall": 100 * table["recall"],
            "95 % interval": [
                formats.interval(low, high) if size else None
                for low, high, size in zip(
                    table["recall_low"], table["recall_high"], table["support"], strict=True
                )
            ],
            "Precision": [_percent_or_none(value) for value in table["precision"]],
            "F1": [_percent_or_none(value) for value in table["f1"]],
            "Images": [formats.count(value) for value in table["support"]],
        }
    )
    column, key = st.column_config, state.fresh_key(CLASSES)
    st.dataframe(
        shown, hide_index=True, height=_table_height(len(shown)), placeholder=formats.NOTHING, key=key,
        selection_mode="single-row", on_select=lambda: _take_class(run_id, key, table, is_zoomed),
        column_config={
            "Recall": column.ProgressColumn(
                format="%.1f %%", min_value=0, max_value=100, color="blue", width=128
            ),
            "95 % interval": column.TextColumn(alignment="right", width=112),
            "Precision": column.TextColumn(alignment="right", width=72),
            "F1": column.TextColumn(alignment="right", width=64),
            "Images": column.TextColumn(alignment="right", width=60),
        },
    )  # fmt: skip


def draw_pairs(run_id: str, found: Confusions, is_zoomed: bool) -> None:
    """Draws the most confused pairs; one that is selected opens its cell."""
    pairs = found.pairs
    rest = found.num_pairs - len(pairs)
    first = f"the first {formats.count(len(pairs))} of {formats.count(found.num_pairs)} · " if rest else ""
    card_head("Most confused pairs", f"{first}select one to open its images")
    if pairs.empty:
        st.markdown(":gray[None: no class was taken for another.]")
        return
    shown = pd.DataFrame(
        {
            "True": pairs["label_name"],
            "Predicted": pairs["prediction_name"],
            "Times": pairs["times"],
            "Share of class": [formats.percent(share) for share in pairs["share"]],
        }
    )
    column, key = st.column_config, state.fresh_key(PAIRS)
    top = int(pairs["times"].max())
    st.dataframe(
        shown, hide_index=True, height=_table_height(len(shown)), key=key, selection_mode="single-row",
        on_select=lambda: _take_pair(run_id, key, pairs, is_zoomed), column_config={
            "Times": column.ProgressColumn(
                format="%d", min_value=0, max_value=top, color="orange", width=120
            ),
            "Share of class": column.TextColumn(alignment="right", width=100),
        },
    )  # fmt: skip


def _take_class(run_id: str, key: str, table: pd.DataFrame, is_zoomed: bool) -> None:
    state.renew_key(PAIRS)
    for row in state.selection(key).get("rows", []):
        _open(run_id, Selection("row", label=int(table["class_id"].iloc[row])), is_zoomed)


def _take_pair(run_id: str, key: str, pairs: pd.DataFrame, is_zoomed: bool) -> None:
    state.renew_key(CLASSES)
    for row in state.selection(key).get("rows", []):
        pair = (int(pairs["label"].iloc[row]), int(pairs["prediction"].iloc[row]))
        _open(run_id, Selection("cell", *pair), is_zoomed)


def _open(run_id: str, chosen: Selection, is_zoomed: bool) -> None:
    state.choose_cell(run_id, chosen)
    if is_zoomed:
        matrix_zoom.show(run_id, chosen)


def _table_height(num_rows: int) -> int | Literal["content"]:
    return "content" if num_rows <= TABLE_ROWS else TABLE_HEIGHT


def _percent_or_none(share: float) -> str | None:
    return None if np.isnan(share) else formats.percent(share)
