"""The real supervisor and real workers: whatever befalls the runs, each ends as it should, unattended."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from superft_hf.engine import control
from superft_hf.engine.processes import living
from superft_hf.records import LIVE_STATES, PauseReason, RunState
from superft_hf.store import RunStore

pytestmark = pytest.mark.slow

PATIENCE_S = 240


@pytest.fixture
def supervised(home: Path) -> Iterator[RunStore]:
    """A store whose supervisor is ended afterwards, and of whose runs no process is left."""
    store = RunStore(home)
    yield store
    control.stop_supervisor(home)
    for run in store.list_runs():
        for process in store.read_processes(run.run_id):
            if psutil.pid_exists(process.pid):
                os.kill(process.pid, signal.SIGKILL)
    store.close()


def wait(condition: Callable[[], bool], seconds: float = PATIENCE_S) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.1)


def at_work(store: RunStore) -> list[tuple[str, int]]:
    """(time, +1 or -1) for each run that was started or ended, in order."""
    changes = []
    for run in store.list_runs():
        is_live = False
        for event in store.read_events(run.run_id):
            was_live = is_live
            if event.what in list(RunState):
                is_live = event.what in LIVE_STATES
            if is_live != was_live:
                changes.append((event.time, 1 if is_live else -1))
    return sorted(changes)


def test_five_runs_of_which_one_crashes_one_is_discarded_and_one_paused(
    supervised, tiny_config, make_folder, home
):
    store = supervised
    store.change_settings(cpu_slots=2)
    bad = make_folder({"a": 9, "b": 9}, name="bad")
    long = {"num_train_epochs": 60, "per_device_train_batch_size": 2}
    names = {
        "long": tiny_config(training=long, early_stopping={"patience": None}),
        "crashing": tiny_config(data={"name_or_path": str(bad)}),
        "discarded": tiny_config(),
        "paused": tiny_config("vit", training=long, early_stopping={"patience": None}),
        "plain": tiny_config("timm"),
    }
    ids = {
        name: store.create_run(config.model_copy(update={"name": name}), by="test").run_id
        for name, config in names.items()
    }
    (bad / "a" / "broken.png").write_bytes(b"no image")
    control.discard(store, ids["discarded"], by="test")

    def state(name: str) -> RunState:
        return store.get_run(ids[name]).state

    wait(lambda: state("paused") is RunState.RUNNING)
    control.pause(store, ids["paused"], by="test")
    wait(lambda: state("paused") is RunState.PAUSED)
    wait(lambda: state("plain") is RunState.COMPLETED and state("long") is RunState.COMPLETED)
    assert store.get_run(ids["paused"]).pause_reason == PauseReason.PERSON  # it waited, and waits still
    crashed = store.get_run(ids["crashing"])
    assert (crashed.state, crashed.failure.kind) == (RunState.FAILED, "BadImageError")
    assert crashed.failure.remedies[0].changes == {"data.on_bad_image": "skip"}
    assert state("discarded") is RunState.DISCARDED
    control.resume(store, ids["paused"], by="test")
    wait(lambda: state("paused") is RunState.RUNNING)
    os.kill(control.supervisor_pid(home), signal.SIGTERM)
    wait(lambda: control.supervisor_pid(home) is None)
    stopped = store.get_run(ids["paused"])
    assert (stopped.state, stopped.pause_reason) == (RunState.PAUSED, PauseReason.SHUTDOWN)
    assert 0 < stopped.global_step < stopped.max_steps
    control.ensure_supervisor(home)
    wait(lambda: state("paused") is RunState.COMPLETED)
    running, most = 0, 0
    for _, change in at_work(store):
        running += change
        most = max(most, running)
    assert (running, most) == (0, 2)


def test_two_processes__a_shutdown_a_hard_stop_and_kills(supervised, tiny_config, home):
    store = supervised
    training = {"num_train_epochs": 30, "per_device_train_batch_size": 2, "save_steps": 3}
    config = tiny_config(
        "vit", hardware={"num_processes": 2}, training=training, early_stopping={"patience": None}
    )
    run_id = store.create_run(config, by="test").run_id
    control.ensure_supervisor(home)

    def is_in(state: RunState) -> bool:
        return store.get_run(run_id).state is state

    def wait_for_steps() -> None:
        wait(lambda: is_in(RunState.RUNNING))
        first = store.get_run(run_id).global_step
        wait(lambda: store.get_run(run_id).global_step > first + 3)

    wait_for_steps()
    os.kill(control.supervisor_pid(home), signal.SIGTERM)
    wait(lambda: control.supervisor_pid(home) is None)
    assert store.get_run(run_id).pause_reason == PauseReason.SHUTDOWN
    control.ensure_supervisor(home)
    wait_for_steps()
    control.stop_hard(store, run_id, by="test")
    wait(lambda: is_in(RunState.PAUSED))
    assert store.get_run(run_id).pause_reason == PauseReason.STOPPED_HARD
    control.resume(store, run_id, by="test")
    wait_for_steps()
    os.kill(control.supervisor_pid(home), signal.SIGKILL)
    ranks = [one for one in store.read_processes(run_id) if one.role.startswith("rank")]
    os.kill(ranks[0].pid, signal.SIGKILL)
    control.ensure_supervisor(home)
    wait(lambda: is_in(RunState.FAILED))
    wait(lambda: not living(store.read_processes(run_id)), 20)
    control.resume(store, run_id, by="test")
    wait(lambda: is_in(RunState.COMPLETED))
    points = store.read_metrics(run_id)
    assert not points.duplicated(["key", "step"]).any()
    assert (points["key"] == "eval_loss").sum() == 30
    begun = [event.detail for event in store.read_events(run_id) if event.what == "goes on"]
    assert len(begun) == 3 and all(detail.startswith("from step") for detail in begun)
