"""Makes this process take a stand-in for the Hub, and fills one with models and data sets that look real."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from superft_hf.hub import search


def go_online(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """As if the process had been started with this HF_ENDPOINT, online, with no answer remembered."""
    from huggingface_hub import constants

    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    search.forget()


def use_cache(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Gives this process a Hub cache of its own."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HOME", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(folder / "token"))


def add_model(
    root: Path, repo_id: str, *, num_parameters: int = 1000, licence: str = "apache-2.0",
    config: dict[str, Any] | None = None, is_gated: bool = False, is_pickled: bool = False, **notes: Any,
) -> Path:  # fmt: skip
    """A classifier of a few classes, with weights of zeros."""
    folder = root / repo_id
    folder.mkdir(parents=True)
    names = {"0": "cat", "1": "dog"}
    resnet = {"architectures": ["ResNetForImageClassification"], "model_type": "resnet", "id2label": names}
    (folder / "config.json").write_text(json.dumps(config or resnet))
    processor = {"size": {"shortest_edge": 96}, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.1]}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    (folder / "README.md").write_text(f"---\nlicense: {licence}\n---\n# {repo_id}\n")
    (folder / ".hub.json").write_text(json.dumps(notes))
    if is_pickled:
        (folder / "pytorch_model.bin").write_bytes(b"pickle")
    else:
        tensor = {"dtype": "F32", "shape": [num_parameters], "data_offsets": [0, 4 * num_parameters]}
        header = json.dumps({"weight": tensor}).encode()
        content = struct.pack("<Q", len(header)) + header + b"\0" * 4 * num_parameters
        (folder / "model.safetensors").write_bytes(content)
    if is_gated:
        (folder / ".gated").write_text("auto")
    return folder


def add_data_set(root: Path, repo_id: str, *, task: str = "image-classification", **notes: Any) -> Path:
    """The card of a data set; it holds no images."""
    folder = root / "datasets" / repo_id
    folder.mkdir(parents=True)
    lines = ["---", "license: cc-by-4.0", "size_categories:", "- 1K<n<10K", "tags:", "- modality:image"]
    lines += ["task_categories:", f"- {task}"] if task else []
    (folder / "README.md").write_text("\n".join([*lines, "---", "# Images"]))
    (folder / ".hub.json").write_text(json.dumps(notes))
    return folder
