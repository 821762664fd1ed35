"""Stops that wait for nothing, deaths, and workers that do not get on."""

import signal

from superft_hf.engine.processes import is_alive
from superft_hf.engine.settling import death
from superft_hf.records import PauseReason, Request, RunState
from tests.engine.steps import is_in, passes_until

LONG_AGO = "2026-01-01T00:00:00.000+00:00"


def test_stop_hard__ends_a_worker_that_ignores_everything(store, supervisor, config, until):
    run_id = store.create_run(config("stubborn 60"), by="test").run_id
    passes_until(supervisor, until, lambda: is_in(store, run_id, RunState.RUNNING))
    process = store.read_processes(run_id)[0]
    store.set_request(run_id, Request.PAUSE, by="test")
    for _ in range(3):
        supervisor.step()
    assert is_in(store, run_id, RunState.RUNNING) and is_alive(process), "a pause is the worker's own to obey"
    store.set_request(run_id, Request.STOP_HARD, by="test")
    passes_until(supervisor, until, lambda: is_in(store, run_id, RunState.PAUSED))
    run = store.get_run(run_id)
    assert (run.pause_reason, run.request, run.failure) == (PauseReason.STOPPED_HARD, None, None)
    assert not is_alive(process)
    last = store.read_events(run_id)[-1]
    assert (last.by, last.what, last.detail) == ("supervisor", "paused", "a person stopped it hard")
    assert not supervisor.step()


def test_stop_hard__a_queued_run_takes_its_device(store, supervisor, config, until):
    first = store.create_run(config("stubborn 60"), by="test").run_id
    second = store.create_run(config("complete"), by="test").run_id
    passes_until(supervisor, until, lambda: is_in(store, first, RunState.RUNNING))
    store.set_request(first, Request.STOP_HARD, by="test")
    passes_until(supervisor, until, lambda: is_in(store, second, RunState.COMPLETED))


def test_hang__a_run_without_progress_fails(store, supervisor, config, until, monkeypatch):
    monkeypatch.setattr("superft_hf.engine.watching.HANG_GRACE_S", 0.3)
    run_id = store.create_run(config("stubborn 60"), by="test").run_id
    passes_until(supervisor, until, lambda: is_in(store, run_id, RunState.RUNNING))
    process = store.read_processes(run_id)[0]
    store.update_run(run_id, progress_at=LONG_AGO)
    supervisor.step()
    assert is_in(store, run_id, RunState.RUNNING), "not at once: the machine may have slept"
    passes_until(supervisor, until, lambda: is_in(store, run_id, RunState.FAILED))
    failure = store.get_run(run_id).failure
    assert failure.kind == "NoProgressError"
    assert failure.message == "The run made no progress for 30 min, so its worker was ended."
    assert not is_alive(process)


def test_hang__progress_after_a_sleep_of_the_machine_counts(store, supervisor, config, until, monkeypatch):
    monkeypatch.setattr("superft_hf.engine.watching.HANG_GRACE_S", 0.3)
    run_id = store.create_run(config("stubborn 60"), by="test").run_id
    passes_until(supervisor, until, lambda: is_in(store, run_id, RunState.RUNNING))
    began = store.get_run(run_id).progress_at
    store.update_run(run_id, progress_at=LONG_AGO)
    supervisor.step()
    store.update_run(run_id, progress_at=began)
    until(lambda: bool(supervisor.step()) and supervisor._watch.has_lasted(store.get_run(run_id), "x", 0.6))
    assert is_in(store, run_id, RunState.RUNNING)
    store.set_request(run_id, Request.DISCARD, by="test")
    passes_until(supervisor, until, lambda: is_in(store, run_id, RunState.DISCARDED))


def test_hang__a_run_whose_configuration_is_gone_has_the_default(
    store, supervisor, config, until, monkeypatch
):
    monkeypatch.setattr("superft_hf.engine.watching.HANG_GRACE_S", 0.0)
    run_id = store.create_run(config("stubborn 60"), by="test").run_id
    passes_until(supervisor, until, lambda: is_in(store, run_id, RunState.RUNNING))
    store.run_paths(run_id).config.unlink()
    store.update_run(run_id, progress_at=LONG_AGO)
    passes_until(supervisor, until, lambda: is_in(store, run_id, RunState.FAILED))
    assert store.get_run(run_id).failure.kind == "NoProgressError"


def test_death__tells_its_return_code(tmp_path):
    codes = [death(code, tmp_path / "none.log").returncode for code in (None, 0, 3, -signal.SIGKILL, -15)]
    assert codes == [None, 0, 3, -9, -15]
