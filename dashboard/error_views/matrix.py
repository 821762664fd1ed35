"""The matrix of an evaluation: each cell, row and column opens the images behind it."""

from collections.abc import Sequence

import numpy as np
import streamlit as st

from dashboard import charts, formats, state
from dashboard.confusion_chart import confusion_figure, selected
from dashboard.confusion_part import MAX_HEATMAP_CLASSES, MatrixLook, num_hidden, part_of
from dashboard.error_views import matrix_data, matrix_panel, matrix_tables, matrix_zoom
from dashboard.error_views.matrix_tables import CLASSES, PAIRS
from dashboard.error_views.view import View
from dashboard.look import card_head
from dashboard.state import Selection
from superft_hf.evaluation import matrices
from superft_hf.evaluation.matrices import Window

PANEL_HEIGHT, ZOOM_HEIGHT = 660, 225
MATRIX = "errors_matrix"
CELLS = {"Counts": "counts", "Row shares": "row", "Column shares": "column"}
ORDERS = {
    matrices.GIVEN: "as given", matrices.NAME: "name", matrices.SUPPORT: "images",
    matrices.CONFUSIONS: "confusions",
}  # fmt: skip


@st.fragment
def draw(view: View) -> None:
    """Draws the matrix with the images of what is open in it, then the worst mistakes, classes and pairs."""
    evaluation, run_id = view.evaluation, view.record.run_id
    if evaluation.rows.empty:
        st.markdown(f":gray[{evaluation.split} has no image, so there is nothing to count.]")
        return
    found = matrix_data.confusions(evaluation)
    look, order = _choose_look()
    chosen = _open(run_id, found.matrix)
    is_large = len(evaluation.class_names) > MAX_HEATMAP_CLASSES
    height = PANEL_HEIGHT + ZOOM_HEIGHT * is_large
    left, right = st.columns([1.18, 1], gap="small")
    with left, st.container(border=True, height=height):
        ordered = matrix_data.ordered(evaluation, order)
        _draw_matrix(run_id, found.matrix, evaluation.class_names, ordered, chosen, look)
    with right, st.container(border=True, height=height):
        matrix_panel.draw(evaluation, found.matrix, chosen)
    with st.container(border=True):
        matrix_panel.draw_worst(evaluation)
    left, right = st.columns([1.18, 1], gap="small")
    with left, st.container(border=True):
        matrix_tables.draw_classes(run_id, found, is_large)
    with right, st.container(border=True):
        matrix_tables.draw_pairs(run_id, found, is_large)


def _choose_look() -> tuple[MatrixLook, str]:
    """How the matrix is shown, and the order of its classes."""
    keeps = {"persist_state": "session"}
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium", key="errors_look"):
        cells = st.segmented_control(
            "Cells", list(CELLS), default="Counts", required=True, key="errors_cells", **keeps,
            help="Row shares: how a class is spread over the predictions, in %. Column shares: what a "
            "prediction really shows.",
        )  # fmt: skip
        order = st.selectbox(
            "Order of classes", list(ORDERS), format_func=lambda one: ORDERS[one], key="errors_order",
            width=150, help="Confusions: classes that are taken for one another stand together.", **keeps,
        )  # fmt: skip
        at_least = st.number_input(
            "Mistakes of at least", 1, 1000, 1, key="errors_at_least", width=150,
            help="Cells off the diagonal with fewer images stay empty; the margins count them all.", **keeps,
        )  # fmt: skip
        hides = st.toggle("Hide the diagonal", key="errors_hide_diagonal", **keeps)
    return MatrixLook(CELLS[cells or "Counts"], hides, int(at_least)), order


def _open(run_id: str, matrix: np.ndarray) -> Selection:
    """What is open. The first choice is kept, so that another epoch shows the same cell."""
    chosen = state.chosen_cell(run_id)
    if chosen is None or not matrix_data.fits(chosen, len(matrix)):
        chosen = matrix_data.first_choice(matrix)
        state.choose_cell(run_id, chosen)
    return chosen


def _draw_matrix(
    run_id: str,
    matrix: np.ndarray,
    names: Sequence[str],
    ordered: np.ndarray,
    chosen: Selection,
    look: MatrixLook,
) -> None:
    is_dark = st.context.theme.type == "dark"
    unit = {"row": "in % of the row · ", "column": "in % of the column · "}.get(look.cells, "")
    card_head(
        "Confusion matrix",
        f":blue[:material/check: right] :orange[:material/close: wrong] {unit}click a cell, or `all` and "
        "`wrong` of a row or column",
    )
    shown = Window(ordered, ordered)
    if len(names) > MAX_HEATMAP_CLASSES:
        shown = matrix_zoom.draw(run_id, matrix, ordered, names, chosen)
    hidden = num_hidden(part_of(matrix, names, is_dark, look, shown))
    figure = confusion_figure(
        matrix, names, is_dark=is_dark, look=look, window=shown, chosen=chosen,
        height=PANEL_HEIGHT - (100 if hidden else 78),
    )  # fmt: skip
    st.plotly_chart(
        figure, theme="streamlit", config=charts.CONFIG, key=MATRIX, selection_mode="points",
        on_select=lambda: _take_point(run_id), alt="Confusion matrix; the tables below hold the same.",
    )  # fmt: skip
    if hidden:
        st.markdown(f":small[:gray[{formats.counted(hidden, 'cell')} with mistakes not drawn.]]")


def _take_point(run_id: str) -> None:
    for table in (PAIRS, CLASSES):
        state.renew_key(table)  # the row that was selected there is no longer what is open
    points = state.selection(MATRIX).get("points", [])
    if points and "customdata" in points[0]:
        state.choose_cell(run_id, selected(points[0]))
