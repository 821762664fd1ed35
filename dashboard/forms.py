"""The form of a run, made from the declaration in `superft_hf.config`.

No setting is named here: label, help, limits and choices come from `superft_hf.settings`, and the kind of a
setting chooses its widget. The values live in the widgets' session keys and are kept in a draft besides,
since Streamlit forgets the keys of widgets that a page no longer draws. A widget left empty means null.
"""

import contextlib
import copy
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import streamlit as st

from dashboard import formats, state
from superft_hf.config import RunConfig
from superft_hf.config_file import make_config, value_of
from superft_hf.settings import GROUP_TITLES, Setting, all_settings

PAGE = "start"

_CHOICE_WORDS = {
    "full": "Full network", "head": "Head only", "head-then-full": "Head, then full", "adamw_torch": "AdamW",
    "sgd": "SGD", "rmsprop": "RMSprop", "bf16": "bf16", "fp16": "fp16", "no": "Full precision",
    "wandb": "Weights & Biases", "mlflow": "MLflow",
}  # fmt: skip

_SMALLEST = {"int": 1, "float": 0.01}

PAIR_MARK = " → "
"""Between name and value where a mapping is typed as lines."""


def widget_key(key: str) -> str:
    """The session key of a setting's widget."""
    return f"{PAGE}_{key.replace('.', '_')}"


def prepare() -> None:
    """Gives every widget its value before any is drawn: the draft's, else the default."""
    draft = state.get_value(state.START_DRAFT, {})
    for one in all_settings():
        if not state.has_value(widget_key(one.key)):
            state.put_value(widget_key(one.key), _for_widget(one, draft.get(one.key, _default(one))))


def values() -> dict[str, Any]:
    """The value of each setting by dotted key, as the widgets have it now; also kept as the draft."""
    found = {one.key: _from_widget(one, state.get_value(widget_key(one.key))) for one in all_settings()}
    state.put_value(state.START_DRAFT, found)
    return found


def fill(config: RunConfig, changes: Mapping[str, Any] | None = None) -> None:
    """Fills the whole form with a configuration; call it before any widget is drawn, or rerun after it.

    Args:
        config: What to show.
        changes: Values that differ from it, by dotted key.
    """
    new = {one.key: value_of(config, one) for one in all_settings()} | dict(changes or {})
    put(new)


def put(changes: Mapping[str, Any]) -> None:
    """Sets some settings, by dotted key; call it before their widgets are drawn, or rerun after it."""
    draft = {**state.get_value(state.START_DRAFT, {}), **changes}
    state.put_value(state.START_DRAFT, draft)
    for key in changes:
        # Dropped rather than set: the key of a widget that stands on the page must not be written to.
        state.drop_value(widget_key(key))


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys as the nested groups of a YAML file.

    Example:
        >>> nest({"name": "a", "model.dropout": None, "model.strategy": "full"})
        {'name': 'a', 'model': {'dropout': None, 'strategy': 'full'}}
    """
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        group, _, name = key.rpartition(".")
        (nested.setdefault(group, {}) if group else nested)[name] = value
    return nested


def read_config() -> RunConfig:
    """The configuration that the form shows. Raises ConfigError, naming each refused setting."""
    required = {one.key for one in all_settings() if one.is_required}
    return make_config(
        nest({key: value for key, value in values().items() if value is not None or key not in required})
    )


def changed_from_defaults(flat: Mapping[str, Any]) -> list[Setting]:
    """The optional settings that differ from their defaults, but for the name."""
    return [
        one
        for one in all_settings()
        if not one.is_required and one.key != "name" and flat[one.key] != one.default
    ]


def draw_fields(
    settings: list[Setting],
    *,
    columns: int = 3,
    hints: Mapping[str, str] | None = None,
    placeholders: Mapping[str, str] | None = None,
    extras: Mapping[str, Callable[[], None]] | None = None,
) -> None:
    """Draws widgets side by side; they wrap on a narrow screen.

    Args:
        settings: Which, in order.
        columns: How many stand in a row.
        hints: A quiet line of Markdown below a widget, by dotted key.
        placeholders: What stands in a number's or text's field while it is empty, by dotted key.
        extras: Draw something more below a widget, such as a button, by dotted key.
    """
    grid = st.grid(columns, min_column_width=150, gap="small")
    for one in settings:
        with grid.cell(), st.container(gap="xxsmall"):
            empty = (placeholders or {}).get(one.key)
            has_place = empty is not None and one.kind in ("int", "float", "str")
            draw_field(one, **({"placeholder": empty} if has_place else {}))
            if hints and hints.get(one.key):
                st.caption(hints[one.key])
            if extras and one.key in extras:
                extras[one.key]()


def draw_field(one: Setting, **options: Any) -> None:
    """Draws the widget of a setting.

    Args:
        one: Which.
        options: Passed on to the widget, such as `placeholder`.
    """
    draw: Callable[..., Any] = _WIDGETS[one.kind]
    draw(one, {"key": widget_key(one.key), "help": help_text(one), **options})


def draw_groups(
    shown_elsewhere: set[str],
    *,
    hints: Mapping[str, str] | None = None,
    placeholders: Mapping[str, str] | None = None,
) -> None:
    """Draws every setting but those, one tab a group; hints and placeholders are those of draw_fields."""
    groups: dict[str, list[Setting]] = {}
    for one in all_settings():
        if one.key not in shown_elsewhere:
            groups.setdefault(one.group, []).append(one)
    tabs = st.tabs([GROUP_TITLES[group] for group in groups])
    for tab, members in zip(tabs, groups.values(), strict=True):
        with tab:
            draw_fields(members, hints=hints, placeholders=placeholders)


def help_text(one: Setting) -> str:
    """What stands behind a widget's question mark: what it does, its limits, and its name in the YAML."""
    text = re.sub(r"\bnull\b", "empty", one.description) if one.is_optional else one.description
    limits = "" if one.choices or not one.limits else f" {one.limits[0].upper()}{one.limits[1:]}."
    return f"{formats.plain(text)}{formats.plain(limits)}  \n`{one.key}`"


def choice_word(value: str) -> str:
    """A choice's value as a person reads it.

    Example:
        >>> choice_word("head-then-full"), choice_word("eval_loss"), choice_word("constant_with_warmup")
        ('Head, then full', 'Eval loss', 'Constant with warmup')
    """
    if value in _CHOICE_WORDS:
        return _CHOICE_WORDS[value]
    return formats.metric_title(value) if value.startswith("eval_") else value.replace("_", " ").capitalize()


def value_meaning(one: Setting, value: Any) -> str:
    """What the description says of one value; empty if it says nothing.

    Example:
        >>> from superft_hf.settings import find_setting
        >>> value_meaning(find_setting("augmentation.preset"), "light")
        'mirrored and slightly cropped'
        >>> value_meaning(find_setting("model.dropout"), None)
        "the model's own"
    """
    name = "null" if value is None else re.escape(str(value))
    found = re.search(rf"(?:^|[.;:] ){name}: ([^.;]+)", one.description)
    return found[1].strip() if found else ""


def _number(one: Setting, options: dict[str, Any]) -> None:
    kind = int if one.kind == "int" else float
    label = f"{one.title} ({one.unit})" if one.unit and one.unit not in ("epochs",) else one.title
    st.number_input(
        label,
        min_value=None if one.minimum is None else kind(one.minimum),
        max_value=None if one.maximum is None else kind(one.maximum),
        # The session key holds the value; None as the default lets a person empty the field.
        value=None if one.is_optional else "min",
        step=_step(one, options.get("placeholder")),
        format="%d" if one.kind == "int" else "%g",
        **{"placeholder": value_meaning(one, None) if one.is_optional else f"{one.default:g}", **options},
    )


def _switch(one: Setting, options: dict[str, Any]) -> None:
    st.toggle(one.title, **options)


def _text(one: Setting, options: dict[str, Any]) -> None:
    placeholder = value_meaning(one, None) if one.is_optional else (one.default or "")
    st.text_input(one.title, value=None, **{"placeholder": placeholder, **options})


def _choice(one: Setting, options: dict[str, Any]) -> None:
    st.selectbox(one.title, one.choices, format_func=choice_word, **options)


def _choices(one: Setting, options: dict[str, Any]) -> None:
    st.multiselect(one.title, one.choices, format_func=choice_word, placeholder="none", **options)


def _texts(one: Setting, options: dict[str, Any]) -> None:
    st.text_area(one.title, height=68, **{"placeholder": "none; one a line", **options})


def _pairs(one: Setting, options: dict[str, Any]) -> None:
    st.text_area(one.title, height=68, **{"placeholder": f"none; one a line: a{PAIR_MARK}b", **options})


_WIDGETS = {
    "int": _number, "float": _number, "bool": _switch, "str": _text, "choice": _choice,
    "choices": _choices, "texts": _texts, "pairs": _pairs,
}  # fmt: skip


def _step(one: Setting, placeholder: str | None) -> int | float:
    """How far a press of + goes: the leading digit of the default, or of what stands in the empty field."""
    if one.kind == "int":
        return 1
    typical = one.default
    if not typical and placeholder:
        with contextlib.suppress(ValueError):
            typical = float(placeholder)
    if not typical:
        return 5.0 if (one.maximum or 0) > 10 else _SMALLEST["float"]
    return 10.0 ** math.floor(math.log10(typical))


def _default(one: Setting) -> Any:
    return copy.copy(one.default)


def _for_widget(one: Setting, value: Any) -> Any:
    """Lists and mappings of texts are lines in a text area."""
    if one.kind == "texts":
        return "\n".join(value)
    if one.kind == "pairs":
        return "\n".join(f"{name}{PAIR_MARK}{other}" for name, other in value.items())
    return value


def _from_widget(one: Setting, value: Any) -> Any:
    """An emptied field is null where null is a value, else the default."""
    if one.kind in ("texts", "pairs"):
        lines = [line.strip() for line in (value or "").splitlines() if line.strip()]
        if one.kind == "texts":
            return lines
        parts = (line.partition(PAIR_MARK.strip()) for line in lines)
        return {name.strip(): other.strip() for name, _, other in parts}
    if isinstance(value, str):
        value = value.strip() or None
    if value is None and not one.is_optional:
        return _default(one)
    if value is not None and one.kind == "float":
        return float(value)
    return list(value) if one.kind == "choices" else value
