"""The still figures of a model card, as PNG: the Hub draws no interactive ones.

Numbers in, bytes out. The colours mean what they mean in the dashboard: grey and dotted is train, violet is
eval, green is test; blue is right, orange is wrong. The ground is white, since a card has no theme.
"""

import io
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from superft_hf.train_loss import train_loss_key

MAX_CLASSES = 1000
"""Above it a matrix says nothing at the size of a page."""

MAX_TEXT_CLASSES = 30
"""Up to it cells hold numbers and every class is named; twice as many are still named."""

_TRAIN, _EVAL, _INK, _QUIET, _LINE, _EMPTY = (
    "#7A8494", "#7048E8", "#16191F", "#586172", "#DFE2E7", "#F7F8F9",
)  # fmt: skip
_RIGHT = ("#E7F0FE", "#D3E3FC", "#BFD7FB", "#A9C9F9", "#7FB2FA")
_WRONG = ("#FADCCB", "#F5BB99", "#EE9A6A", "#E57A42", "#B93A08")
_DPI = 160
_NAME_LENGTH = 22


def curves_figure(curves: pd.DataFrame, best_epoch: float | None) -> bytes | None:
    """Loss and accuracy by epoch, side by side.

    Args:
        curves: Columns key (loss, eval_loss, eval_accuracy), epoch, value.
        best_epoch: Where the checkpoint that was kept lies; gets a ring.

    Returns:
        A PNG, or None when there is nothing to draw.
    """
    lines = {
        key: part.sort_values("epoch")
        for key, part in curves[np.isfinite(curves["value"].astype(float))].groupby("key")
    }
    if not lines:
        return None
    figure = Figure(figsize=(9.6, 3.3), layout="constrained", facecolor="white")
    left, right = figure.subplots(1, 2)
    end = float(curves["epoch"].max())
    _draw_lines(
        left, [("train", lines.get(train_loss_key(lines)), _TRAIN), ("eval", lines.get("eval_loss"), _EVAL)]
    )
    _dress(left, "Loss", end)
    accuracy = lines.get("eval_accuracy")
    if accuracy is not None:
        accuracy = accuracy.assign(value=100 * accuracy["value"])
    _draw_lines(right, [("eval", accuracy, _EVAL)])
    _dress(right, "Accuracy on eval, %", end)
    for axes, line in ((left, lines.get("eval_loss")), (right, accuracy)):
        _ring(axes, line, best_epoch)
    return _png(figure)


def confusion_figure(matrix: np.ndarray, class_names: Sequence[str], split: str) -> bytes | None:
    """A confusion matrix: blue is right, orange is wrong, the darker the more images.

    Args:
        matrix: Counts of shape (C, C): rows are true classes, columns predicted ones.
        class_names: C names.
        split: Stands in the title.

    Returns:
        A PNG; None for one class, or for more than MAX_CLASSES.
    """
    count = len(class_names)
    if not 2 <= count <= MAX_CLASSES or not matrix.any():
        return None
    side = float(np.clip(0.46 * count + 2.2, 4.2, 10.5))
    figure = Figure(figsize=(side + 0.6, side), layout="constrained", facecolor="white")
    axes = figure.subplots()
    steps = _steps(matrix)
    axes.imshow(_pixels(steps), interpolation="nearest", aspect="equal")
    if count > 2 * MAX_TEXT_CLASSES:
        _mark_wrong(axes, matrix, steps, side)
    elif count > 1:
        edges = np.arange(-0.5, count)
        width = 1.6 if count <= MAX_TEXT_CLASSES else 0.6
        axes.hlines(edges, -0.5, count - 0.5, color="white", linewidth=width)
        axes.vlines(edges, -0.5, count - 0.5, color="white", linewidth=width)
    if count <= MAX_TEXT_CLASSES:
        _write_counts(axes, matrix, steps, side)
    _name_classes(axes, class_names)
    wrong = int(matrix.sum() - matrix.trace())
    axes.set_title(
        f"{split}: {int(matrix.sum()):,} images, {wrong:,} wrong",
        loc="left",
        fontsize=11,
        fontweight="bold",
        color=_INK,
        pad=10,
    )
    axes.set_xlabel("predicted", color=_QUIET, fontsize=10)
    axes.set_ylabel("true", color=_QUIET, fontsize=10)
    return _png(figure)


def _draw_lines(axes: Axes, lines: Sequence[tuple[str, pd.DataFrame | None, str]]) -> None:
    ends = []
    for name, line, color in lines:
        if line is None or line.empty:
            continue
        style = {"linestyle": ":", "linewidth": 1.6} if name == "train" else {"linewidth": 2.0}
        marker = "o" if len(line) == 1 else ""
        axes.plot(line["epoch"], line["value"], color=color, marker=marker, markersize=4, **style)
        ends.append((name, color, float(line["epoch"].iloc[-1]), float(line["value"].iloc[-1])))
    low, high = axes.get_ylim()
    gap = 0.075 * (high - low)
    places = [value for *_, value in ends]
    if len(ends) == 2 and abs(places[0] - places[1]) < gap:
        shift = (gap - abs(places[0] - places[1])) / 2
        up = int(np.argmax(places))
        places[up], places[1 - up] = places[up] + shift, places[1 - up] - shift
    for (name, color, x, _), place in zip(ends, places, strict=True):
        axes.annotate(
            name, (x, place), xytext=(7, 0), textcoords="offset points", color=color, fontsize=10,
            fontweight="bold", va="center", ha="left", annotation_clip=False,
        )  # fmt: skip


def _dress(axes: Axes, title: str, end: float) -> None:
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=_INK, pad=10)
    axes.set_xlim(0, end * 1.01 or 1)
    axes.set_xlabel("epoch", color=_QUIET, fontsize=10)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=end >= 4))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.grid(axis="y", color=_LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_QUIET, labelsize=9, length=3, color=_LINE)
    axes.tick_params(axis="y", length=0)
    for name, spine in axes.spines.items():
        spine.set_visible(name == "bottom")
        spine.set_color(_LINE)


def _ring(axes: Axes, line: pd.DataFrame | None, best_epoch: float | None) -> None:
    """Marks the checkpoint that was kept."""
    if line is None or line.empty or best_epoch is None:
        return
    nearest = line.iloc[int((line["epoch"] - best_epoch).abs().argmin())]
    axes.axvline(nearest["epoch"], color=_LINE, linewidth=1, linestyle=":", zorder=0)
    axes.plot(
        [nearest["epoch"]], [nearest["value"]], marker="o", markersize=8, markerfacecolor="white",
        markeredgecolor=_EVAL, markeredgewidth=2, clip_on=False,
    )  # fmt: skip


def _steps(matrix: np.ndarray) -> np.ndarray:
    """The colour step 0 to 4 of each cell, shape (C, C); -1 where it is empty. Few mistakes stay pale."""
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    tops = np.where(
        np.eye(len(matrix), dtype=bool), max(int(matrix.diagonal().max()), 1), max(int(wrong.max()), 5)
    )
    return np.where(matrix > 0, np.clip(np.ceil(5 * matrix / tops) - 1, 0, 4), -1).astype(int)


def _pixels(steps: np.ndarray) -> np.ndarray:
    """One colour a cell: shape (C, C, 3), fractions."""
    fills = np.array([to_rgb(fill) for fill in (*_RIGHT, *_WRONG, _EMPTY)])
    is_right = np.eye(len(steps), dtype=bool)
    return fills[np.where(steps < 0, 10, np.where(is_right, steps, steps + 5))]


def _mark_wrong(axes: Axes, matrix: np.ndarray, steps: np.ndarray, side: float) -> None:
    """Among very many classes a cell is smaller than a dot that can be seen: so mistakes get dots."""
    rows, columns = np.nonzero(matrix)
    size = max(0.62 * side * 72 / len(matrix), 2.2) ** 2
    for is_drawn_right in (True, False):
        chosen = (rows == columns) == is_drawn_right
        shown = steps[rows[chosen], columns[chosen]]
        fills = [_RIGHT[4] if is_drawn_right else _WRONG[max(step, 1)] for step in shown]
        axes.scatter(columns[chosen], rows[chosen], s=size, marker="s", c=fills, linewidths=0)


def _write_counts(axes: Axes, matrix: np.ndarray, steps: np.ndarray, side: float) -> None:
    count = len(matrix)
    longest = len(f"{int(matrix.max()):,}")
    size = float(np.clip(0.62 * side * 72 / count / max(longest, 2) * 1.15, 5, 11))
    for row, column in zip(*np.nonzero(matrix), strict=True):
        is_dark = row != column and steps[row, column] == 4
        axes.text(
            column, row, f"{int(matrix[row, column]):,}", ha="center", va="center_baseline", fontsize=size,
            color="white" if is_dark else _INK,
        )  # fmt: skip


def _name_classes(axes: Axes, class_names: Sequence[str]) -> None:
    count = len(class_names)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0, colors=_INK)
    if count > 2 * MAX_TEXT_CLASSES:
        axes.tick_params(colors=_QUIET, labelsize=9)
        return
    names = [_shortened(name) for name in class_names]
    size = 10 if count <= 15 else 8 if count <= MAX_TEXT_CLASSES else 6
    turned = max(len(name) for name in names) > 4 + 30 // count**2
    look = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if turned else {}
    axes.set_xticks(range(count), names, fontsize=size, **look)
    axes.set_yticks(range(count), names, fontsize=size)


def _shortened(name: str) -> str:
    """Cut in the middle, and safe from matplotlib's mathematics."""
    half = (_NAME_LENGTH - 1) // 2
    shown = name if len(name) <= _NAME_LENGTH else f"{name[:half]}…{name[-half:]}"
    return shown.replace("$", r"\$")


def _png(figure: Figure) -> bytes:
    out = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(
        out, format="png", dpi=_DPI, bbox_inches="tight", pad_inches=0.12, metadata={"Software": None}
    )
    return out.getvalue()
