"""What became of the images from epoch to epoch, as figures whose parts can be clicked."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go

from dashboard.charts import AXIS, lay_out, palette
from dashboard.confusion_part import ink
from superft_hf.evaluation.history import Group

GAINED, LOST = "gained", "lost"
_LEAST_SHARE_WITH_TEXT = 0.05
_RIGHT, _WRONG, _GROUND = ("#1F6FEB", "#5B9DF9"), ("#D9480F", "#FF8A4C"), ("#FFFFFF", "#101216")
_WEIGHTS = {
    Group.ALWAYS_RIGHT: 1.0, Group.LEARNED_EARLY: 0.6, Group.LEARNED_LATE: 0.35, Group.FORGOTTEN: 0.55,
    Group.NEVER_LEARNED: 1.0,
}  # fmt: skip
"""Of the colour of right for the first three, of wrong for the others."""


@dataclass(frozen=True)
class Epochs:
    """The evaluations along the x axis.

    Attributes:
        numbers: Of each, counted from 1 within the run.
        present: The number of the one that the page shows.
        best: The number of the one whose checkpoint is kept; None where that is not known.
        total: Evaluations of the run so far.
    """

    numbers: Sequence[int]
    present: int
    best: int | None
    total: int


def groups_figure(sizes: dict[Group, int], chosen: Group | None, *, is_dark: bool) -> go.Figure:
    """One bar, divided by what became of the images. The customdata of a part is the name of its group.

    Args:
        sizes: Images by group.
        chosen: The group that is open, which is framed.
        is_dark: The theme.
    """
    colors, total = palette(is_dark), max(sum(sizes.values()), 1)
    figure = go.Figure()
    lay_out(figure, is_dark, 46)
    for group, size in sizes.items():
        share = size / total
        has_text = share >= _LEAST_SHARE_WITH_TEXT
        figure.add_trace(
            go.Bar(
                x=[size], y=[0], orientation="h", customdata=[[str(group)]], width=0.9,
                marker={
                    "color": _fill(group, is_dark), "cornerradius": 2,
                    "line": {"width": 2 if group is chosen else 0, "color": colors.outline},
                },
                text=f"{100 * share:.0f} %" if has_text else "", textposition="inside", textangle=0,
                insidetextanchor="middle", textfont={"color": ink(_fill(group, is_dark)), "size": 12},
                hovertemplate=f"{group}: {size:,} images, {100 * share:.1f} %<extra></extra>",
                selected={"marker": {"opacity": 1}}, unselected={"marker": {"opacity": 1}},
            )
        )  # fmt: skip
    figure.update_layout(
        barmode="stack", hovermode="closest", clickmode="event+select", bargap=0,
        margin={"l": 1, "r": 1, "t": 2, "b": 2},
    )  # fmt: skip
    figure.update_xaxes(visible=False, range=[0, total])
    figure.update_yaxes(visible=False, range=[-0.5, 0.5])
    return figure


def accuracy_figure(flow: pd.DataFrame, num_images: int, epochs: Epochs, *, is_dark: bool) -> go.Figure:
    """Accuracy by epoch: the present one is a filled mark, the best one has a ring. Customdata: the step.

    Args:
        flow: See `superft_hf.evaluation.history.flow`.
        num_images: Images that are counted.
        epochs: Of its rows.
        is_dark: The theme.
    """
    colors = palette(is_dark)
    shares = 100 * flow["right"] / max(num_images, 1)
    sizes = [11 if number == epochs.present else 6 for number in epochs.numbers]
    figure = go.Figure(
        go.Scatter(
            x=list(epochs.numbers), y=shares.tolist(), mode="lines+markers",
            line={"color": colors.eval, "width": 2.2},
            marker={"color": colors.eval, "size": sizes, "opacity": 1},
            customdata=[[step] for step in flow["step"].tolist()], cliponaxis=False,
            hovertemplate="evaluation %{x}: %{y:.1f} % right<extra></extra>",
            selected={"marker": {"opacity": 1}}, unselected={"marker": {"opacity": 1}},
        )
    )  # fmt: skip
    _lay_out_epochs(figure, epochs, is_dark)
    if epochs.best in epochs.numbers:
        ring = {"size": 15, "color": "rgba(0,0,0,0)", "line": {"color": colors.eval, "width": 2}}
        best = shares.iloc[list(epochs.numbers).index(epochs.best)]
        figure.add_trace(
            go.Scatter(
                x=[epochs.best], y=[best], mode="markers", marker=ring, hoverinfo="skip", cliponaxis=False
            )
        )
    figure.update_yaxes(ticksuffix=" %", nticks=5)
    return figure


def flow_figure(
    flow: pd.DataFrame, epochs: Epochs, chosen: tuple[str, int] | None, *, is_dark: bool
) -> go.Figure:
    """Images that became right (up) and wrong (down) in each epoch. Customdata: gained or lost, and the step.

    Args:
        flow: See `superft_hf.evaluation.history.flow`.
        epochs: Of its rows.
        chosen: What is open, which is framed: gained or lost, and the step.
        is_dark: The theme.
    """
    colors = palette(is_dark)
    figure = go.Figure()
    for kind, sign, pair, words in (
        (GAINED, 1, _RIGHT, "became right"), (LOST, -1, _WRONG, "became wrong"),
    ):  # fmt: skip
        frames = [2 if chosen == (kind, step) else 0 for step in flow["step"]]
        figure.add_trace(
            go.Bar(
                x=list(epochs.numbers), y=(sign * flow[kind]).tolist(),
                customdata=[[kind, step, size] for step, size in zip(flow["step"], flow[kind], strict=True)],
                marker={
                    "color": pair[is_dark], "cornerradius": 2,
                    "line": {"width": frames, "color": colors.outline},
                },
                hovertemplate=f"evaluation %{{x}}: %{{customdata[2]}} images {words}<extra></extra>",
                selected={"marker": {"opacity": 1}}, unselected={"marker": {"opacity": 1}},
            )
        )  # fmt: skip
    _lay_out_epochs(figure, epochs, is_dark)
    up, down = (max(int(flow[kind].max()), 1) for kind in (GAINED, LOST))
    room = 0.1 * (up + down)
    figure.update_layout(barmode="relative", bargap=0.3)
    ticks = sorted({-down, 0, up // 2, up})
    figure.update_yaxes(
        range=[-down - room, up + room], tickvals=ticks, ticktext=[f"{abs(tick):,}" for tick in ticks],
        zeroline=True, zerolinecolor=AXIS,
    )  # fmt: skip
    return figure


def _fill(group: Group, is_dark: bool) -> str:
    """The colour of right or wrong, faded into the ground."""
    is_right = group in (Group.ALWAYS_RIGHT, Group.LEARNED_EARLY, Group.LEARNED_LATE)
    color, ground, weight = (_RIGHT if is_right else _WRONG)[is_dark], _GROUND[is_dark], _WEIGHTS[group]
    mixed = (
        round(weight * int(color[start : start + 2], 16) + (1 - weight) * int(ground[start : start + 2], 16))
        for start in (1, 3, 5)
    )
    return "#" + "".join(f"{channel:02X}" for channel in mixed)


def _lay_out_epochs(figure: go.Figure, epochs: Epochs, is_dark: bool) -> None:
    lay_out(figure, is_dark, 210)
    figure.add_vline(
        x=epochs.present, line={"color": palette(is_dark).quiet, "width": 1, "dash": "dot"}, layer="below"
    )
    figure.update_layout(
        hovermode="closest",
        hoverdistance=60,
        clickmode="event+select",
        margin={"l": 4, "r": 8, "t": 10, "b": 40},
    )
    figure.update_xaxes(
        range=[0.4, epochs.total + 0.6], title={"text": "evaluation", "standoff": 4}, tickformat="d",
        dtick=max(1, epochs.total // 10),
    )  # fmt: skip
