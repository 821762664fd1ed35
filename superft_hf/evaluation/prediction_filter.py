"""Which rows of a prediction file are wanted: a value that goes into links and into the store and comes back.

What comes from outside, such as a link that a person changed, is checked: nonsense is a sentence, and never a
filter that finds something else than it says.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from superft_hf.errors import FilterError

_MAX_ID = 2**31 - 1
_MAX_TEXTS = 100_000
_MAX_LENGTH = 1000


class Outcome(StrEnum):
    """Whether a prediction is the label."""

    ALL = "all"
    RIGHT = "right"
    WRONG = "wrong"


@dataclass(frozen=True)
class Filter:
    """What a row has to fulfil, all of it; what is left at its default is not asked.

    Attributes:
        labels: True classes, any of them.
        predictions: Predicted classes, any of them.
        outcome: An Outcome.
        confidence: Lowest and highest, both included; a row whose confidence is NaN is in no range.
        loss: Lowest and highest, both included; infinity stands for no limit.
        text: A part of the image's reference, in upper or lower case; no pattern.
        metadata: Values by column, any of them, as text; the columns are named without `meta:`, and an empty
            text stands for a value that is missing.
        example_ids: These images only.
    """

    labels: tuple[int, ...] = ()
    predictions: tuple[int, ...] = ()
    outcome: str = Outcome.ALL
    confidence: tuple[float, float] | None = None
    loss: tuple[float, float] | None = None
    text: str = ""
    metadata: tuple[tuple[str, tuple[str, ...]], ...] = ()
    example_ids: frozenset[str] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether it lets every row through."""
        return self == ANY

    def to_json(self) -> str:
        """As text, only what is asked.

        Example:
            >>> Filter(labels=(3,), outcome="wrong", loss=(0.5, math.inf)).to_json()
            '{"labels":[3],"outcome":"wrong","loss":[0.5,null]}'
        """
        values: dict[str, Any] = {}
        for name in (field.name for field in fields(self)):
            value = getattr(self, name)
            if value != getattr(ANY, name):
                values[name] = _plain(name, value)
        return json.dumps(values, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "Filter":
        """The filter that `to_json` wrote.

        Raises:
            FilterError: If it is none.

        Example:
            >>> Filter.from_json('{"labels":[3],"loss":[0.5,null]}')
            Filter(labels=(3,), predictions=(), outcome=<Outcome.ALL: 'all'>, confidence=None,
                   loss=(0.5, inf), text='', metadata=(), example_ids=None)
        """
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise FilterError("it is no JSON") from error
        if not isinstance(values, dict):
            raise FilterError("it is no JSON object")
        unknown = [name for name in values if name not in _READERS]
        if unknown:
            raise FilterError(f"it has an unknown part {unknown[0][:40]!r}")
        return cls(**{name: _READERS[name](name, value) for name, value in values.items()})


ANY = Filter()
"""Lets every row through."""


def _plain(name: str, value: Any) -> Any:
    """A part of a filter in the terms of JSON."""
    if name in ("confidence", "loss"):
        return [limit if math.isfinite(limit) else None for limit in value]
    if name == "metadata":
        return {column: list(values) for column, values in value}
    if name == "example_ids":
        return sorted(value)
    return list(value) if isinstance(value, tuple) else str(value)


def _class_ids(name: str, value: Any) -> tuple[int, ...]:
    is_fine = isinstance(value, list) and all(
        isinstance(one, int) and not isinstance(one, bool) and 0 <= one <= _MAX_ID for one in value
    )
    if not is_fine:
        raise FilterError(f"{name} is no list of class numbers")
    return tuple(value)


def _outcome(name: str, value: Any) -> Outcome:
    if value not in list(Outcome):
        raise FilterError(f"{name} is none of {', '.join(Outcome)}")
    return Outcome(value)


def _range(name: str, value: Any) -> tuple[float, float]:
    is_fine = isinstance(value, list) and len(value) == 2 and all(_is_limit(one) for one in value)
    if not is_fine:
        raise FilterError(f"{name} is no pair of numbers")
    low = -math.inf if value[0] is None else float(value[0])
    high = math.inf if value[1] is None else float(value[1])
    if low > high:
        raise FilterError(f"{name} begins above its end")
    return low, high


def _is_limit(value: Any) -> bool:
    if value is None:
        return True
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or len(value) > _MAX_LENGTH:
        raise FilterError(f"{name} is no short text")
    return value


def _texts(name: str, value: Any) -> tuple[str, ...]:
    is_fine = isinstance(value, list) and all(isinstance(one, str) for one in value)
    if not is_fine or len(value) > _MAX_TEXTS:
        raise FilterError(f"{name} is no list of texts")
    return tuple(value)


def _metadata(name: str, value: Any) -> tuple[tuple[str, tuple[str, ...]], ...]:
    if not isinstance(value, dict) or not all(value.values()):
        raise FilterError(f"{name} has no values by column")
    return tuple((column, _texts(name, values)) for column, values in value.items())


_READERS: dict[str, Callable[[str, Any], Any]] = {
    "labels": _class_ids,
    "predictions": _class_ids,
    "outcome": _outcome,
    "confidence": _range,
    "loss": _range,
    "text": _text,
    "metadata": _metadata,
    "example_ids": lambda name, value: frozenset(_texts(name, value)),
}
