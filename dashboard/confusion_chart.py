"""The confusion matrix as a figure whose cells and margins can be clicked, from two classes to a thousand.

A click on a heatmap never reaches Streamlit, so invisible square markers lie over what can be clicked. The
`customdata` of each begins with label, prediction, count and whether only mistakes are meant; -1 stands for
any class, so that a margin is a cell whose one side is open. `selected` reads it.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from dashboard.charts import as_customdata, lay_out, shortened
from dashboard.confusion_margins import add_margins
from dashboard.confusion_part import (
    EMPTY_CELL,
    MAX_HEATMAP_CLASSES,
    MAX_TEXT_CLASSES,
    MatrixLook,
    Part,
    cell_words,
    ink,
    part_of,
    safe,
    scale,
)
from dashboard.state import Selection
from superft_hf.evaluation.matrices import Window

MAX_SLANTED = 12
"""Above so many names below the matrix they stand upright."""


def confusion_figure(
    matrix: np.ndarray,
    class_names: Sequence[str],
    *,
    is_dark: bool,
    look: MatrixLook | None = None,
    window: Window | None = None,
    chosen: Selection | None = None,
    height: int = 540,
) -> go.Figure:
    """A confusion matrix with margins: images of each class and predictions of it, and the wrong among them.

    Args:
        matrix: Counts of shape (C, C): rows are true classes, columns predicted ones.
        class_names: C names.
        is_dark: The theme.
        look: How it is shown.
        window: The part in sight, in its order; None for all in the order of the ids.
        chosen: What is framed.
        height: In pixels.
    """
    part = part_of(matrix, class_names, is_dark, look or MatrixLook(), window)
    figure = go.Figure()
    lay_out(figure, is_dark, height)
    if part.size <= MAX_HEATMAP_CLASSES:
        _add_heatmaps(figure, part)
    _add_targets(figure, part, height)
    _cell_axes(figure, part)
    add_margins(figure, part, height)
    if part.size < MAX_TEXT_CLASSES:
        _add_numbers(figure, part)
    if chosen is not None:
        _frame(figure, part, chosen)
    figure.update_layout(
        hovermode="closest", hoverdistance=300 if part.size <= MAX_HEATMAP_CLASSES else 20,
        clickmode="event+select", margin={"l": 4, "r": 12, "t": 4, "b": 4},
    )  # fmt: skip
    return figure


def selected(point: dict[str, Any]) -> Selection:
    """What a point that Streamlit reports as clicked stands for."""
    label, prediction, _, is_wrong_only = (int(value) for value in point["customdata"][:4])
    kind = "cell" if min(label, prediction) >= 0 else "row" if label >= 0 else "column"
    return Selection(kind, label, prediction, bool(is_wrong_only))


def _add_heatmaps(figure: go.Figure, part: Part) -> None:
    gap = 2 if part.size <= MAX_TEXT_CLASSES else 1
    layers = (
        (np.where(part.steps < 0, 0.0, np.nan), (EMPTY_CELL,)),
        (np.where((part.steps >= 0) & part.is_diagonal, part.steps, np.nan), part.colors.right_steps),
        (np.where((part.steps >= 0) & ~part.is_diagonal, part.steps, np.nan), part.colors.wrong_steps),
    )
    for values, fills in layers:
        figure.add_trace(
            go.Heatmap(
                z=values, zmin=0, zmax=max(len(fills) - 1, 1), colorscale=scale(fills), showscale=False,
                hoverinfo="skip", xgap=gap, ygap=gap, hoverongaps=False,
            )
        )  # fmt: skip


def _add_targets(figure: go.Figure, part: Part, height: int) -> None:
    is_drawn = part.size > MAX_HEATMAP_CLASSES
    if is_drawn:
        places, columns = np.nonzero(part.is_drawn)
    else:
        places, columns = np.indices(part.counts.shape).reshape(2, -1)
    labels, predictions = part.rows[places], part.columns[columns]
    counts, steps = part.counts[places, columns], part.steps[places, columns]
    size = max(4.0, 0.8 * height / part.size) if is_drawn else max(8.0, 0.6 * height / part.size)
    right = part.colors.right_steps[-1 if is_drawn else 0]
    opacity = 1.0 if is_drawn else 0.0
    figure.add_trace(
        go.Scatter(
            x=columns, y=places, mode="markers",
            text=[
                cell_words(part, i, j) for i, j in zip(labels.tolist(), predictions.tolist(), strict=True)
            ],
            hovertext=_share_words(part, labels, predictions, counts),
            customdata=as_customdata([labels, predictions, counts, np.zeros_like(counts)]),
            hovertemplate="%{text}<br>%{customdata[2]} images%{hovertext}<extra></extra>",
            marker={
                "symbol": "square", "size": size, "opacity": opacity, "color": [
                    right if i == j else part.colors.wrong_steps[max(step, 1)]
                    for i, j, step in zip(labels, predictions, steps, strict=True)
                ],
            },
            selected={"marker": {"opacity": opacity}}, unselected={"marker": {"opacity": opacity}},
        )
    )  # fmt: skip


def _share_words(part: Part, labels: np.ndarray, predictions: np.ndarray, counts: np.ndarray) -> list[str]:
    support, predicted = part.matrix.sum(axis=1), part.matrix.sum(axis=0)
    of_row = 100 * counts / np.maximum(support[labels], 1)
    of_column = 100 * counts / np.maximum(predicted[predictions], 1)
    return [
        f"<br>{row:.1f} % of the row, {column:.1f} % of the column" if count else ""
        for row, column, count in zip(of_row, of_column, counts, strict=True)
    ]


def _add_numbers(figure: go.Figure, part: Part) -> None:
    size = 13 if part.size <= 12 else 11 if part.size <= 20 else 9
    numbers = [
        {
            "x": int(j), "y": int(i), "xref": "x", "yref": "y", "showarrow": False,
            "text": f"<b>{_cell_text(part, part.shown[i, j])}</b>",
            "font": {"size": size, "color": ink(_fill(part, i, j))},
        }
        for i, j in zip(*np.nonzero(part.is_drawn), strict=True)
    ]  # fmt: skip
    figure.layout.annotations = [*numbers, *figure.layout.annotations]  # an update would merge the two


def _fill(part: Part, row: int, column: int) -> str:
    steps = part.colors.right_steps if part.is_diagonal[row, column] else part.colors.wrong_steps
    return steps[part.steps[row, column]]


def _cell_text(part: Part, value: float) -> str:
    if part.look.cells == "counts":
        return f"{value:,.0f}"
    return f"{100 * value:.1f}" if part.size <= 12 else f"{100 * value:.0f}"


def _frame(figure: go.Figure, part: Part, chosen: Selection) -> None:
    """A frame around what is open, as far as it is in sight."""
    # A cell of a thousand is too small to see.
    half = 0.5 if part.size <= MAX_HEATMAP_CLASSES else part.size / 60
    rows, columns = (
        np.flatnonzero(part.rows == chosen.label),
        np.flatnonzero(part.columns == chosen.prediction),
    )
    line = {"color": part.colors.outline, "width": 2}
    margin = int(chosen.is_wrong_only)
    if chosen.kind == "cell" and len(rows) and len(columns):
        box = (columns[0] - half, columns[0] + half, rows[0] - half, rows[0] + half)
        figure.add_shape(type="rect", x0=box[0], x1=box[1], y0=box[2], y1=box[3], line=line)
    elif chosen.kind == "row" and len(rows):
        ends = {"y0": rows[0] - half, "y1": rows[0] + half, "line": line, "type": "rect"}
        figure.add_shape(**ends, x0=-0.5, x1=len(part.columns) - 0.5)
        figure.add_shape(**ends, x0=margin - 0.5, x1=margin + 0.5, xref="x2", yref="y")
    elif chosen.kind == "column" and len(columns):
        ends = {"x0": columns[0] - half, "x1": columns[0] + half, "line": line, "type": "rect"}
        figure.add_shape(**ends, y0=-0.5, y1=len(part.rows) - 0.5)
        figure.add_shape(**ends, y0=margin - 0.5, y1=margin + 0.5, xref="x", yref="y2")


def _cell_axes(figure: go.Figure, part: Part) -> None:
    for update, ids, title in (
        (figure.update_xaxes, part.columns, "predicted"), (figure.update_yaxes, part.rows, "true"),
    ):  # fmt: skip
        count = len(ids)
        every = 1 if part.size < MAX_TEXT_CLASSES else math.ceil(count / 20)
        places = list(range(0, count, every))
        labels = [safe(shortened(part.names[ids[place]], 16)) for place in places]
        edge = 0.5 + count * 0.006  # room for the whole frame of an outermost cell
        ends = [-edge, count - 1 + edge]
        is_long = max((len(label) for label in labels), default=0) * len(labels) > 60
        angle = 0 if not is_long else -45 if len(labels) <= MAX_SLANTED else -90
        update(
            tickvals=places, ticktext=labels, showgrid=False, showline=False, ticks="", autorange=False,
            range=ends if title == "predicted" else ends[::-1], title_text=title,
            tickfont_size=12 if count <= 12 else 11 if count <= 20 else 9,
            **({"tickangle": angle} if title == "predicted" else {}),
        )  # fmt: skip
