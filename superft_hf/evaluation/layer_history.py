"""What training did to each layer: how far its weights moved from where they began, and its gradients.

The file of a run is lines of JSON: first the layers, then a line a recorded step, appended as training goes
on, so that a page can read it at any moment; a line that is half written is passed over. A long run is
thinned, so that neither the file nor its reading grows without end.

T is the number of recorded steps, L the number of layers, from the images to the head.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

MAX_STEPS = 512
"""Recorded steps of which a file has at most so many; then it is thinned to half of them."""

USUAL_STEPS = 128
"""About so many are recorded of a whole run, besides the ends of its epochs: a picture holds no more."""

_LAYERS, _SPACING = "layers", "spacing"
_SERIES = ("change", "gradient", "norm")
_DIGITS = 5
_EVEN = 2.0
"""Layers whose changes lie within this factor have changed about alike."""


@dataclass(frozen=True)
class Layer:
    """One row: a module with weights of its own, or several of a large network together.

    Attributes:
        name: Such as `layer4.1.conv2`.
        num_parameters: Weights and biases.
        is_head: Whether it belongs to the new classification layer.
    """

    name: str
    num_parameters: int
    is_head: bool = False


@dataclass(frozen=True)
class LayerHistory:
    """The layers of a run over its recorded steps.

    Attributes:
        layers: L layers.
        steps: Global steps, ascending, shape (T,), int64.
        epochs: Shape (T,), float64.
        changes: ‖W − W₀‖ / ‖W₀‖ by step and layer, shape (T, L), float64: 0 for what never trained, NaN where
            it cannot be told.
        gradients: Norm of the gradient of that step, before clipping, shape (T, L); NaN for frozen layers and
            for steps at which it was not taken.
        norms: ‖W‖, shape (T, L).
    """

    layers: tuple[Layer, ...]
    steps: np.ndarray
    epochs: np.ndarray
    changes: np.ndarray
    gradients: np.ndarray
    norms: np.ndarray

    @property
    def relative_gradients(self) -> np.ndarray:
        """The norm of the gradient as a share of that of the weights, shape (T, L)."""
        return np.divide(
            self.gradients, self.norms, out=np.full_like(self.gradients, math.nan), where=self.norms > 0
        )

    @property
    def final_changes(self) -> np.ndarray:
        """The changes at the last recorded step, shape (L,)."""
        return self.changes[-1]

    @property
    def final_gradients(self) -> np.ndarray:
        """The relative gradients of the last step at which they were taken, shape (L,)."""
        taken = np.flatnonzero(np.isfinite(self.gradients).any(axis=1))
        return self.relative_gradients[taken[-1]] if len(taken) else np.full(len(self.layers), math.nan)


class LayerFile:
    """Writes the file of a run.

    Args:
        path: The file.
        layers: L layers.
    """

    def __init__(self, path: Path, layers: Sequence[Layer]) -> None:
        self._path = path
        self._layers = tuple(layers)
        self._steps: list[int] = []
        self._spacing = 1

    @property
    def last_step(self) -> int | None:
        """The last recorded step; None before the first."""
        return self._steps[-1] if self._steps else None

    def begin(self, step: int, max_steps: int) -> None:
        """Begins the file, or goes on with it.

        Args:
            step: What is later is removed.
            max_steps: Planned steps of the run, by which it is decided how far apart the recorded ones are.
        """
        head, rows = _read_lines(self._path)
        is_same = head is not None and _layers_of(head) == self._layers  # else the file is begun anew
        kept = [row for row in rows if is_same and row["step"] <= step]
        self._spacing = max(int(head[_SPACING]) if head and kept else 1, max_steps // USUAL_STEPS)
        self._rewrite(kept)

    def wants(self, step: int) -> bool:
        """Whether a step is far enough from the last recorded one to be recorded."""
        return not self._steps or step - self._steps[-1] >= self._spacing

    def append(
        self,
        step: int,
        epoch: float,
        change: Sequence[float],
        gradient: Sequence[float],
        norm: Sequence[float],
    ) -> None:
        """Adds a step, later than those before.

        Args:
            step: The global step.
            epoch: Passes over the train split so far.
            change: Relative change of each layer, L of them; a number that is none cannot be told.
            gradient: Norm of each layer's gradient, likewise.
            norm: Norm of each layer's weights, likewise.
        """
        if self._steps and step <= self._steps[-1]:
            raise ValueError(f"step {step} is not later than {self._steps[-1]}")
        values = dict(zip(_SERIES, (_rounded(one) for one in (change, gradient, norm)), strict=True))
        with self._path.open("a", encoding="utf-8") as lines:
            lines.write(_line({"step": step, "epoch": round(epoch, 5), **values}))
        self._steps.append(step)
        if len(self._steps) > MAX_STEPS:
            self._thin()

    def _thin(self) -> None:
        """Keeps about half of the steps, spread evenly; the last one stays."""
        rows = _read_lines(self._path)[1]
        self._spacing = max(self._spacing, 2 * rows[-1]["step"] // MAX_STEPS)
        kept, later = [], math.inf
        for row in reversed(rows):
            if later - row["step"] >= self._spacing:
                kept.append(row)
                later = row["step"]
        self._rewrite(kept[::-1])

    def _rewrite(self, rows: Sequence[dict[str, Any]]) -> None:
        layers = [[one.name, one.num_parameters, one.is_head] for one in self._layers]
        text = _line({_LAYERS: layers, _SPACING: self._spacing}) + "".join(map(_line, rows))
        aside = self._path.with_suffix(".writing")
        aside.write_text(text, encoding="utf-8")
        aside.replace(self._path)
        self._steps = [row["step"] for row in rows]


def read_history(path: Path) -> LayerHistory | None:
    """Reads the file of a run; None when there is none, or nothing in it yet."""
    head, rows = _read_lines(path)
    if head is None or not rows:
        return None
    layers = _layers_of(head)
    changes, gradients, norms = (
        np.array([row[name] for row in rows], dtype=np.float64).reshape(len(rows), len(layers))
        for name in _SERIES
    )
    return LayerHistory(
        layers, np.array([row["step"] for row in rows], dtype=np.int64),
        np.array([row["epoch"] for row in rows], dtype=np.float64), changes, gradients, norms,
    )  # fmt: skip


def thinned(history: LayerHistory, limit: int) -> LayerHistory:
    """At most `limit` of the recorded steps, spread evenly over the epochs; the last one is kept."""
    if len(history.steps) <= limit:
        return history
    places = np.ceil(history.epochs / history.epochs[-1] * limit).astype(int)
    kept = np.flatnonzero(np.append(places[1:] != places[:-1], True))[-limit:]
    return _at(history, kept)


def with_gradients(history: LayerHistory) -> LayerHistory:
    """The recorded steps at which gradients were taken."""
    return _at(history, np.flatnonzero(np.isfinite(history.gradients).any(axis=1)))


def share_in_words(share: float) -> str:
    """A change with two digits: it may be large or tiny.

    Example:
        >>> [share_in_words(one) for one in (0.1234, 0.0042, 0.000031, 14.2, 0.0, math.nan)]
        ['12 %', '0.42 %', '0.0031 %', '1,420 %', '0 %', '–']
    """
    if not math.isfinite(share):
        return "–"
    percent = 100 * share
    if percent == 0:
        return "0 %"
    digits = max(0, 1 - math.floor(math.log10(abs(percent)) + 1e-9))
    return f"{percent:,.{digits}f} %"


def in_words(history: LayerHistory, name: Callable[[str], str] = str, *, is_going_on: bool = False) -> str:
    """What training changed, in a sentence.

    Args:
        history: At least one step.
        name: Words a layer's name, such as by escaping it for Markdown.
        is_going_on: Whether the run still trains.
    """
    is_head = np.array([one.is_head for one in history.layers])
    changes = history.final_changes
    so_far = " so far" if is_going_on else ""
    if not np.isfinite(changes).any():
        return "How far the layers moved is not known: there was no memory to keep the first weights."
    head, body = changes[is_head], changes[~is_head]
    by = f" by {_most(head)}" if np.isfinite(head).any() else ""
    if not len(body) or not np.isfinite(body).any():
        return f"The head has changed{by}{so_far}."
    if not np.nanmax(body):
        return f"Only the head trained: it has changed{by}{so_far}, every other layer is as it was."
    return f"{_of_body(history, body, ~is_head, name, so_far)}{f'; the head{by}' if by else ''}."


def _of_body(
    history: LayerHistory, body: np.ndarray, is_body: np.ndarray, name: Callable[[str], str], so_far: str
) -> str:
    """What became of the layers below the head, without a full stop."""
    trained = body[np.isfinite(body) & (body > 0)]
    frozen = int((body == 0).sum())
    if len(body) == 1:
        return f"The body has changed by {_most(body)}{so_far}"
    if not frozen and trained.max() <= _EVEN * trained.min():
        ends = f"{share_in_words(trained.min())} to {share_in_words(trained.max())}"
        return f"All layers of the body have changed about alike{so_far}: {ends}"
    place = int(np.nanargmax(body))
    layers = [layer for layer, one in zip(history.layers, is_body, strict=True) if one]
    shown = name(layers[place].name)
    where = {0: "the first layer", len(body) - 1: "the last one before the head"}.get(
        place, f"layer {place + 1} of {len(body)}"
    )
    words = f"{shown}, {where}, has changed most{so_far}: by {_most(body)}"
    third = max(1, len(body) // 3)
    words += f"; the first {_some(body[:third])}, the last {_some(body[-third:])}"
    return words + (f"; {frozen} of {len(body)} are as they were" if frozen else "")


def _some(changes: np.ndarray) -> str:
    """Some layers by their median."""
    known = changes[np.isfinite(changes)]
    middle = share_in_words(float(np.median(known))) if len(known) else "–"
    return f"by {middle}" if len(changes) == 1 else f"{len(changes)} by {middle} at the median"


def _most(changes: np.ndarray) -> str:
    return share_in_words(float(np.nanmax(changes)))


def _at(history: LayerHistory, places: np.ndarray) -> LayerHistory:
    names = ("steps", "epochs", "changes", "gradients", "norms")
    return replace(history, **{name: getattr(history, name)[places] for name in names})


def _read_lines(path: Path) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    """The head of the file and its steps, ascending; lines that are damaged are left out."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None, []
    found = [one for one in map(_parsed, text.splitlines()) if one is not None]
    if not found or _LAYERS not in found[0]:
        return None, []
    size = len(found[0][_LAYERS])
    rows = {
        one["step"]: one
        for one in found[1:]
        if "step" in one and all(len(one.get(name, ())) == size for name in _SERIES)
    }
    return found[0], [rows[step] for step in sorted(rows)]


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _layers_of(head: dict[str, Any]) -> tuple[Layer, ...]:
    return tuple(Layer(str(name), int(size), bool(is_head)) for name, size, is_head in head[_LAYERS])


def _rounded(values: Sequence[float]) -> list[float | None]:
    return [float(f"{one:.{_DIGITS}g}") if math.isfinite(one) else None for one in values]


def _line(value: dict[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False) + "\n"
