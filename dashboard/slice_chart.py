"""The chart of slices: the share of right answers of each with its interval, beside that of all images."""

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from dashboard.charts import AXIS, lay_out, palette, shortened

_ROW_PX = 26
_MARGIN_TOP, _MARGIN_BOTTOM = 4, 40


@dataclass(frozen=True)
class SliceBar:
    """One slice of the chart.

    Attributes:
        name: For people.
        accuracy: A fraction; likewise low and high, the ends of its 95 % interval.
        low: See accuracy.
        high: See accuracy.
        is_worse: Whether it is shown to be worse than the rest: drawn in the colour of what is wrong, and
            filled, where others are hollow.
    """

    name: str
    accuracy: float
    low: float
    high: float
    is_worse: bool


def slice_figure(bars: Sequence[SliceBar], accuracy: float, is_dark: bool) -> go.Figure:
    """A point with its interval for each slice, the first on top, and a line where all images stand.

    Args:
        bars: The slices.
        accuracy: Of all images, a fraction.
        is_dark: The theme.
    """
    colors = palette(is_dark)
    figure = go.Figure()
    for is_worse in (True, False):
        places = [place for place, bar in enumerate(bars) if bar.is_worse == is_worse]
        color = colors.wrong_steps[-1] if is_worse else colors.train
        figure.add_trace(
            go.Scatter(
                x=[100 * bars[place].accuracy for place in places], y=places, mode="markers",
                marker={
                    "color": color, "size": 9, "symbol": "circle" if is_worse else "circle-open",
                    "line": {"color": color, "width": 2},
                },
                error_x={
                    "type": "data", "symmetric": False, "color": color, "thickness": 1.6, "width": 0,
                    "array": [100 * (bars[place].high - bars[place].accuracy) for place in places],
                    "arrayminus": [100 * (bars[place].accuracy - bars[place].low) for place in places],
                },
                customdata=[
                    [bars[place].name, 100 * bars[place].low, 100 * bars[place].high] for place in places
                ],
                hovertemplate="%{customdata[0]}: %{x:.1f} % "
                "(%{customdata[1]:.1f} – %{customdata[2]:.1f} %)<extra></extra>", cliponaxis=False,
            )
        )  # fmt: skip
    low = min((bar.low for bar in bars), default=0.0)
    lay_out(
        figure, is_dark, _ROW_PX * len(bars) + _MARGIN_TOP + _MARGIN_BOTTOM, hovermode="closest",
        margin={"l": 4, "r": 12, "t": _MARGIN_TOP, "b": _MARGIN_BOTTOM},
        xaxis={
            "range": [max(0.0, 100 * low - 4), 101], "ticksuffix": " %",
            "title": {"text": "right; dotted: all images", "standoff": 6},
        },
        yaxis={
            "range": [len(bars) - 0.5, -0.5], "tickvals": list(range(len(bars))),
            "ticktext": [shortened(bar.name, 26) for bar in bars], "showgrid": False,
            "tickfont": {"color": colors.text, "size": 12},
        },
    )  # fmt: skip
    figure.add_vline(x=100 * accuracy, line={"color": AXIS, "width": 1.5, "dash": "dot"}, layer="below")
    return figure
