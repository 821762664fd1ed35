import pytest

from superft_hf.settings import GROUP_TITLES, all_settings, find_setting, settings_table


def test_every_setting_has_words_and_a_kind_a_form_can_draw():
    for one in all_settings():
        assert one.title and one.description.endswith("."), one.key
        assert one.kind in ("int", "float", "bool", "str", "choice", "choices", "texts", "pairs"), one.key
        assert one.group in GROUP_TITLES, one.key
        assert bool(one.choices) == (one.kind in ("choice", "choices")), one.key


def test_labels_are_unique_within_their_group():
    seen = [(one.group, one.title) for one in all_settings()]
    assert len(seen) == len(set(seen))


def test_only_model_and_data_are_required():
    assert [one.key for one in all_settings() if one.is_required] == [
        "model.name_or_path",
        "data.name_or_path",
    ]


def test_a_number_with_open_and_closed_limits():
    one = find_setting("training.learning_rate")
    assert (one.minimum, one.is_minimum_open, one.maximum, one.is_maximum_open) == (0, True, 1, False)
    assert one.limits == "above 0, at most 1"
    one = find_setting("augmentation.color_jitter")
    assert (one.is_optional, one.default) == (True, None)
    assert one.limits == "at least 0, below 1"


def test_a_zero_limit_is_a_limit():
    assert find_setting("training.seed").minimum == 0
    assert find_setting("training.seed").limits == "at least 0, at most 2,147,483,647"


def test_a_choice_a_list_and_a_text():
    assert find_setting("model.strategy").choices == ("auto", "full", "head", "head-then-full", "gradual")
    assert find_setting("model.strategy").limits == "one of auto, full, head, head-then-full, gradual"
    assert find_setting("training.report_to").kind == "choices"
    assert find_setting("training.report_to").limits.startswith("any of tensorboard, ")
    assert find_setting("hardware.devices").kind == "str"


def test_a_switch():
    one = find_setting("training.auto_find_batch_size")
    assert (one.kind, one.default, one.limits) == ("bool", False, "true or false")
    (row,) = [line for line in settings_table().splitlines() if f"`{one.key}`" in line]
    assert row.startswith("| `training.auto_find_batch_size` | `false` | true or false | ")


def test_the_basic_settings_are_few():
    basic = [one.key for one in all_settings() if one.is_basic]
    assert "training.learning_rate" in basic and len(basic) <= 12


def test_an_unknown_setting():
    with pytest.raises(KeyError):
        find_setting("training.lr")


def test_the_table_has_a_row_of_four_cells_for_each_setting():
    lines = settings_table().splitlines()
    assert len(lines) == 2 + len(all_settings())
    for line in lines:
        assert line.replace(r"\|", "").count("|") == 5, line
    (row,) = [line for line in lines if "`training.learning_rate`" in line]
    words = "Peak learning rate, reached after warm-up; null: chosen by rule."
    assert row == f"| `training.learning_rate` | `null` | above 0, at most 1 | {words} |"
