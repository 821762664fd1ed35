"""The filter bar of the Images: every widget shows the tab's choice, and a change of one changes it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from dashboard import state
from dashboard.error_views import images_choice
from dashboard.error_views.images_choice import Choice
from superft_hf.evaluation.prediction_filter import Filter, Outcome
from superft_hf.evaluation.prediction_query import Order

LABELS, PREDICTIONS, TEXT, OUTCOME = "images_labels", "images_predictions", "images_text", "images_outcome"
CONFIDENCE, LOSS_FROM, LOSS_TO = "images_confidence", "images_loss_from", "images_loss_to"
MARKED, SORT = "images_marked", "images_sort"

MOST_VALUES = 1000
"""Of a metadata column, in its list; others can be typed."""

_METADATA_IN_BAR = 4
_OUTCOMES = {
    Outcome.ALL: "All",
    Outcome.RIGHT: ":blue[:material/check: right]",
    Outcome.WRONG: ":orange[:material/close: wrong]",
}
_ORDERS = {
    "-loss": "Highest loss first",
    "loss": "Lowest loss first",
    "-confidence": "Surest first",
    "confidence": "Least sure first",
    "-margin": "Widest margin first",
    "margin": "Narrowest margin first",
    "-disagreement": "Most disagreement first",
    "disagreement": "Least disagreement first",
    "file": "As in the split",
    "-file": "As in the split, backwards",
}


def offered_orders(*, has_margin: bool, has_disagreement: bool) -> list[str]:
    """The orders to choose from, as texts of `Order`."""
    left_out = {"margin"} if not has_margin else set()
    if not has_disagreement:
        left_out.add("disagreement")
    return [text for text in _ORDERS if text.removeprefix("-") not in left_out]


def draw(choice: Choice, class_names: Sequence[str], metadata: Mapping[str, Sequence[str]]) -> None:
    """Draws what filters.

    Args:
        choice: What the widgets show.
        class_names: Names by class id.
        metadata: Values by column.
    """
    columns = tuple(metadata)
    _show(choice, columns)
    options: dict[str, Any] = {"on_change": _take, "args": (columns,)}
    grid = st.grid(4, min_column_width=150, gap="small", key="images_bar")
    ids = range(len(class_names))
    for key, title in ((LABELS, "True class"), (PREDICTIONS, "Predicted class")):
        with grid.cell():
            st.multiselect(
                title, ids, format_func=class_names.__getitem__, key=key, placeholder="Any", **options
            )
    with grid.cell():
        st.text_input(
            "Text in the file name", key=TEXT, placeholder="Any", max_chars=200,
            help="A part of the image's name or folder, in upper or lower case.", **options,
        )  # fmt: skip
    with grid.cell():
        st.segmented_control(
            "Recognised", list(_OUTCOMES), format_func=_OUTCOMES.__getitem__, key=OUTCOME, required=True,
            width="stretch", **options,
        )  # fmt: skip
    with grid.cell():
        st.slider("Confidence", 0.0, 100.0, step=1.0, format="%g %%", key=CONFIDENCE, **options)
    for key, title, hint in ((LOSS_FROM, "Loss from", "0"), (LOSS_TO, "Loss to", "Any")):
        with grid.cell():
            st.number_input(title, 0.0, None, None, step=0.1, key=key, placeholder=hint, **options)
    with grid.cell(), st.container(height=62, border=False, vertical_alignment="center"):
        st.toggle(
            "Marked images only", key=MARKED,
            help="Those that somebody marked, on this or another run of these images.", **options,
        )  # fmt: skip
    _draw_metadata(grid, choice, metadata, options)


def draw_order(choice: Choice, orders: Sequence[str], columns: Sequence[str]) -> None:
    """Draws the choice of the order."""
    st.selectbox(
        "Order", orders, format_func=_ORDERS.__getitem__, key=SORT, label_visibility="collapsed", width=200,
        on_change=_take, args=(tuple(columns),),
        help="Margin: confidence less the probability of the second class. Disagreement: the share of epochs "
        "whose answer is not the most frequent one.",
    )  # fmt: skip


def _draw_metadata(grid: Any, choice: Choice, metadata: Mapping[str, Sequence[str]], options: Any) -> None:
    """A list for each column; of many columns, all of them behind a button."""
    chosen = dict(choice.chosen.metadata)
    if len(metadata) > _METADATA_IN_BAR:
        note = f" ({len(chosen)})" if chosen else ""
        with grid.cell(), st.popover(f"Metadata{note}", icon=":material/data_object:", width="stretch"):
            for column, values in metadata.items():
                _draw_column(column, values, chosen.get(column, ()), options)
        return
    for column, values in metadata.items():
        with grid.cell():
            _draw_column(column, values, chosen.get(column, ()), options)


def _draw_column(column: str, values: Sequence[str], chosen: Sequence[str], options: Any) -> None:
    st.multiselect(
        column, [*values, *(one for one in chosen if one not in values)], key=_metadata_key(column),
        format_func=lambda value: value or "(none)", placeholder="Any",
        accept_new_options=len(values) >= MOST_VALUES, **options,
    )  # fmt: skip


def _metadata_key(column: str) -> str:
    return f"images_metadata_{column}"


def _show(choice: Choice, columns: Sequence[str]) -> None:
    """Puts the choice into the widgets; only where it differs, so that nothing half typed is lost."""
    chosen = choice.chosen
    low, high = chosen.confidence or (0.0, 1.0)
    loss_from, loss_to = chosen.loss or (-math.inf, math.inf)
    values = {
        LABELS: list(chosen.labels),
        PREDICTIONS: list(chosen.predictions),
        TEXT: chosen.text,
        OUTCOME: Outcome(chosen.outcome),
        CONFIDENCE: (100 * min(max(low, 0.0), 1.0), 100 * min(max(high, 0.0), 1.0)),
        LOSS_FROM: max(loss_from, 0.0) if loss_from > -math.inf else None,
        LOSS_TO: max(loss_to, 0.0) if loss_to < math.inf else None,
        MARKED: choice.is_marked_only,
        SORT: choice.order.to_text(),
        **{_metadata_key(column): [] for column in columns},
        **{_metadata_key(column): list(found) for column, found in chosen.metadata if column in columns},
    }
    for key, value in values.items():
        if not state.has_value(key) or state.get_value(key) != value:
            state.put_value(key, value)


def _take(columns: Sequence[str]) -> None:
    """Callback of every widget: what they show is the choice."""
    low, high = state.get_value(CONFIDENCE)
    loss_from, loss_to = state.get_value(LOSS_FROM), state.get_value(LOSS_TO)
    has_loss = loss_from is not None or loss_to is not None
    limits = sorted([-math.inf if loss_from is None else loss_from, math.inf if loss_to is None else loss_to])
    by_column = {column: tuple(state.get_value(_metadata_key(column)) or ()) for column in columns}
    chosen = Filter(
        labels=tuple(state.get_value(LABELS)),
        predictions=tuple(state.get_value(PREDICTIONS)),
        outcome=state.get_value(OUTCOME) or Outcome.ALL,
        confidence=None if (low, high) == (0, 100) else (low / 100, high / 100),
        loss=(limits[0], limits[1]) if has_loss else None,
        text=state.get_value(TEXT),
        metadata=tuple((column, values) for column, values in by_column.items() if values),
    )
    images_choice.keep(Choice(chosen, state.get_value(MARKED), Order.from_text(state.get_value(SORT))))
