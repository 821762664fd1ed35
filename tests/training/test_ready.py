"""The worker that imported before there was a run: it trains as one that was started for it, to the bit."""

import time

import numpy as np
import psutil
import pytest

from superft_hf.engine import ready
from superft_hf.engine.devices import try_lease
from superft_hf.engine.launcher import Launcher
from superft_hf.engine.ready import READY_WORKER
from superft_hf.evaluation.prediction_files import read_predictions
from superft_hf.records import RunState

pytestmark = pytest.mark.slow


@pytest.fixture
def place(home, monkeypatch):
    monkeypatch.setattr(ready, "MEMORY_TO_PREPARE", 0)
    made = Launcher(ready=READY_WORKER).ready_place(home)
    yield made
    made.close()


def test_a_ready_worker_trains_like_any_other(tiny_config, store, place, tmp_path, monkeypatch):
    monkeypatch.setenv("SUPERFT_CACHE", str(tmp_path / "cache"))
    config = tiny_config("vit", augmentation={"preset": "strong"}, model={"dropout": 0.2})
    launcher, records = Launcher(ready=READY_WORKER), []
    for number in range(2):
        record = store.create_run(config, by="test", state=RunState.STARTING)
        lease = try_lease(config.hardware)
        if number == 0:
            place.put(launcher.ready_environment(store.home, lease.devices, config))
            waiting = place._waiting.process
        process = launcher.start(store, record.run_id, config, lease, place)
        lease.close()
        assert (process is waiting) is (number == 0)
        assert process.wait(timeout=300) == 0, store.run_paths(record.run_id).log.read_text()
        records.append(store.get_run(record.run_id))
    logits = []
    for record in records:
        paths = store.run_paths(record.run_id)
        assert record.state is RunState.COMPLETED
        assert "completed: the best model is saved" in paths.log.read_text()
        rows = read_predictions(paths.prediction_file("test", record.global_step), with_logits=True)
        logits.append(np.stack(rows["logits"]))
    assert np.array_equal(*logits)


def test_a_ready_worker_takes_a_quarter_of_the_memory_that_must_be_free(place, monkeypatch):
    monkeypatch.undo()
    place.look_after(1, is_idle=True)
    if place._waiting is None:
        pytest.skip("this machine has too little memory, or trains")
    process = psutil.Process(place._waiting.process.pid)
    deadline = time.monotonic() + 120
    while not _waits(process):
        assert time.monotonic() < deadline and place._waiting.process.poll() is None
        time.sleep(0.5)
    assert 3e8 < process.memory_full_info().uss < ready.MEMORY_TO_PREPARE / 4


def _waits(process: psutil.Process) -> bool:
    """Whether it has imported all and reads its socket: nothing of it runs for a second."""
    before = process.cpu_times().user
    time.sleep(1)
    return before > 1 and process.cpu_times().user == before
