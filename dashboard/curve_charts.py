"""Curves of one class against the rest, and of confidence against truth: numbers in, a Plotly figure out.

Shares come in as fractions and leave as percent. The names of the lines stand in the corner that the curves
leave free.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from dashboard.charts import AXIS, lay_out, palette, shortened
from superft_hf.evaluation.calibration import Bins
from superft_hf.evaluation.curves import thinned

HEIGHT = 330
NUM_BARS = 20
_MARGIN = {"l": 4, "r": 12, "t": 10, "b": 44}
_NAME_GAP_PX = 17


@dataclass(frozen=True)
class Curve:
    """One line of a ROC or precision-recall chart.

    Attributes:
        name: Stands in the free corner, with its figure.
        x: Fractions, monotonous.
        y: Fractions.
        color: Of line and name.
        dash: Plotly's word for its dashes: the second cue beside colour.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    color: str
    dash: str = "solid"


@dataclass(frozen=True)
class Mark:
    """The operating point on a chart.

    Attributes:
        x: A fraction.
        y: A fraction.
        words: On hover.
    """

    x: float
    y: float
    words: str


def roc_figure(curves: Sequence[Curve], *, mark: Mark | None, is_dark: bool) -> go.Figure:
    """False positive rate to the right, recall upwards; the diagonal is chance."""
    traces = [
        _line([0, 100], [0, 100]),
        *_curves(curves, "false positives %{x:.1f} %, recall %{y:.1f} %"),
        *_ring(mark, is_dark),
    ]
    names = _names(curves, is_at_right=True)
    return _square(traces, names, ("false positive rate, %", "recall, %"), is_dark)


def precision_recall_figure(
    curves: Sequence[Curve], *, mark: Mark | None, prevalence: float | None, is_dark: bool
) -> go.Figure:
    """Recall to the right, precision upwards; the dotted line is what chance reaches: the class's share."""
    traces = [] if prevalence is None else [_line([0, 100], [100 * prevalence, 100 * prevalence])]
    traces += _curves(curves, "recall %{x:.1f} %, precision %{y:.1f} %")
    traces += _ring(mark, is_dark)
    names = _names(curves, is_at_right=False)
    return _square(traces, names, ("recall, %", "precision, %"), is_dark)


def reliability_figure(before: Bins, after: Bins | None, *, color: str, is_dark: bool) -> go.Figure:
    """Confidence to the right, accuracy upwards: on the diagonal the model is as sure as it is right.

    Args:
        before: At temperature 1.
        after: At the temperature that was fitted; None when there is none.
        color: Of the split.
        is_dark: The theme.
    """
    traces = [_line([0, 100], [0, 100])]
    quiet = palette(is_dark).quiet
    lines = [(before, color if after is None else quiet, "before", "circle-open" if after else "circle")]
    if after is not None:
        lines.append((after, color, "after", "circle"))
    for bins, ink, name, symbol in lines:
        traces.append(
            go.Scatter(
                x=(100 * bins.confidence).tolist(), y=(100 * bins.accuracy).tolist(), name=name,
                mode="lines+markers", line={"color": ink, "width": 1.6}, cliponaxis=False,
                marker={"color": ink, "size": 8, "symbol": symbol}, customdata=bins.size.tolist(),
                hovertemplate=f"{name}: %{{x:.1f}} % sure, %{{y:.1f}} % right, %{{customdata:,}} images"
                "<extra></extra>",
            )
        )  # fmt: skip
    named = [Curve(name, np.zeros(0), np.zeros(0), ink) for _, ink, name, _ in lines]
    names = _names(named if after is not None else (), is_at_right=True)
    return _square(traces, names, ("confidence, %", "accuracy, %"), is_dark)


def confidence_figure(confidence: np.ndarray, *, accuracy: float, color: str, is_dark: bool) -> go.Figure:
    """How many images each confidence has, with lines at mean confidence and at accuracy.

    Args:
        confidence: Shape (N,), fractions, without NaN.
        accuracy: A fraction.
        color: Of the split.
        is_dark: The theme.
    """
    colors = palette(is_dark)
    counts, edges = np.histogram(confidence, bins=NUM_BARS, range=(0, 1))
    shares = 100 * counts / max(len(confidence), 1)
    centres = 50 * (edges[:-1] + edges[1:])
    words = [f"{100 * low:.0f} – {100 * high:.0f} %" for low, high in zip(edges, edges[1:], strict=False)]
    figure = go.Figure(
        go.Bar(
            x=centres.tolist(), y=shares.tolist(), width=92 / NUM_BARS,
            marker={"color": color, "opacity": 0.55},
            customdata=[[word, int(one)] for word, one in zip(words, counts, strict=True)],
            hovertemplate="%{customdata[0]} sure: %{customdata[1]:,} images (%{y:.1f} %)<extra></extra>",
        )
    )  # fmt: skip
    top = float(shares.max(initial=1)) * 1.22
    lay_out(
        figure, is_dark, HEIGHT, hovermode="closest", margin=_MARGIN, bargap=0,
        xaxis={"range": [0, 100], "title": {"text": "confidence, %", "standoff": 4}},
        yaxis={"range": [0, top], "title": {"text": "share of images, %", "standoff": 6}, "nticks": 6},
    )  # fmt: skip
    mean = float(confidence.mean()) if len(confidence) else 0.0
    side = "right" if max(mean, accuracy) > 0.5 else "left"  # so that the words stay inside
    beside = min(mean, accuracy) if side == "right" else max(mean, accuracy)  # and no line crosses them
    for name, value, dash, mark, height in (
        ("accuracy", accuracy, "dash", "╌╌", 0.97), ("mean confidence", mean, "solid", "──", 0.89),
    ):  # fmt: skip
        figure.add_vline(x=100 * value, line={"color": colors.text, "width": 1.4, "dash": dash})
        figure.add_annotation(
            x=100 * beside, y=top * height, text=f"{mark} {name} {100 * value:.1f} %", showarrow=False,
            xanchor=side, xshift=-5 if side == "right" else 5, font={"color": colors.text, "size": 12},
        )  # fmt: skip
    return figure


def _square(
    traces: list[go.Scatter], names: list[dict[str, Any]], titles: tuple[str, str], is_dark: bool
) -> go.Figure:
    """Both axes in percent. All of it at once: Plotly is slow to add to a figure that is there."""
    figure = go.Figure(traces)
    lay_out(
        figure, is_dark, HEIGHT, hovermode="closest", margin=_MARGIN, annotations=names,
        xaxis={"range": [0, 100.6], "title": {"text": titles[0], "standoff": 4}, "nticks": 6},
        yaxis={"range": [0, 101.5], "title": {"text": titles[1], "standoff": 6}, "nticks": 6},
    )  # fmt: skip
    return figure


def _line(x: Sequence[float], y: Sequence[float]) -> go.Scatter:
    """What chance reaches, or what would be ideal."""
    return go.Scatter(
        x=x, y=y, mode="lines", line={"color": AXIS, "width": 1, "dash": "dot"}, hoverinfo="skip"
    )


def _curves(curves: Sequence[Curve], words: str) -> list[go.Scatter]:
    traces = []
    for curve in curves:
        x, y = thinned(curve.x, curve.y)
        width = 2.2 if curve.dash == "solid" else 1.6
        traces.append(
            go.Scatter(
                x=(100 * x).tolist(), y=(100 * y).tolist(), name=curve.name, mode="lines",
                line={"color": curve.color, "width": width, "dash": curve.dash},
                hovertemplate=f"{words}<extra></extra>",
            )
        )  # fmt: skip
    return traces


def _names(curves: Sequence[Curve], *, is_at_right: bool) -> list[dict[str, Any]]:
    """Stacked in the lower corner, the first on top."""
    side = "right" if is_at_right else "left"
    return [
        {
            "x": 0.985 if is_at_right else 0.015, "y": 0.03, "xref": "paper", "yref": "paper",
            "xanchor": side, "yanchor": "bottom", "yshift": _NAME_GAP_PX * place, "showarrow": False,
            "align": side, "text": f"<b>{shortened(curve.name, 44)}</b>",
            "font": {"color": curve.color, "size": 12},
        }
        for place, curve in enumerate(reversed(curves))
    ]  # fmt: skip


def _ring(mark: Mark | None, is_dark: bool) -> list[go.Scatter]:
    """The operating point, where there is one."""
    if mark is None:
        return []
    ink = palette(is_dark).text
    return [
        go.Scatter(
            x=[100 * mark.x], y=[100 * mark.y], mode="markers", cliponaxis=False, name="operating point",
            marker={"size": 13, "color": "rgba(0,0,0,0)", "line": {"color": ink, "width": 2.5}},
            hovertemplate=f"{mark.words}<extra></extra>",
        )
    ]  # fmt: skip
