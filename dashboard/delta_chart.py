"""How the confusion matrix changes from one run to another, as a figure whose cells can be clicked.

What stays true: blue is what B does better (more on the diagonal, fewer beside it), orange what it does
worse. Only cells into or out of which an image moved are drawn.
"""

import math
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from dashboard.charts import Palette, as_customdata, lay_out, palette, shortened
from dashboard.confusion_part import MAX_TEXT_CLASSES, ink

MAX_CELLS = 5000
"""More cells than this would be dots on top of one another: those with the largest change are drawn."""

_STEPS = 5


def delta_figure(
    delta: np.ndarray,
    moved: np.ndarray,
    class_names: Sequence[str],
    *,
    is_dark: bool,
    chosen: tuple[int, int] | None = None,
    height: int = 520,
) -> go.Figure:
    """The matrix of B less the matrix of A.

    A square marker lies on every drawn cell; its customdata is `[label, prediction, change, moved]`.

    Args:
        delta: Shape (C, C): counts of B less counts of A; rows are labels, columns predictions.
        moved: Shape (C, C): images that came into the cell or left it.
        class_names: C names.
        is_dark: The theme.
        chosen: (label, prediction) of the framed cell.
        height: In pixels.
    """
    count, colors = len(class_names), palette(is_dark)
    rows, columns = drawn_cells(delta, moved)
    fills = _fills(delta, rows, columns, colors)
    figure = go.Figure()
    lay_out(figure, is_dark, height)
    size = max(4.0, 0.72 * height / count)
    change = delta[rows, columns]
    words = [
        f"{class_names[i]} taken for {class_names[j]}" if i != j else f"{class_names[i]} recognised"
        for i, j in zip(rows, columns, strict=True)
    ]
    figure.add_trace(
        go.Scatter(
            x=columns, y=rows, mode="markers", text=words,
            customdata=as_customdata([rows, columns, change, moved[rows, columns]]),
            hovertext=[signed_count(one) for one in change],
            hovertemplate="%{text}<br>%{hovertext} in B, %{customdata[3]} moved<extra></extra>",
            marker={"symbol": "square", "size": size, "color": fills, "opacity": 1.0},
            selected={"marker": {"opacity": 1.0}}, unselected={"marker": {"opacity": 1.0}},
        )
    )  # fmt: skip
    figure.update_layout(
        hovermode="closest", hoverdistance=300 if count < MAX_TEXT_CLASSES else 20, clickmode="event+select",
        margin={"l": 4, "r": 4, "t": 4, "b": 4},
    )  # fmt: skip
    if count < MAX_TEXT_CLASSES:
        _add_numbers(figure, rows, columns, change, fills)
    if chosen is not None:
        half = 0.5 if count < 2 * MAX_TEXT_CLASSES else count / 60  # a cell of a thousand is too small to see
        figure.add_shape(
            type="rect", x0=chosen[1] - half, x1=chosen[1] + half, y0=chosen[0] - half, y1=chosen[0] + half,
            line={"color": colors.outline, "width": 2},
        )  # fmt: skip
    _cell_axes(figure, class_names)
    return figure


def drawn_cells(delta: np.ndarray, moved: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the cells that are drawn: those with movement, the largest changes first."""
    rows, columns = np.nonzero(moved)
    if len(rows) <= MAX_CELLS:
        return rows, columns
    weight = np.abs(delta[rows, columns]) + moved[rows, columns] / (1 + moved.max())
    order = np.argsort(-weight, kind="stable")[:MAX_CELLS]
    return rows[order], columns[order]


def signed_count(change: int) -> str:
    """A change of a count.

    Example:
        >>> signed_count(3), signed_count(-1200), signed_count(0)
        ('+3', '−1,200', '±0')
    """
    return f"{change:+,}".replace("-", "−") if change else "±0"


def _fills(delta: np.ndarray, rows: np.ndarray, columns: np.ndarray, colors: Palette) -> list[str]:
    """Blue for better, orange for worse, the stronger the larger; grey where as many came as left."""
    change = delta[rows, columns]
    gain = np.where(rows == columns, change, -change)
    top = max(int(np.abs(gain).max(initial=0)), _STEPS)
    steps = np.clip(np.ceil(_STEPS * np.abs(gain) / top) - 1, 0, _STEPS - 1).astype(int)
    return [
        "rgba(128,136,150,.22)" if not one else (colors.right_steps if one > 0 else colors.wrong_steps)[step]
        for one, step in zip(gain, steps, strict=True)
    ]


def _add_numbers(
    figure: go.Figure, rows: np.ndarray, columns: np.ndarray, change: np.ndarray, fills: Sequence[str]
) -> None:
    size = 13 if len(figure.data[0].x) <= 150 else 10
    quiet = figure.layout.font.color
    figure.update_layout(
        annotations=[
            {
                "x": int(j), "y": int(i), "showarrow": False, "text": f"<b>{signed_count(int(one))}</b>",
                "font": {"size": size, "color": ink(fill) if fill.startswith("#") else quiet},
            }
            for i, j, one, fill in zip(rows, columns, change, fills, strict=True)
        ]
    )  # fmt: skip


def _cell_axes(figure: go.Figure, class_names: Sequence[str]) -> None:
    count = len(class_names)
    every = 1 if count < MAX_TEXT_CLASSES else math.ceil(count / 20)
    places = list(range(0, count, every))
    labels = [shortened(class_names[place], 16) for place in places]
    edge = 0.5 + count * 0.006  # room for the whole frame of an outermost cell
    shared = {
        "tickvals": places, "ticktext": labels, "showline": False, "ticks": "", "autorange": False,
        "showgrid": True, "gridcolor": "rgba(128,136,150,.10)",
    }  # fmt: skip
    is_long = max(len(label) for label in labels) * len(labels) > 70
    figure.update_xaxes(
        **shared, range=[-edge, count - 1 + edge], title_text="predicted", tickangle=-45 if is_long else 0
    )
    figure.update_yaxes(**shared, range=[count - 1 + edge, -edge], title_text="true")
