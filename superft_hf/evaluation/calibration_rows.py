"""What calibration needs of each image, made while the logits go by in blocks.

Logits of 50,000 images and 1,000 classes are 200 MB. They are gone through once for each temperature, one
exponential a logit, and never kept. What stays true: whoever asks twice, also from two threads, gets what was
made once. N is the number of images, C of classes; probabilities are softmax(logits / temperature).
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Blocks = Callable[[Callable[[slice, np.ndarray], None]], None]
"""Hands rows and their logits, shape (n, C), to what it is given: all rows, in any order, by any threads."""

_VALUES_A_BLOCK = 2**17
_MAX_TEMPERATURES = 3


@dataclass(frozen=True)
class Rows:
    """What the logits of each image come to at a temperature; all of shape (N,).

    Attributes:
        confidence: Probability of the likeliest class.
        is_right: Whether that is the label.
        log_loss: -ln(probability of the label).
        brier: Sum over the classes of (probability - truth) squared.
        is_finite: Whether all logits are; else the other figures mean nothing.
    """

    confidence: np.ndarray
    is_right: np.ndarray
    log_loss: np.ndarray
    brier: np.ndarray
    is_finite: np.ndarray


class Passes:
    """The logits of one evaluation, gone through as often as needed and no oftener.

    Args:
        blocks: Hands them out; what it raises is passed on, and nothing is remembered then.
        labels: Shape (N,).
        num_classes: C.
    """

    def __init__(self, blocks: Blocks, labels: np.ndarray, num_classes: int) -> None:
        self.labels, self.num_classes = labels, num_classes
        self._blocks = blocks
        self._found: dict[float, Rows] = {}
        self._part = np.zeros(0, dtype=np.int64), np.zeros((0, num_classes))
        self._lock = threading.RLock()

    def at(self, temperature: float, keep: np.ndarray | None = None) -> Rows:
        """At a temperature.

        Args:
            temperature: Divides the logits.
            keep: Rows, ascending, that `logits` will be asked for: they are kept as they go by.
        """
        with self._lock:
            if temperature not in self._found:
                if len(self._found) == _MAX_TEMPERATURES:
                    self._found.pop(next(one for one in self._found if one != 1))
                self._found[temperature] = self._go_through(temperature, keep)
            return self._found[temperature]

    def logits(self, rows: np.ndarray) -> np.ndarray:
        """Of some rows, ascending, shape (n, C); those of the last call are kept. Do not change them."""
        with self._lock:
            if not np.array_equal(rows, self._part[0]):
                made = _Picked(rows, self.num_classes)
                self._blocks(made.take)
                self._part = rows, made.logits
            return self._part[1]

    def let_go(self) -> None:
        """Forgets the logits that were kept, not what they came to."""
        with self._lock:
            self._part = np.zeros(0, dtype=np.int64), np.zeros((0, self.num_classes))

    def _go_through(self, temperature: float, keep: np.ndarray | None) -> Rows:
        count = len(self.labels)
        figures, flags = np.empty((3, count)), np.empty((2, count), dtype=bool)
        picked = None if keep is None else _Picked(keep, self.num_classes)

        def take(rows: slice, logits: np.ndarray) -> None:
            figures[:, rows], flags[:, rows] = _of_block(logits, self.labels[rows], temperature)
            if picked is not None:
                picked.take(rows, logits)

        self._blocks(take)
        if picked is not None:
            self._part = picked.rows, picked.logits
        return Rows(figures[0], flags[0], figures[1], figures[2], flags[1])


class _Picked:
    """Some rows of all, copied as they go by."""

    def __init__(self, rows: np.ndarray, num_classes: int) -> None:
        self.rows = rows
        self.logits = np.empty((len(rows), num_classes))

    def take(self, rows: slice, logits: np.ndarray) -> None:
        first, last = np.searchsorted(self.rows, [rows.start, rows.stop])
        self.logits[first:last] = logits[self.rows[first:last] - rows.start]


def blocks_of(logits: np.ndarray) -> Blocks:
    """Logits that are in memory, shape (N, C)."""
    size = max(1, _VALUES_A_BLOCK // max(logits.shape[1], 1))

    def hand_out(take: Callable[[slice, np.ndarray], None]) -> None:
        for start in range(0, len(logits), size):
            rows = slice(start, min(start + size, len(logits)))
            take(rows, logits[rows])

    return hand_out


def _of_block(
    logits: np.ndarray, labels: np.ndarray, temperature: float
) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """Confidence, log loss and Brier score of each row; whether it is right, and finite."""
    rows = np.arange(len(logits))
    likeliest = logits.argmax(axis=1)
    highest = logits[rows, likeliest]
    is_finite = np.isfinite(highest) & np.isfinite(logits.min(axis=1))
    with np.errstate(invalid="ignore", over="ignore"):  # rows that are not finite
        values = np.subtract(logits, highest[:, None], dtype=np.float64)
        if temperature != 1:
            values *= 1 / temperature
        own = values[rows, labels]
        np.exp(values, out=values)
        total = values.sum(axis=1)
        squares = np.einsum("nc,nc->n", values, values)
        brier = squares / total**2 - 2 * np.exp(own) / total + 1
    return (1 / total, np.log(total) - own, brier), (likeliest == labels, is_finite)
