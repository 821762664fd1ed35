"""What the declaration in `superft_hf.config` says about each setting, as a flat list.

Forms, the commented YAML and the table in the README walk this list, so none of them knows a setting by name.
"""

import types
import typing
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from superft_hf.config import RunConfig

GROUP_TITLES = {
    "": "Run", "model": "Model", "data": "Images", "augmentation": "Augmentation", "training": "Training",
    "early_stopping": "Early stopping", "hardware": "Hardware",
}  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """One field of RunConfig.

    Attributes:
        key: Dotted name, such as `training.learning_rate`.
        group: `training`; empty for the fields at the top.
        name: `learning_rate`.
        title: Label.
        description: Help text.
        unit: Such as `px`; empty for a bare number.
        is_basic: Whether it stands first in the form.
        is_required: Whether it has no default.
        is_optional: Whether null is a value.
        kind: `int`, `float`, `bool`, `str`, `choice`, `choices` (several of them), `texts` (a list) or
            `pairs` (a mapping of texts).
        choices: The values of a `choice` or `choices`.
        default: None when required.
        minimum: Smallest value, or None.
        maximum: Largest value, or None.
        is_minimum_open: Whether the minimum itself is refused; likewise is_maximum_open.
        is_by_rule: Whether its default means that a rule chooses, see `superft_hf.recipe`.
    """

    key: str
    group: str
    name: str
    title: str
    description: str
    unit: str
    is_basic: bool
    is_required: bool
    is_optional: bool
    kind: str
    choices: tuple[str, ...]
    default: Any
    minimum: float | None
    maximum: float | None
    is_minimum_open: bool
    is_maximum_open: bool
    is_by_rule: bool

    @property
    def limits(self) -> str:
        """The allowed values in words; empty when any will do."""
        if self.kind == "bool":
            return "true or false"
        if self.choices:
            return (
                "one of " + ", ".join(self.choices)
                if self.kind == "choice"
                else "any of " + ", ".join(self.choices)
            )
        parts = []
        if self.minimum is not None:
            parts.append(f"{'above' if self.is_minimum_open else 'at least'} {self.minimum:g}")
        if self.maximum is not None:
            parts.append(f"{'below' if self.is_maximum_open else 'at most'} {plain_number(self.maximum)}")
        return ", ".join(parts)


def all_settings() -> list[Setting]:
    """Every setting, in the order of the declaration."""
    return list(_walk(RunConfig, ""))


def find_setting(key: str) -> Setting:
    """The setting of this dotted name. Raises KeyError if there is none."""
    return {setting.key: setting for setting in all_settings()}[key]


def settings_table() -> str:
    """All settings as one Markdown table, for the README."""
    lines = ["| Setting | Default | Allowed | What it does |", "| --- | --- | --- | --- |"]
    for one in all_settings():
        default = "required" if one.is_required else f"`{_yaml_text(one.default)}`"
        unit = f" ({one.unit})" if one.unit else ""
        text = one.description.replace("|", r"\|")
        lines.append(f"| `{one.key}` | {default} | {one.limits}{unit} | {text} |")
    return "\n".join(lines)


@lru_cache(maxsize=8)
def _walk(model: type[BaseModel], group: str) -> tuple[Setting, ...]:
    found: list[Setting] = []
    for name, info in model.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            found.extend(_walk(info.annotation, name))
        else:
            found.append(_setting(group, name, info))
    return tuple(found)


def _setting(group: str, name: str, info: FieldInfo) -> Setting:
    kind, choices, is_optional = _kind(info.annotation)
    limits = {type(item).__name__: item for item in info.metadata}
    low = limits.get("Ge") or limits.get("Gt")
    high = limits.get("Le") or limits.get("Lt")
    extra = typing.cast(dict[str, Any], info.json_schema_extra)
    return Setting(
        key=f"{group}.{name}" if group else name, group=group, name=name, title=info.title or name,
        description=info.description or "", unit=extra["unit"], is_basic=extra["basic"],
        is_required=info.is_required(), is_optional=is_optional, kind=kind, choices=choices,
        default=None if info.is_required() else info.default,
        minimum=low and getattr(low, "ge", getattr(low, "gt", None)),
        maximum=high and getattr(high, "le", getattr(high, "lt", None)),
        is_minimum_open="Gt" in limits, is_maximum_open="Lt" in limits, is_by_rule=extra["by_rule"],
    )  # fmt: skip


def _kind(annotation: Any) -> tuple[str, tuple[str, ...], bool]:
    """(kind, choices, whether null is allowed) of a field's type."""
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        inner = next(arg for arg in typing.get_args(annotation) if arg is not type(None))
        kind, choices, _ = _kind(inner)
        return kind, choices, True
    if typing.get_origin(annotation) is typing.Literal:
        return "choice", typing.get_args(annotation), False
    if typing.get_origin(annotation) is list:
        _, choices, _ = _kind(typing.get_args(annotation)[0])
        return ("choices" if choices else "texts"), choices, False
    if typing.get_origin(annotation) is dict:
        return "pairs", (), False
    if typing.get_origin(annotation) is typing.Annotated:
        return _kind(typing.get_args(annotation)[0])
    return annotation.__name__, (), False


def plain_number(number: float) -> str:
    """A limit as people write it: `2,147,483,647`, `0.5`."""
    return f"{int(number):,}" if float(number).is_integer() and abs(number) < 1e15 else f"{number:g}"


def _yaml_text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else str(value)
