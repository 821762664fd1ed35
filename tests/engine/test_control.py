import json
import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
from safetensors.numpy import save_file

from superft_hf.config import HardwareConfig
from superft_hf.engine import control
from superft_hf.engine.devices import try_lease
from superft_hf.engine.processes import describe_process, is_alive
from superft_hf.errors import DataNotFoundError, RunNotFoundError, StateError
from superft_hf.paths import HomePaths
from superft_hf.records import PauseReason, ProcessRecord, Request, RunState


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


def live(store, config, name: str = "x") -> str:
    return store.create_run(config(name), by="test", state=RunState.STARTING).run_id


@pytest.mark.parametrize(
    ("verb", "request_"),
    [
        (control.finish, Request.FINISH), (control.pause, Request.PAUSE),
        (control.stop_hard, Request.STOP_HARD), (control.discard, Request.DISCARD),
    ],
)  # fmt: skip
def test_verbs__are_recorded_and_see_to_a_supervisor(store, home, config, supervisors, verb, request_):
    run_id = live(store, config)
    record = verb(store, run_id, by="test")
    assert (record.run_id, record.request, record.state) == (run_id, request_, RunState.STARTING)
    assert supervisors == [home]
    assert store.read_events(run_id)[-1].what == f"asked to {request_}"


@pytest.mark.parametrize("verb", [control.finish, control.pause, control.stop_hard])
def test_verbs__do_not_fit_a_queued_run(store, config, supervisors, verb):
    run_id = store.create_run(config("x"), by="test").run_id
    with pytest.raises(StateError, match="is queued: it cannot be asked to"):
        verb(store, run_id, by="test")
    assert supervisors == []


def test_resume__queues_a_failed_run_again(store, home, config, supervisors):
    run_id = live(store, config)
    with pytest.raises(StateError, match="cannot be resumed"):
        control.resume(store, run_id, by="test")
    store.change_state(run_id, (RunState.STARTING,), RunState.FAILED, by="test")
    assert control.resume(store, run_id, by="test").state is RunState.QUEUED
    assert supervisors == [home]


def test_ensure_supervisor__for_a_run_that_a_shutdown_paused(store, home, config, supervisors):
    by_person, by_shutdown = live(store, config), live(store, config)
    for run_id, reason in ((by_person, PauseReason.PERSON), (by_shutdown, PauseReason.SHUTDOWN)):
        control.ensure_supervisor(home)
        supervisors.clear()
        store.change_state(run_id, (RunState.STARTING,), RunState.PAUSED, by="test", pause_reason=str(reason))
    control.ensure_supervisor(home)
    assert supervisors == [home]
    store.change_state(by_shutdown, (RunState.PAUSED,), RunState.DISCARDED, by="test")
    control.ensure_supervisor(home)
    assert supervisors == [home], "a run that a person paused waits"


def test_stop_supervisor__keeps_it_stopped_until_a_person_starts_it(store, home, config, until):
    held = store.create_run(config("x"), by="test").run_id
    store.set_held(held, True, by="test")
    control.ensure_supervisor(home)
    until(lambda: control.supervisor_pid(home) is not None)
    process = describe_process(control.supervisor_pid(home), "supervisor")
    assert control.stop_supervisor(home) == process.pid
    assert control.supervisor_pid(home) is None
    until(lambda: not is_alive(process))
    assert control.supervisor_status(home) == control.SupervisorStatus(None, is_stopped=True, is_needed=True)
    control.ensure_supervisor(home)
    control.discard(store, held, by="test")
    assert len(_supervisors_of(home)) == 0
    assert control.stop_supervisor(home) is None

    control.start_supervisor(home)
    until(lambda: store.get_run(held).state is RunState.DISCARDED)
    status = control.supervisor_status(home)
    assert status.pid is not None and not status.is_stopped
    process = describe_process(status.pid, "supervisor")
    control.stop_supervisor(home)
    until(lambda: not is_alive(process))


def test_stop_supervisor__a_home_that_never_was(tmp_path):
    assert control.stop_supervisor(tmp_path / "nothing") is None
    assert control.supervisor_status(tmp_path / "nothing") == control.SupervisorStatus(None, False, False)
    assert not (tmp_path / "nothing").exists()


def test_stop_supervisor__one_that_was_just_being_started_leaves_again(store, home, config, start_supervisor):
    store.create_run(config("sleep 60"), by="test")
    assert control.stop_supervisor(home) is None
    assert start_supervisor().wait(timeout=10) == 0
    assert [run.state for run in store.list_runs()] == [RunState.QUEUED]


def test_pause_all__without_a_supervisor(store, launcher, config, until):
    ids = [live(store, config, name) for name in ("pausable 60", "pausable 60")]
    lease = try_lease(HardwareConfig(devices="cpu"))
    workers = [launcher.start(store, run_id, store.read_config(run_id), lease) for run_id in ids]
    lease.close()
    dead = live(store, config)
    store.record_process(dead, ProcessRecord(os.getpid(), 1.0, "rank 0"))
    for worker, run_id in zip(workers, ids, strict=True):
        until(lambda run_id=run_id: "listens" in store.run_paths(run_id).log.read_text())
        threading.Thread(target=worker.wait, daemon=True).start()
    records = {run.run_id: run for run in control.pause_all(store, by="test", timeout_s=20)}
    assert [records[run_id].state for run_id in ids] == [RunState.PAUSED, RunState.PAUSED]
    assert records[ids[0]].pause_reason == PauseReason.PERSON
    assert records[dead].state is RunState.FAILED
    assert control.pause_all(store, by="test", timeout_s=0) == []


def test_pause_all__a_worker_that_does_not_answer(store, launcher, config, until):
    run_id = live(store, config, "stubborn 60")
    lease = try_lease(HardwareConfig(devices="cpu"))
    worker = launcher.start(store, run_id, store.read_config(run_id), lease)
    lease.close()
    with pytest.raises(StateError, match="Not paused within 0 s: stubborn 60") as caught:
        control.pause_all(store, by="test", timeout_s=0.2)
    assert "superft stop-hard" in caught.value.hint
    worker.kill()
    worker.wait()


def test_ensure_supervisor__many_callers_start_one_process(store, config, home, until, monkeypatch):
    store.set_held(store.create_run(config("complete"), by="test").run_id, True, by="test")
    begun = []
    real = subprocess.Popen

    def popen(command, **options):
        begun.append(command)
        return real(command, **options)

    monkeypatch.setattr(control.subprocess, "Popen", popen)
    for _ in range(10):
        control.ensure_supervisor(home)
    assert len(begun) == 1
    until(lambda: control.supervisor_pid(home) is not None)
    control.stop_supervisor(home)
    control.start_supervisor(home)  # the old one may still be ending
    assert len(begun) == 2
    until(lambda: control.supervisor_pid(home) is not None)
    control.stop_supervisor(home)


def test_submit_many__is_checked_once_and_pins_what_the_first_was_given(
    store, home, tiny_model, make_folder, config_of, supervisors, monkeypatch
):
    images = make_folder({"cat": 8, "dog": 8})
    monkeypatch.chdir(images.parent)
    configs = [
        config_of("images", model={"name_or_path": "model"}, training={"seed": seed}) for seed in (1, 2)
    ]
    seen = []
    records = control.submit_many(store, configs, "test", lambda done, total: seen.append((done, total)))
    found = [store.read_config(record.run_id) for record in records]
    assert [one.training.seed for one in found] == [1, 2]
    assert {one.data.name_or_path for one in found} == {str(images)}
    assert {one.model.name_or_path for one in found} == {str(tiny_model)}
    assert [done for done, total in seen if done == total] == [16]
    assert supervisors == [home]


def test_submit_many__bad_input_creates_no_run(store, tmp_path, tiny_model, config_of, supervisors):
    configs = [config_of(tmp_path / "none", model={"name_or_path": str(tiny_model)})] * 2
    with pytest.raises(DataNotFoundError):
        control.submit_many(store, configs)
    assert store.list_runs() == [] and supervisors == []


def test_expect_run__starts_a_supervisor_before_there_is_a_run(store, home, supervisors):
    control.expect_run(home)
    assert supervisors == [home]
    store.change_settings(is_supervisor_stopped=True)
    control.expect_run(home)
    assert supervisors == [home]


def test_expect_run__one_that_is_idle_stays_longer(home, until, start_supervisor):
    supervisor = start_supervisor(idle_s=2)
    HomePaths(home).supervisor_start_lock.touch()
    until(lambda: control.supervisor_pid(home) == supervisor.pid)
    for _ in range(8):
        time.sleep(0.5)
        control.expect_run(home)
    assert supervisor.poll() is None
    assert supervisor.wait(timeout=20) == 0
