"""A run whose model and images come from the Hub: the real clients, a real worker, a stand-in server."""

import shutil
import subprocess
from pathlib import Path

import datasets
import pytest

from superft_hf.config_file import make_config, read_config
from superft_hf.engine.devices import Devices
from superft_hf.engine.launcher import Launcher
from superft_hf.evaluation.prediction_files import read_predictions
from superft_hf.records import RunState
from tests.hub_stand_in import READ_TOKEN, HubStandIn, ask_hub, commit_of
from tests.sources.test_hub_data import rows, write_split

pytestmark = pytest.mark.slow


def work(store, config, endpoint: str, folder: Path):
    """Runs the worker with this Hub and a cache of its own."""
    run_id = store.create_run(config, by="test", state=RunState.STARTING).run_id
    paths, devices, launcher = store.run_paths(run_id), Devices("cpu", (), 1), Launcher()
    environment = launcher.environment(store.home, config, devices) | {
        "HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(folder / "huggingface"),
    }  # fmt: skip
    with paths.log.open("ab") as log:
        subprocess.run(
            launcher.command(paths, devices), env=environment, stdout=log, stderr=log, cwd=folder, timeout=300
        )
    return store.get_run(run_id)


def test_a_run_from_the_hub_pins_its_commits_and_runs_again_offline(models, store, tmp_path):
    root = tmp_path / "hub"
    shutil.copytree(models["vit"], root / "acme" / "vit")
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}
    repo = root / "datasets" / "acme" / "pets"
    write_split(repo, "train", {"image": rows(40), "label": [0, 1] * 20}, features)
    (repo / "README.md").write_text("# Pets\n")
    config = make_config(
        {
            "model": {"name_or_path": "acme/vit"},
            "data": {"name_or_path": "acme/pets"},
            "training": {"num_train_epochs": 1, "per_device_train_batch_size": 8, "learning_rate": 3e-3},
            "hardware": {"devices": "cpu", "threads": 1},
        }
    )
    with HubStandIn(root) as hub:
        record = work(store, config, hub.url, tmp_path)
    paths = store.run_paths(record.run_id)
    assert record.state == RunState.COMPLETED, paths.log.read_text()
    resolved = read_config(paths.resolved)
    assert resolved.model.revision == commit_of(root / "acme" / "vit") == record.facts["model_revision"]
    assert resolved.data.revision == commit_of(repo)
    predictions = read_predictions(paths.prediction_file("test", record.global_step))
    assert predictions["image"].str.match(r"hub:train:\d+").all()
    again = work(store, resolved, "http://127.0.0.1:9", tmp_path)  # nobody answers there
    assert again.state == RunState.COMPLETED, store.run_paths(again.run_id).log.read_text()
    assert again.evaluation == record.evaluation


PREPARE = """
import json, logging, sys
logging.basicConfig(level=logging.DEBUG)
from pathlib import Path
from superft_hf.config import RunConfig
from superft_hf.engine import control
from superft_hf.errors import SuperFTError
config = RunConfig.model_validate_json(Path("config.json").read_text())
try:
    made = control.prepare(config, Path("runs").absolute(), token=TOKEN)
    print(json.dumps({"config": made.model_dump(mode="json")}))
except SuperFTError as error:
    print(json.dumps({"kind": error.kind, "message": error.message, "hint": error.hint}))
"""


def test_gated_files_are_fetched_with_a_token_that_no_run_sees(models, store, tmp_path):
    root = tmp_path / "hub"
    shutil.copytree(models["vit"], root / "acme" / "vit")
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}
    repo = root / "datasets" / "acme" / "pets"
    write_split(repo, "train", {"image": rows(40), "label": [0, 1] * 20}, features)
    for gated in (root / "acme" / "vit", repo):
        (gated / "README.md").write_text("# Gated\n")
        (gated / ".gated").touch()
    config = make_config(
        {
            "model": {"name_or_path": "acme/vit"},
            "data": {"name_or_path": "acme/pets"},
            "training": {"num_train_epochs": 1, "per_device_train_batch_size": 8, "learning_rate": 3e-3},
            "hardware": {"devices": "cpu", "threads": 1},
        }
    )
    (tmp_path / "config.json").write_text(config.model_dump_json())
    with HubStandIn(root) as hub:
        refused = ask_hub(PREPARE.replace("TOKEN", "None"), hub.url, tmp_path)
        assert refused["kind"] == "GatedError" and "acme/vit" in refused["message"], refused
        answer = ask_hub(PREPARE.replace("TOKEN", repr(READ_TOKEN)), hub.url, tmp_path)
        pinned = make_config(answer["config"])
        assert pinned.data.revision == commit_of(repo)
        record = work(store, pinned, hub.url, tmp_path)  # its environment has no token
    paths = store.run_paths(record.run_id)
    assert record.state == RunState.COMPLETED, paths.log.read_text()
    assert READ_TOKEN not in answer["stderr"]
    places = [*store.home.rglob("*"), *(tmp_path / "runs").rglob("*"), *(tmp_path / "huggingface").rglob("*")]
    leaks = [path for path in places if path.is_file() and READ_TOKEN.encode() in path.read_bytes()]
    assert leaks == []
