"""The part of a confusion matrix that is in sight, and what its cells and margins are drawn with."""

import html
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from dashboard.charts import Palette, palette
from superft_hf.evaluation.matrices import Window, shares

MAX_TEXT_CLASSES = 30
"""Below this many classes in sight, cells hold numbers and every class is named on the axes."""

MAX_HEATMAP_CLASSES = 60
"""Above this many classes in sight, only the cells that hold examples are drawn."""

MAX_MARKERS = 5_000
"""At most so many cells with mistakes are drawn then, the fullest: more would slow down the browser."""

EMPTY_CELL = "rgba(128,136,150,.06)"
_DARK_INK, _LIGHT_INK = "#16191F", "#FFFFFF"
_ROW_SHARES, _COLUMN_SHARES = "row", "column"


@dataclass(frozen=True)
class MatrixLook:
    """How a matrix is shown.

    Attributes:
        cells: `counts`, or shares of the `row` or of the `column`.
        hides_diagonal: Whether what was recognised is left out, so that the mistakes stand alone.
        at_least: Mistakes in cells with fewer examples are left out.
    """

    cells: str = "counts"
    hides_diagonal: bool = False
    at_least: int = 1


@dataclass(frozen=True)
class Part:
    """The part of a matrix in sight: R rows and K columns.

    Attributes:
        rows: Class ids of the rows, shape (R,); likewise columns, shape (K,).
        counts: Shape (R, K).
        shown: What the cells say: counts or shares.
        is_diagonal: Whether row and column are the same class.
        is_drawn: Whether a cell is drawn as more than empty.
        matrix: All counts, shape (C, C).
        names: C class names, as a person wrote them.
        colors: Of the theme.
        look: How it is shown.
        steps: The colour step 0 to 4 of every cell; -1 where nothing is drawn.
    """

    rows: np.ndarray
    columns: np.ndarray
    counts: np.ndarray
    shown: np.ndarray
    is_diagonal: np.ndarray
    is_drawn: np.ndarray
    matrix: np.ndarray
    names: Sequence[str]
    colors: Palette
    look: MatrixLook
    steps: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", _cell_steps(self))

    @property
    def size(self) -> int:
        """Rows or columns, whichever are more."""
        return max(self.counts.shape)


def part_of(
    matrix: np.ndarray,
    class_names: Sequence[str],
    is_dark: bool,
    look: MatrixLook,
    window: Window | None = None,
) -> Part:
    """The part of a matrix in sight; see `confusion_figure`."""
    every = np.arange(len(matrix))
    rows, columns = (every, every) if window is None else (window.rows, window.columns)
    counts = matrix[np.ix_(rows, columns)]
    is_diagonal = rows[:, None] == columns[None, :]
    least = max(look.at_least, _least_drawn(np.where(is_diagonal, 0, counts)))
    is_drawn = (counts > 0) & np.where(is_diagonal, not look.hides_diagonal, counts >= least)
    is_shares = look.cells in (_ROW_SHARES, _COLUMN_SHARES)
    shown = shares(matrix, look.cells)[np.ix_(rows, columns)] if is_shares else counts.astype(float)
    return Part(
        rows, columns, counts, shown, is_diagonal, is_drawn, matrix, class_names, palette(is_dark), look
    )


def num_hidden(part: Part) -> int:
    """Cells with mistakes in sight that are not drawn, for being small or too many."""
    return int(((part.counts > 0) & ~part.is_diagonal & ~part.is_drawn).sum())


def cell_words(part: Part, label: int, prediction: int) -> str:
    """What a cell stands for, with the whole names, on two lines where those are long."""
    true, taken = part.names[label], part.names[prediction]
    if label == prediction:
        return f"{safe(true)} recognised"
    between = "<br>" if len(true) + len(taken) > 50 else " "
    return f"{safe(true)}{between}taken for {safe(taken)}"


def safe(text: str) -> str:
    """Text that a person typed, for Plotly, which takes `<b>` for bold."""
    return html.escape(text, quote=False)


def ink(fill: str) -> str:
    """Black or white, whichever reads better on a fill such as `#E57A42`."""
    light = _luminance(fill)
    on_dark = (light + 0.05) / (_luminance(_DARK_INK) + 0.05)
    return _DARK_INK if on_dark >= 1.05 / (light + 0.05) else _LIGHT_INK


def scale(fills: Sequence[str]) -> list[list[float | str]]:
    """Flat steps as a colour scale of Plotly."""
    if len(fills) == 1:
        return [[0, fills[0]], [1, fills[0]]]
    return [[index / (len(fills) - 1), fill] for index, fill in enumerate(fills)]


def _least_drawn(wrong: np.ndarray) -> int:
    """The count from which on cells can be drawn. Of equal cells all are or none, lest a part looks empty."""
    if max(wrong.shape, default=0) <= MAX_HEATMAP_CLASSES:
        return 1
    counts = np.sort(wrong[wrong > 0])[::-1]
    return 1 if len(counts) <= MAX_MARKERS else int(counts[MAX_MARKERS]) + 1


def _cell_steps(part: Part) -> np.ndarray:
    """The colour step 0 to 4 of every cell, shape (R, K); -1 where nothing is drawn.

    A few mistakes stay pale: the scale of wrong counts reaches at least to 5.
    """
    is_shares = part.look.cells != "counts"
    drawn = np.where(part.is_drawn, part.shown, 0)
    right = np.where(part.is_diagonal, drawn, 0)
    wrong = np.where(part.is_diagonal, 0, drawn)
    right_top = 1.0 if is_shares else max(float(right.max(initial=0)), 1.0)
    wrong_top = max(float(wrong.max(initial=0)), 0.05 if is_shares else 5.0)
    tops = np.where(part.is_diagonal, right_top, wrong_top)
    steps = np.clip(np.ceil(5 * drawn / tops) - 1, 0, 4).astype(int)
    return np.where(part.is_drawn, steps, -1)


def _luminance(color: str) -> float:
    """Relative luminance of `#RRGGBB` as WCAG 2 defines it."""
    channels = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
