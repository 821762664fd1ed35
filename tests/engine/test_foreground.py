"""A run in the foreground: watched by the command that started it."""

import os
import signal
from dataclasses import replace

import pytest

from superft_hf.config import HardwareConfig
from superft_hf.engine.devices import try_lease
from superft_hf.engine.foreground import ForegroundRun, getting_ready, wait_for_lease
from superft_hf.errors import HomeError
from superft_hf.records import PauseReason, Request, RunState
from tests.engine.conftest import STAND_INS

CPU = HardwareConfig(devices="cpu")


@pytest.fixture
def start(store, launcher, config):
    started = []

    def begin(name: str) -> ForegroundRun:
        run = ForegroundRun(store, config(name), try_lease(CPU), launcher)
        started.append(run)
        return run

    yield begin
    for run in started:
        run.close()


def has_ended(run: ForegroundRun) -> bool:
    """What a command waits for."""
    record = run.look()
    return not run.is_at_work and not record.is_live


def listens(store, run: ForegroundRun) -> bool:
    return "listens" in store.run_paths(run.run_id).log.read_text()


def test_pause__ends_normally(store, start, until):
    run = start("pausable 60")
    until(lambda: listens(store, run))
    assert run.pause().request == Request.PAUSE
    until(lambda: has_ended(run))
    record = run.look()
    assert (record.state, record.pause_reason) == (RunState.PAUSED, PauseReason.PERSON)
    assert record.failure is None
    assert run.pause().state is RunState.PAUSED, "a late Ctrl-C does no harm"


def test_stop_hard__needs_no_supervisor(store, start, until):
    run = start("stubborn 60")
    until(lambda: run.look().state is RunState.RUNNING)
    run.pause()
    run.look()
    assert run.is_at_work
    run.stop_hard()
    until(lambda: has_ended(run))
    assert run.look().pause_reason == PauseReason.STOPPED_HARD


def test_look__a_person_discards_it_elsewhere(store, start, until):
    run = start("sleep 60")
    until(lambda: run.look().state is RunState.RUNNING)
    store.set_request(run.run_id, Request.DISCARD, by="page")
    until(lambda: has_ended(run))
    assert run.look().state is RunState.DISCARDED


def test_look__a_worker_that_is_killed_and_one_that_hangs(store, start, until, monkeypatch):
    run = start("sleep 60")
    until(lambda: run.look().state is RunState.RUNNING)
    os.kill(store.read_processes(run.run_id)[0].pid, signal.SIGKILL)
    until(lambda: has_ended(run))
    assert "signal 9" in run.look().failure.message
    run.close()
    monkeypatch.setattr("superft_hf.engine.watching.HANG_GRACE_S", 0.0)
    run = start("stubborn 60")
    until(lambda: run.look().state is RunState.RUNNING)
    store.update_run(run.run_id, progress_at="2026-01-01T00:00:00.000+00:00")
    until(lambda: has_ended(run))
    assert run.look().failure.kind == "NoProgressError"


def test_look__never_touches_a_run_that_is_queued_again(store, start, until):
    run = start("fail")
    until(lambda: not run.is_at_work)
    assert store.get_run(run.run_id).state is RunState.FAILED
    store.requeue(run.run_id, by="page")
    assert run.look().state is RunState.QUEUED


def test_start__a_worker_that_cannot_be_started_fails(store, launcher, config, monkeypatch):
    def refuse(*_, **__):
        raise HomeError("There is no memory.", hint="Free some.")

    monkeypatch.setattr(type(launcher), "start", refuse)
    lease = try_lease(CPU)
    with pytest.raises(HomeError):
        ForegroundRun(store, config("x"), lease, launcher)
    lease.close()
    assert [run.state for run in store.list_runs()] == [RunState.FAILED]


def test_wait_for_lease__a_second_slot_is_free(cache):
    first = wait_for_lease(CPU, lambda words: None, slots=2)
    second = wait_for_lease(CPU, lambda words: None, slots=2)
    assert (first.devices.slots, second.devices.slots) == (2, 2)
    heard = []

    def on_wait(words: str) -> None:
        heard.append(words)
        first.close()

    third = wait_for_lease(CPU, on_wait, slots=2)
    assert heard == ["waits for one of the CPU's 2 slots, which other runs use"]
    for lease in (second, third):
        lease.close()


def test_getting_ready__the_worker_that_imported_meanwhile_takes_the_run(store, launcher, config, until):
    launcher = replace(launcher, ready=(str(STAND_INS / "ready.py"),))
    asked = config("exit 3", threads=5)
    with getting_ready(launcher, store, asked) as place:
        waiting = place._waiting.process
        assert place._waiting.environment["OMP_NUM_THREADS"] == "5"
        run = ForegroundRun(store, asked, try_lease(CPU), launcher, place)
    assert run._process is waiting
    until(lambda: has_ended(run))
    assert "it was the weather" in run.look().failure.message
    run.close()


def test_getting_ready__ends_it_when_the_check_refuses(store, launcher, config, monkeypatch):
    launcher = replace(launcher, ready=(str(STAND_INS / "ready.py"),))
    with pytest.raises(HomeError), getting_ready(launcher, store, config("x")) as place:
        waiting = place._waiting.process
        raise HomeError("no", hint="no")
    assert waiting.poll() is not None
    with getting_ready(launcher, store, config("x", devices="7")) as place:
        assert place._waiting is None, "the check says what is wrong with it"
    monkeypatch.setattr("superft_hf.engine.foreground.MEMORY_TO_PREPARE", 1e18)
    with getting_ready(launcher, store, config("x")) as place:
        assert place is None
