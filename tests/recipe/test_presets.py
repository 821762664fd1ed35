"""What each preset does, and that none does what its kind of picture cannot bear."""

from dataclasses import fields

import pytest

from superft_hf.config import AugmentationConfig
from superft_hf.config_training import Preset
from superft_hf.recipe.presets import PRESETS, Steps, augmentation_steps, changes_images

DOMAINS = ("documents", "medical", "aerial", "defects")


def test_every_preset_but_auto_has_its_steps():
    assert set(Preset.__args__) - {"auto"} == PRESETS.keys()


def test_none_does_nothing_and_the_others_something():
    assert [name for name, steps in PRESETS.items() if steps == Steps()] == ["none"]


@pytest.mark.parametrize("name", ["documents", "medical"])
def test_never_mirrored_nor_turned_over(name):
    steps = PRESETS[name]
    assert (steps.horizontal_flip, steps.vertical_flip, steps.right_angles) == (0, 0, 0)
    assert steps.rotation <= 10  # a page stays a page, a scan keeps its up
    assert steps.crop_scale >= 0.8  # what matters may be at the margin


def test_defects__are_never_cropped_moved_out_or_covered():
    steps = PRESETS["defects"]
    assert (steps.crop_scale, steps.rotation, steps.random_erasing) == (1, 0, 0)
    assert (steps.horizontal_flip, steps.vertical_flip) == (0.5, 0.5)


def test_aerial__any_direction_is_up():
    steps = PRESETS["aerial"]
    assert steps.right_angles == 0.75  # each of the four directions as often as the others
    assert (steps.horizontal_flip, steps.vertical_flip) == (0.5, 0.5)


@pytest.mark.parametrize("name", DOMAINS)
def test_domains__nothing_is_covered_blended_or_recoloured_beyond_recognition(name):
    steps = PRESETS[name]
    assert (steps.random_erasing, steps.mixup, steps.cutmix) == (0, 0, 0)
    assert steps.auto_augment == "none"  # its operations mirror nothing, but invert colours and move far
    assert steps.color_jitter <= 0.2


@pytest.mark.parametrize("name", ["light", "photos"])
def test_everyday_pictures_are_not_turned_over(name):
    steps = PRESETS[name]
    assert (steps.vertical_flip, steps.right_angles) == (0, 0)


def test_a_step_of_its_own_replaces_the_presets():
    config = AugmentationConfig(preset="strong", horizontal_flip=0, auto_augment="rand_augment", mixup=0.2)
    expected = {**vars(PRESETS["strong"]), "horizontal_flip": 0, "auto_augment": "rand_augment", "mixup": 0.2}
    assert augmentation_steps(config) == Steps(**expected)


def test_drawn_operations_may_be_taken_from_a_preset():
    config = AugmentationConfig(preset="none", auto_augment="none")
    assert augmentation_steps(config) == Steps()


def test_every_step_is_a_setting_of_the_same_name():
    assert {one.name for one in fields(Steps)} <= AugmentationConfig.model_fields.keys()


def test_an_undecided_preset_is_refused():
    with pytest.raises(ValueError, match="not decided"):
        augmentation_steps(AugmentationConfig())


def test_changes_images():
    plain = {"preset": "none", "progressive_resizing": 1.0}
    assert not changes_images(AugmentationConfig(**plain))
    for change in (
        {"preset": "light"}, {"mixup": 0.1}, {"multi_scale": 0.1}, {"progressive_resizing": 0.5},
        {"auto_augment": "trivial_augment"}, {"crop_scale": 0.9},
    ):  # fmt: skip
        assert changes_images(AugmentationConfig(**{**plain, **change}))
    quiet = {"crop_scale": 1, "horizontal_flip": 0}
    assert not changes_images(AugmentationConfig(**{**plain, "preset": "light", **quiet}))
