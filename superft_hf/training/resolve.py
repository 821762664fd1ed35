"""Deciding every `auto` of a run once, and writing down what was decided and where.

The result is a RunConfig again: `superft train resolved.yaml` repeats the run without deciding anything.
"""

import json
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from superft_hf.config import RunConfig
from superft_hf.config_file import dump_config, read_config
from superft_hf.engine.devices import find_devices, list_gpus, share_of_cores, share_of_memory
from superft_hf.errors import DataChangedError
from superft_hf.hub.models import inspect_model
from superft_hf.paths import RunPaths
from superft_hf.recipe.case import case_of
from superft_hf.recipe.rules import decide, undecided, with_linear_rate
from superft_hf.sources.hub_data import hub_commit
from superft_hf.sources.image_set import ImageSet
from superft_hf.sources.load import local_place
from superft_hf.training.arguments import logging_steps
from superft_hf.training.tasks import TaskRun

PACKAGES = (
    "superft-hf", "torch", "torchvision", "transformers", "accelerate", "datasets", "evaluate", "timm",
    "schedulefree", "huggingface-hub", "numpy", "pandas", "pillow", "pyarrow", "scikit-learn",
)  # fmt: skip


def decide_devices(config: RunConfig, slots: int = 1) -> RunConfig:
    """Decides devices, threads and memory; what is set already stays. Precision is left to the probes.

    Args:
        config: The run.
        slots: How many runs train at once where there is no GPU: each gets its share of cores and memory.

    Raises:
        DeviceError: If the devices asked for are not there.
    """
    hardware = config.hardware
    devices = find_devices(hardware)
    names = ",".join(str(index) for index in devices.indices[: devices.num_processes])
    values: dict[str, Any] = {"devices": names or ("cpu" if devices.kind == "cpu" else "auto")}
    slots = slots if devices.kind == "cpu" else 1
    if hardware.threads is None:
        values["threads"] = share_of_cores(hardware.num_processes, slots)
    if hardware.memory_limit_gb is None and slots > 1:
        values["memory_limit_gb"] = round(share_of_memory(slots) / 1e9, 3)
    return config.model_copy(update={"hardware": hardware.model_copy(update=values)})


def shrink_batch(config: RunConfig) -> RunConfig | None:
    """Fewer images a step and as much more accumulation: the same updates with less memory.

    Returns:
        Half the batch, or of an odd one the next smaller part that divides it; None when it is 1, or when
        `training.auto_find_batch_size` does not ask for it.
    """
    training = config.training
    batch = training.per_device_train_batch_size
    if not training.auto_find_batch_size or batch < 2:
        return None
    factor = next(number for number in range(2, batch + 1) if batch % number == 0)
    smaller = {
        "per_device_train_batch_size": batch // factor,
        "gradient_accumulation_steps": factor * training.gradient_accumulation_steps,
    }
    return config.model_copy(update={"training": training.model_copy(update=smaller)})


def pin_revisions(config: RunConfig, home: Path) -> RunConfig:
    """Puts commit hashes in the place of branches and tags, as far as the Hub or its cache tells them."""
    model, data = config.model, config.data
    model_commit = inspect_model(model.name_or_path, model.revision).revision
    data_commit = hub_commit(data) if local_place(data, home) is None else None
    return config.model_copy(
        update={
            "model": model.model_copy(update={"revision": model_commit or model.revision}),
            "data": data.model_copy(update={"revision": data_commit or data.revision}),
        }
    )


def decide_recipe(config: RunConfig, images: ImageSet) -> RunConfig:
    """Lets the rule choose every setting that is left to it.

    Args:
        config: With its revisions pinned.
        images: All images of the run; the rule goes by those of train.
    """
    if not undecided(config):
        return with_linear_rate(config)
    info = inspect_model(config.model.name_or_path, config.model.revision)
    return with_linear_rate(decide(config, case_of(config, info, images)))


def decide_model(config: RunConfig, task: TaskRun, num_train: int) -> RunConfig:
    """Decides what depends on model and data: image size, memory format, logging steps."""
    hardware = config.hardware
    if hardware.memory_format == "auto":
        hardware = hardware.model_copy(update={"memory_format": task.choose_memory_format()})
    model = config.model.model_copy(update={"image_size": task.image_size})
    training = config.training.model_copy(update={"logging_steps": logging_steps(config, num_train)})
    return config.model_copy(update={"hardware": hardware, "model": model, "training": training})


def read_resolved(paths: RunPaths) -> RunConfig | None:
    """What an earlier start of the run decided, or None."""
    return read_config(paths.resolved) if paths.resolved.exists() else None


def write_resolved(paths: RunPaths, config: RunConfig) -> None:
    """Keeps the decisions; written aside and renamed."""
    _write(paths.resolved, dump_config(config))


def write_environment(paths: RunPaths, config: RunConfig, fingerprint: str) -> None:
    """Keeps what the run depends on besides its configuration; once, at its first start."""
    if not paths.environment.exists():
        _write(paths.environment, json.dumps(_environment(config, fingerprint), indent=2) + "\n")


def changed_environment(paths: RunPaths, config: RunConfig, fingerprint: str) -> list[str]:
    """What is not as it was at the first start of a run that is resumed, in words.

    Raises:
        DataChangedError: If the images are others: the run would go on as another one.
    """
    try:
        first = json.loads(paths.environment.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    if first.get("data_fingerprint") != fingerprint:
        raise DataChangedError(config.data.name_or_path)
    now, before = _environment(config, fingerprint), first.get("versions", {})
    return [
        f"{name} {before.get(name, 'none')} → {version}"
        for name, version in now["versions"].items()
        if before.get(name) != version
    ]


def _environment(config: RunConfig, fingerprint: str) -> dict[str, Any]:
    return {
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "devices": device_words(config),
        "git_commit": _git_commit(),
        "data_fingerprint": fingerprint,
    }


def device_words(config: RunConfig) -> str:
    """The devices of a resolved run in words, such as `2 CPU cores`."""
    hardware = config.hardware
    if hardware.devices == "cpu":
        threads = hardware.threads or 1
        each = f"{threads} CPU core{'s' if threads > 1 else ''}"
        return each if hardware.num_processes == 1 else f"{hardware.num_processes} processes with {each} each"
    if hardware.devices == "auto":
        return "Apple GPU"
    names = {str(gpu.index): gpu.name for gpu in list_gpus()}
    return ", ".join(names.get(index, f"GPU {index}") for index in hardware.devices.split(","))


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """The commit of this program's own checkout, if it runs from one."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def _write(path: Path, text: str) -> None:
    aside = path.with_suffix(".writing")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)
