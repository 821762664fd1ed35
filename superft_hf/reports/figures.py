"""The figures of a report as plotly.js reads them: plain values, without plotly's own classes.

Numbers in, a figure out. Colours are names, see `superft_hf.reports.palette`. Class names come from people:
what plotly.js would take for a tag is escaped.
"""

import html
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from superft_hf.evaluation.calibration import Bins
from superft_hf.reports.palette import NUM_STEPS, colour, step
from superft_hf.words import interval

Spec = dict[str, Any]

MAX_MATRIX = 100
"""Of more classes, the matrix shows those with the most mistakes."""

MAX_TEXT = 30
MAX_BARS = 40
_NAME = 26
_CLEAR = "rgba(0,0,0,0)"
_GRID = "rgba(128,136,150,.18)"
_FONT = '"Superft Sans", Inter, system-ui, sans-serif'


def curve_figure(
    lines: Sequence[tuple[str, pd.DataFrame, str]],
    title: str,
    *,
    factor: float = 1.0,
    unit: str = "",
    best_epoch: float | None = None,
) -> Spec | None:
    """Lines over epochs.

    Args:
        lines: Name, points (columns epoch, value) and colour of each.
        title: Of the y axis.
        factor: Of the values, such as 100 for percent.
        unit: Follows a value on hover.
        best_epoch: Where the checkpoint that was kept lies; gets a dotted line.

    Returns:
        The figure; None when no line has a value.
    """
    data = []
    for name, points, paint in lines:
        known = points[np.isfinite(points["value"].astype(float))].sort_values("epoch")
        if known.empty:
            continue
        is_train = name.startswith("train")
        data.append(
            {
                "type": "scatter",
                "mode": "lines" if len(known) > 1 else "markers",
                "name": _plain(name),
                "x": _numbers(known["epoch"]),
                "y": _numbers(factor * known["value"]),
                "line": {"color": paint, "width": 2, "dash": "dot" if is_train else "solid"},
                "hovertemplate": f"%{{y:.4~g}}{unit}",
            }
        )
    if not data:
        return None
    layout = _layout(280, hovermode="x unified")
    layout["xaxis"] |= {"title": {"text": "epoch"}, "rangemode": "tozero"}
    layout["yaxis"] |= {"title": {"text": title}}
    layout |= {
        "showlegend": len(data) > 1,
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
    }
    if best_epoch is not None:
        line = {"color": colour("quiet"), "width": 1, "dash": "dot"}
        layout["shapes"] = [
            {
                "type": "line",
                "x0": best_epoch,
                "x1": best_epoch,
                "yref": "paper",
                "y0": 0,
                "y1": 1,
                "line": line,
            }
        ]
    return {"data": data, "layout": layout}


def matrix_figure(matrix: np.ndarray, names: Sequence[str]) -> tuple[Spec, int]:
    """A confusion matrix; the colour of a cell is its share of the row.

    Args:
        matrix: Counts of shape (C, C), rows are labels.
        names: C names by class id.

    Returns:
        The figure, and how many classes it shows: of many those with the most mistakes.
    """
    shown = _most_confused(matrix)
    counts = matrix[np.ix_(shown, shown)]
    shares = counts / np.maximum(matrix.sum(axis=1)[shown], 1)[:, None]
    labels = [_plain(_short(names[one])) for one in shown]
    full = [_plain(names[one]) for one in shown]
    is_right = np.eye(len(shown), dtype=bool)
    data = []
    for kind, where in (("right", is_right), ("wrong", ~is_right)):
        there = where & (counts > 0)
        data.append(
            {
                "type": "heatmap",
                "z": _grid(np.where(there, shares, np.nan)),
                "zmin": 0,
                "zmax": 1 if kind == "right" else max(float(shares[there].max(initial=0)), 1e-9),
                "colorscale": _flat_scale(kind),
                "showscale": False,
                "xgap": 1 if len(shown) <= 60 else 0,
                "ygap": 1 if len(shown) <= 60 else 0,
                "hoverongaps": False,
                "customdata": [
                    [[full[i], full[j], int(counts[i, j])] for j in range(len(shown))]
                    for i in range(len(shown))
                ],
                "hovertemplate": "true %{customdata[0]}<br>predicted %{customdata[1]}<br>"
                "%{customdata[2]} images, %{z:.1%} of the class<extra></extra>",
                **(
                    {"text": np.where(there, counts.astype(str), "").tolist(), "texttemplate": "%{text}"}
                    if len(shown) <= MAX_TEXT
                    else {}
                ),
            }
        )
    layout = _layout(int(np.clip(120 + 30 * len(shown), 280, 720)))
    ticks: dict[str, Any] = {"tickvals": list(range(len(shown))), "ticktext": labels, "showgrid": False}
    if len(shown) > 60:
        ticks |= {"showticklabels": False}
    layout["xaxis"] |= {**ticks, "title": {"text": "predicted"}, "tickangle": 0 if len(shown) <= 12 else -90}
    layout["yaxis"] |= {**ticks, "title": {"text": "true"}, "autorange": "reversed"}
    return {"data": data, "layout": layout}, len(shown)


def class_figure(classes: pd.DataFrame) -> tuple[Spec | None, int]:
    """Recall by class with its interval, the worst first.

    Args:
        classes: Columns class_name, support, recall, recall_low, recall_high.

    Returns:
        The figure, and how many classes it shows; None without a class that has images.
    """
    table = classes[classes["support"] > 0].sort_values("recall", kind="stable").head(MAX_BARS)
    if table.empty:
        return None, 0
    recall, names = 100 * table["recall"], [_plain(_short(name)) for name in table["class_name"]]
    places = list(range(len(table)))
    layout = _layout(60 + 24 * len(table))
    layout["xaxis"] |= {
        "range": [0, 100], "title": {"text": "recall, %"}, "showgrid": True, "gridcolor": _GRID,
    }  # fmt: skip
    layout["yaxis"] |= {
        "tickvals": places, "ticktext": names, "range": [len(table) - 0.4, -0.6], "showgrid": False,
    }  # fmt: skip
    data = {
        "type": "bar", "orientation": "h", "x": _numbers(recall), "y": places, "width": 0.62,
        "marker": {"color": colour("right")},
        "error_x": {
            "type": "data", "symmetric": False, "color": colour("text"), "thickness": 1.2, "width": 4,
            "array": _numbers(100 * table["recall_high"] - recall),
            "arrayminus": _numbers(recall - 100 * table["recall_low"]),
        },
        "customdata": [
            [_plain(row.class_name), interval(row.recall_low, row.recall_high), row.support]
            for row in table.itertuples()
        ],
        "hovertemplate": "%{customdata[0]}: %{x:.1f} %, 95 % interval %{customdata[1]}, "
        "%{customdata[2]} images<extra></extra>",
    }  # fmt: skip
    return {"data": [data], "layout": layout}, len(table)


def reliability_figure(bins: Bins, split: str) -> Spec | None:
    """How often the network is right where it is so sure, in bins of equal mass; None without any."""
    if not len(bins.size):
        return None
    even = {
        "type": "scatter", "mode": "lines", "x": [0, 100], "y": [0, 100], "hoverinfo": "skip",
        "line": {"color": colour("quiet"), "width": 1, "dash": "dash"},
    }  # fmt: skip
    found = {
        "type": "scatter", "mode": "lines+markers", "x": _numbers(100 * bins.confidence),
        "y": _numbers(100 * bins.accuracy), "line": {"color": colour(split), "width": 2},
        "marker": {"color": colour(split), "size": 7}, "customdata": bins.size.tolist(),
        "hovertemplate": "sure %{x:.1f} %, right %{y:.1f} %, %{customdata} images<extra></extra>",
    }  # fmt: skip
    layout = _layout(320, hovermode="closest")
    layout["xaxis"] |= {"range": [-1, 101], "title": {"text": "confidence, %"}}
    layout["yaxis"] |= {"range": [-1, 101], "title": {"text": "right, %"}}
    return {"data": [even, found], "layout": layout}


def _layout(height: int, hovermode: str = "closest") -> Spec:
    axis = {
        "fixedrange": True, "zeroline": False, "automargin": True, "showgrid": False,
        "linecolor": colour("line"), "tickfont": {"color": colour("quiet")},
    }  # fmt: skip
    return {
        "height": height, "paper_bgcolor": _CLEAR, "plot_bgcolor": _CLEAR, "showlegend": False,
        "hovermode": hovermode, "dragmode": False, "margin": {"l": 8, "r": 12, "t": 12, "b": 8},
        "font": {"size": 12, "color": colour("quiet"), "family": _FONT},
        "hoverlabel": {
            "bgcolor": colour("panel"), "bordercolor": colour("line"), "font": {"color": colour("text")},
        },
        "xaxis": dict(axis), "yaxis": axis | {"showgrid": True, "gridcolor": _GRID},
    }  # fmt: skip


def _most_confused(matrix: np.ndarray) -> np.ndarray:
    """The classes that a matrix shows, in the order of their ids."""
    if len(matrix) <= MAX_MATRIX:
        return np.arange(len(matrix))
    wrong = matrix.sum(axis=0) + matrix.sum(axis=1) - 2 * matrix.diagonal()
    return np.sort(np.argsort(-wrong, kind="stable")[:MAX_MATRIX])


def _flat_scale(kind: str) -> list[list[Any]]:
    ends = [number / NUM_STEPS for number in range(NUM_STEPS + 1)]
    return [[end, step(kind, number)] for number in range(NUM_STEPS) for end in ends[number : number + 2]]


def _grid(values: np.ndarray) -> list[list[float | None]]:
    return [[None if np.isnan(one) else round(float(one), 5) for one in row] for row in values]


def _numbers(values: pd.Series | np.ndarray) -> list[float]:
    return [round(float(one), 6) for one in values]


def _short(name: str) -> str:
    if len(name) <= _NAME:
        return name
    return f"{name[: _NAME // 2]}…{name[-(_NAME // 2 - 1) :]}"


def _plain(name: str) -> str:
    return html.escape(name, quote=False)


def painted(value: Any, palette: Mapping[str, str]) -> Any:
    """A figure with its colours filled in, as the reader's browser does it."""
    if isinstance(value, str):
        return palette.get(value, value)
    if isinstance(value, Mapping):
        return {key: painted(one, palette) for key, one in value.items()}
    return [painted(one, palette) for one in value] if isinstance(value, list) else value
