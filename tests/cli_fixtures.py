"""What the tests of the command line share: a plugin, named in `pytest_plugins` of each of their files."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from superft_hf import cli
from superft_hf.config import RunConfig
from superft_hf.config_file import dump_config
from superft_hf.engine import control
from superft_hf.engine.launcher import Launcher
from superft_hf.engine.processes import send_signal
from superft_hf.records import RunRecord, RunState
from superft_hf.store import RunStore

STAND_INS = Path(__file__).parent / "stand_ins"


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache, and with it the locks of the devices, that no other test uses."""
    monkeypatch.setenv("SUPERFT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def superft(home: Path, own_cache: Path) -> Callable[..., int]:
    """Runs a command in this process on the test's home; its workers are stand-ins."""
    launcher = Launcher(worker=(str(STAND_INS / "worker.py"),))
    return lambda *words: cli.main(["--home", str(home), *map(str, words)], launcher)


@pytest.fixture
def no_supervisor(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """No supervisor is started; the homes for which one would have been."""
    started: list[Path] = []
    monkeypatch.setattr(control, "_start_supervisor", started.append)
    return started


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """What looks like a network, as long as nobody trains it."""
    folder = tmp_path / "model"
    folder.mkdir()
    values = {"model_type": "vit", "architectures": ["ViTForImageClassification"], "image_size": 32}
    (folder / "config.json").write_text(json.dumps(values))
    save_file({"classifier.weight": np.zeros((2, 4), dtype=np.float32)}, folder / "model.safetensors")
    return folder


@pytest.fixture
def cli_config(
    model_folder: Path, make_folder: Callable[..., Path], config_of: Callable[..., RunConfig]
) -> Callable[..., RunConfig]:
    """`cli_config("sleep 60")`: images and model are there; the name tells the stand-in what to do."""
    images = make_folder({"cat": 8, "dog": 8})

    def make(name: str | None, **hardware: object) -> RunConfig:
        return config_of(
            images, name=name, model={"name_or_path": str(model_folder)},
            hardware={"devices": "cpu", **hardware},
        )  # fmt: skip

    return make


@pytest.fixture
def config_file(tmp_path: Path, cli_config: Callable[..., RunConfig]) -> Callable[[str], Path]:
    """Writes such a configuration into a file."""

    def write(name: str) -> Path:
        path = tmp_path / "run.yaml"
        path.write_text(dump_config(cli_config(name)))
        return path

    return write


@pytest.fixture
def complete(store: RunStore) -> Callable[[RunConfig], RunRecord]:
    """Makes a run of a configuration that completed, without a model folder."""

    def make(config: RunConfig) -> RunRecord:
        run = store.create_run(config, by="test", state=RunState.STARTING)
        store.change_state(
            run.run_id, (RunState.STARTING,), RunState.COMPLETED, by="worker", global_step=10, max_steps=10,
            epoch=1.0, num_train_epochs=1.0, best_value=0.6, best_step=10, accuracy=0.75,
            evaluation={"eval": {"accuracy": 0.75}, "test": {"accuracy": 0.5}},
            facts={"counts": {"eval": 8, "test": 8}},
        )  # fmt: skip
        return store.get_run(run.run_id)

    return make


@pytest.fixture
def completed_run(complete: Callable[..., RunRecord], config_of: Callable[..., RunConfig]) -> RunRecord:
    """A run that completed, without a model folder."""
    return complete(config_of("x", name="complete"))


@pytest.fixture
def kill_workers(store: RunStore) -> Iterator[None]:
    """Every process of the runs of a test is ended after it."""
    yield
    for run in store.list_runs():
        send_signal(store.read_processes(run.run_id), signal.SIGKILL)


@pytest.fixture
def stand_in_supervisor(home: Path, store: RunStore, own_cache: Path, kill_workers: None) -> Iterator[int]:
    """A supervisor of this home, in a process of its own, whose workers are stand-ins."""
    command = [sys.executable, str(STAND_INS / "supervisor.py"), str(home), "60", "5"]
    process = subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL)
    while control.supervisor_pid(home) is None:
        assert process.poll() is None
        time.sleep(0.05)
    yield process.pid
    process.kill()
    process.wait()
