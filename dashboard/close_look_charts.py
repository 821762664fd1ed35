"""The figures of the closer look: pure functions, numbers in and a Plotly figure out."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.charts import lay_out, palette, shortened

RIGHT, WRONG = ("#1F6FEB", "#5B9DF9"), ("#D9480F", "#FF8A4C")
"""In light and in dark; see the colours of `charts`."""

_BAR_HEIGHT, _HISTORY_HEIGHT = 28, 170
_NAME_LENGTH = 22


def class_figure(classes: Sequence[tuple[str, float, str]], *, is_dark: bool) -> go.Figure:
    """Bars of the likeliest classes.

    Args:
        classes: Name, probability (fraction) and meaning of each: `true`, `wrong` (the prediction, which is
            not true) or empty.
        is_dark: The theme.
    """
    colors = palette(is_dark)
    fill = {"true": RIGHT[is_dark], "wrong": WRONG[is_dark], "": colors.train}
    places = list(range(len(classes)))
    figure = go.Figure(
        go.Bar(
            x=[100 * share for _, share, _ in classes], y=places, orientation="h", width=0.6,
            cliponaxis=False, marker={"color": [fill[meaning] for *_, meaning in classes], "cornerradius": 2},
            text=[f"{100 * share:.1f} %{_mark(meaning)}" for _, share, meaning in classes],
            textposition="outside", textfont={"color": colors.text, "size": 12},
            customdata=[name for name, *_ in classes],
            hovertemplate="%{customdata}: %{x:.2f} %<extra></extra>",
        )
    )  # fmt: skip
    lay_out(figure, is_dark, _BAR_HEIGHT * len(classes) + 8)
    figure.update_layout(hovermode="closest", margin={"l": 4, "r": 128, "t": 4, "b": 4})
    figure.update_xaxes(range=[0, 100], visible=False)
    figure.update_yaxes(
        range=[len(classes) - 0.5, -0.5], tickvals=places, showgrid=False,
        ticktext=[shortened(name, _NAME_LENGTH) for name, *_ in classes],
        tickfont={"color": colors.text, "size": 12},
    )  # fmt: skip
    return figure


def history_figure(answers: pd.DataFrame, chosen: int | None, num_epochs: int, *, is_dark: bool) -> go.Figure:
    """The probability of the true class in each evaluation, marked right or wrong.

    Args:
        answers: By evaluation: number (from 1), name (of the predicted class), confidence, loss, is_right.
        chosen: The number of the evaluation that is looked at, which gets a ring.
        num_epochs: The right end of the axis.
        is_dark: The theme.
    """
    colors = palette(is_dark)
    x = answers["number"].to_numpy()
    y = 100 * np.exp(-answers["loss"].to_numpy(dtype=float))
    is_right = answers["is_right"].to_numpy(dtype=bool)
    figure = go.Figure(
        go.Scatter(x=x, y=y, mode="lines", line={"color": colors.train, "width": 1.5}, hoverinfo="skip")
    )
    for name, rows, color, symbol in (
        ("right", is_right, RIGHT[is_dark], "circle"), ("wrong", ~is_right, WRONG[is_dark], "x"),
    ):  # fmt: skip
        part = answers[rows]
        about = [part["name"], 100 * part["confidence"].astype(float), part["loss"].astype(float)]
        figure.add_scatter(
            x=x[rows], y=y[rows], mode="markers", name=name, customdata=np.column_stack(about),
            marker={"color": color, "size": 8, "symbol": symbol},
            hovertemplate=f"%{{y:.1f}} %, {name}: predicted %{{customdata[0]}}, %{{customdata[1]:.1f}} %, "
            "loss %{customdata[2]:.3f}<extra></extra>",
        )  # fmt: skip
    if chosen is not None and chosen in x:
        figure.add_scatter(
            x=[chosen], y=y[x == chosen][:1], mode="markers", hoverinfo="skip",
            marker={"size": 15, "color": "rgba(0,0,0,0)", "line": {"color": colors.outline, "width": 1.5}},
        )  # fmt: skip
    lay_out(figure, is_dark, _HISTORY_HEIGHT)
    figure.update_layout(margin={"l": 4, "r": 10, "t": 8, "b": 36}, hovermode="closest")
    figure.update_xaxes(
        range=[0.5, num_epochs + 0.5], title={"text": "evaluation", "standoff": 4}, tickformat="d", nticks=10
    )
    figure.update_yaxes(range=[-8, 112], tickvals=[0, 50, 100], ticktext=["0 %", "50 %", "100 %"])
    return figure


def _mark(meaning: str) -> str:
    return {"true": "  ✓ true", "wrong": "  ✗ predicted"}.get(meaning, "")
