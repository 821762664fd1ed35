"""Figures of a set of images: how many of each class, and how large they are. Numbers in, a figure out."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from dashboard.charts import AXIS, GRID, lay_out, palette, shortened

MAX_NAMED = 30
"""Up to so many classes each has a bar with its name; more are drawn as one shape, largest first."""

MAX_POINTS = 600
_ROW_PX = 24
_MANY = 25
"""Images of one size that get the largest mark at least, so that single ones stay small."""

_SPLITS = ("train", "eval", "test")


def class_balance_figure(counts: Mapping[str, Mapping[str, int]], is_dark: bool) -> go.Figure:
    """Images by class, each split in its colour.

    Args:
        counts: Images by class name, by split: `{"train": {"cat": 12}}`.
        is_dark: The theme.
    """
    names = list(dict.fromkeys(name for by_class in counts.values() for name in by_class))
    splits = [split for split in _SPLITS if split in counts]
    table = np.array([[counts[split].get(name, 0) for split in splits] for name in names]).reshape(
        -1, len(splits)
    )
    order = np.argsort(-table.sum(axis=1), kind="stable")
    names, table = [names[index] for index in order], table[order]
    draw = _named_bars if len(names) <= MAX_NAMED else _ranked_bars
    return draw(names, splits, table, is_dark)


def image_sizes_figure(sizes: np.ndarray, is_dark: bool) -> go.Figure:
    """Width against height, both on logarithmic axes; a mark's area grows with the number of images.

    Args:
        sizes: Widths and heights in pixels, shape (N, 2), N at least 1.
        is_dark: The theme.
    """
    shown, counts = binned_sizes(sizes)
    colors = palette(is_dark)
    low, high = float(sizes.min()) / 1.25, float(sizes.max()) * 1.25
    figure = go.Figure()
    lay_out(figure, is_dark, 320)
    figure.add_shape(
        type="line", x0=low, y0=low, x1=high, y1=high, line={"color": AXIS, "width": 1, "dash": "dot"}
    )
    figure.add_annotation(
        x=np.log10(high), y=np.log10(high), text="square", showarrow=False, xanchor="right", yanchor="top",
        xshift=-14, font={"color": colors.quiet, "size": 12},
    )  # fmt: skip
    marks = 6 + 22 * np.sqrt(counts / max(_MANY, counts.max()))
    figure.add_trace(
        go.Scatter(
            x=shown[:, 0], y=shown[:, 1], mode="markers", customdata=counts, cliponaxis=False,
            marker={
                "size": marks, "color": colors.train, "opacity": 0.5,
                "line": {"width": 1, "color": colors.quiet},
            },
            hovertemplate="%{x:,.0f} × %{y:,.0f} px: %{customdata:,} images<extra></extra>",
        )
    )  # fmt: skip
    ticks = size_ticks(low, high)
    axis = {
        "type": "log", "range": [np.log10(low), np.log10(high)], "tickvals": ticks,
        "ticktext": [f"{tick:,}" for tick in ticks], "showgrid": True, "gridcolor": GRID,
    }  # fmt: skip
    figure.update_xaxes(**axis, title={"text": "width in pixels", "standoff": 4})
    figure.update_yaxes(**axis, title={"text": "height in pixels", "standoff": 4})
    figure.update_layout(hovermode="closest", margin={"l": 4, "r": 16, "t": 10, "b": 44})
    return figure


def binned_sizes(sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Different sizes and how often each occurs; near ones are put together when there are very many.

    Args:
        sizes: Widths and heights in pixels, shape (N, 2).

    Returns:
        Sizes of shape (M, 2), M at most a few hundred, and counts of shape (M,), whose sum is N.

    Example:
        >>> shown, counts = binned_sizes(np.array([[8, 8], [8, 8], [16, 8]]))
        >>> shown.tolist(), counts.tolist()
        ([[8.0, 8.0], [16.0, 8.0]], [2, 1])
    """
    shown, counts = np.unique(sizes, axis=0, return_counts=True)
    steps = 40.0
    while len(shown) > MAX_POINTS:
        rounded = np.round(np.log2(sizes) * steps) / steps
        shown, counts = np.unique(np.round(2**rounded), axis=0, return_counts=True)
        steps /= 2
    return shown.astype(np.float64), counts


def size_ticks(low: float, high: float) -> list[int]:
    """Round numbers of pixels between two, as tick labels of a logarithmic axis.

    Example:
        >>> size_ticks(7, 40), size_ticks(90, 5000)
        ([8, 16, 32], [128, 256, 512, 1024, 2048, 4096])
    """
    ticks = [2**power for power in range(17) if low <= 2**power <= high]
    return ticks if len(ticks) > 1 else sorted({round(low * 1.25), round(high / 1.25)})


def distinct_names(names: Sequence[str], length: int) -> list[str]:
    """Names shortened to `length` letters, or to more where different names would look alike.

    Example:
        >>> distinct_names(["warbler, adult, in flight", "warbler, young, in flight"], 12)
        ['warbler, ad…t, in flight', 'warbler, yo…g, in flight']
    """
    while True:
        short = [shortened(name, length) for name in names]
        if len(set(short)) == len(set(names)):
            return short
        length += 6


def _named_bars(names: Sequence[str], splits: Sequence[str], table: np.ndarray, is_dark: bool) -> go.Figure:
    colors = palette(is_dark)
    places = list(range(len(names)))
    figure = go.Figure()
    lay_out(figure, is_dark, _ROW_PX * len(names) + 34)
    for number, split in enumerate(splits):
        figure.add_trace(
            go.Bar(
                x=table[:, number], y=places, orientation="h", width=0.62, name=split, customdata=list(names),
                marker={"color": getattr(colors, split), "cornerradius": 1},
                hovertemplate=f"%{{customdata}}, {split}: %{{x:,}}<extra></extra>",
            )
        )  # fmt: skip
    totals = table.sum(axis=1)
    for place, total in zip(places, totals.tolist(), strict=True):
        figure.add_annotation(
            x=total, y=place, text=f"{total:,}", showarrow=False, xanchor="left", xshift=6,
            font={"color": colors.text, "size": 12},
        )  # fmt: skip
    figure.update_layout(barmode="stack", hovermode="closest", margin={"l": 4, "r": 12, "t": 4, "b": 26})
    figure.update_xaxes(
        range=[0, max(1, int(totals.max(initial=1))) * 1.12], showgrid=True, gridcolor=GRID, nticks=6,
        tickformat=",d", ticks="",
    )  # fmt: skip
    figure.update_yaxes(
        range=[len(names) - 0.4, -0.6], tickvals=places, ticktext=distinct_names(names, 28),
        showgrid=False, tickfont={"color": colors.text, "size": 12},
    )  # fmt: skip
    return figure


def _ranked_bars(names: Sequence[str], splits: Sequence[str], table: np.ndarray, is_dark: bool) -> go.Figure:
    """So many classes that a bar is a few pixels wide: the shape tells, the names stand on hover."""
    colors = palette(is_dark)
    places = list(range(1, len(names) + 1))
    figure = go.Figure()
    lay_out(figure, is_dark, 320)
    for number, split in enumerate(splits):
        figure.add_trace(
            go.Bar(
                x=places, y=table[:, number], width=1.0, name=split, customdata=list(names),
                marker={"color": getattr(colors, split), "line": {"width": 0}},
                hovertemplate=f"%{{customdata}}, {split}: %{{y:,}}<extra></extra>",
            )
        )  # fmt: skip
    totals = table.sum(axis=1)
    figure.update_layout(
        barmode="stack", bargap=0, hovermode="closest", margin={"l": 4, "r": 12, "t": 10, "b": 44}
    )
    figure.update_xaxes(
        range=[0.5, len(names) + 0.5], title={"text": "classes, the largest first", "standoff": 4},
        tickformat=",d", nticks=8,
    )  # fmt: skip
    figure.update_yaxes(range=[0, max(1, int(totals.max(initial=1))) * 1.05], nticks=6, tickformat=",d")
    return figure
