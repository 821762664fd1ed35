"""Tiny networks with random weights, saved to folders, and runs that train in this very process."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    ResNetConfig,
    ResNetForImageClassification,
    TimmWrapperConfig,
    TimmWrapperForImageClassification,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
)

from superft_hf.config import RunConfig
from superft_hf.config_file import make_config
from superft_hf.records import RunRecord, RunState
from superft_hf.store import RunStore
from superft_hf.training.run import RunContext, train_run

PROCESSOR = {"size": {"height": 32, "width": 32}}


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folders of a `vit`, a `resnet` and a `timm` network for images of 32 px and 7 classes."""
    root = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    vit = ViTForImageClassification(
        ViTConfig(
            hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=32,
            patch_size=8, num_labels=7,
        )
    )  # fmt: skip
    resnet = ResNetForImageClassification(
        ResNetConfig(
            embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1], layer_type="basic", num_labels=7
        )
    )
    timm_config = TimmWrapperConfig(
        architecture="test_resnet",
        pretrained_cfg={
            "input_size": [3, 32, 32], "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "crop_pct": 0.9,
            "interpolation": "bicubic", "first_conv": "conv1", "classifier": "fc",
        },
    )  # fmt: skip
    timm_config.num_labels = 7
    for name, model in (
        ("vit", vit),
        ("resnet", resnet),
        ("timm", TimmWrapperForImageClassification(timm_config)),
    ):
        model.save_pretrained(root / name)
        if name != "timm":
            ViTImageProcessor(**PROCESSOR).save_pretrained(root / name)
    return {name: str(root / name) for name in ("vit", "resnet", "timm")}


@pytest.fixture
def images(make_folder: Callable[..., Path]) -> Path:
    """60 digits in three classes, which are their order: hard enough not to be learned at once."""
    return make_folder({"a": 20, "b": 20, "c": 20})


@pytest.fixture
def tiny_config(models: dict[str, str], images: Path) -> Callable[..., RunConfig]:
    """`tiny_config("vit", training={"seed": 1})`: a run of two epochs that takes about a second."""

    def make(network: str = "resnet", /, **groups: dict[str, Any]) -> RunConfig:
        values: dict[str, Any] = {
            "model": {"name_or_path": models[network], "strategy": "full", "batch_norm": "trained"},
            "data": {"name_or_path": str(images)},
            "augmentation": {"preset": "light", "progressive_resizing": 1.0},
            "training": {
                "num_train_epochs": 2,
                "per_device_train_batch_size": 8,
                "learning_rate": 3e-3,
                "head_learning_rate_factor": 1.0,
                "layer_decay": 1.0,
                "label_smoothing_factor": 0.0,
                "ema_decay": 0.0,
                "warmup_steps": 0.05,
                "weight_decay": 0.01,
            },
            "hardware": {"devices": "cpu", "threads": 1},
        }
        for name, group in groups.items():
            values[name] = {**values.get(name, {}), **group}
        return make_config(values)

    return make


@pytest.fixture
def train(store: RunStore) -> Callable[[RunConfig], RunRecord]:
    """Trains a run as the worker does, without its process."""

    def run(config: RunConfig) -> RunRecord:
        record = store.create_run(config, by="test", state=RunState.STARTING)
        train_run(RunContext(store, record.run_id))
        return store.get_run(record.run_id)

    return run
