"""The documented rule: what each undecided setting becomes, and why.

The numbers were fitted on the eval splits of real sets by `benchmarks/recipe.py`; test was not looked at.
README, section "The recipe", says the same in words.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from superft_hf.config import RunConfig
from superft_hf.config_file import value_of
from superft_hf.recipe.case import Case
from superft_hf.settings import all_settings
from superft_hf.words import counted, significant

FEW_PER_CLASS = 20
"""Fewer training images a class than this are few: over-fitting is the danger."""

TARGET_STEPS = 1200
"""Updates that a fine-tuning should have, within MIN_EPOCHS and MAX_EPOCHS."""

MIN_EPOCHS, MAX_EPOCHS = 3, 30
FEW_EPOCHS = 12
"""In fewer epochs than this a network does not learn its images by heart."""

SMALL_PICTURE = 0.5
"""Pictures whose shorter side is below this share of the model's own size are small."""

ENLARGED = 2.0
"""Small pictures are enlarged so many times at least."""


@dataclass(frozen=True)
class Choice:
    """What a rule chose.

    Attributes:
        key: The setting, such as `training.learning_rate`.
        value: Its value.
        reason: The end of a sentence: "suggested, because {reason}".
    """

    key: str
    value: Any
    reason: str


def undecided(config: RunConfig) -> list[str]:
    """Keys of the settings that the configuration leaves to the rule."""
    return [one.key for one in all_settings() if one.is_by_rule and value_of(config, one) in (None, "auto")]


def suggest(config: RunConfig, case: Case) -> list[Choice]:
    """What the rule chooses for every setting that it knows, whether or not the configuration sets its own.

    Later choices see the earlier ones: epochs follow from the batch, for example.

    Args:
        config: Settings of its own are kept, and the choices for the others suit them.
        case: What is known of images, model and machine.
    """
    found = []
    for key, rule in _RULES.items():
        value, reason = rule(config, case)
        found.append(Choice(key, value, reason))
        if key in undecided(config):
            config = with_values(config, {key: value})
    return found


def decide(config: RunConfig, case: Case) -> RunConfig:
    """The configuration with every undecided setting as the rule chooses it; what is set stays."""
    left = set(undecided(config))
    return with_values(config, {one.key: one.value for one in suggest(config, case) if one.key in left})


def with_linear_rate(config: RunConfig) -> RunConfig:
    """The configuration with the linear rule applied, where it is asked for.

    The learning rate grows with the number of processes, as the global batch does (Goyal et al. 2017). The
    request is taken off, so that a configuration that was decided is not scaled again.
    """
    training = config.training
    if not training.linear_lr_scaling or training.learning_rate is None:
        return config
    rate = min(1.0, training.learning_rate * config.hardware.world_size)
    return with_values(config, {"training.learning_rate": rate, "training.linear_lr_scaling": False})


def with_values(config: RunConfig, values: dict[str, Any]) -> RunConfig:
    """The configuration with other values, by dotted key."""
    groups: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        group, _, name = key.partition(".")
        groups.setdefault(group, {})[name] = value
    updated = {group: getattr(config, group).model_copy(update=update) for group, update in groups.items()}
    return config.model_copy(update=updated)


def _strategy(config: RunConfig, case: Case) -> tuple[str, str]:
    return "full", "training every layer adapts best to pictures unlike those the model has seen"


def _image_size(config: RunConfig, case: Case) -> tuple[int | None, str]:
    own, side = case.own_size, case.picture_side
    if own is None or side is None or case.family == "transformer" or side >= SMALL_PICTURE * own:
        return own, "the model was trained at this size"
    size = min(own, max(64, 32 * math.ceil(ENLARGED * side / 32)))
    if size == own:
        return own, "the model was trained at this size"
    return size, f"the pictures are small ({side} px): more pixels would hold nothing more"


def _batch(config: RunConfig, case: Case) -> tuple[int, str]:
    if case.device == "cuda":
        size = 64 if case.num_train >= 2000 else 32
    else:
        size = 32 if case.num_train >= 640 else 16
    while size > 4 and case.num_train / (size * case.num_processes) < 4:
        size //= 2
    return size, f"{counted(case.num_train, 'training image')} make enough updates in an epoch of it"


def _epochs(config: RunConfig, case: Case) -> tuple[int, str]:
    training = config.training
    batch = (training.per_device_train_batch_size or 32) * training.gradient_accumulation_steps
    steps = max(1, math.ceil(case.num_train / (batch * case.num_processes)))
    epochs = min(MAX_EPOCHS, max(MIN_EPOCHS, round(TARGET_STEPS / steps)))
    return epochs, f"{counted(epochs * steps, 'update')} are about what a fine-tuning needs"


def _learning_rate(config: RunConfig, case: Case) -> tuple[float, str]:
    training = config.training
    batch = (training.per_device_train_batch_size or 32) * training.gradient_accumulation_steps
    base = 1e-4 if case.family == "transformer" else 2e-3 if case.has_batch_norm else 2e-4
    if not training.linear_lr_scaling:  # else the processes count in full, see with_linear_rate
        batch *= case.num_processes
    scale = {
        "sgd": 25.0, "schedule_free_sgd": 500.0, "rmsprop": 0.15, "adagrad": 1.5, "lion": 0.1,
    }.get(training.optim, 1.0)  # fmt: skip
    rate = base * scale * math.sqrt(batch / 32)
    rate = min(1.0, float(f"{rate:.2g}"))
    kind = "convnet without batch norm" if base == 2e-4 else case.family
    return rate, f"{significant(base)} suits AdamW on a {kind} with 32 images a step"


def _weight_decay(config: RunConfig, case: Case) -> tuple[float, str]:
    if config.training.optim == "schedule_free_sgd":
        return 1e-4, "the decay acts through the learning rate, which is large here"
    if config.training.optim == "sgd":
        return 2e-3, "the decay acts through the learning rate, which is large here"
    return 0.05, "it is what fine-tuning with AdamW mostly takes"


def _head_factor(config: RunConfig, case: Case) -> tuple[float, str]:
    if case.family == "transformer":
        return 10.0, "the new layer starts from nothing, and a transformer's layers move little"
    return 3.0, "the new layer starts from nothing"


def _layer_decay(config: RunConfig, case: Case) -> tuple[float, str]:
    if case.family == "transformer" and config.model.pretrained:
        return 0.75, "early layers of a transformer hold what all pictures share"
    return 1.0, "convnets train best with all layers alike"


def _smoothing(config: RunConfig, case: Case) -> tuple[float, str]:
    if config.training.loss != "cross_entropy":
        return 0.0, "it belongs to the plain cross-entropy"
    return 0.1, "it keeps the network from becoming too sure"


def _averaging(config: RunConfig, case: Case) -> tuple[float, str]:
    if config.hardware.sharding != "none":
        return 0.0, "weights that are spread over GPUs are not averaged"
    if config.training.optim.startswith("schedule_free"):
        return 0.0, "schedule-free optimizers average the weights themselves"
    training = config.training
    batch = (training.per_device_train_batch_size or 32) * training.gradient_accumulation_steps
    steps = (training.num_train_epochs or 1) * max(1, case.num_train / (batch * case.num_processes))
    decay = min(0.9998, max(0.9, 1 - 20 / max(steps, 200)))
    return float(f"{decay:.4g}"), "averaged weights err less than the last ones"


def _batch_norm(config: RunConfig, case: Case) -> tuple[str, str]:
    batch = config.training.per_device_train_batch_size or 32
    if case.has_batch_norm and batch < 8 and config.model.pretrained:
        return "frozen", f"{batch} images are too few for statistics of their own"
    return "trained", "the statistics should be those of your pictures"


def _preset(config: RunConfig, case: Case) -> tuple[str, str]:
    if config.model.strategy == "head":
        return "none", "without it the features are computed once, and the head trains in seconds"
    if (config.training.num_train_epochs or MAX_EPOCHS) < FEW_EPOCHS:
        return "none", "in so few epochs the network does not learn its images by heart"
    if case.has_characters:
        return "documents", "the classes are single characters, which are not to be mirrored"
    return "light", "pictures that may be mirrored and slightly cropped are the usual case"


def _progressive(config: RunConfig, case: Case) -> tuple[float, str]:
    return 1.0, "the network sees the size at which it is used from the start"


_RULES: dict[str, Callable[[RunConfig, Case], tuple[Any, str]]] = {
    "model.strategy": _strategy,
    "model.image_size": _image_size,
    "training.per_device_train_batch_size": _batch,
    "training.num_train_epochs": _epochs,
    "training.learning_rate": _learning_rate,
    "training.weight_decay": _weight_decay,
    "training.head_learning_rate_factor": _head_factor,
    "training.layer_decay": _layer_decay,
    "training.label_smoothing_factor": _smoothing,
    "training.ema_decay": _averaging,
    "model.batch_norm": _batch_norm,
    "augmentation.preset": _preset,
    "augmentation.progressive_resizing": _progressive,
}


def reasons(config: RunConfig, case: Case) -> Iterator[tuple[str, Any, str]]:
    """(setting, value, reason) of every choice, for tables."""
    for one in suggest(config, case):
        yield one.key, one.value, one.reason
