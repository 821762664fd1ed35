"""A run that is spread over processes, GPUs or machines: what that asks for, and what changes by it."""

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

from superft_hf.config import RunConfig
from superft_hf.engine.devices import find_devices
from superft_hf.errors import ConfigError, DeviceError, MissingPackageError
from superft_hf.recipe.case import make_case
from superft_hf.records import Finding, ModelInfo

MAX_BYTES = 1_000_000


def require(config: RunConfig) -> None:
    """Raises what would make a run fail that spreads its weights over GPUs.

    Raises:
        DeviceError: If there are no GPUs.
        MissingPackageError: If deepspeed is asked for and not installed.
        ConfigError: If the file of its options is gone or no JSON, or a setting does not go with it.
    """
    hardware = config.hardware
    if hardware.sharding == "none":
        return
    if find_devices(hardware).kind != "cuda":
        raise DeviceError(
            f"hardware.sharding {hardware.sharding} needs GPUs, and this run would train on the CPU.",
            hint="Set it to none.",
        )
    if hardware.sharding == "deepspeed" and importlib.util.find_spec("deepspeed") is None:
        raise MissingPackageError(
            "hardware.sharding is deepspeed, which is not installed.",
            hint="`pip install deepspeed`, or set it to fsdp.",
        )
    if hardware.sharding_config is not None:
        _require_json(Path(hardware.sharding_config))
    if config.model.strategy in ("head-then-full", "gradual"):
        raise ConfigError(
            f"model.strategy {config.model.strategy} frees layers later, which sharded weights cannot.",
            hint="Set it to full or head.",
        )
    if config.training.ema_decay:
        raise ConfigError(
            "training.ema_decay averages whole weights, and hardware.sharding spreads them.",
            hint="Set training.ema_decay to 0.",
        )
    if config.training.optim.startswith("schedule_free"):
        raise ConfigError(
            f"{config.training.optim} averages whole weights, and hardware.sharding spreads them.",
            hint="Set training.optim to adamw_torch.",
        )


def find(config: RunConfig, model: ModelInfo | None) -> Iterator[Finding]:
    """What is worth knowing about batch statistics of several processes."""
    hardware = config.hardware
    if hardware.world_size == 1 or model is None or not make_case(config, model, [1]).has_batch_norm:
        return
    if config.hardware.sync_batch_norm and make_case(config, model, [1]).device == "cuda":
        yield Finding("fine", "Batch-norm statistics are those of all processes together", code="batch-norm")
        return
    yield Finding(
        "know", "Batch-norm statistics are each process's own.",
        "A process sees its share of a batch only, and the statistics of the first one are kept.",
        "Give each process 16 images or more a step, or freeze them with model.batch_norm.",
        code="batch-norm",
    )  # fmt: skip


def _require_json(path: Path) -> None:
    hint = "hardware.sharding_config names a JSON file of fsdp or deepspeed options."
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"The file {path} is too large for options.", hint=hint)
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f"The file {path} cannot be read: {reason}.", hint=hint) from error
    except ValueError as error:
        raise ConfigError(f"The file {path} is not valid JSON: {error}.", hint=hint) from error
    if not isinstance(found, dict):
        raise ConfigError(f"The file {path} holds {type(found).__name__} instead of options.", hint=hint)
