"""What can be changed in a run that failed, so that a new one may succeed.

Each remedy is complete: its changes put into the run's configuration make a valid one. Values are computed
from the configuration as it was decided, so that they hold for what really ran.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from superft_hf import errors
from superft_hf.config import RunConfig
from superft_hf.config_file import value_of
from superft_hf.errors import SuperFTError
from superft_hf.recipe.decided import roughly
from superft_hf.records import Remedy
from superft_hf.settings import find_setting
from superft_hf.words import duration, significant

LOWER_RATE = 10
"""A rate that makes the loss explode is too high by more than a little."""

MAX_GRAD_NORM = 1.0
"""The usual bound, and the setting's default."""

LONGER_WAIT = 4
"""One step of a slow disk or network takes a few times as long as was thought, not a hundred times."""

SMALLEST_IMAGE = 32
"""Below it a network of photographs has nothing left to look at."""

SIGKILL = -9

Rule = Callable[[RunConfig], Iterator[Remedy]]


def remedies_for(error: SuperFTError, config: RunConfig) -> tuple[Remedy, ...]:
    """The remedies of a failure, the likeliest first; none where settings are not the cause.

    Args:
        error: In our words.
        config: Of the run that failed.
    """
    config = roughly(config)
    rule = next((rule for kind, rule in _RULES if isinstance(error, kind)), None)
    if isinstance(error, errors.WorkerDiedError) and error.returncode == SIGKILL:
        rule = _smaller_process
    if rule is None:
        return ()
    return tuple(one for one in rule(config) if _is_other(config, one.changes))


def _smaller_step(config: RunConfig) -> Iterator[Remedy]:
    """Less memory for a training step, with the same updates where possible."""
    yield from _smaller_batch(config)
    training = config.training
    is_alone = config.hardware.num_processes == 1
    if training.per_device_train_batch_size > 1 and is_alone:
        yield Remedy("Repeat and find the batch by itself", {"training.auto_find_batch_size": True})
    yield from _smaller_images(config)


def _smaller_process(config: RunConfig) -> Iterator[Remedy]:
    """Less memory for the process and its loaders, which is the system's, not the GPU's."""
    yield from _no_loaders(config)
    yield from _smaller_batch(config)
    yield from _smaller_images(config)


def _smaller_batch(config: RunConfig) -> Iterator[Remedy]:
    training = config.training
    batch, steps = training.per_device_train_batch_size, training.gradient_accumulation_steps
    if batch < 2:
        return
    factor = next(number for number in range(2, batch + 1) if batch % number == 0)
    most = find_setting("training.gradient_accumulation_steps").maximum or 1
    new_steps = int(min(factor * steps, most))
    yield Remedy(
        f"Repeat with batch {batch // factor} × {new_steps}",
        {
            "training.per_device_train_batch_size": batch // factor,
            "training.gradient_accumulation_steps": new_steps,
        },
    )


def _smaller_images(config: RunConfig) -> Iterator[Remedy]:
    """Only when the batch cannot be halved: smaller images cost accuracy."""
    size = config.model.image_size
    if config.training.per_device_train_batch_size > 1 or size is None or size < 2 * SMALLEST_IMAGE:
        return
    yield Remedy(f"Repeat with images of {size // 2} px", {"model.image_size": size // 2})


def _smaller_evaluation(config: RunConfig) -> Iterator[Remedy]:
    size = config.training.per_device_eval_batch_size
    if size > 1:
        title = f"Repeat, evaluating {size // 2} images at once"
        yield Remedy(title, {"training.per_device_eval_batch_size": size // 2})


def _calmer(config: RunConfig) -> Iterator[Remedy]:
    """Against a loss that explodes."""
    training = config.training
    rate = float(f"{training.learning_rate / LOWER_RATE:.3g}")
    if rate > 0:
        yield Remedy(f"Repeat with learning rate {significant(rate)}", {"training.learning_rate": rate})
    if config.hardware.mixed_precision == "fp16":  # its largest number is 65,504
        yield Remedy("Repeat in bf16", {"hardware.mixed_precision": "bf16"})
        yield Remedy("Repeat in full precision", {"hardware.mixed_precision": "no"})
    if training.max_grad_norm == 0:
        yield Remedy("Repeat with clipped gradients", {"training.max_grad_norm": MAX_GRAD_NORM})


def _freer(config: RunConfig) -> Iterator[Remedy]:
    """Against a run that stands still."""
    yield from _no_loaders(config)
    most = find_setting("training.hang_timeout_s").maximum or 0
    longer = float(min(LONGER_WAIT * config.training.hang_timeout_s, most))
    yield Remedy(f"Repeat, waiting {duration(longer)}", {"training.hang_timeout_s": longer})


def _no_loaders(config: RunConfig) -> Iterator[Remedy]:
    if config.training.dataloader_num_workers:
        yield Remedy("Repeat without loader processes", {"training.dataloader_num_workers": 0})


def _skip_bad_images(config: RunConfig) -> Iterator[Remedy]:
    yield Remedy("Repeat without unreadable images", {"data.on_bad_image": "skip"})


def _on_the_cpu(config: RunConfig) -> Iterator[Remedy]:
    changes: dict[str, Any] = {"hardware.devices": "cpu", "hardware.mixed_precision": "auto"}
    if config.hardware.num_processes > 1:
        changes["hardware.num_processes"] = 1
    yield Remedy("Repeat on the CPU", changes)


_RULES: tuple[tuple[type[SuperFTError], Rule], ...] = (
    (errors.EvalOutOfMemoryError, _smaller_evaluation),
    (errors.MemoryLimitError, _smaller_process),
    (errors.OutOfMemoryError, _smaller_step),
    (errors.DivergedError, _calmer),
    (errors.NoProgressError, _freer),
    (errors.BadImageError, _skip_bad_images),
    (errors.CudaDriverError, _on_the_cpu),
    (errors.SharedMemoryError, _no_loaders),
    (errors.OpenFilesError, _no_loaders),
)
"""The first that fits; the special kinds stand before those they derive from."""


def _is_other(config: RunConfig, changes: Mapping[str, Any]) -> bool:
    """Whether at least one value differs from what the run had."""
    return any(value_of(config, find_setting(key)) != value for key, value in changes.items())
