"""Completed runs with a model in their folder, for publishing: no torch, weights are random numbers."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from superft_hf.records import RunRecord
from superft_hf.store import RunStore
from tests.factories import make_completed_run

SAVED_FOR_TORCH = {"format": "pt"}


def give_model(folder: Path, class_names: list[str], *, num_weights: int = 50_000) -> None:
    """What `save_pretrained` leaves of a ViT: configuration, processor, weights."""
    folder.mkdir(parents=True)
    config = {
        "architectures": ["ViTForImageClassification"], "model_type": "vit", "hidden_size": 32,
        "id2label": {str(index): name for index, name in enumerate(class_names)},
        "label2id": {name: index for index, name in enumerate(class_names)},
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    processor = {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor, indent=2))
    weights = np.random.default_rng(0).normal(size=num_weights).astype(np.float32)
    save_file({"classifier.weight": weights}, folder / "model.safetensors", SAVED_FOR_TORCH)


def give_environment(path: Path) -> None:
    """What a worker notes at its start."""
    found = {
        "versions": {"superft-hf": "0.1", "torch": "2.14.1", "transformers": "5.23.0"},
        "python": "3.11.9", "platform": "Linux-6.1-secret-host", "devices": "2 CPU cores",
        "git_commit": None, "data_fingerprint": "ab" * 32,
    }  # fmt: skip
    path.write_text(json.dumps(found))


@pytest.fixture
def complete(store: RunStore) -> Callable[..., RunRecord]:
    """`complete("digits")`: a completed run of this name with a model, see make_completed_run."""

    def make(name: str = "digits", **changes: object) -> RunRecord:
        record = make_completed_run(store, name, hidden=8, **changes)
        paths = store.run_paths(record.run_id)
        shutil.rmtree(paths.model, ignore_errors=True)
        give_model(paths.model, list(record.facts["class_names"]))
        give_environment(paths.environment)
        return record

    return make


@pytest.fixture
def run(complete: Callable[..., RunRecord]) -> RunRecord:
    """A completed run."""
    return complete()
