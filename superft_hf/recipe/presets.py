"""The steps of augmentation behind each preset's name."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

from superft_hf.config import AugmentationConfig


@dataclass(frozen=True)
class Steps:
    """How strong each step of the augmentation is; the fields mean what those of AugmentationConfig mean."""

    crop_scale: float = 1.0
    horizontal_flip: float = 0.0
    vertical_flip: float = 0.0
    right_angles: float = 0.0
    rotation: float = 0.0
    color_jitter: float = 0.0
    random_erasing: float = 0.0
    auto_augment: str = "none"
    mixup: float = 0.0
    cutmix: float = 0.0


PRESETS: Mapping[str, Steps] = {
    "none": Steps(),
    "light": Steps(crop_scale=0.7, horizontal_flip=0.5),
    "strong": Steps(
        crop_scale=0.35, horizontal_flip=0.5, rotation=15.0, color_jitter=0.3, random_erasing=0.25
    ),
    "photos": Steps(crop_scale=0.5, horizontal_flip=0.5, color_jitter=0.2),
    "documents": Steps(crop_scale=0.85, rotation=7.0, color_jitter=0.2),
    "medical": Steps(crop_scale=0.8, rotation=10.0, color_jitter=0.2),
    "aerial": Steps(
        crop_scale=0.6, horizontal_flip=0.5, vertical_flip=0.5, right_angles=0.75, color_jitter=0.2
    ),
    "defects": Steps(horizontal_flip=0.5, vertical_flip=0.5, color_jitter=0.1),
}
"""`light` and `strong` are general; the others are safe for their kind of picture."""


def augmentation_steps(config: AugmentationConfig) -> Steps:
    """The strength of each step: the preset's, where the configuration does not set its own.

    Args:
        config: Its preset must be decided, not `auto`.

    Raises:
        ValueError: If the preset is `auto`: `superft_hf.recipe.rules.decide` chooses one.
    """
    if config.preset == "auto":
        raise ValueError("the preset of the augmentation is not decided yet")
    preset = PRESETS[config.preset]
    values = {}
    for one in fields(Steps):
        own = getattr(config, one.name)
        values[one.name] = getattr(preset, one.name) if own in (None, "preset") else own
    return Steps(**values)


def changes_images(config: AugmentationConfig) -> bool:
    """Whether training sees an image other than evaluation does, in whichever way.

    Args:
        config: Decided, as for augmentation_steps.
    """
    is_resized = config.multi_scale > 0 or config.progressive_resizing not in (None, 1)
    return is_resized or augmentation_steps(config) != Steps()
