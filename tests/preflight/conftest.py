import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from superft_hf.config import RunConfig
from superft_hf.config_file import make_config


@pytest.fixture
def model(tmp_path) -> Path:
    """A folder that looks like a model of 12 parameters; nothing here loads it."""
    folder = tmp_path / "model"
    folder.mkdir()
    config = {"architectures": ["ResNetForImageClassification"], "model_type": "resnet"}
    (folder / "config.json").write_text(json.dumps(config))
    save_file({"weight": np.zeros((3, 4), dtype=np.float32)}, folder / "model.safetensors")
    return folder


@pytest.fixture
def make(model) -> Callable[..., RunConfig]:
    """`make(folder)`: a configuration with a model that can be trained."""

    def of(folder: Path | str, **groups) -> RunConfig:
        data_group = {"name_or_path": str(folder), **groups.pop("data", {})}
        model_group = {"name_or_path": str(model), **groups.pop("model", {})}
        return make_config({"model": model_group, "data": data_group, **groups})

    return of
