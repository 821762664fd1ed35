"""The whole of a large confusion matrix, made small: where the mistakes lie, and what part is in sight."""

import numpy as np
import plotly.graph_objects as go

from dashboard.charts import as_customdata, lay_out, palette
from dashboard.confusion_part import EMPTY_CELL, scale
from superft_hf.evaluation.matrices import Window, binned

BINS = 50
"""Blocks on a side."""


def overview_figure(
    matrix: np.ndarray, ordered: np.ndarray, window: Window, *, is_dark: bool, height: int = 190
) -> go.Figure:
    """Mistakes by blocks of cells, with the classes in sight framed. A click reports its block.

    Args:
        matrix: Counts of shape (C, C).
        ordered: The order of the classes.
        window: The part in sight.
        is_dark: The theme.
        height: In pixels.
    """
    colors = palette(is_dark)
    right, wrong = binned(matrix, ordered, BINS)
    count = len(wrong)
    top = max(float(wrong.max(initial=0)), 1.0)
    steps = np.where(wrong > 0, np.clip(np.ceil(5 * wrong / top) - 1, 0, 4), np.nan)
    ground = np.where(np.isfinite(steps) | (right > 0), np.nan, 0.0)
    recognised = np.where((right > 0) & ~np.isfinite(steps), 0.0, np.nan)
    figure = go.Figure()
    lay_out(figure, is_dark, height)
    for values, fills in (
        (ground, (EMPTY_CELL,)), (recognised, colors.right_steps[2:3]), (steps, colors.wrong_steps),
    ):  # fmt: skip
        figure.add_trace(
            go.Heatmap(
                z=values,
                zmin=0,
                zmax=max(len(fills) - 1, 1),
                colorscale=scale(fills),
                showscale=False,
                hoverinfo="skip",
                hoverongaps=False,
            )
        )
    _add_targets(figure, wrong, height)
    _frame(figure, ordered, window, count, colors.outline)
    figure.update_layout(
        hovermode="closest", hoverdistance=100, clickmode="event+select",
        margin={"l": 1, "r": 1, "t": 1, "b": 1},
    )  # fmt: skip
    ends = {"visible": False, "autorange": False}
    figure.update_xaxes(**ends, range=[-0.5, count - 0.5])
    figure.update_yaxes(**ends, range=[count - 0.5, -0.5])
    return figure


def worst_pair(matrix: np.ndarray, ordered: np.ndarray, row: int, column: int) -> tuple[int, int] | None:
    """The most confused pair (label, prediction) in a block that was clicked; None where there is none."""
    size, count = len(matrix), min(BINS, len(matrix))
    rows = ordered[row * size // count : (row + 1) * size // count]
    columns = ordered[column * size // count : (column + 1) * size // count]
    block = np.where(rows[:, None] == columns[None, :], 0, matrix[np.ix_(rows, columns)])
    if not block.any():
        return None
    label, prediction = np.unravel_index(int(block.argmax()), block.shape)
    return int(rows[label]), int(columns[prediction])


def _add_targets(figure: go.Figure, wrong: np.ndarray, height: int) -> None:
    """Blocks with mistakes: the others hold nothing to open."""
    rows, columns = np.nonzero(wrong)
    figure.add_trace(
        go.Scatter(
            x=columns, y=rows, mode="markers",
            customdata=as_customdata([rows, columns, wrong[rows, columns]]),
            hovertemplate="%{customdata[2]} mistakes in this block<extra></extra>",
            marker={"symbol": "square", "size": max(3.0, height / len(wrong)), "opacity": 0},
            selected={"marker": {"opacity": 0}}, unselected={"marker": {"opacity": 0}},
        )
    )  # fmt: skip


def _frame(figure: go.Figure, ordered: np.ndarray, window: Window, count: int, color: str) -> None:
    """A frame around neighbouring classes; classes from all over are marked on the diagonal."""
    places = np.flatnonzero(np.isin(ordered, window.rows)) * count / len(ordered) - 0.5
    if not len(places):
        return
    if len(places) == len(ordered):
        return
    step = count / len(ordered)
    if np.allclose(np.diff(places), step):
        ends = (places[0] - 0.3, places[-1] + step + 0.3)
        figure.add_shape(
            type="rect", x0=ends[0], x1=ends[1], y0=ends[0], y1=ends[1], line={"color": color, "width": 1.5}
        )
        return
    figure.add_trace(
        go.Scatter(
            x=places + step / 2, y=places + step / 2, mode="markers", hoverinfo="skip",
            marker={
                "symbol": "square", "size": 6, "color": "rgba(0,0,0,0)",
                "line": {"color": color, "width": 1},
            },
        )
    )  # fmt: skip
