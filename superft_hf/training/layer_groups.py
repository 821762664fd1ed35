"""Which parameters of a network are shown as one layer, in the order in which an image passes them.

A layer is a module with parameters of its own. Networks declare their modules in the order of the forward
pass, but for the head, which comes last here wherever it is declared. Of a deep network, modules that belong
together are one row, since nobody reads six hundred of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from torch import nn

from superft_hf.evaluation.layer_history import Layer

MAX_ROWS = 60
FEW_ROWS = 12
"""With fewer rows than this, neighbours of the next level are put together instead."""

ModulePath = tuple[str, ...]


@dataclass(frozen=True)
class LayerGroup:
    """One row.

    Attributes:
        layer: Its name and size.
        parameters: What belongs to it.
    """

    layer: Layer
    parameters: list[nn.Parameter]


def layer_groups(model: nn.Module, heads: Sequence[nn.Module], limit: int = MAX_ROWS) -> list[LayerGroup]:
    """The rows of a network; each parameter is in exactly one of them.

    Args:
        model: Not wrapped.
        heads: Its head, whose rows come last.
        limit: The most rows.
    """
    in_head = {id(one) for head in heads for one in head.parameters()}
    owned: dict[ModulePath, dict[str, nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        *path, last = name.split(".")
        owned.setdefault(tuple(path), {})[last] = parameter
    head = [path for path, inside in owned.items() if all(id(one) in in_head for one in inside.values())]
    body = [path for path in owned if path not in set(head)]
    shared = _shared(body) if len(body) > 1 else ()
    made = []
    for paths, is_head, room in ((body, False, max(1, limit - len(head))), (head, True, limit)):
        for units in _grouped(paths, room):
            inside = [one for unit in units for path in unit for one in owned[path].values()]
            # What a module owns beside all others, such as tokens and positions, goes by its own names.
            words = _name(units, shared) or ", ".join(owned[units[0][0]])
            made.append(LayerGroup(Layer(words, sum(one.numel() for one in inside), is_head), inside))
    return made


Unit = list[ModulePath]
"""Modules whose paths begin alike."""


def _grouped(paths: Sequence[ModulePath], limit: int) -> list[list[Unit]]:
    """At most `limit` groups of units: by the longest beginning of their paths that makes so few."""
    depths = range(1, 1 + max(map(len, paths), default=0))
    levels = [[list(unit) for _, unit in groupby(paths, key=lambda path: path[:depth])] for depth in depths]
    fitting = [units for units in levels if len(units) <= limit]
    finer = next((units for units in levels if len(units) > limit), None)
    if finer is None or (fitting and len(fitting[-1]) >= FEW_ROWS):
        return [[unit] for unit in fitting[-1]] if fitting else []
    return _joined(finer, 1 + levels.index(finer), limit)


def _joined(units: Sequence[Unit], depth: int, limit: int) -> list[list[Unit]]:
    """Neighbours with the same parent together, by twos, threes …, until there are at most `limit` groups."""
    families = [list(family) for _, family in groupby(units, key=lambda unit: unit[0][: depth - 1])]
    if len(families) > limit:
        families = [list(units)]
    made: list[list[Unit]] = []
    for number in range(2, len(units) + 1):
        made = [
            family[start : start + number]
            for family in families
            for start in range(0, len(family), number)
        ]  # fmt: skip
        if len(made) <= limit:
            break
    return made


def _shared(paths: Sequence[ModulePath]) -> ModulePath:
    """The beginning that all paths have in common."""
    first, last = min(paths), max(paths)
    size = next((at for at, pair in enumerate(zip(first, last, strict=False)) if len(set(pair)) > 1), None)
    return first[: min(len(first), len(last)) if size is None else size]


def _name(units: Sequence[Unit], shared: ModulePath) -> str:
    """Such as `layer4.0`, or `features.3 – 4` for two units, without what all layers share."""
    first, last = (_shared(unit) for unit in (units[0], units[-1]))
    words = ".".join(first[len(_shared([first, shared])) :])
    return words if len(units) == 1 else f"{words} – {last[-1]}"
