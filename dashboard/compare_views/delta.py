"""How the confusion matrix changes from A to B; each cell opens the images that moved."""

import numpy as np
import streamlit as st

from dashboard import charts, formats, state
from dashboard.compare_views.changes import draw_tiles
from dashboard.compare_views.view import Pair, View
from dashboard.delta_chart import MAX_CELLS, delta_figure, drawn_cells, signed_count
from dashboard.look import card_head
from superft_hf.evaluation.comparison import delta_matrix, moved_examples

PANEL_HEIGHT = 640
MATRIX = "compare_delta"
MAX_LISTED = 200


@st.fragment
def draw(view: View) -> None:
    """Draws the delta matrix beside the images of its open cell, and the largest changes as a table."""
    pair = view.pair
    if pair is None:
        return
    delta, moved = delta_matrix(pair.joined)
    if not moved.any():
        st.markdown(":gray[None: A and B predict the same class for every image they have in common.]")
        return
    cell = _open_cell(pair, delta, moved)
    left, right = st.columns([1.18, 1], gap="small")
    with left, st.container(border=True, height=PANEL_HEIGHT):
        _draw_matrix(pair, delta, moved, cell)
    with right, st.container(border=True, height=PANEL_HEIGHT):
        _draw_cell(pair, delta, cell)
    with st.container(border=True):
        _draw_table(pair, delta, moved)


def cell_key(pair: Pair) -> str:
    """The session key of the cell that is open, of these two runs."""
    return f"{state.COMPARE_CELL}_{pair.first.run_id}_{pair.second.run_id}"


def _open_cell(pair: Pair, delta: np.ndarray, moved: np.ndarray) -> tuple[int, int]:
    """The chosen cell, else the one beside the diagonal that changed most."""
    chosen = state.get_value(cell_key(pair))
    if chosen is not None and max(chosen) < len(delta):
        return chosen
    beside = np.abs(delta) + moved / (1.0 + moved.max())
    np.fill_diagonal(beside, 0)
    label, prediction = np.unravel_index(int(beside.argmax()), beside.shape)
    return int(label), int(prediction)


def _draw_matrix(pair: Pair, delta: np.ndarray, moved: np.ndarray, cell: tuple[int, int]) -> None:
    note = ":blue[:material/check: better] :orange[:material/close: worse] in B; click a cell"
    card_head("B less A", note)
    num_moved = int((moved > 0).sum())
    if num_moved > MAX_CELLS:
        largest = formats.count(MAX_CELLS)
        st.markdown(
            f":small[:gray[The {largest} largest changes of {formats.count(num_moved)} cells are drawn.]]"
        )
    figure = delta_figure(
        delta, moved, pair.joined.class_names, is_dark=st.context.theme.type == "dark", chosen=cell,
        height=PANEL_HEIGHT - 78,
    )  # fmt: skip
    st.plotly_chart(
        figure, theme="streamlit", config=charts.CONFIG, key=MATRIX, selection_mode="points",
        on_select=lambda: _take_point(pair), alt="Change of the confusion matrix; the table below lists it.",
    )  # fmt: skip


def _take_point(pair: Pair) -> None:
    state.renew_key(state.COMPARE_CELLS)
    points = state.selection(MATRIX).get("points", [])
    if points:
        label, prediction, *_ = points[0]["customdata"]
        state.put_value(cell_key(pair), (int(label), int(prediction)))


def _draw_cell(pair: Pair, delta: np.ndarray, cell: tuple[int, int]) -> None:
    label, prediction = cell
    names = pair.joined.class_names
    true, taken = (formats.plain(charts.shortened(names[one], 24)) for one in cell)
    title = f"{true} recognised" if label == prediction else f"{true} taken for {taken}"
    came, left = moved_examples(pair.joined, label, prediction)
    card_head(f"{title}: {signed_count(int(delta[cell]))}", "images that moved")
    here = "that class" if label == prediction else taken
    st.markdown(f"**Came in B: {formats.count(len(came))}** :small[:gray[B says {here}, A does not]]")
    draw_tiles(pair, came, f"came_{label}_{prediction}", "None.", columns=4, size=8)
    st.markdown(f"**Left in B: {formats.count(len(left))}** :small[:gray[A says {here}, B does not]]")
    draw_tiles(pair, left, f"left_{label}_{prediction}", "None.", columns=4, size=8)


def _draw_table(pair: Pair, delta: np.ndarray, moved: np.ndarray) -> None:
    card_head("Largest changes", "select one to open its images")
    names = pair.joined.class_names
    rows, columns = drawn_cells(delta, moved)
    order = np.lexsort((columns, rows, -moved[rows, columns], -np.abs(delta[rows, columns])))[:MAX_LISTED]
    cells = [(int(rows[one]), int(columns[one])) for one in order]
    key = state.fresh_key(state.COMPARE_CELLS)
    st.dataframe(
        {
            "True": [names[label] for label, _ in cells],
            "Predicted": [names[prediction] for _, prediction in cells],
            "Change": [signed_count(int(delta[cell])) for cell in cells],
            "In B it is": [_verdict(int(delta[cell]), cell) for cell in cells],
            "Images moved": [int(moved[cell]) for cell in cells],
        },
        hide_index=True, height="content" if len(cells) <= 10 else 400, key=key,
        selection_mode="single-row", on_select=lambda: _take_row(pair, key, cells),
        column_config={"Change": st.column_config.TextColumn(alignment="right")},
    )  # fmt: skip


def _verdict(change: int, cell: tuple[int, int]) -> str:
    if not change:
        return "as good"
    return "better" if (change > 0) == (cell[0] == cell[1]) else "worse"


def _take_row(pair: Pair, key: str, cells: list[tuple[int, int]]) -> None:
    for row in state.selection(key).get("rows", []):
        state.put_value(cell_key(pair), cells[row])
