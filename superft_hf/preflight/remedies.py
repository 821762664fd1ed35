"""Applying what the pre-flight check proposes."""

from collections.abc import Iterable, Mapping
from typing import Any

from superft_hf.config import RunConfig
from superft_hf.config_file import make_config, value_of
from superft_hf.errors import ConfigError
from superft_hf.records import Finding
from superft_hf.settings import find_setting


def apply_remedies(config: RunConfig, findings: Iterable[Finding], codes: Iterable[str]) -> RunConfig:
    """The configuration with the first remedy of each of these findings.

    Lists and mappings are joined, so that two remedies that leave images out do not undo each other.

    Args:
        config: What the findings are about.
        findings: Of a report.
        codes: Which to settle, by `Finding.code`.

    Raises:
        ConfigError: If there is no such finding, or nothing can settle it by a change of settings.
    """
    by_code = {one.code: one for one in findings if one.code and one.remedies}
    changes: dict[str, Any] = {}
    for code in codes:
        if code not in by_code:
            known = ", ".join(sorted(by_code)) or "none"
            raise ConfigError(
                f"There is no remedy for {code!r}.", hint=f"The findings that have one: {known}."
            )
        for key, value in by_code[code].remedies[0].changes.items():
            changes[key] = _joined(changes.get(key), value)
    values = config.model_dump(mode="json")
    for key, value in changes.items():
        one = find_setting(key)
        group = values[one.group] if one.group else values
        group[one.name] = _joined(value_of(config, one), value)
    return make_config(values)


def _joined(first: Any, second: Any) -> Any:
    if isinstance(first, list) and isinstance(second, list):
        return list(dict.fromkeys([*first, *second]))
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return {**first, **second}
    return second
