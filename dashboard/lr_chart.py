"""The curve of a learning-rate range test: numbers in, a Plotly figure out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from dashboard.charts import AXIS, lay_out, palette
from dashboard.formats import setting_value
from superft_hf.recipe.lr_range import HIGHEST, LOWEST

HEIGHT = 330
_ROOM_ABOVE = 0.8
"""Above the loss at the beginning, as a share of its fall: what diverges leaves the chart at its top."""

_LEAST_FALL = 0.15
"""Share of the loss at the beginning that the chart shows at least, so that noise looks like noise."""


_DECADES = [10.0**power for power in range(round(math.log10(LOWEST)), round(math.log10(HIGHEST)) + 1)]


@dataclass(frozen=True)
class RateMark:
    """A learning rate that is marked on the curve.

    Attributes:
        rate: Which.
        words: Stand at the top of its line.
        is_strong: Whether it is the one that is suggested.
    """

    rate: float
    words: str
    is_strong: bool = False


def lr_figure(
    rates: Sequence[float],
    losses: Sequence[float],
    smoothed: Sequence[float],
    *,
    marks: Sequence[RateMark],
    is_dark: bool,
) -> go.Figure:
    """Learning rate to the right, on a logarithmic axis, loss upwards.

    Args:
        rates: Shape (T,), ascending; T may be 0 while nothing is known.
        losses: Of each update's batch, shape (T,); empty: they are not drawn.
        smoothed: Shape (T,).
        marks: Rates with a line of their own.
        is_dark: The theme.
    """
    colors = palette(is_dark)
    traces = []
    if len(losses):
        traces.append(
            go.Scatter(
                x=list(rates), y=list(losses), mode="lines", line={"color": colors.train, "width": 1},
                opacity=0.4, hoverinfo="skip",
            )
        )  # fmt: skip
    traces.append(
        go.Scatter(
            x=list(rates), y=list(smoothed), mode="lines", line={"color": colors.train, "width": 2.4},
            hovertemplate="rate %{x:.2~e}: loss %{y:.3f}<extra></extra>",
        )
    )  # fmt: skip
    strong = [one for one in marks if one.is_strong and len(smoothed)]
    for one in strong:
        place = int(np.argmin(np.abs(np.log(np.asarray(rates)) - math.log(one.rate))))
        traces.append(
            go.Scatter(
                x=[one.rate], y=[smoothed[place]], mode="markers", hoverinfo="skip", cliponaxis=False,
                marker={"size": 12, "color": "rgba(0,0,0,0)", "line": {"color": colors.text, "width": 2.5}},
            )
        )  # fmt: skip
    figure = go.Figure(traces)
    lay_out(
        figure, is_dark, HEIGHT, hovermode="closest", margin={"l": 4, "r": 12, "t": 40, "b": 44},
        xaxis={
            "type": "log", "range": [math.log10(LOWEST), math.log10(HIGHEST)],
            "tickvals": _DECADES,
            "ticktext": [f"{one:.0e}".replace("-0", "-") if one < 0.01 else f"{one:g}" for one in _DECADES],
            "tickangle": 0,
            "title": {"text": "learning rate", "standoff": 4},
        },
        yaxis={"range": _range(smoothed), "nticks": 6, "tickformat": ",~g",
               "title": {"text": "training loss", "standoff": 6}},
        shapes=[_line(one, colors.text) for one in marks],
        annotations=[_name(one, row, colors) for row, one in enumerate(marks)],
    )  # fmt: skip
    return figure


def _range(smoothed: Sequence[float]) -> list[float]:
    """From below the least loss to some way above the first."""
    if not len(smoothed):
        return [0.0, 1.0]
    first, least = float(smoothed[0]), float(min(smoothed))
    fall = max(first - least, _LEAST_FALL * abs(first), 1e-6)
    return [least - 0.12 * fall, first + _ROOM_ABOVE * fall]


def _line(mark: RateMark, ink: str) -> dict[str, Any]:
    """From the bottom to the top of the chart, at the rate."""
    style = {"color": ink, "width": 1.4} if mark.is_strong else {"color": AXIS, "width": 1.4, "dash": "dot"}
    return {"type": "line", "xref": "x", "yref": "paper", "x0": mark.rate, "x1": mark.rate, "y0": 0, "y1": 1,
            "line": style}  # fmt: skip


def _name(mark: RateMark, row: int, colors: Any) -> dict[str, Any]:
    """Above the chart, one mark below the other, so that no two words meet."""
    text = f"{mark.words} {setting_value(mark.rate)}"
    return {
        "x": math.log10(mark.rate), "xref": "x", "y": 1, "yref": "paper", "yanchor": "bottom",
        "yshift": 2 + 17 * row,
        "text": f"<b>{text}</b>" if mark.is_strong else text, "showarrow": False,
        "font": {"color": colors.text if mark.is_strong else colors.quiet, "size": 12},
    }  # fmt: skip
