import doctest
from typing import Any

import pytest

from dashboard import forms, images_card, state
from superft_hf.config_file import make_config
from superft_hf.settings import Setting, all_settings

NAMES = {"model.name_or_path": "sample:efficientnet-lite0", "data.name_or_path": "sample:digits"}
OTHER_VALUES = {
    "hardware.main_address": "10.0.0.1:29500",
    "hardware.sharding": "fsdp",
    "name": "night shift",
    "hardware.devices": "cpu",
    "training.time_budget_s": 60.0,
    "training.hang_timeout_s": 600.0,
    "data.eval_fraction": 0.25,
    "data.test_fraction": 0.25,
}
IN_WIDGETS = [one for one in all_settings() if one.key not in {*NAMES, "data.group_column"}]
"""The group column is chosen among those that the images have: tests/dashboard/test_split_builder.py."""
CHANGEABLE = [one for one in IN_WIDGETS if one.kind != "choice" or len(one.choices) > 1]


@pytest.fixture
def form(open_page):
    """The Start page with the digits sample chosen."""
    shown = {state.START_DRAFT: dict(NAMES), "start_images_tabs": images_card.SPLITS}
    return open_page("start", session=shown)


def other_value(one: Setting) -> Any:
    """A value that is allowed and is not the default."""
    if one.key in OTHER_VALUES:
        return OTHER_VALUES[one.key]
    if one.kind == "choices":
        return [one.choices[0]]
    if one.kind == "choice":
        return one.choices[-1] if one.choices[-1] != one.default else one.choices[0]
    if one.kind == "bool":
        return not one.default
    if one.kind == "str":
        return "other"
    if one.kind == "texts":
        return ["train:0123456789abcdef"] if one.key == "data.exclude" else ["cat", "dog: big"]
    if one.kind == "pairs":
        first, second = (
            ("0123456789abcdef", "eval:0123456789abcdef") if "relabel" in one.key else ("cat", "dog")
        )
        return {first: "animal", second: "big animal"}
    low, high = one.minimum or 0, one.maximum or 100
    value = low + 2 if one.kind == "int" else low + (min(high, 1) - low) / 4
    return value + 1 if value == one.default else value


def as_typed(one: Setting, value: Any) -> Any:
    """The value as a person types it: lists and mappings as lines."""
    if one.kind == "pairs":
        return "\n".join(f"{name} → {other}" for name, other in value.items())
    return "\n".join(value) if one.kind == "texts" else value


def test_forms__examples():
    assert doctest.testmod(forms).failed == 0


@pytest.mark.parametrize("one", CHANGEABLE, ids=lambda one: one.key)
def test_fields__other_value_is_allowed_and_other(one):
    assert other_value(one) != one.default


def test_fields__each_setting_has_one_widget_and_its_value_reaches_the_configuration(form):
    assert not form.exception
    for one in IN_WIDGETS:
        form.get_by_key(forms.widget_key(one.key)).set_value(as_typed(one, other_value(one)))
    form.run()

    assert not form.exception
    flat = form.session_state[state.START_DRAFT]
    assert {one.key: flat[one.key] for one in IN_WIDGETS} == {one.key: other_value(one) for one in IN_WIDGETS}
    # The rules over two settings that these other values break.
    agreeing = {"training.auto_find_batch_size": False, "training.nesterov": False}
    agreeing["training.ema_decay"] = None
    make_config(forms.nest({**flat, **agreeing}))


def test_fields__limits_and_defaults_are_the_declarations(form):
    epochs = form.get_by_key("start_training_num_train_epochs")

    assert (epochs.min, epochs.max, epochs.value) == (1, 10_000, None)
    assert form.get_by_key("start_model_dropout").value is None


def test_fields__emptied_field_is_null_where_null_is_a_value_else_the_default(form):
    form.get_by_key("start_early_stopping_patience").set_value(None)
    form.get_by_key("start_data_test_split").set_value("")
    form.get_by_key("start_data_train_split").set_value("")
    form.run()

    flat = form.session_state[state.START_DRAFT]
    assert flat["early_stopping.patience"] is None
    assert flat["data.test_split"] is None
    assert flat["data.train_split"] == "train"


def test_fields__typing_one_value_keeps_the_others(form):
    form.get_by_key("start_training_learning_rate").set_value(0.001).run()
    form.get_by_key("start_data_eval_fraction").set_value(0.9).run()  # refused together with test_fraction
    form.get_by_key("start_name").set_value("mine").run()

    assert form.get_by_key("start_training_learning_rate").value == 0.001
    assert form.get_by_key("start_data_eval_fraction").value == 0.9
    assert form.get_by_key("start_name").value == "mine"


def test_fields__values_survive_another_page(form):
    form.get_by_key("start_training_seed").set_value(7).run()
    form.switch_page("app_pages/runs.py").run()
    form.switch_page("app_pages/start.py").run()

    assert form.get_by_key("start_training_seed").value == 7


def test_help__says_what_it_does_its_limits_and_its_name_in_the_yaml():
    from superft_hf.settings import find_setting

    text = forms.help_text(find_setting("model.image_size"))

    assert "empty" in text and "null" not in text
    assert "At least 16, at most 2,048" in text
    assert text.endswith("`model.image_size`")
