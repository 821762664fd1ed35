"""Runs that are alike but for some settings: seeds of one configuration, folds, a baseline.

What stays true: nothing has to be noted when a run is started. Whether two runs belong together is read from
what they were asked to do.
"""

import json
from collections.abc import Collection, Mapping
from typing import Any

NAME = "name"


def family_key(values: Mapping[str, Any], but: Collection[str]) -> str:
    """A text that is equal for runs which differ in nothing but the name and these settings.

    Args:
        values: A complete configuration as nested values, such as `RunStore.read_config_values` gives.
        but: Dotted keys that may differ, such as `training.seed`.

    Example:
        >>> one = {"name": "a", "training": {"seed": 1, "l1": 0.0}}
        >>> other = {"name": "b", "training": {"seed": 2, "l1": 0.0}}
        >>> family_key(one, ["training.seed"]) == family_key(other, ["training.seed"])
        True
        >>> family_key(one, []) == family_key(other, [])
        False
    """
    ignored = {NAME, *but}
    kept = {key: value for key, value in flat_settings(values).items() if key not in ignored}
    return json.dumps(kept, sort_keys=True)


def flat_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration by dotted key.

    Example:
        >>> flat_settings({"name": "a", "training": {"seed": 1}})
        {'name': 'a', 'training.seed': 1}
    """
    return {
        key: value
        for group, inner in values.items()
        for key, value in (
            ((f"{group}.{name}", one) for name, one in inner.items())
            if isinstance(inner, Mapping)
            else ((group, inner),)
        )
    }


def relatives(run_id: str, all_values: Mapping[str, Mapping[str, Any]], but: Collection[str]) -> list[str]:
    """The runs that differ from one in nothing but the name and these settings, itself among them.

    Args:
        run_id: The run.
        all_values: Configurations by run id, as `RunStore.read_config_values` gives them.
        but: Dotted keys that may differ.
    """
    if run_id not in all_values:
        return [run_id]
    key = family_key(all_values[run_id], but)
    return [one for one, values in all_values.items() if family_key(values, but) == key]
