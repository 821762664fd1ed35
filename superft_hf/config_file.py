"""A RunConfig as YAML 1.2, in and out, with the declaration's words as comments and as error messages.

YAML 1.2 because in 1.1 (PyYAML) `5e-5` is text and `no` is False.
"""

import difflib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from superft_hf.config import RunConfig
from superft_hf.errors import ConfigError
from superft_hf.settings import GROUP_TITLES, Setting, all_settings, find_setting, plain_number

MAX_BYTES = 1_000_000
MAX_DEPTH = 10
_TYPE_WORDS = {
    "int": "a whole number", "float": "a number", "bool": "true or false", "string": "text", "list": "a list",
    "model": "a group of settings", "dict": "a group of settings",
}  # fmt: skip


def read_config(path: Path) -> RunConfig:
    """Reads a run's YAML file.

    Raises:
        ConfigError: If the file is missing, empty or no YAML, or a setting is refused.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(
                f"The file {path} has {path.stat().st_size:,} bytes, more than a configuration ever needs.",
                hint="Give the path of a run's YAML file.",
            )
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"The file {path} cannot be read: {error.strerror or error}.",
            hint="`superft init > run.yaml` writes a complete one.",
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"The file {path} is not a text file.", hint="Give the path of a run's YAML file."
        ) from error
    return parse_config(text, where=str(path))


def parse_config(text: str, where: str = "The YAML") -> RunConfig:
    """Makes a RunConfig of YAML text. `where` names it in errors. Raises ConfigError."""
    try:
        _check_events(text, where)
        values = YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None) if isinstance(error, MarkedYAMLError) else None
        place = f" in line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or (str(error).splitlines() or ["no reason given"])[0]
        raise ConfigError(f"{where} is not valid YAML{place}: {problem}.", hint="Mend that line.") from error
    if values is None:
        raise ConfigError(
            f"{where} is empty: model.name_or_path and data.name_or_path are missing.",
            hint="`superft init > run.yaml` writes a complete one.",
        )
    if not isinstance(values, Mapping):
        raise ConfigError(
            f"{where} holds {type(values).__name__} instead of settings.",
            hint="`superft init` prints what a complete file looks like.",
        )
    return make_config(values)


def make_config(values: Mapping[str, Any]) -> RunConfig:
    """Checks nested plain values, as they come from YAML or a form, and makes a RunConfig of them.

    Raises:
        ConfigError: Names each refused key, its value and the limit.
    """
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        sentences = [_sentence(detail) for detail in error.errors()]
        more = f" (and {len(sentences) - 4} more)" if len(sentences) > 4 else ""
        raise ConfigError(
            " ".join(sentences[:4]) + more, hint="`superft init` prints every setting with its limits."
        ) from error


def dump_config(config: RunConfig, *, commented: bool = False) -> str:
    """The complete configuration as YAML text that `parse_config` reads back equal.

    Args:
        config: What to write.
        commented: Whether each setting gets its description and limits as a comment.
    """
    values = CommentedMap()
    for key, value in config.model_dump(mode="json").items():
        values[key] = _plain_group(value) if isinstance(value, dict) else _scalar(value)
    if commented:
        for one in all_settings():
            target = values[one.group] if one.group else values
            target.yaml_add_eol_comment(_comment(one), one.name, column=44)
    out = io.StringIO()
    yaml = YAML()
    yaml.width = 4096
    yaml.representer.add_representer(
        type(None), lambda dumper, _: dumper.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    yaml.dump(values, out)
    return out.getvalue()


def changed_settings(first: RunConfig, second: RunConfig) -> list[tuple[Setting, Any, Any]]:
    """The settings in which two runs differ, each with both values; the name does not count."""
    return [
        (one, value_of(first, one), value_of(second, one))
        for one in all_settings()
        if one.key != "name" and value_of(first, one) != value_of(second, one)
    ]


def value_of(config: RunConfig, one: Setting) -> Any:
    """The value that a configuration gives to a setting."""
    return getattr(getattr(config, one.group) if one.group else config, one.name)


def _check_events(text: str, where: str) -> None:
    """Refuses what costs time or memory without end: nested aliases (`*name`), and very deep nesting."""
    depth = 0
    for event in YAML(typ="safe", pure=True).parse(text):
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if isinstance(event, AliasEvent) or depth > MAX_DEPTH:
            what = "an alias (*)" if isinstance(event, AliasEvent) else f"more than {MAX_DEPTH} levels"
            raise ConfigError(
                f"{where} has {what} in line {event.start_mark.line + 1}, which no configuration needs.",
                hint="Write the values themselves, in their groups.",
            )


def _plain_group(group: Mapping[str, Any]) -> CommentedMap:
    made = CommentedMap()
    for key, value in group.items():
        if isinstance(value, list):
            value = CommentedSeq([_scalar(one) for one in value])
            value.fa.set_flow_style()
        elif isinstance(value, dict):
            value = CommentedMap({_scalar(name): _scalar(one) for name, one in value.items()})
            value.fa.set_flow_style()
        made[key] = _scalar(value)
    return made


def _scalar(value: Any) -> Any:
    """Text with control characters is quoted: as plain text some would come back as spaces."""
    is_odd = isinstance(value, str) and not value.isprintable()
    return DoubleQuotedScalarString(value) if is_odd else value


def _comment(one: Setting) -> str:
    parts = [one.description.rstrip(".")]
    if one.is_required:
        parts.append("required")
    if one.limits:
        parts.append(one.limits)
    if one.unit:
        parts.append(f"in {one.unit}")
    return "; ".join(parts)


def _sentence(detail: ErrorDetails) -> str:
    """One pydantic error in words: the key, the value, the limit."""
    key = ".".join(str(part) for part in detail["loc"] if not str(part).startswith("function-"))
    kind, context = detail["type"], detail.get("ctx", {})
    value = "null" if detail["input"] is None else repr(detail["input"])
    value = value if len(value) <= 60 else value[:57] + "…"
    if kind == "missing":
        return f"{key} is missing."
    if kind == "extra_forbidden":
        return f"{key} is not a setting{_suggestion(key)}"
    for name, words in (("ge", "at least"), ("gt", "above"), ("le", "at most"), ("lt", "below")):
        if name in context:
            return f"{key} is {value}, but must be {words} {plain_number(context[name])}."
    if kind == "literal_error":
        return f"{key} is {value}, but must be one of {context['expected']}."
    if kind == "string_pattern_mismatch":
        return f"{key} is {value}, which it cannot be. {find_setting(key).description}"
    if kind == "value_error":
        return f"{key or 'The settings'}: {context['error']}."
    for name, words in _TYPE_WORDS.items():
        if kind.startswith(name) and ("type" in kind or "parsing" in kind or "from_float" in kind):
            return f"{key} is {value}, but must be {words}."
    return f"{key} is {value}: {detail['msg']}."


def _suggestion(key: str) -> str:
    """`; did you mean …?` when a known key looks alike, by its last part or as a whole, else a full stop."""
    known = [one.key for one in all_settings()] + list(GROUP_TITLES)[1:]
    last = {name.rsplit(".", 1)[-1]: name for name in known}
    close = difflib.get_close_matches(key, known, 1, 0.75) or [
        last[name] for name in difflib.get_close_matches(key.rsplit(".", 1)[-1], last, 1, 0.75)
    ]
    return f"; did you mean {close[0]}?" if close else "."
