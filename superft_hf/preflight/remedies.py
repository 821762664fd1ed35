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

    Of lists and mappings, what each remedy adds is added and what it removes is removed, so that two
    remedies that leave images out do not undo each other.

    Args:
        config: What the findings are about.
        findings: Of a report.
        codes: Which to settle, by `Finding.code`.

    Raises:
        ConfigError: If there is no such finding, or nothing can settle it by a change of settings.
    """
    by_code = {one.code: one for one in findings if one.code and one.remedies}
    values = config.model_dump(mode="json")
    for code in codes:
        if code not in by_code:
            known = ", ".join(sorted(by_code)) or "none"
            raise ConfigError(
                f"There is no remedy for {code!r}.", hint=f"The findings that have one: {known}."
            )
        for key, value in by_code[code].remedies[0].changes.items():
            one = find_setting(key)
            group = values[one.group] if one.group else values
            group[one.name] = _changed(group[one.name], value_of(config, one), value)
    return make_config(values)


def _changed(present: Any, before: Any, after: Any) -> Any:
    """What a change from `before` to `after` makes of a value that others may have changed already."""
    if isinstance(before, list) and isinstance(after, list):
        kept = [one for one in present if one in after or one not in before]
        return list(dict.fromkeys([*kept, *(one for one in after if one not in before)]))
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        kept = {key: value for key, value in present.items() if key in after or key not in before}
        return kept | {key: value for key, value in after.items() if before.get(key) != value}
    return after
