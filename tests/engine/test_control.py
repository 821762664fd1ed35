import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
from safetensors.numpy import save_file

from superft_hf.engine import control
from superft_hf.engine.processes import describe_process, is_alive
from superft_hf.errors import DataNotFoundError, RunNotFoundError, StateError
from superft_hf.records import Request, RunState


@pytest.fixture
def tiny_model(tmp_path: Path) -> Path:
    """A folder that looks like a network of transformers; the stand-in never loads it."""
    folder = tmp_path / "model"
    folder.mkdir()
    config = {"model_type": "vit", "architectures": ["ViTForImageClassification"], "image_size": 32}
    (folder / "config.json").write_text(json.dumps(config))
    save_file({"classifier.weight": np.zeros((2, 4), dtype=np.float32)}, folder / "model.safetensors")
    return folder


@pytest.fixture
def supervisors(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The homes for which a supervisor would have been started; none is."""
    started: list[Path] = []
    monkeypatch.setattr(control, "_start_supervisor", started.append)
    return started


def test_submit__makes_local_paths_absolute(
    store, home, tiny_model, make_folder, config_of, supervisors, monkeypatch
):
    images = make_folder({"cat": 8, "dog": 8})
    monkeypatch.chdir(images.parent)
    record = control.submit(store, config_of("images", model={"name_or_path": "model"}), by="test")
    assert record.state is RunState.QUEUED
    config = store.read_config(record.run_id)
    assert config.data.name_or_path == str(images)
    assert config.model.name_or_path == str(tiny_model)
    assert supervisors == [home]
    assert [(event.by, event.what) for event in store.read_events(record.run_id)] == [("test", "created")]


def test_submit__bad_input_creates_no_run(store, tmp_path, tiny_model, config_of, supervisors):
    with pytest.raises(DataNotFoundError):
        control.submit(store, config_of(tmp_path / "none", model={"name_or_path": str(tiny_model)}))
    assert store.list_runs() == []
    assert supervisors == []
    assert [path for path in store.home.iterdir() if path.is_dir() and path.name != "cache"] == []


def test_with_absolute_paths__leaves_ids_and_samples_alone(config):
    made = control.with_absolute_paths(config("x"))
    assert made == config("x")


def test_ensure_supervisor__only_when_a_run_needs_one(store, home, config, supervisors):
    control.ensure_supervisor(home)
    done = store.create_run(config("x"), by="test", state=RunState.STARTING)
    store.change_state(done.run_id, (RunState.STARTING,), RunState.FAILED, by="test")
    control.ensure_supervisor(home)
    assert supervisors == []
    control.discard(store, done.run_id, by="test")
    assert supervisors == [home], "a failed run is discarded by the supervisor, too"
    assert store.get_run(done.run_id).request == Request.DISCARD


def test_ensure_supervisor__a_home_that_never_was(tmp_path, supervisors):
    control.ensure_supervisor(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()
    assert control.supervisor_pid(tmp_path / "nothing") is None


def test_ensure_supervisor__starts_one_process_however_often_it_is_called(store, home, config, until):
    held = store.create_run(config("x"), by="test").run_id
    store.set_held(held, True, by="test")
    for _ in range(3):
        control.ensure_supervisor(home)
    until(lambda: control.supervisor_pid(home) is not None and len(_supervisors_of(home)) == 1)
    pid = control.supervisor_pid(home)
    process = describe_process(pid, "supervisor")
    assert os.getsid(pid) == pid
    control.ensure_supervisor(home)
    assert control.supervisor_pid(home) == pid
    os.kill(pid, 15)
    until(lambda: not is_alive(process))


def _supervisors_of(home: Path) -> list[psutil.Process]:
    return [process for process in psutil.Process().children() if str(home) in " ".join(_words_of(process))]


def _words_of(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_discard__does_not_fit(store, config, supervisors):
    run_id = store.create_run(config("x"), by="test", state=RunState.STARTING).run_id
    store.change_state(run_id, (RunState.STARTING,), RunState.COMPLETED, by="test")
    with pytest.raises(StateError, match="is completed"):
        control.discard(store, run_id)
    with pytest.raises(RunNotFoundError):
        control.discard(store, "20260101-0000-none")


def test_wait_for(store, config):
    run_id = store.create_run(config("x"), by="test").run_id
    is_queued: Callable = lambda run: run.state is RunState.QUEUED  # noqa: E731
    assert control.wait_for(store, run_id, is_queued, timeout_s=1).run_id == run_id
    with pytest.raises(StateError, match="still queued after 0 s"):
        control.wait_for(store, run_id, lambda run: not is_queued(run), timeout_s=0.2)
