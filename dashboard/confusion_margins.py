"""The margins of a confusion matrix: images of each class, predictions of it, and the wrong among both."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from dashboard.confusion_part import (
    EMPTY_CELL,
    MAX_HEATMAP_CLASSES,
    MAX_TEXT_CLASSES,
    Part,
    ink,
    safe,
    scale,
)

BANDS = ("all", "wrong")
MAX_TWO_LINES = 12
"""Up to so many classes in sight, recall and precision stand in the margins; above, they appear on hover."""

_WIDTH, _GAP_PX = 0.17, 6
_THIN_SPACE = "\u2009"  # on a phone, ten precisions have to fit side by side
_LEAST_TOP = 0.05


@dataclass(frozen=True)
class _Margin:
    """One margin: the sums of rows (at the right) or of columns (at the bottom).

    Attributes:
        is_rows: Whether it holds the sums of rows.
        ids: Class ids, shape (M,).
        totals: Images of each, shape (M,).
        wrong: Those that were not recognised, shape (M,).
    """

    is_rows: bool
    ids: np.ndarray
    totals: np.ndarray
    wrong: np.ndarray

    @property
    def axes(self) -> dict[str, str]:
        return {"xaxis": "x2", "yaxis": "y"} if self.is_rows else {"xaxis": "x", "yaxis": "y2"}

    @property
    def share(self) -> np.ndarray:
        """Recall or precision; NaN where there is no image."""
        return np.where(self.totals > 0, 1 - self.wrong / np.maximum(self.totals, 1), np.nan)

    def place(self, index: int, band: int) -> tuple[int, int]:
        return (band, index) if self.is_rows else (index, band)


def add_margins(figure: go.Figure, part: Part, height: int) -> None:
    """Adds both margins, on axes of their own beside and below those of the cells.

    Args:
        figure: With the cells and their axes.
        part: What is in sight; the margins are of all images, also those out of sight.
        height: Of the figure, in pixels.
    """
    right = part.matrix.diagonal()
    support, predicted = part.matrix.sum(axis=1), part.matrix.sum(axis=0)
    margins = (
        _Margin(True, part.rows, support[part.rows], (support - right)[part.rows]),
        _Margin(False, part.columns, predicted[part.columns], (predicted - right)[part.columns]),
    )
    for margin in margins:
        _add_fills(figure, part, margin)
        _add_targets(figure, part, margin)
        if part.size < MAX_TEXT_CLASSES:
            _add_numbers(figure, part, margin)
    _arrange(figure, part, height)


def _add_fills(figure: go.Figure, part: Part, margin: _Margin) -> None:
    steps = _wrong_steps(margin)
    ground = np.zeros((2, len(steps)))
    ground[1, steps >= 0] = np.nan
    wrong = np.full((2, len(steps)), np.nan)
    wrong[1, steps >= 0] = steps[steps >= 0]
    gap = 2 if part.size <= MAX_TEXT_CLASSES else 1 if part.size <= MAX_HEATMAP_CLASSES else 0
    for values, fills in ((ground, (EMPTY_CELL,)), (wrong, part.colors.wrong_steps)):
        figure.add_trace(
            go.Heatmap(
                z=values.T if margin.is_rows else values, zmin=0, zmax=max(len(fills) - 1, 1),
                colorscale=scale(fills), showscale=False, hoverinfo="skip", xgap=gap, ygap=gap,
                hoverongaps=False, **margin.axes,
            )
        )  # fmt: skip


def _wrong_steps(margin: _Margin) -> np.ndarray:
    """The colour step of each share of wrong images, so that the worst classes stand out; -1 for none."""
    wrong = np.nan_to_num(1 - margin.share)
    top = max(float(wrong.max(initial=0)), _LEAST_TOP)
    return np.where(wrong > 0, np.clip(np.ceil(5 * wrong / top) - 1, 0, 4), -1).astype(int)


def _add_targets(figure: go.Figure, part: Part, margin: _Margin) -> None:
    points, data, texts = [], [], []
    for index, class_id in enumerate(margin.ids.tolist()):
        words = _words(part.names[class_id], margin, index)
        for band, count in enumerate((int(margin.totals[index]), int(margin.wrong[index]))):
            ends = (class_id, -1) if margin.is_rows else (-1, class_id)
            points.append(margin.place(index, band))
            data.append([*ends, count, band])
            texts.append(words)
    figure.add_trace(
        go.Scatter(
            x=[x for x, _ in points], y=[y for _, y in points], mode="markers", text=texts,
            customdata=np.array(data, dtype=object),
            hovertemplate="%{text}<extra></extra>", **margin.axes,
            marker={"symbol": "square", "size": 12, "opacity": 0},
            selected={"marker": {"opacity": 0}}, unselected={"marker": {"opacity": 0}},
        )
    )  # fmt: skip


def _words(name: str, margin: _Margin, index: int) -> str:
    total, wrong = int(margin.totals[index]), int(margin.wrong[index])
    title = safe(name) if margin.is_rows else f"predicted {safe(name)}"
    if not total:
        return f"{title}: no image"
    measure = "recall" if margin.is_rows else "precision"
    images = "1 image" if total == 1 else f"{total:,} images"
    return f"{title}: {images}, {wrong:,} wrong<br>{measure} {100 * margin.share[index]:.1f} %"


def _add_numbers(figure: go.Figure, part: Part, margin: _Margin) -> None:
    steps, colors = _wrong_steps(margin), part.colors
    size = 12 if part.size <= MAX_TWO_LINES else 10 if part.size <= 20 else 9
    refs = {"xref": margin.axes["xaxis"], "yref": margin.axes["yaxis"], "showarrow": False}
    angle = -90 if not margin.is_rows and part.size > MAX_TWO_LINES else 0
    made: list[dict[str, Any]] = []
    for index in range(len(margin.ids)):
        share = f"<br><span style='font-size:9px'>{100 * margin.share[index]:.0f}{_THIN_SPACE}%</span>"
        has_share = part.size <= MAX_TWO_LINES and margin.totals[index] > 0
        texts = (f"{margin.totals[index]:,}{share if has_share else ''}", f"{margin.wrong[index]:,}")
        fills = (colors.text, ink(colors.wrong_steps[steps[index]]) if steps[index] >= 0 else colors.quiet)
        for band in range(len(BANDS)):
            x, y = margin.place(index, band)
            font = {"size": size, "color": fills[band]}
            made.append({"x": x, "y": y, "text": texts[band], "font": font, "textangle": angle, **refs})
    figure.layout.annotations = [*figure.layout.annotations, *made]  # an update would merge the two


def _arrange(figure: go.Figure, part: Part, height: int) -> None:
    band_px = 36 if part.size <= MAX_TWO_LINES else 30 if part.size < MAX_TEXT_CLASSES else 18
    low, gap = 2 * band_px / height, _GAP_PX / height
    figure.update_layout(
        xaxis={"domain": [0, 1 - _WIDTH], "anchor": "y2"},
        yaxis={"domain": [low + gap, 1]},
        xaxis2=_axis(figure.layout.xaxis, [1 - _WIDTH + 0.012, 1], "y2", [-0.5, 1.5]),
        yaxis2=_axis(figure.layout.yaxis, [0, low], "x", [1.5, -0.5]),
    )


def _axis(like: Any, domain: Sequence[float], anchor: str, ends: Sequence[float]) -> dict[str, Any]:
    return {
        "domain": list(domain), "anchor": anchor, "range": list(ends), "tickvals": [0, 1],
        "ticktext": list(BANDS), "showgrid": False, "showline": False, "ticks": "", "zeroline": False,
        "fixedrange": True, "automargin": True, "tickfont": {"size": 10, "color": like.tickfont.color},
        "autorange": False, "tickangle": 0, "ticklabeloverflow": "allow",
    }  # fmt: skip
