"""How many values an optimizer keeps for each weight: what it takes of memory and of a checkpoint."""

from superft_hf.recipe.case import family_of

STATES = {
    "adamw_torch": 2.0, "nadam": 2.0, "adafactor": 0.0, "lion": 1.0, "rmsprop": 1.0, "adagrad": 1.0,
    "sgd": 0.0, "schedule_free_adamw": 2.0, "schedule_free_sgd": 1.0,
}  # fmt: skip
"""By `training.optim`, momentum apart."""

WITH_MOMENTUM = ("sgd", "rmsprop")
"""These keep one value more where `training.momentum` is set."""

ADAFACTOR_OF_KERNELS = 1.5
"""Adafactor keeps the rows and columns of a matrix: nothing beside it. Of a kernel it takes the last two
dimensions, 3 × 3 or 1 × 1, whose rows and columns are as large as the kernel. At most, over whole networks:
ResNet-18 has 0.7, EfficientNet-Lite0 1.4, MobileNetV3 1.5."""


def values_per_weight(optim: str, momentum: float, architecture: str) -> float:
    """Values kept for each weight that trains.

    Args:
        optim: `training.optim`.
        momentum: `training.momentum`.
        architecture: Of the model, as its configuration names it; an unknown one counts as a convnet.

    Example:
        >>> values_per_weight("sgd", 0.9, "resnet18"), values_per_weight("adafactor", 0.9, "vit")
        (1.0, 0.0)
    """
    if optim == "adafactor" and family_of(architecture) == "convnet":
        return ADAFACTOR_OF_KERNELS
    return STATES[optim] + (optim in WITH_MOMENTUM and momentum > 0)
