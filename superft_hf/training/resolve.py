"""Deciding every `auto` of a run once, and writing down what was decided and where.

The result is a RunConfig again: `superft train resolved.yaml` repeats the run without deciding anything.
"""

import json
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import is_bf16_available

from superft_hf.config import RunConfig
from superft_hf.config_file import dump_config, read_config
from superft_hf.engine.devices import cpu_cores, find_devices, list_gpus
from superft_hf.hub.models import inspect_model
from superft_hf.paths import RunPaths
from superft_hf.sources.hub_data import hub_commit
from superft_hf.sources.load import local_place
from superft_hf.training.arguments import logging_steps
from superft_hf.training.tasks import TaskRun

PACKAGES = (
    "superft-hf", "torch", "torchvision", "transformers", "accelerate", "datasets", "evaluate", "timm",
    "huggingface-hub", "numpy", "pandas", "pillow", "pyarrow", "scikit-learn",
)  # fmt: skip


def decide_devices(config: RunConfig) -> RunConfig:
    """Decides devices, precision and threads; what is set already stays.

    Raises:
        DeviceError: If the devices asked for are not there.
    """
    hardware = config.hardware
    devices = find_devices(hardware)
    names = ",".join(str(index) for index in devices.indices[: devices.num_processes])
    values: dict[str, Any] = {"devices": names or ("cpu" if devices.kind == "cpu" else "auto")}
    if hardware.mixed_precision == "auto":
        values["mixed_precision"] = _precision(devices.kind)
    if hardware.threads is None:
        values["threads"] = max(1, cpu_cores() // hardware.num_processes)
    return config.model_copy(update={"hardware": hardware.model_copy(update=values)})


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
    """Keeps what the run depends on besides its configuration."""
    environment = {
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "devices": device_words(config),
        "git_commit": _git_commit(),
        "data_fingerprint": fingerprint,
    }
    _write(paths.environment, json.dumps(environment, indent=2) + "\n")


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


def _precision(kind: str) -> str:
    if kind != "cuda" or not torch.cuda.is_available():
        return "no"
    return "bf16" if is_bf16_available() else "fp16"


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
