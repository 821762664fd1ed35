"""The confusion matrix as a figure whose cells can be clicked, from two classes to a thousand."""

import math
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from dashboard.charts import Palette, lay_out, palette, shortened

MAX_TEXT_CLASSES = 30
"""Below this many classes, cells hold numbers and every class is named on the axes."""

MAX_HEATMAP_CLASSES = 60
"""Above this many classes, only the cells that hold examples are drawn."""

EMPTY_CELL = "rgba(128,136,150,.06)"
_DARK_INK, _LIGHT_INK = "#16191F", "#FFFFFF"


def confusion_figure(
    matrix: np.ndarray,
    class_names: Sequence[str],
    *,
    is_dark: bool,
    chosen: tuple[int, int] | None = None,
    is_shares: bool = False,
    height: int = 540,
) -> go.Figure:
    """A confusion matrix whose cells can be clicked.

    C is the number of classes. A click on a heatmap never reaches Streamlit, so an invisible square marker
    lies over every cell; its customdata is `[label, prediction, count]`. Above 60 classes only cells with
    examples are drawn, as markers: a heatmap of a thousand classes would be a million numbers.

    Args:
        matrix: Counts of shape (C, C): rows are true classes, columns predicted ones.
        class_names: C names.
        is_dark: The theme.
        chosen: (label, prediction) of the framed cell.
        is_shares: Whether cells show the share of their row instead of the count.
        height: In pixels.
    """
    count = len(class_names)
    colors = palette(is_dark)
    totals = np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    shown = matrix / totals if is_shares else matrix.astype(float)
    steps = _cell_steps(matrix, shown, is_shares)
    figure = go.Figure()
    lay_out(figure, is_dark, height)
    if count <= MAX_HEATMAP_CLASSES:
        _add_heatmaps(figure, matrix, steps, colors)
    _add_targets(figure, matrix, totals, steps, class_names, colors, height)
    if count < MAX_TEXT_CLASSES:
        _add_numbers(figure, matrix, shown, steps, is_shares, colors)
    if chosen is not None:
        _frame(figure, chosen, count, colors)
    _cell_axes(figure, class_names)
    return figure


def ink(fill: str) -> str:
    """Black or white, whichever reads better on a fill such as `#E57A42`."""
    light = _luminance(fill)
    on_dark = (light + 0.05) / (_luminance(_DARK_INK) + 0.05)
    return _DARK_INK if on_dark >= 1.05 / (light + 0.05) else _LIGHT_INK


def _cell_steps(matrix: np.ndarray, shown: np.ndarray, is_shares: bool) -> np.ndarray:
    """The colour step 0 to 4 of every cell, shape (C, C); -1 where there is no example.

    A few mistakes stay pale: the scale of wrong counts reaches at least to 5.
    """
    wrong = shown.copy()
    np.fill_diagonal(wrong, 0)
    right_top = 1.0 if is_shares else max(float(shown.diagonal().max(initial=0)), 1.0)
    wrong_top = max(float(wrong.max(initial=0)), 0.05 if is_shares else 5.0)
    tops = np.where(np.eye(len(matrix), dtype=bool), right_top, wrong_top)
    steps = np.clip(np.ceil(5 * shown / tops) - 1, 0, 4).astype(int)
    return np.where(matrix > 0, steps, -1)


def _add_heatmaps(figure: go.Figure, matrix: np.ndarray, steps: np.ndarray, colors: Palette) -> None:
    gap = 2 if len(matrix) <= MAX_TEXT_CLASSES else 1
    is_right = np.eye(len(matrix), dtype=bool)
    layers = (
        (np.where(steps < 0, 0.0, np.nan), (EMPTY_CELL,)),
        (np.where((steps >= 0) & is_right, steps, np.nan), colors.right_steps),
        (np.where((steps >= 0) & ~is_right, steps, np.nan), colors.wrong_steps),
    )
    for values, fills in layers:
        figure.add_trace(
            go.Heatmap(
                z=values, zmin=0, zmax=max(len(fills) - 1, 1), colorscale=_scale(fills), showscale=False,
                hoverinfo="skip", xgap=gap, ygap=gap, hoverongaps=False,
            )
        )  # fmt: skip


def _scale(fills: Sequence[str]) -> list[list[float | str]]:
    if len(fills) == 1:
        return [[0, fills[0]], [1, fills[0]]]
    return [[index / (len(fills) - 1), fill] for index, fill in enumerate(fills)]


def _add_targets(
    figure: go.Figure,
    matrix: np.ndarray,
    totals: np.ndarray,
    steps: np.ndarray,
    class_names: Sequence[str],
    colors: Palette,
    height: int,
) -> None:
    count = len(matrix)
    is_drawn = count > MAX_HEATMAP_CLASSES
    rows, columns = np.nonzero(matrix) if is_drawn else np.indices(matrix.shape).reshape(2, -1)
    shares = matrix[rows, columns] / totals[rows, 0]
    texts = [
        f"{class_names[i]} taken for {class_names[j]}" if i != j else f"{class_names[i]} recognised"
        for i, j in zip(rows, columns, strict=True)
    ]
    fills = [
        (colors.right_steps[-1 if is_drawn else 0] if i == j else colors.wrong_steps[max(steps[i, j], 1)])
        for i, j in zip(rows, columns, strict=True)
    ]
    size = max(4.0, 0.8 * height / count) if is_drawn else max(8.0, 0.6 * height / count)
    opacity = 1.0 if is_drawn else 0.0
    figure.add_trace(
        go.Scatter(
            x=columns, y=rows, mode="markers", text=texts,
            customdata=np.stack([rows, columns, matrix[rows, columns]], axis=1).tolist(),
            hovertemplate="%{text}<br>%{customdata[2]} images, %{hovertext}<extra></extra>",
            hovertext=[f"{100 * share:.1f} % of the row" for share in shares],
            marker={"symbol": "square", "size": size, "opacity": opacity, "color": fills},
            selected={"marker": {"opacity": opacity}}, unselected={"marker": {"opacity": opacity}},
        )
    )  # fmt: skip
    figure.update_layout(hovermode="closest", hoverdistance=20 if is_drawn else 300, clickmode="event+select")


def _add_numbers(
    figure: go.Figure,
    matrix: np.ndarray,
    shown: np.ndarray,
    steps: np.ndarray,
    is_shares: bool,
    colors: Palette,
) -> None:
    count = len(matrix)
    size = 13 if count <= 12 else 11 if count <= 20 else 9
    figure.update_layout(
        annotations=[
            {
                "x": int(j), "y": int(i), "showarrow": False,
                "text": f"<b>{_cell_text(shown[i, j], is_shares, count)}</b>",
                "font": {
                    "size": size,
                    "color": ink((colors.right_steps if i == j else colors.wrong_steps)[steps[i, j]]),
                },
            }
            for i, j in zip(*np.nonzero(matrix), strict=True)
        ]
    )  # fmt: skip


def _cell_text(value: float, is_shares: bool, count: int) -> str:
    if not is_shares:
        return f"{value:,.0f}"
    return f"{100 * value:.1f}" if count <= 12 else f"{100 * value:.0f}"


def _frame(figure: go.Figure, chosen: tuple[int, int], count: int, colors: Palette) -> None:
    half = 0.5 if count <= MAX_HEATMAP_CLASSES else count / 60  # a cell of a thousand is too small to see
    row, column = chosen
    figure.add_shape(
        type="rect", x0=column - half, x1=column + half, y0=row - half, y1=row + half,
        line={"color": colors.outline, "width": 2},
    )  # fmt: skip


def _cell_axes(figure: go.Figure, class_names: Sequence[str]) -> None:
    count = len(class_names)
    every = 1 if count < MAX_TEXT_CLASSES else math.ceil(count / 20)
    places = list(range(0, count, every))
    labels = [shortened(class_names[place], 16) for place in places]
    edge = 0.5 + count * 0.006  # room for the whole frame of an outermost cell
    shared = {
        "tickvals": places, "ticktext": labels, "showgrid": False, "showline": False, "ticks": "",
        "autorange": False,
    }  # fmt: skip
    is_long = max(len(label) for label in labels) * len(labels) > 70
    figure.update_xaxes(
        **shared, range=[-edge, count - 1 + edge], title_text="predicted", tickangle=-45 if is_long else 0
    )
    figure.update_yaxes(
        **shared, range=[count - 1 + edge, -edge], title_text="true", gridcolor="rgba(0,0,0,0)"
    )
    figure.update_layout(margin={"l": 4, "r": 4, "t": 4, "b": 4})


def _luminance(color: str) -> float:
    """Relative luminance of `#RRGGBB` as WCAG 2 defines it."""
    channels = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
