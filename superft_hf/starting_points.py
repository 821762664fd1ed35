"""Settings that suit the samples: what the dashboard's first click and `make demo` run."""

from typing import Any

from superft_hf.config import RunConfig
from superft_hf.config_file import make_config

MODEL = "sample:efficientnet-lite0"

_SETTINGS: dict[str, dict[str, Any]] = {
    "sample:digits": {
        # Scans of 8 px gain nothing from the model's own 224 px, and a mirrored digit is no digit.
        "model": {"image_size": 64},
        "augmentation": {"preset": "none"},
        "training": {"num_train_epochs": 5, "learning_rate": 1e-3},
    },
    "sample:solar-cells": {
        # A cell has no top, bottom, left or right, so mirroring both ways makes four of one.
        "model": {"image_size": 128},
        "augmentation": {"preset": "light", "vertical_flip": 0.5},
        "training": {"num_train_epochs": 6, "learning_rate": 5e-4, "label_smoothing_factor": 0.1},
        "early_stopping": {"patience": None, "metric": "eval_accuracy"},
    },
    "sample:textures": {
        "model": {"image_size": 64},
        "augmentation": {"preset": "light", "vertical_flip": 0.5},
        "training": {"num_train_epochs": 5, "learning_rate": 1e-3, "per_device_train_batch_size": 16},
    },
}


def suited_settings(images: str) -> dict[str, Any]:
    """Settings by dotted key that suit a sample of images; none for other images.

    Example:
        >>> suited_settings("sample:digits")["augmentation.preset"]
        'none'
    """
    groups = _SETTINGS.get(images, {})
    return {
        f"{group}.{name}": value for group, settings in groups.items() for name, value in settings.items()
    }


def starting_point(images: str, name: str | None = None) -> RunConfig:
    """A run of the sample model on a sample of images.

    Args:
        images: A key of `superft_hf.samples.IMAGE_SAMPLES`.
        name: The run's name.

    Example:
        >>> starting_point("sample:digits").model.image_size
        64
    """
    values = {group: dict(settings) for group, settings in _SETTINGS[images].items()}
    values["model"] |= {"name_or_path": MODEL}
    return make_config({**values, "name": name, "data": {"name_or_path": images}})
