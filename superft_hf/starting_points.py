"""Where to begin: settings that suit the samples, and a few models of the Hub by need.

Any other model can be searched or named as well; these are no more than a start.
"""

from dataclasses import dataclass
from typing import Any

from superft_hf.config import RunConfig
from superft_hf.config_file import make_config

MODEL = "sample:efficientnet-lite0"


@dataclass(frozen=True)
class StartingModel:
    """A model of the Hub to begin with.

    Attributes:
        need: `smallest`, `balanced` or `strongest`.
        repo_id: Its id on the Hub.
        family: `convnet` or `ViT`.
        library: `transformers` or `timm`.
        size: Parameters and input size, in words.
        reason: Why one would begin with it.
    """

    need: str
    repo_id: str
    family: str
    library: str
    size: str
    reason: str


# fmt: off
STARTING_MODELS = (
    StartingModel("smallest", "timm/mobilenetv4_conv_small.e2400_r224_in1k", "convnet", "timm",
                  "3.8 M parameters, 224 px", "Quick on a CPU, small enough for a phone."),
    StartingModel("smallest", "facebook/deit-tiny-patch16-224", "ViT", "transformers",
                  "5.7 M parameters, 224 px", "The smallest transformer of note; trains on a laptop."),
    StartingModel("balanced", "microsoft/resnet-18", "convnet", "transformers",
                  "11.7 M parameters, 224 px", "The one to compare with; forgives odd settings."),
    StartingModel("balanced", "timm/vit_small_patch16_224.augreg_in21k_ft_in1k", "ViT", "timm",
                  "22 M parameters, 224 px", "Saw 14 million pictures; good with few images a class."),
    StartingModel("balanced", "facebook/convnextv2-tiny-22k-224", "convnet", "transformers",
                  "28.6 M parameters, 224 px", "The best of its size on small sets; wants a GPU."),
    StartingModel("strongest", "google/vit-base-patch16-224-in21k", "ViT", "transformers",
                  "86 M parameters, 224 px", "The plain large transformer; wants a GPU."),
    StartingModel("strongest", "facebook/dinov2-base", "ViT", "transformers",
                  "87 M parameters, 224 px", "Learned without labels: for pictures unlike photos."),
    StartingModel("strongest", "timm/convnext_base.fb_in22k_ft_in1k", "convnet", "timm",
                  "89 M parameters, 224 px", "The strongest convnet that one GPU trains in an evening."),
)
# fmt: on
"""By need, the smallest first. Each has safetensors; each is looked at before it is used, as any other."""

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


EXAMPLES: dict[str, dict[str, Any]] = {
    "resnet18-cifar10": {
        "name": "ResNet-18 on CIFAR-10",
        "model": {"name_or_path": "microsoft/resnet-18", "strategy": "full", "batch_norm": "trained"},
        "data": {"name_or_path": "uoft-cs/cifar10"},
        "augmentation": {"preset": "none", "progressive_resizing": 1.0},
        "training": {
            "num_train_epochs": 10, "per_device_train_batch_size": 128, "learning_rate": 0.001,
            "optim": "sgd", "momentum": 0.9, "lr_scheduler_type": "constant", "warmup_steps": 0.0,
            "weight_decay": 0.0, "max_grad_norm": 0.0, "head_learning_rate_factor": 1.0, "layer_decay": 1.0,
            "label_smoothing_factor": 0.0, "ema_decay": 0.0,
        },
        "early_stopping": {"patience": None},
    },
}  # fmt: skip
"""Worked examples by name: every value of the recipe as it is written, nothing left to the rule but the size
of the images. The accuracy of this one was not measured here."""


def example(name: str) -> RunConfig:
    """A worked example, a key of EXAMPLES.

    Example:
        >>> config = example("resnet18-cifar10")
        >>> config.training.optim, config.training.momentum, config.training.per_device_train_batch_size
        ('sgd', 0.9, 128)
    """
    return make_config(EXAMPLES[name])


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
