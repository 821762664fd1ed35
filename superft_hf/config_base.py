"""What the declaration of the settings in `superft_hf.config` is made of: `setting` and `Group`."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


def setting(
    default: Any,
    title: str,
    description: str,
    *,
    basic: bool = False,
    unit: str = "",
    by_rule: bool = False,
    **limits: Any,
) -> Any:
    """A pydantic Field with what a form needs besides.

    Args:
        default: The default, or `...` for a required setting.
        title: Label of the widget.
        description: One or two sentences: what it does, and what a special value means.
        basic: Whether it is one of the few that stand first in the form.
        unit: Such as `s` or `px`; empty for a bare number.
        by_rule: Whether its default, null or `auto`, means that `superft_hf.recipe` chooses.
        limits: pydantic's `ge`, `gt`, `le`, `lt`, `min_length`, `max_length`.
    """
    extra = {"basic": basic, "unit": unit, "by_rule": by_rule}
    return Field(default, title=title, description=description, json_schema_extra=extra, **limits)


class Group(BaseModel):
    """A frozen group of settings that refuses unknown keys and silent conversions."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, protected_namespaces=(), allow_inf_nan=False
    )

    def __hash__(self) -> int:
        """By value; pydantic's own would refuse the lists and mappings among the values."""
        return hash(self.model_dump_json())
