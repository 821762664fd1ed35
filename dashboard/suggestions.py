"""What the rule would choose for the form's settings, and why, in the words that stand beside a field."""

from collections.abc import Mapping
from typing import Any

from dashboard import formats, forms, inspection
from superft_hf.config import RunConfig
from superft_hf.errors import SuperFTError
from superft_hf.recipe.case import Case
from superft_hf.recipe.decided import rough_case
from superft_hf.recipe.rules import Choice, decide, suggest
from superft_hf.records import DataInfo, ModelInfo
from superft_hf.settings import Setting

Suggestions = Mapping[str, Choice]


def find(config: RunConfig, model: ModelInfo | None, data: DataInfo | None) -> Suggestions:
    """The choice for every setting that the rule knows, by dotted key; it suits the settings made already.

    Args:
        config: The form's.
        model: What is known of the model; None: nothing yet.
        data: What is known of the images; None: nothing yet, and the choices are rough.
    """
    return {one.key: one for one in suggest(config, _case(config, model, data))}


def decided(config: RunConfig, model: ModelInfo | None, data: DataInfo | None) -> RunConfig:
    """The form's configuration with the choices of the rule."""
    return decide(config, _case(config, model, data))


def decided_by_name(config: RunConfig, model: ModelInfo | None) -> RunConfig:
    """Likewise, where the page has not drawn the images yet; rough while they are not on this machine."""
    if not inspection.is_here(config.data):
        return decide(config, rough_case(config, model))
    try:
        return decide(config, inspection.case(config, model))
    except SuperFTError:
        return decide(config, rough_case(config, model))


def placeholders(found: Suggestions) -> dict[str, str]:
    """What stands in the fields that are left empty."""
    return {key: words(one.value) for key, one in found.items() if one.value is not None}


def hint(one: Setting, value: Any, found: Suggestions) -> str:
    """The quiet line below a field.

    Example:
        >>> from superft_hf.settings import find_setting
        >>> choice = Choice("training.learning_rate", 0.001, "it suits AdamW")
        >>> hint(find_setting("training.learning_rate"), None, {choice.key: choice})
        'suggested, because it suits AdamW'
        >>> hint(find_setting("training.learning_rate"), 0.1, {choice.key: choice})
        'suggested: 0.001, because it suits AdamW'
    """
    choice = found.get(one.key)
    if choice is None or choice.value is None:
        return ""
    if value is None and one.kind != "choice":  # the value itself stands in the empty field
        return f"suggested, because {choice.reason}"
    if value == choice.value:
        return f"as suggested, because {choice.reason}"
    return f"suggested: {words(choice.value)}, because {choice.reason}"


def words(value: Any) -> str:
    """A suggested value as a person reads it."""
    return forms.choice_word(value) if isinstance(value, str) else formats.setting_value(value)


def _case(config: RunConfig, model: ModelInfo | None, data: DataInfo | None) -> Case:
    if data is None:
        return rough_case(config, model)
    try:
        return inspection.case(config, model)
    except SuperFTError:
        return rough_case(config, model, data)
