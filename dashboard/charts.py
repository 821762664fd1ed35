"""Figures as pure functions: numbers in, a Plotly figure out. What stays true: one colour, one meaning.

Paper, grid and axes do not depend on the theme; series, labels and cells do (`is_dark`). Shares come in as
fractions and leave as percent. Streamlit's own template gives the font, so every other choice is explicit.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

GRID = "rgba(128,136,150,.18)"
AXIS = "rgba(128,136,150,.45)"
MAX_POINTS = 1000
CONFIG = {"displayModeBar": False}
"""The `config` of every chart on a page."""

_LABEL_GAP_PX = 15
_MARGIN_TOP, _MARGIN_BOTTOM = 10, 44


@dataclass(frozen=True)
class Palette:
    """The colours of one theme, by meaning.

    Attributes:
        train: The train split; likewise eval and test.
        text: Words.
        quiet: Words of lesser weight.
        outline: The frame around a chosen cell.
        runs: Of runs that are compared.
        right_steps: Matrix cells on the diagonal, few to many.
        wrong_steps: Matrix cells off it, few to many.
        amounts: How much of something there is, little to much, where nothing is right or wrong.
    """

    train: str
    eval: str
    test: str
    text: str
    quiet: str
    outline: str
    runs: tuple[str, ...]
    right_steps: tuple[str, ...]
    wrong_steps: tuple[str, ...]
    amounts: tuple[str, ...]


LIGHT = Palette(
    train="#7A8494", eval="#7048E8", test="#2B8A3E", text="#16191F", quiet="#586172", outline="#16191F",
    runs=("#C2255C", "#8A6D00", "#0B7285", "#862E9C", "#4B7A0B", "#A6501B", "#495057", "#364FC7"),
    right_steps=("#F1F6FE", "#E3EDFD", "#D3E3FC", "#BFD7FB", "#A9C9F9"),
    wrong_steps=("#FADCCB", "#F5BB99", "#EE9A6A", "#E57A42", "#B93A08"),
    amounts=("#E3F1F3", "#A9D8DF", "#5FB3C0", "#1D8497", "#0B5A69", "#06343D"),
)  # fmt: skip
DARK = Palette(
    train="#8A94A4", eval="#A58BFA", test="#51CF66", text="#E8EAED", quiet="#A4ADBB", outline="#FFFFFF",
    runs=("#F783AC", "#E8BE3C", "#3BC9DB", "#DA77F2", "#A9E34B", "#E0976A", "#ADB5BD", "#91A7FF"),
    right_steps=("#131E31", "#162741", "#193052", "#1D3B66", "#22487E"),
    wrong_steps=("#4A2712", "#6B3314", "#8A4018", "#E9803F", "#FF9D68"),
    amounts=("#16282D", "#1B4550", "#25707F", "#3A9DB0", "#74CBDA", "#C6F1F8"),
)  # fmt: skip


def palette(is_dark: bool) -> Palette:
    """The colours of a theme."""
    return DARK if is_dark else LIGHT


def run_colors(run_ids: Sequence[str], is_dark: bool) -> dict[str, str]:
    """A colour for each of some runs.

    A run's colour follows from its id, so that it is the same on every page; where two would get the same
    one, the later takes the next that is free.
    """
    colors = palette(is_dark).runs
    taken: dict[str, int] = {}
    for run_id in run_ids:
        index = zlib.crc32(run_id.encode()) % len(colors)
        while index in taken.values() and len(taken) < len(colors):
            index = (index + 1) % len(colors)
        taken[run_id] = index
    return {run_id: colors[index] for run_id, index in taken.items()}


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        name: Stands at its end.
        x: Positions, ascending.
        y: Values; NaN leaves a gap.
        color: Of line and name.
        is_dotted: The second cue beside colour, for train.
        best: The position on the x axis that gets a ring, or None.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    color: str
    is_dotted: bool = False
    best: float | None = None


def line_figure(
    lines: Sequence[Line],
    *,
    is_dark: bool,
    height: int = 250,
    x_end: float | None = None,
    value_format: str = ".3f",
    unit: str = "",
    is_from_zero: bool = False,
) -> go.Figure:
    """Lines over epochs, each with its name at its end.

    Args:
        lines: What to draw; empty lines are left out.
        is_dark: The theme.
        height: In pixels.
        x_end: Right end of the x axis: the planned number of epochs, so that a growing line moves nothing.
        value_format: Of values on hover, in d3's notation.
        unit: Follows a value on hover, such as ` %`.
        is_from_zero: Whether the y axis begins at 0.
    """
    drawn = [line for line in lines if np.isfinite(np.asarray(line.y, dtype=float)).any()]
    low, high = _value_range(drawn, is_from_zero)
    end = x_end or max((_last(line)[0] for line in drawn), default=1.0)
    margin = _name_margin([line.name for line in drawn])
    figure = go.Figure()
    lay_out(
        figure, is_dark, height, margin={"l": 4, "r": margin, "t": _MARGIN_TOP, "b": _MARGIN_BOTTOM},
        xaxis={
            "range": [0, end * 1.005], "title": {"text": "epoch", "standoff": 4}, "hoverformat": ".2f",
            "tickformat": "~g", "automargin": False,
        },
        yaxis={"range": [low, high], "nticks": 6, "tickformat": ",~g"},
    )  # fmt: skip
    shifts = _label_shifts([_last(line)[1] for line in drawn], low, high, height)
    for line, shift in zip(drawn, shifts, strict=True):
        _add_line(figure, thinned(line), value_format, unit, shift)
    return figure


def thinned(line: Line, limit: int = MAX_POINTS) -> Line:
    """A line of at most `limit` points. Of neighbours the least, the greatest and the gaps are kept."""
    if len(line.x) <= limit:
        return line
    y = np.asarray(line.y, dtype=float)
    kept = {0, len(y) - 1}
    for part in np.array_split(np.arange(len(y)), (limit - 2) // 3):
        values, is_gap = y[part], np.isnan(y[part])
        if is_gap.any():
            kept.add(int(part[is_gap.argmax()]))
        if not is_gap.all():
            kept |= {int(part[np.nanargmin(values)]), int(part[np.nanargmax(values)])}
    places = sorted(kept)
    x = [float(line.x[place]) for place in places]
    return Line(line.name, x, y[places].tolist(), line.color, line.is_dotted, line.best)


def bar_figure(names: Sequence[str], shares: Sequence[float], color: str, is_dark: bool) -> go.Figure:
    """Horizontal bars of shares from 0 to 100 %, the first on top."""
    colors = palette(is_dark)
    labels = [shortened(name, 26) for name in names]
    places = list(range(len(names)))
    figure = go.Figure(
        go.Bar(
            x=[100 * share for share in shares], y=places, orientation="h", width=0.56, cliponaxis=False,
            marker={"color": color, "opacity": [1.0] + [0.45] * (len(names) - 1), "cornerradius": 2},
            text=[f"{100 * share:.1f} %" for share in shares], textposition="outside",
            textfont={"color": colors.text, "size": 12}, customdata=list(names),
            hovertemplate="%{customdata}: %{x:.1f} %<extra></extra>",
        )
    )  # fmt: skip
    lay_out(
        figure, is_dark, 34 * len(names) + 12, hovermode="closest", margin={"l": 4, "r": 52, "t": 4, "b": 4},
        xaxis={"range": [0, 100], "visible": False},
        yaxis={
            "range": [len(names) - 0.5, -0.5], "tickvals": places, "ticktext": labels, "showgrid": False,
            "tickfont": {"color": colors.text, "size": 12},
        },
    )  # fmt: skip
    return figure


def shortened(name: str, length: int) -> str:
    """A name of at most `length` letters, cut in the middle: class names often differ at their ends.

    Example:
        >>> shortened("functional", 20), shortened("a very long class name", 11)
        ('functional', 'a ver… name')
    """
    if len(name) <= length:
        return name
    front = (length - 1) // 2
    return f"{name[:front]}…{name[-(length - 1 - front) :]}"


def as_customdata(columns: Sequence[np.ndarray]) -> np.ndarray:
    """What each point of a trace tells to clicks and hover texts, shape (N, len(columns)).

    Plotly looks into every cell of nested lists, which takes a tenth of a second for some thousand points,
    but not into arrays of objects; those reach the browser as lists all the same.

    Args:
        columns: Arrays of shape (N,).
    """
    return np.stack(columns, axis=1).astype(object)


def lay_out(figure: go.Figure, is_dark: bool, height: int, **more: Any) -> None:
    """Gives a figure transparent papers, quiet fixed axes, no legend.

    Args:
        figure: Without a layout of its own yet: lines across it and notes come afterwards.
        is_dark: The theme.
        height: In pixels.
        more: Further parts of the layout, such as `xaxis`: dictionaries are merged into those of here.
    """
    quiet = palette(is_dark).quiet
    words = {"size": 12, "color": quiet}
    axis = {"fixedrange": True, "zeroline": False, "automargin": True, "tickfont": words,
            "title": {"font": words}}  # fmt: skip
    plain = {
        "height": height, "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)",
        "showlegend": False, "hovermode": "x unified", "dragmode": False, "font": words,
        "xaxis": {**axis, "showgrid": False, "linecolor": AXIS, "ticks": "outside", "tickcolor": AXIS},
        "yaxis": {**axis, "gridcolor": GRID, "showline": False, "ticks": ""},
    }  # fmt: skip
    # One assignment: update_layout, update_xaxes and update_yaxes take six times as long.
    figure.layout = _merged(plain, more)


def _merged(plain: dict[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """The values of both, those of `more` where both have one; dictionaries within likewise."""
    found = dict(plain)
    for name, value in more.items():
        inside = plain.get(name)
        found[name] = _merged(inside, value) if isinstance(inside, dict) else value
    return found


def _add_line(figure: go.Figure, line: Line, value_format: str, unit: str, shift: float) -> None:
    width, dash = (1.8, "dot") if line.is_dotted else (2.2, "solid")
    figure.add_trace(
        go.Scatter(
            x=list(line.x), y=list(line.y), name=line.name, mode="lines" if len(line.x) > 1 else "markers",
            line={"color": line.color, "width": width, "dash": dash},
            marker={"color": line.color, "size": 6}, cliponaxis=False,
            hovertemplate=f"%{{y:{value_format}}}{unit}",
        )
    )  # fmt: skip
    x, y = _last(line)
    figure.add_annotation(
        x=x, y=y, text=f"<b>{shortened(line.name, 22)}</b>", showarrow=False, xanchor="left", xshift=9,
        yshift=shift, font={"color": line.color, "size": 12},
    )  # fmt: skip
    if line.best is None:
        return
    nearest = int(np.argmin(np.abs(np.asarray(line.x, dtype=float) - line.best)))
    ring = {"size": 11, "color": "rgba(0,0,0,0)", "line": {"color": line.color, "width": 2.5}}
    figure.add_trace(
        go.Scatter(
            x=[line.x[nearest]],
            y=[line.y[nearest]],
            mode="markers",
            marker=ring,
            cliponaxis=False,
            hoverinfo="skip",
        )
    )
    figure.add_vline(x=line.x[nearest], line={"color": AXIS, "width": 1, "dash": "dot"}, layer="below")


def _last(line: Line) -> tuple[float, float]:
    """The last point that has a value."""
    index = int(np.flatnonzero(np.isfinite(np.asarray(line.y, dtype=float)))[-1])
    return float(line.x[index]), float(line.y[index])


def _value_range(lines: Sequence[Line], is_from_zero: bool) -> tuple[float, float]:
    values = (
        np.concatenate([np.asarray(line.y, dtype=float) for line in lines]) if lines else np.array([0, 1])
    )
    values = values[np.isfinite(values)]
    low, high = float(values.min()), float(values.max())
    room = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
    if is_from_zero and low >= 0:
        return -0.03 * (high + room), high + room
    return low - room, high + room


def _label_shifts(ends: Sequence[float], low: float, high: float, height: int) -> list[float]:
    """Pixels by which each name moves up so that no two overlap."""
    scale = (height - _MARGIN_TOP - _MARGIN_BOTTOM) / (high - low)
    wanted = np.asarray(ends) * scale
    placed = wanted.copy()
    order = np.argsort(wanted, kind="stable")
    for _ in range(len(order)):
        for lower, upper in zip(order[:-1], order[1:], strict=True):
            overlap = _LABEL_GAP_PX - (placed[upper] - placed[lower])
            if overlap > 0:
                placed[lower] -= overlap / 2
                placed[upper] += overlap / 2
    return [float(shift) for shift in placed - wanted]


def _name_margin(names: Sequence[str]) -> int:
    return 16 + 7 * max((min(len(name), 22) for name in names), default=0)
