import math

import pytest
from pydantic import ValidationError

from superft_hf.config import DataConfig, HardwareConfig, ModelConfig, RunConfig, TrainingConfig
from superft_hf.settings import all_settings


def make(**groups: dict) -> RunConfig:
    needed = {"model": {"name_or_path": "m"}, "data": {"name_or_path": "d"}}
    return RunConfig.model_validate({**needed, **groups})


def test_model_and_data_have_no_default():
    with pytest.raises(ValidationError) as caught:
        RunConfig.model_validate({"model": {}, "data": {}})
    assert [error["loc"] for error in caught.value.errors()] == [
        ("model", "name_or_path"),
        ("data", "name_or_path"),
    ]


def test_defaults_of_the_settings_that_decide_a_result():
    config = make()
    assert config.model.strategy == "auto"
    assert (config.data.train_split, config.data.eval_split, config.data.test_split) == (
        "train",
        None,
        "test",
    )
    assert (config.data.eval_fraction, config.data.test_fraction, config.data.split_seed) == (0.15, 0.15, 42)
    assert config.data.on_bad_image == "error"
    assert (config.early_stopping.metric, config.early_stopping.patience) == ("eval_loss", 3)
    assert config.hardware.devices == "auto"
    assert config.training.report_to == []


def test_the_names_of_the_groups_stay():
    assert list(RunConfig.model_fields) == [
        "name", "task", "model", "data", "augmentation", "training", "early_stopping", "hardware",
    ]  # fmt: skip


def test_names_that_scripts_rely_on_are_there():
    keys = {one.key for one in all_settings()}
    assert {
        "model.name_or_path", "model.revision", "model.strategy", "model.dropout", "model.image_size",
        "data.config_name", "data.image_column", "data.label_column", "data.max_train_samples",
        "augmentation.preset", "training.num_train_epochs", "training.time_budget_s",
        "training.per_device_train_batch_size", "training.learning_rate", "training.optim",
        "training.lr_scheduler_type", "training.warmup_steps", "training.weight_decay", "training.l1",
        "training.l2", "training.label_smoothing_factor", "training.class_weights", "training.seed",
        "training.report_to", "early_stopping.patience", "early_stopping.metric", "hardware.devices",
        "hardware.num_processes", "hardware.mixed_precision",
    } <= keys  # fmt: skip


@pytest.mark.parametrize(
    ("training", "word"),
    [
        ({"nesterov": True}, "optim sgd"),
        ({"nesterov": True, "optim": "sgd", "momentum": 0.0}, "momentum above 0"),
        ({"optim": "schedule_free_sgd", "momentum": 0.0}, "momentum above 0"),
        ({"optim": "schedule_free_adamw", "ema_decay": 0.9}, "averages itself"),
    ],
)
def test_optimizers_with_settings_that_they_cannot_have(training, word):
    with pytest.raises(ValidationError, match=word):
        TrainingConfig(**training)


def test_a_schedule_free_optimizer_may_leave_averaging_to_the_rule_or_off():
    for decay in (None, 0.0):
        assert TrainingConfig(optim="schedule_free_adamw", ema_decay=decay).ema_decay == decay


@pytest.mark.parametrize("value", ["3", 2.5, True])
def test_a_whole_number_is_not_made_of_something_else(value):
    with pytest.raises(ValidationError):
        TrainingConfig(num_train_epochs=value)


@pytest.mark.parametrize("value", [0.0, 1.5, -1e-4, math.inf, math.nan, "5e-5", True])
def test_a_learning_rate_outside_its_limits_is_refused(value):
    with pytest.raises(ValidationError):
        TrainingConfig(learning_rate=value)


def test_a_whole_number_will_do_where_any_number_is_allowed():
    assert TrainingConfig(learning_rate=1).learning_rate == 1.0


def test_an_unknown_key_is_refused():
    with pytest.raises(ValidationError):
        TrainingConfig(lr=0.1)


@pytest.mark.parametrize(
    ("value", "meaning"), [("auto", "auto"), ("cpu", "cpu"), (0, "0"), ([0, 1], "0,1"), ("2,3", "2,3")]
)
def test_devices_may_be_written_as_numbers(value, meaning):
    assert HardwareConfig(devices=value).devices == meaning


@pytest.mark.parametrize("value", ["gpu", "0,", ",0", "0 1", -1, [], [0, "a"], True, 1.0, "cuda:0", ""])
def test_other_devices_are_refused(value):
    with pytest.raises(ValidationError):
        HardwareConfig(devices=value)


def test_fractions_that_leave_nothing_to_train_on_are_refused():
    with pytest.raises(ValidationError, match="leave nothing to train on"):
        DataConfig(name_or_path="d", eval_fraction=0.5, test_fraction=0.5)


def test_a_configuration_cannot_be_changed():
    with pytest.raises(ValidationError):
        make().training.seed = 1
    with pytest.raises(ValidationError):
        ModelConfig(name_or_path="m").name_or_path = "n"


def test_configurations_compare_and_hash_by_value():
    first, second = DataConfig(name_or_path="d"), DataConfig(name_or_path="d")
    assert first == second and hash(first) == hash(second)
    assert first != DataConfig(name_or_path="d", split_seed=1)
