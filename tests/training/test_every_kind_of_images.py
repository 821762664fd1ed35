"""The main job on images of every kind: `superft train` in a process of its own, from YAML to test."""

import csv
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import datasets
import pytest

from superft_hf.config_file import dump_config, make_config
from superft_hf.evaluation.prediction_files import read_predictions
from superft_hf.records import RunState
from superft_hf.store import RunStore
from tests.hub_stand_in import HubStandIn

pytestmark = pytest.mark.slow

CLASSES = ("cat", "dog", "emu")
PER_CLASS = 20
WRITERS = 6


def pictures(folder: Path) -> list[tuple[Path, str]]:
    """60 digits in class folders, with their class names."""
    return [(path, path.parent.name) for path in sorted(folder.rglob("*.png"))]


def make_parquet(repo: Path, folder: Path, label: Any, **columns: list[Any]) -> None:
    """One parquet file with the bytes of the pictures."""
    rows = pictures(folder)
    features = {"image": datasets.Image(), "label": label}
    names = [name for _, name in rows]
    values: dict[str, Any] = {
        "image": [{"bytes": path.read_bytes(), "path": None} for path, _ in rows],
        "label": [CLASSES.index(name) for name in names] if hasattr(label, "names") else names,
        **columns,
    }
    features |= {name: datasets.Value("string") for name in columns}
    (repo / "data").mkdir(parents=True)
    table = datasets.Dataset.from_dict(values, datasets.Features(features))
    table.to_parquet(repo / "data" / "train-00000-of-00001.parquet")
    (repo / "README.md").write_text("# Pictures\n")


def class_labels(root: Path, folder: Path) -> dict[str, Any]:
    make_parquet(root / "datasets/acme/class-labels", folder, datasets.ClassLabel(names=list(CLASSES)))
    return {"name_or_path": "acme/class-labels"}


def string_labels(root: Path, folder: Path) -> dict[str, Any]:
    make_parquet(root / "datasets/acme/strings", folder, datasets.Value("string"))
    return {"name_or_path": "acme/strings"}


def hub_folder(root: Path, folder: Path) -> dict[str, Any]:
    shutil.copytree(folder, root / "datasets/acme/folder/train")
    return {"name_or_path": "acme/folder"}


def local_folder(root: Path, folder: Path) -> dict[str, Any]:
    return {"name_or_path": str(folder)}


def zipped(root: Path, folder: Path) -> dict[str, Any]:
    with zipfile.ZipFile(root / "pictures.zip", "w") as archive:
        for path, _ in pictures(folder):
            archive.write(path, path.relative_to(folder))
    return {"name_or_path": str(root / "pictures.zip")}


def table(root: Path, folder: Path) -> dict[str, Any]:
    with (root / "pictures.csv").open("w", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(["file_name", "species"])
        writer.writerows((str(path), name) for path, name in pictures(folder))
    return {"name_or_path": str(root / "pictures.csv"), "label_column": "species"}


def grouped(root: Path, folder: Path) -> dict[str, Any]:
    writers = [f"writer {number % WRITERS}" for number in range(len(CLASSES) * PER_CLASS)]
    names = datasets.ClassLabel(names=list(CLASSES))
    make_parquet(root / "datasets/acme/grouped", folder, names, writer=writers)
    return {"name_or_path": "acme/grouped", "group_column": "writer", "test_fraction": 0.2}


KINDS: dict[str, Callable[[Path, Path], dict[str, Any]]] = {
    "Hub parquet with ClassLabel": class_labels,
    "Hub parquet with string labels": string_labels,
    "image folder on the Hub": hub_folder,
    "local folder": local_folder,
    "zip": zipped,
    "CSV": table,
    "with a group column": grouped,
}


@pytest.fixture
def trained(models, make_folder, home, tmp_path):
    """Trains on every kind; the result of each by its name."""
    root = tmp_path / "hub"
    folder = make_folder({name: PER_CLASS for name in CLASSES})
    for name in ("datasets/acme", "acme"):
        (root / name).mkdir(parents=True)
    configs = {}
    for number, (kind, make) in enumerate(KINDS.items()):
        values = {
            "model": {"name_or_path": models["resnet"]},
            "data": make(root, folder),
            "training": {"num_train_epochs": 1, "per_device_train_batch_size": 8, "learning_rate": 3e-3},
            "hardware": {"devices": "cpu", "threads": 1},
        }
        configs[kind] = (home / str(number), make_config(values))
    with HubStandIn(root) as hub, ThreadPoolExecutor(2) as pool:
        environment = {
            **os.environ, "HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1",
            "HF_HOME": str(tmp_path / "huggingface"),
        }  # fmt: skip

        def train(kind: str) -> str:
            own_home, config = configs[kind]
            # A home and a machine of its own: runs of one machine wait for one another's CPU.
            own = environment | {"SUPERFT_CACHE": str(own_home) + "-cache"}
            path = tmp_path / f"{own_home.name}.yaml"
            path.write_text(dump_config(config))
            command = [sys.executable, "-m", "superft_hf.cli", "--home", str(own_home), "train", str(path)]
            return subprocess.run(command, env=own, capture_output=True, text=True, timeout=300).stderr

        said = dict(zip(KINDS, pool.map(train, KINDS), strict=True))
    return {kind: (RunStore(configs[kind][0]), said[kind]) for kind in KINDS}


def test_every_kind_of_images_is_trained_on_and_tested(trained):
    for kind, (store, said) in trained.items():
        (record,) = store.list_runs()
        assert record.state == RunState.COMPLETED, f"{kind}: {record.failure}\n{said}"
        assert record.facts["class_names"] == list(CLASSES), kind
        assert sum(record.facts["counts"].values()) == len(CLASSES) * PER_CLASS, kind
        assert min(record.facts["counts"].values()) > 0, kind
        paths = store.run_paths(record.run_id)
        rows = read_predictions(paths.prediction_file("test", record.global_step))
        assert len(rows) == record.facts["counts"]["test"], kind
        names = json.loads((paths.model / "config.json").read_text())["id2label"]
        assert names == {str(number): name for number, name in enumerate(CLASSES)}, kind
    ids = {}
    for kind, (store, _) in trained.items():
        (record,) = store.list_runs()
        path = store.run_paths(record.run_id).prediction_file("eval", record.best_step)
        ids[kind] = set(read_predictions(path)["example_id"])
    # Equal pictures under equal seeds are cut alike, wherever they come from; all but the grouped ones.
    assert ids["local folder"] == ids["zip"] == ids["CSV"]
    assert ids["with a group column"] != ids["Hub parquet with ClassLabel"]
