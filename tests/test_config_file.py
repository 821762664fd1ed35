import time
from pathlib import Path

import pytest

from superft_hf.config import RunConfig
from superft_hf.config_file import (
    changed_settings,
    dump_config,
    make_config,
    parse_config,
    read_config,
    value_of,
)
from superft_hf.errors import ConfigError
from superft_hf.settings import all_settings, find_setting

SMALL = "model: {name_or_path: m}\ndata: {name_or_path: d}\n"


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config(text)
    assert caught.value.hint
    return caught.value.message


def small(**groups: dict) -> RunConfig:
    return make_config({"model": {"name_or_path": "m"}, "data": {"name_or_path": "d"}, **groups})


# Reading


def test_the_smallest_file_is_a_model_and_data():
    config = parse_config(SMALL)
    assert (config.model.name_or_path, config.data.name_or_path) == ("m", "d")
    assert config == small()


def test_numbers_and_words_are_those_of_yaml_1_2():
    config = parse_config(SMALL + "name: no\ntraining: {learning_rate: 5e-5, weight_decay: 1e-2}\n")
    assert config.name == "no"
    assert (config.training.learning_rate, config.training.weight_decay) == (5e-5, 0.01)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("training: {learning_rate: 5}", "training.learning_rate is 5, but must be at most 1."),
        ("training: {learning_rate: 0}", "training.learning_rate is 0, but must be above 0."),
        ("training: {num_train_epochs: 0}", "training.num_train_epochs is 0, but must be at least 1."),
        ("training: {num_train_epochs: .5}", "training.num_train_epochs is 0.5, but must be a whole number."),
        ("training: {num_train_epochs: x}", "training.num_train_epochs is 'x', but must be a whole number."),
        ("training: {learning_rate: fast}", "training.learning_rate is 'fast', but must be a number."),
        ("training: {seed: null}", "training.seed is null, but must be a whole number."),
        ("training: 3", "training is 3, but must be a group of settings."),
        ("training: null", "training is null, but must be a group of settings."),
        ("name: 3", "name is 3, but must be text."),
        ("training: {report_to: wandb}", "training.report_to is 'wandb', but must be a list."),
        ("augmentation: {color_jitter: 1}", "augmentation.color_jitter is 1, but must be below 1."),
        (
            "hardware: {mixed_precision: fp8}",
            "hardware.mixed_precision is 'fp8', but must be one of 'auto', 'no', 'bf16' or 'fp16'.",
        ),
        (
            "training: {report_to: [comet]}",
            "training.report_to.0 is 'comet', but must be one of 'tensorboard', 'wandb', 'mlflow' or "
            "'trackio'.",
        ),
        (
            "hardware: {devices: gpu}",
            "hardware.devices is 'gpu', which it cannot be. auto: GPUs if there are any, else the CPU; cpu; "
            "or GPU numbers such as 0,1.",
        ),
        (
            "training: {learning_rte: 1}",
            "training.learning_rte is not a setting; did you mean training.learning_rate?",
        ),
        ("learning_rate: 1", "learning_rate is not a setting; did you mean training.learning_rate?"),
        ("colour: red", "colour is not a setting."),
    ],
)  # fmt: skip
def test_a_refused_setting_names_key_value_and_limit(line, sentence):
    assert refused(SMALL + line) == sentence


def test_two_settings_that_do_not_fit_together():
    text = "model: {name_or_path: m}\ndata: {name_or_path: d, eval_fraction: 0.6, test_fraction: 0.4}"
    assert refused(text) == "data: eval_fraction 0.6 and test_fraction 0.4 leave nothing to train on."


def test_several_mistakes_are_named_together_but_not_without_end():
    sentence = refused("".join(f"wrong{index}: 1\n" for index in range(20)))
    assert sentence.startswith("model is missing. data is missing.")
    assert sentence.endswith("(and 18 more)")


def test_a_long_value_is_cut_short():
    sentence = refused(SMALL + f"name: {'x' * 100_000}")
    assert len(sentence) < 300


@pytest.mark.parametrize("text", ["", "   \n", "# nothing\n", "---\n", "null"])
def test_an_empty_file_says_what_is_missing(text):
    assert refused(text) == "The YAML is empty: model.name_or_path and data.name_or_path are missing."


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("just words", "holds str instead of settings"),
        ("[1, 2]", "holds list instead of settings"),
        ("42", "holds int instead of settings"),
        ("model: {name_or_path: m", "is not valid YAML in line 1"),
        ("a: 1\nb: [1\nc: 2\n", "is not valid YAML in line 3"),
        ("model: m\nmodel: n", "is not valid YAML in line 2"),
        ("a: !!python/object:os.system x", "is not valid YAML in line 1"),
        ("a: 1\n---\nb: 2", "is not valid YAML in line 2"),
        ("\x00\x01", "is not valid YAML"),
        ("\t- x", "is not valid YAML in line 1"),
        ("? [a, b]\n: 1", "Keys should be strings"),
        ("1: 2", "1 is"),
    ],
)  # fmt: skip
def test_nonsense_is_one_sentence(text, part):
    assert part in refused(text)


def test_values_that_multiply_are_refused_before_they_grow():
    levels = "".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]\n" for i in range(1, 12))
    begin = time.monotonic()
    assert (
        refused("l0: &l0 [x]\n" + levels)
        == "The YAML has an alias (*) in line 2, which no configuration needs."
    )
    assert time.monotonic() - begin < 2


def test_brackets_without_end_are_one_sentence():
    assert "more than 10 levels in line 1" in refused("[" * 900_000)
    assert "more than 10 levels in line 1" in refused("{a: " * 200_000)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00binary", b"\x89PNG\r\n\x1a\n"])
def test_a_file_that_is_no_text(tmp_path: Path, content):
    path = tmp_path / "run.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="is not a text file"):
        read_config(path)


def test_a_missing_file_a_folder_and_a_huge_file(tmp_path: Path):
    for path, part in ((tmp_path / "none.yaml", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(ConfigError, match=part):
            read_config(path)
    huge = tmp_path / "huge.yaml"
    huge.write_bytes(b"#" * 1_000_001)
    with pytest.raises(ConfigError, match="1,000,001 bytes"):
        read_config(huge)


# Writing


def test_a_written_configuration_reads_back_equal_and_names_every_setting():
    config = small()
    for commented in (False, True):
        text = dump_config(config, commented=commented)
        assert parse_config(text) == config
        assert all(f"{one.name}:" in text for one in all_settings())


def test_comments_hold_description_limits_and_unit():
    lines = dump_config(small(), commented=True).splitlines()
    (line,) = [line for line in lines if line.strip().startswith("learning_rate:")]
    assert line.split("#")[1] == (
        " Peak learning rate, reached after warm-up; null: chosen by rule; above 0, at most 1"
    )
    (line,) = [line for line in lines if line.strip().startswith("image_size:")]
    assert line.endswith("; at least 16, at most 2,048; in px")


@pytest.mark.parametrize(
    "name",
    ["no", "yes", "null", "~", "1e5", "0x1F", "a: b", "# not a comment", "x # y", "two\nlines", " ", "-", 
     "- a", "'", '"', "\\", "%", "@", "`", "{a}", "[a]", "*a", "&a", "!a", "ü", "漢字", 
     "\u2028", "\x85", "\x07",
     "\ufeff", "1_000", "012", "2026-11-24", "=", "<<", "x" * 120],
)  # fmt: skip
def test_any_name_survives_the_way_through_a_file(name):
    config = small(name=name)
    assert parse_config(dump_config(config)) == config
    assert parse_config(dump_config(config, commented=True)) == config


@pytest.mark.parametrize("value", [5e-5, 1e-16, 0.1, 1 / 3, 1, 2**-40])
def test_numbers_survive_to_the_last_bit(value):
    config = small(training={"learning_rate": value})
    assert parse_config(dump_config(config)).training.learning_rate == value


def test_lists_and_devices_survive():
    config = small(training={"report_to": ["wandb", "mlflow"]}, hardware={"devices": [0, 1]})
    again = parse_config(dump_config(config))
    assert again == config
    assert again.hardware.devices == "0,1"


# Comparing


def test_changed_settings_are_those_that_differ_but_the_name():
    first, second = small(name="a"), small(name="b", training={"seed": 1, "learning_rate": 0.1})
    assert [(one.key, old, new) for one, old, new in changed_settings(first, second)] == [
        ("training.learning_rate", None, 0.1),
        ("training.seed", 42, 1),
    ]


def test_value_of_a_setting_at_the_top_and_in_a_group():
    config = small(name="a")
    assert value_of(config, find_setting("name")) == "a"
    assert value_of(config, find_setting("data.split_seed")) == 42
