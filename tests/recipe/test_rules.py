"""What the rule chooses for which case, and that it leaves alone what is set."""

import re
from dataclasses import replace

import pytest

from superft_hf.config import RunConfig
from superft_hf.config_file import make_config, value_of
from superft_hf.recipe.case import Case, make_case
from superft_hf.recipe.decided import roughly
from superft_hf.recipe.rules import MAX_EPOCHS, MIN_EPOCHS, decide, suggest, undecided
from superft_hf.settings import all_settings

SMALL = Case(num_train=1000, class_counts=(500, 500), picture_side=300, own_size=224)
TRANSFORMER = Case(
    num_train=1000, class_counts=(500, 500), picture_side=300, own_size=224, family="transformer",
    has_batch_norm=False,
)  # fmt: skip


def config_of(**groups) -> RunConfig:
    model = {"name_or_path": "m", **groups.pop("model", {})}
    return make_config({"model": model, "data": {"name_or_path": "d"}, **groups})


def chosen(key: str, case: Case, **groups):
    return {one.key: one.value for one in suggest(config_of(**groups), case)}[key]


def test_undecided__every_setting_of_a_rule_and_only_those():
    config = config_of()
    by_rule = [one.key for one in all_settings() if one.is_by_rule]
    assert undecided(config) == by_rule
    assert all(value_of(config, one) in (None, "auto") for one in all_settings() if one.is_by_rule)
    assert sorted(one.key for one in suggest(config, SMALL)) == sorted(by_rule)


@pytest.mark.parametrize("case", [SMALL, TRANSFORMER])
def test_decide__leaves_nothing_open_and_the_result_is_a_valid_configuration(case):
    found = decide(config_of(), case)
    assert undecided(found) == []
    assert make_config(found.model_dump(mode="json")) == found


def test_decide__leaves_alone_what_is_set():
    own = {"learning_rate": 0.02, "num_train_epochs": 7, "ema_decay": 0.0, "label_smoothing_factor": 0.0}
    found = decide(config_of(training=own, augmentation={"preset": "none"}), SMALL)
    assert {key: getattr(found.training, key) for key in own} == own
    assert found.augmentation.preset == "none"
    assert decide(found, TRANSFORMER) == found


def test_suggest__says_why_in_half_a_sentence():
    for case in (SMALL, TRANSFORMER):
        for one in suggest(config_of(), case):
            assert re.match(r"[a-z0-9]", one.reason), one
            assert not one.reason.endswith("."), one


def test_learning_rate__by_family_optimizer_and_batch():
    assert chosen("training.learning_rate", SMALL, training={"per_device_train_batch_size": 32}) == 2e-3
    assert chosen("training.learning_rate", TRANSFORMER, training={"per_device_train_batch_size": 32}) == 1e-4
    four = {"per_device_train_batch_size": 32, "gradient_accumulation_steps": 4}
    assert chosen("training.learning_rate", SMALL, training=four) == 4e-3  # the root of the batch
    sgd = {"per_device_train_batch_size": 32, "optim": "sgd"}
    assert chosen("training.learning_rate", SMALL, training=sgd) == 5e-2


def test_learning_rate__less_without_batch_norm():
    convnext = replace(SMALL, has_batch_norm=False)
    assert chosen("training.learning_rate", convnext, training={"per_device_train_batch_size": 32}) == 2e-4


def test_preset__none_in_few_epochs_and_no_mirror_for_characters():
    assert chosen("augmentation.preset", SMALL) == "light"
    assert chosen("augmentation.preset", SMALL, training={"num_train_epochs": 11}) == "none"
    assert chosen("augmentation.preset", SMALL, training={"num_train_epochs": 12}) == "light"
    digits = make_case(config_of(), None, [9] * 10, class_names="0123456789")
    assert chosen("augmentation.preset", digits) == "documents"
    two = make_case(config_of(), None, [9] * 2, class_names="01")
    assert not two.has_characters and chosen("augmentation.preset", two) == "light"


def test_weight_decay__times_the_rate_is_about_the_same_for_all():
    for optim in ("adamw_torch", "sgd", "schedule_free_sgd"):
        training = {"optim": optim, "per_device_train_batch_size": 32}
        if optim == "schedule_free_sgd":
            training["momentum"] = 0.9
        rate = chosen("training.learning_rate", SMALL, training=training)
        decay = chosen("training.weight_decay", SMALL, training=training)
        assert rate * decay == pytest.approx(1e-4)


def test_epochs__more_for_few_images_within_limits():
    few = Case(num_train=20, class_counts=(10, 10))
    many = Case(num_train=1_000_000, class_counts=(1000,) * 1000)
    assert chosen("training.num_train_epochs", few) == MAX_EPOCHS
    assert chosen("training.num_train_epochs", many) == MIN_EPOCHS
    assert MIN_EPOCHS < chosen("training.num_train_epochs", SMALL) <= MAX_EPOCHS


def test_batch__small_sets_get_small_batches_that_make_a_few_updates():
    assert chosen("training.per_device_train_batch_size", Case(5000, (2500, 2500))) == 32
    assert chosen("training.per_device_train_batch_size", Case(200, (100, 100))) == 16
    assert chosen("training.per_device_train_batch_size", Case(10, (5, 5))) == 4
    assert chosen("training.per_device_train_batch_size", Case(5000, (2500, 2500), device="cuda")) == 64


def test_image_size__small_pictures_are_not_blown_up():
    assert chosen("model.image_size", SMALL) == 224
    digits = Case(1000, (100,) * 10, picture_side=8, own_size=224)
    assert chosen("model.image_size", digits) == 64
    fashion = Case(1000, (100,) * 10, picture_side=28, own_size=224)
    assert chosen("model.image_size", fashion) == 64
    patches = Case(1000, (100,) * 10, picture_side=8, own_size=224, family="transformer")
    assert chosen("model.image_size", patches) == 224


def test_batch_norm__frozen_for_tiny_batches_of_a_network_that_has_it():
    tiny = {"per_device_train_batch_size": 4}
    assert chosen("model.batch_norm", SMALL, training=tiny) == "frozen"
    assert chosen("model.batch_norm", SMALL) == "trained"
    assert chosen("model.batch_norm", TRANSFORMER, training=tiny) == "trained"


def test_head_alone__no_augmentation_so_that_its_features_are_computed_once():
    assert chosen("augmentation.preset", SMALL, model={"strategy": "head"}) == "none"
    assert chosen("augmentation.preset", SMALL) != "none"


def test_layer_decay__for_pre_trained_transformers_only():
    assert chosen("training.layer_decay", SMALL) == 1.0
    assert chosen("training.layer_decay", TRANSFORMER) < 1.0
    assert chosen("training.layer_decay", TRANSFORMER, model={"pretrained": False}) == 1.0


def test_averaging__not_beside_an_optimizer_that_averages_itself():
    assert chosen("training.ema_decay", SMALL, training={"optim": "schedule_free_adamw"}) == 0.0
    assert 0.9 <= chosen("training.ema_decay", SMALL) < 1.0


def test_smoothing__belongs_to_the_cross_entropy():
    assert chosen("training.label_smoothing_factor", SMALL, training={"loss": "focal"}) == 0.0
    assert chosen("training.label_smoothing_factor", SMALL) > 0.0


def test_roughly__leaves_open_only_the_size_of_a_model_that_is_not_known():
    assert undecided(roughly(config_of())) == ["model.image_size"]
