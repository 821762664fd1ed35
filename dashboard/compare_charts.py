"""The charts of the Compare page as pure functions: curves of several runs, scatter, parallel coordinates."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from dashboard.charts import AXIS, GRID, Line, lay_out, line_figure, palette, shortened, thinned

_LOG_RATIO = 30
"""Positive numbers that differ by more than this factor get a logarithmic axis."""

_MAX_TICKS = 12
_ROOM = 0.08
_SAME_END = 0.97
_NAME_GAP_PX = 15


@dataclass(frozen=True)
class Axis:
    """What one axis or the colour shows: numbers, or words for things that are no numbers.

    Attributes:
        title: In words.
        values: One a run: numbers, with NaN for those that are not known, or words.
        unit: Follows a value, such as ` %`.
    """

    title: str
    values: Sequence[float] | Sequence[str]
    unit: str = ""

    @property
    def is_number(self) -> bool:
        """Whether the values are numbers."""
        return not any(isinstance(one, str) for one in self.values)

    @property
    def is_logarithmic(self) -> bool:
        """Whether the numbers span so much that their logarithms are drawn."""
        if not self.is_number:
            return False
        known = np.asarray(self.values, dtype=float)
        known = known[np.isfinite(known)]
        return bool(len(known) and known.min() > 0 and known.max() > _LOG_RATIO * known.min())


def overlay_figure(
    lines: Sequence[Line],
    dotted: Sequence[Line],
    *,
    is_dark: bool,
    height: int,
    x_title: str,
    value_format: str,
    unit: str = "",
    is_from_zero: bool = False,
) -> go.Figure:
    """Curves of several runs, each with its name at its end, and quiet dotted ones without a name.

    Args:
        lines: One a run.
        dotted: Of the same runs and colours, such as the loss on train.
        is_dark: The theme.
        height: In pixels.
        x_title: What the x axis counts.
        value_format: Of values on hover, in d3's notation.
        unit: Follows a value on hover.
        is_from_zero: Whether the y axis begins at 0.
    """
    figure = line_figure(
        lines, is_dark=is_dark, height=height, value_format=value_format, unit=unit, is_from_zero=is_from_zero
    )
    figure.update_xaxes(title={"text": x_title, "standoff": 4})
    highest, furthest = figure.layout.yaxis.range[1], figure.layout.xaxis.range[1]
    for line in (thinned(one) for one in dotted if len(one.x)):
        figure.add_trace(
            go.Scatter(
                x=list(line.x), y=list(line.y), name=line.name, mode="lines", cliponaxis=False,
                line={"color": line.color, "width": 1.4, "dash": "dot"}, opacity=0.8,
                hovertemplate=f"%{{y:{value_format}}}{unit}",
            )
        )  # fmt: skip
        known = np.asarray(line.y, dtype=float)
        known = known[np.isfinite(known)]
        if len(known):
            highest = max(highest, float(known.max()) * (1 + _ROOM))
        furthest = max(furthest, float(line.x[-1]) * 1.005)
    lowest = figure.layout.yaxis.range[0]
    figure.update_yaxes(range=[lowest, highest])
    if dotted:  # the names were placed for an axis that ends at the highest of the lines
        area = height - figure.layout.margin.t - figure.layout.margin.b
        names = figure.layout.annotations
        shifts = _spread([(one.y - lowest) / (highest - lowest) * area for one in names], area)
        for name, shift in zip(names, shifts, strict=True):
            name.yshift = shift
    figure.update_xaxes(range=[0, furthest])
    ends = [line.x[-1] for line in lines if len(line.x)]
    if ends and min(ends) < _SAME_END * max(ends):
        # Names at the ends of lines that stop early would lie on the lines that go on.
        figure.update_annotations(xref="paper", x=1)
    return figure


def scatter_figure(
    names: Sequence[str],
    run_ids: Sequence[str],
    x: Axis,
    y: Axis,
    color: Axis | None,
    *,
    chosen: Sequence[bool],
    is_dark: bool,
    height: int,
) -> go.Figure:
    """A point a run. A click on one reaches Streamlit; its customdata is `[run_id, name]`.

    Args:
        names: Of the runs.
        run_ids: Of the runs.
        x: Where the points lie.
        y: Likewise.
        color: What colours them; None for one colour.
        chosen: Which of them are ringed.
        is_dark: The theme.
        height: In pixels.
    """
    colors = palette(is_dark)
    fills, scale = _fills(color, len(names), is_dark)
    figure = go.Figure()
    lay_out(figure, is_dark, height)
    marker = {
        "size": [12 if one else 9 for one in chosen], "color": fills, "opacity": 0.85,
        "line": {"color": [colors.outline if one else "rgba(0,0,0,0)" for one in chosen], "width": 2},
        **scale,
    }  # fmt: skip
    hints = [f"{_shown(x, i)}<br>{_shown(y, i)}" for i in range(len(names))]
    if color is not None:
        hints = [f"{hint}<br>{_shown(color, i)}" for i, hint in enumerate(hints)]
    figure.add_trace(
        go.Scatter(
            x=list(x.values), y=list(y.values), mode="markers", marker=marker, cliponaxis=False,
            customdata=[list(pair) for pair in zip(run_ids, names, strict=True)], hovertext=hints,
            hovertemplate="<b>%{customdata[1]}</b><br>%{hovertext}<extra></extra>",
            selected={"marker": {"opacity": 0.85}}, unselected={"marker": {"opacity": 0.85}},
        )
    )  # fmt: skip
    figure.update_layout(
        hovermode="closest", clickmode="event+select", margin={"l": 4, "r": 12, "t": 12, "b": 4}
    )
    figure.update_xaxes(**_axis(x), title_text=_titled(x), gridcolor=GRID, showgrid=True)
    figure.update_yaxes(**_axis(y), title_text=_titled(y))
    return figure


def parallel_figure(axes: Sequence[Axis], *, chosen: Sequence[bool], is_dark: bool, height: int) -> go.Figure:
    """A line a run through what it was given and what came of it; the last axis is the outcome.

    Args:
        axes: What varies; the last one colours the lines while none is chosen.
        chosen: Which lines stand out.
        is_dark: The theme.
        height: In pixels.
    """
    colors = palette(is_dark)
    quiet = "#D5D9DF" if not is_dark else "#3A4049"
    if any(chosen):
        line = {
            "color": [float(one) for one in chosen], "cmin": 0, "cmax": 1,
            "colorscale": [[0, quiet], [1, colors.eval]],
        }  # fmt: skip
    else:
        numbers, _, _ = _coded(axes[-1])
        line = {"color": numbers.tolist(), "colorscale": [[0, quiet], [1, colors.eval]]}
    figure = go.Figure(
        go.Parcoords(
            line=line, dimensions=[_dimension(one) for one in axes],
            labelfont={"size": 12, "color": colors.quiet, "shadow": "none"},
            tickfont={"size": 11, "color": colors.text, "shadow": "none"},
            rangefont={"size": 1, "color": "rgba(0,0,0,0)"},
        )
    )  # fmt: skip
    lay_out(figure, is_dark, height)
    # Plotly's own axes are black, which a dark page swallows.
    for place in np.linspace(0, 1, len(axes)):
        where = {"xref": "paper", "yref": "paper", "x0": place, "x1": place, "y0": 0, "y1": 1}
        figure.add_shape(type="line", **where, line={"color": AXIS, "width": 1}, layer="below")
    figure.update_layout(margin={"l": 64, "r": 72, "t": 44, "b": 16})
    return figure


def _spread(wanted: Sequence[float], area: float) -> list[float]:
    """Pixels by which each name moves up, so that none lies on another and none leaves the area."""
    order = np.argsort(wanted, kind="stable")
    gap = min(_NAME_GAP_PX, area / max(len(wanted), 1))
    placed = np.asarray(wanted, dtype=float)
    for lower, upper in zip(order[:-1], order[1:], strict=True):
        placed[upper] = max(placed[upper], placed[lower] + gap)
    ceiling = area
    for place in order[::-1]:
        placed[place] = min(placed[place], ceiling)
        ceiling = placed[place] - gap
    return [float(one) for one in placed - np.asarray(wanted)]


def _fills(color: Axis | None, count: int, is_dark: bool) -> tuple[list[object], dict[str, object]]:
    """Colours of points, and what else a marker needs to be coloured by a number."""
    colors = palette(is_dark)
    if color is None:
        return [colors.eval] * count, {}
    if color.is_number:
        numbers, ticks, texts = _coded(color)
        bar = {
            "title": {"text": color.title, "side": "top", "font": {"size": 11}}, "thickness": 8, "len": 0.8,
            "outlinewidth": 0, "tickfont": {"size": 11, "color": colors.quiet},
        }  # fmt: skip
        if ticks is not None:
            bar |= {"tickvals": ticks, "ticktext": texts}
        low = "#DCE0E6" if not is_dark else "#3A4049"
        scale = [[0, low], [1, colors.eval]]
        return numbers.tolist(), {"colorscale": scale, "colorbar": bar, "showscale": True}

    words = list(dict.fromkeys(color.values))
    return [colors.runs[words.index(one) % len(colors.runs)] for one in color.values], {}


def _axis(axis: Axis) -> dict[str, object]:
    if not axis.is_number:
        return {"type": "category", "automargin": True}
    return {"type": "log", "dtick": 1} if axis.is_logarithmic else {"type": "linear", "tickformat": ",~g"}


def _titled(axis: Axis) -> str:
    unit = f" ({axis.unit.strip()})" if axis.unit else ""
    return f"{axis.title}{unit}{', log scale' if axis.is_logarithmic else ''}"


def _shown(axis: Axis, place: int) -> str:
    value = axis.values[place]
    if isinstance(value, str):
        return f"{axis.title}: {value}"
    return f"{axis.title}: {'not known' if not math.isfinite(value) else f'{value:,.4g}{axis.unit}'}"


def _coded(axis: Axis) -> tuple[np.ndarray, list[float] | None, list[str] | None]:
    """The values as plain numbers, with their ticks where the numbers are not the values themselves."""
    if not axis.is_number:
        words = list(dict.fromkeys(axis.values))
        places = {word: float(place) for place, word in enumerate(words)}
        texts = [shortened(one, 16) for one in words[:_MAX_TICKS]]
        return np.array([places[one] for one in axis.values]), list(map(float, range(len(texts)))), texts
    numbers = np.asarray(axis.values, dtype=float)
    known = numbers[np.isfinite(numbers)]
    numbers = np.where(np.isfinite(numbers), numbers, known.min() if len(known) else 0.0)
    few = np.unique(numbers)
    if axis.is_logarithmic:
        if len(few) > _MAX_TICKS:
            few = few[np.linspace(0, len(few) - 1, _MAX_TICKS).round().astype(int)]
        return np.log10(numbers), np.log10(few).tolist(), [f"{one:.3g}" for one in few]
    if len(few) <= _MAX_TICKS:
        return numbers, few.tolist(), [f"{one:,.0f}" if one.is_integer() else f"{one:.3g}" for one in few]
    return numbers, None, None


def _dimension(axis: Axis) -> dict[str, object]:
    numbers, ticks, texts = _coded(axis)
    made: dict[str, object] = {"label": shortened(axis.title, 20), "values": numbers.tolist()}
    if ticks is not None:
        made |= {"tickvals": ticks, "ticktext": texts}
    low, high = float(numbers.min()), float(numbers.max())
    room = 0.06 * (high - low) or abs(high) * 0.1 or 1.0
    return made | {"range": [low - room, high + room]}
