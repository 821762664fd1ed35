"""Which classes of a large matrix are in sight: around some, a range of them, or all."""

from collections.abc import Sequence

import numpy as np
import streamlit as st

from dashboard import charts, confusion_overview, formats, state
from dashboard.state import Selection
from superft_hf.evaluation.matrices import Window, window, window_around

AROUND, RANGE, ALL = "Around", "Range", "All"
SIZE = 20
"""Classes in sight at first: few enough for numbers in their cells."""

ANY = "–"
ZOOM, OVERVIEW = "errors_zoom", "errors_overview"


def draw(
    run_id: str, matrix: np.ndarray, ordered: np.ndarray, names: Sequence[str], chosen: Selection
) -> Window:
    """Draws the overview and the means to choose, and returns the part in sight.

    Args:
        run_id: The run.
        matrix: Counts of shape (C, C).
        ordered: The order of the classes.
        names: C names.
        chosen: What is open: around it the look begins.
    """
    _begin(run_id, chosen, len(names))
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        picture = st.container(width=200)
        with st.container():
            found = _choose(run_id, matrix, ordered, names)
    figure = confusion_overview.overview_figure(
        matrix, ordered, found, is_dark=st.context.theme.type == "dark"
    )
    with picture:
        st.plotly_chart(
            figure, theme="streamlit", config=charts.CONFIG, key=OVERVIEW, selection_mode="points",
            on_select=lambda: _take_block(run_id, matrix, ordered),
            alt="Overview of the whole matrix; `Around` and `Range` beside it choose the same.",
        )  # fmt: skip
    return found


def show(run_id: str, chosen: Selection) -> None:
    """Brings what was chosen elsewhere, such as in a table, into sight; for callbacks."""
    state.put_value(ZOOM, AROUND)
    _look_around(run_id, chosen)


def _look_around(run_id: str, chosen: Selection) -> None:
    ends = [one for one in dict.fromkeys((chosen.label, chosen.prediction)) if one >= 0]
    for key, class_id in zip(_around_keys(run_id), [*ends, None][:2], strict=True):
        state.put_value(key, class_id)


def _begin(run_id: str, chosen: Selection, num_classes: int) -> None:
    """Looks around what is open until something else is chosen."""
    around = [state.get_value(key, -1) for key in _around_keys(run_id)]
    if any(one is not None and not 0 <= one < num_classes for one in around):
        _look_around(run_id, chosen)


def _choose(run_id: str, matrix: np.ndarray, ordered: np.ndarray, names: Sequence[str]) -> Window:
    kind = st.segmented_control(
        "In sight", [AROUND, RANGE, ALL], default=AROUND, required=True, key=ZOOM, persist_state="session",
        help=f"{AROUND}: one class or two, and those most often confused with them. "
        f"{RANGE}: neighbours in the order chosen above.",
    )  # fmt: skip
    if kind == ALL:
        st.markdown(f":small[:gray[all {formats.counted(len(names), 'class', 'classes')}]]")
        return Window(ordered, ordered)
    if kind == RANGE:
        start, end = st.slider(
            "Classes by their place", 1, len(names), (1, SIZE), key=f"errors_range_{run_id}"
        )
        first, last = (formats.plain(charts.shortened(names[ordered[one - 1]], 24)) for one in (start, end))
        st.markdown(f":small[:gray[{first} – {last}]]")
        return window(ordered, start - 1, end)
    around = [
        st.selectbox(
            title, [None, *ordered.tolist()], key=key, format_func=lambda one: _name(one, names),
            persist_state="session",
        )
        for title, key in zip(("Class", "and class"), _around_keys(run_id), strict=True)
    ]  # fmt: skip
    return window_around(matrix, ordered, [one for one in around if one is not None], SIZE)


def _name(class_id: int | None, names: Sequence[str]) -> str:
    return ANY if class_id is None else names[class_id]


def _take_block(run_id: str, matrix: np.ndarray, ordered: np.ndarray) -> None:
    points = state.selection(OVERVIEW).get("points", [])
    if not points:
        return
    row, column = (int(value) for value in points[0]["customdata"][:2])
    pair = confusion_overview.worst_pair(matrix, ordered, row, column)
    if pair is not None:
        chosen = Selection("cell", *pair)
        state.choose_cell(run_id, chosen)
        show(run_id, chosen)


def _around_keys(run_id: str) -> tuple[str, str]:
    return f"errors_around_{run_id}", f"errors_around_with_{run_id}"
