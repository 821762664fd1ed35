"""What training did to each layer, as figures: heat maps over the epochs, and runs side by side.

L is the number of layers, from the images to the head; T the number of recorded steps.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
import plotly.graph_objects as go

from dashboard.charts import AXIS, GRID, lay_out, palette, shortened
from dashboard.confusion_part import EMPTY_CELL, scale
from superft_hf.evaluation.layer_history import Layer, LayerHistory, share_in_words

MAX_COLUMNS = 96
MAX_DECADES = 4
"""The colours tell so many powers of ten apart; what is less has the palest."""

_NAME_LENGTH = 20
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "pentagon", "hexagon", "star", "triangle-down")
_LETTER_WIDTH = 0.56
"""Of the font, as a share of its height."""

_STILL = 0.5
"""How far left of the lowest power of ten the layers lie that have not moved, in powers of ten."""

_ROW_PX, _HIGHEST_ROW_PX, _USUAL_PX, _LEAST_PX = 11, 26, 420, 48
_TOP_PX, _BOTTOM_PX = 32, 44


def heat_figure(
    history: LayerHistory, values: np.ndarray, what: str, *, is_dark: bool, x_end: float
) -> go.Figure:
    """Shares by layer and epoch: the images are at the top, the head is below the line.

    Args:
        history: The recorded steps, at least one.
        values: Shares, shape (T, L). What has not moved yet is a pale cell, what is not known is none.
        what: Stands before a value on hover, such as `changed by`.
        is_dark: The theme.
        x_end: Planned epochs, so that a growing picture moves nothing.
    """
    names = [layer.name for layer in history.layers]
    height, row_px = _height(len(names))
    edges = [0.0, *history.epochs.tolist()]
    low, high = _decades(values)
    figure = go.Figure()
    lay_out(
        figure, is_dark, height, hovermode="closest",
        margin=_margin(names, row_px),
        xaxis={
            "range": [0, x_end], "tickformat": "~g", "automargin": False,
        },
        yaxis=_layer_axis(names, row_px, is_dark),
    )  # fmt: skip
    is_still = (history.changes == 0) & ~(values > 0)
    figure.add_trace(
        go.Heatmap(
            x=edges, y=names, z=np.where(is_still, 0.0, math.nan).T.tolist(), zmin=0, zmax=1,
            colorscale=scale((EMPTY_CELL,)), showscale=False, hoverongaps=False,
            hovertemplate="<b>%{y}</b><br>as it was at the start<extra></extra>",
        )
    )  # fmt: skip
    drawn = np.where(values > 0, values, math.nan)
    epochs = np.broadcast_to(history.epochs[:, None], values.shape)
    ticks = list(range(low, high + 1))
    figure.add_trace(
        go.Heatmap(
            x=edges, y=names, z=np.log10(drawn).T.tolist(), zmin=low, zmax=high,
            colorscale=scale(palette(is_dark).amounts), hoverongaps=False,
            customdata=np.stack([100 * drawn, epochs], axis=2).transpose(1, 0, 2).round(6).tolist(),
            hovertemplate=(
                f"<b>%{{y}}</b><br>epoch %{{customdata[1]:.2~f}}: {what} %{{customdata[0]:,.2~r}} %"
                "<extra></extra>"
            ),
            colorbar={
                "orientation": "h", "thickness": 8, "len": 1, "x": 0.5, "xpad": 0, "y": 1, "ypad": 6,
                "yanchor": "bottom", "outlinewidth": 0, "tickvals": ticks, "ticklabeloverflow": "allow",
                "ticktext": [f"{100 * 10.0**one:,.10g} %" for one in ticks],
                "tickfont": {"size": 11, "color": palette(is_dark).quiet},
            },
        )
    )  # fmt: skip
    _mark_head(figure, history.layers, is_dark)
    _name_below(figure, "epoch")
    return figure


def sides_figure(
    layers: Sequence[Layer], changes: Mapping[str, np.ndarray], colors: Mapping[str, str], *, is_dark: bool
) -> go.Figure:
    """How far the layers of several runs moved in all, a mark a run; hollow at the left: as it was.

    Args:
        layers: L layers, the same in all runs.
        changes: By the name of a run, shape (L,).
        colors: By the name of a run.
        is_dark: The theme.
    """
    names = [layer.name for layer in layers]
    height, row_px = _height(len(names))
    low, high = _decades(np.stack(list(changes.values())))
    ticks = list(range(low, high + 1))
    figure = go.Figure()
    lay_out(
        figure, is_dark, height, hovermode="closest", margin={**_margin(names, row_px), "autoexpand": True},
        showlegend=True, legend={
            "orientation": "h", "x": 0, "y": 1, "yanchor": "bottom", "itemclick": False,
            "itemdoubleclick": False, "font": {"color": palette(is_dark).text, "size": 12},
        },
        xaxis={
            "range": [low - 0.7, high], "tickvals": [low - _STILL, *ticks], "showgrid": True, "tickangle": 0,
            "gridcolor": GRID,
            "ticktext": ["0", *(f"{100 * 10.0**one:,.10g} %" for one in ticks)],
        },
        yaxis={**_layer_axis(names, row_px, is_dark), "showgrid": True, "gridcolor": GRID},
    )  # fmt: skip
    for symbol, (name, shares) in zip(cycle(_SYMBOLS), changes.items(), strict=False):
        known = np.isfinite(shares)
        moved = shares[known] > 0
        places = np.full(int(known.sum()), low - _STILL)
        places[moved] = np.maximum(np.log10(shares[known][moved]), low)
        words = [f"changed by {share_in_words(share)}" if share else "as it was" for share in shares[known]]
        figure.add_trace(
            go.Scatter(
                x=places.tolist(), y=[one for one, is_known in zip(names, known, strict=True) if is_known],
                name=name, mode="markers", text=words, cliponaxis=False,
                marker={
                    "color": colors[name], "size": min(10, row_px - 2), "opacity": 0.9,
                    "symbol": [symbol if one else f"{symbol}-open" for one in moved],
                },
                hovertemplate=f"<b>%{{y}}</b><br>{shortened(name, 40)}: %{{text}}<extra></extra>",
            )
        )  # fmt: skip
    _mark_head(figure, layers, is_dark)
    _name_below(figure, "relative change of the weights")
    return figure


def short_name(name: str, length: int = _NAME_LENGTH) -> str:
    """The name of a layer with its first words as letters, until it is short enough.

    Example:
        >>> short_name("layer4.1.conv2"), short_name("encoder.stages.1.layers.3.layer.2")
        ('layer4.1.conv2', 'e.s.1.l.3.layer.2')
        >>> short_name("encoder.stages.0.layers.0.shortcut.convolution")
        'e.s.0.l.0…onvolution'
    """
    parts = name.split(".")
    for place, part in enumerate(parts[:-1]):
        if len(".".join(parts)) <= length:
            break
        parts[place] = part if part.isdigit() else part[:1]
    return shortened(".".join(parts), length)


def _height(rows: int) -> tuple[int, int]:
    """Height of a figure and of a row, in pixels."""
    row_px = max(_ROW_PX, min(_HIGHEST_ROW_PX, _USUAL_PX // rows))
    return max(rows * row_px, _LEAST_PX) + _TOP_PX + _BOTTOM_PX, row_px


def _margin(names: Sequence[str], row_px: int) -> dict[str, object]:
    """Room for names, colours and numbers, fixed: Plotly would make more of it for a bar of colours."""
    longest = max(len(short_name(name)) for name in names)
    left = 14 + math.ceil(_LETTER_WIDTH * _font_px(row_px) * longest)
    return {"l": left, "r": 24, "t": _TOP_PX, "b": _BOTTOM_PX, "autoexpand": False}


def _font_px(row_px: int) -> int:
    return min(12, row_px - 2)


def _layer_axis(names: Sequence[str], row_px: int, is_dark: bool) -> dict[str, object]:
    return {
        "type": "category", "categoryorder": "array", "categoryarray": list(names),
        "range": [len(names) - 0.5, -0.5], "tickmode": "array", "tickvals": list(names),
        "ticktext": [short_name(name) for name in names], "showgrid": False,
        "tickfont": {"size": _font_px(row_px), "color": palette(is_dark).text},
    }  # fmt: skip


def _decades(values: np.ndarray) -> tuple[int, int]:
    """The powers of ten between which the colours lie."""
    known = values[np.isfinite(values) & (values > 0)]
    if not len(known):
        return -2, 0
    high = math.ceil(math.log10(known.max()) - 1e-9)
    low = math.floor(math.log10(known.min()) + 1e-9)
    return max(min(low, high - 1), high - MAX_DECADES), high


def _name_below(figure: go.Figure, text: str) -> None:
    """The title of the x axis: the axis' own is drawn over the numbers in a figure of few rows."""
    figure.add_annotation(
        text=text, showarrow=False, xref="paper", yref="paper", x=0.5, y=0, yanchor="top", yshift=-28
    )


def _mark_head(figure: go.Figure, layers: Sequence[Layer], is_dark: bool) -> None:
    """A line between body and head."""
    first = next((place for place, layer in enumerate(layers) if layer.is_head), 0)
    if first:
        line = {"color": palette(is_dark).text if is_dark else AXIS, "width": 1}
        figure.add_shape(type="line", xref="paper", x0=0, x1=1, y0=first - 0.5, y1=first - 0.5, line=line)
