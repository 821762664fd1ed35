"""A machine that shuts down, and what goes on by itself when it is back."""

import signal
import subprocess
import sys
import time

import pytest

from superft_hf.engine import control
from superft_hf.engine.processes import describe_process, is_alive, living
from superft_hf.engine.shutdown import go_on_after_shutdown, pause_for_shutdown
from superft_hf.records import LIVE_STATES, PauseReason, Request, RunState
from tests.engine.steps import is_in


def test_supervisor__sigterm_pauses_and_the_next_one_goes_on_by_itself(
    store, home, config, until, start_supervisor
):
    store.change_settings(cpu_slots=2)
    first = start_supervisor()
    by_person, by_shutdown = (store.create_run(config("pausable 60"), by="test").run_id for _ in range(2))
    waiting = store.create_run(config("complete"), by="test").run_id
    store.set_held(waiting, True, by="test")
    for run_id in (by_person, by_shutdown):
        log = store.run_paths(run_id).log
        until(lambda log=log: log.exists() and "listens" in log.read_text())
    store.set_request(by_person, Request.PAUSE, by="test")
    until(lambda: is_in(store, by_person, RunState.PAUSED))
    first.terminate()
    assert first.wait(timeout=20) == 0
    assert not living(store.read_processes(by_shutdown))
    paused = store.get_run(by_shutdown)
    assert (paused.state, paused.pause_reason) == (RunState.PAUSED, PauseReason.SHUTDOWN)
    assert (store.run_paths(by_shutdown).checkpoints / "checkpoint-4").is_dir(), "the worker's own pause"
    assert is_in(store, waiting, RunState.QUEUED)
    assert control.supervisor_status(home) == control.SupervisorStatus(None, False, True)

    start_supervisor()
    until(lambda: is_in(store, by_shutdown, RunState.COMPLETED))
    events = [(event.by, event.what) for event in store.read_events(by_shutdown)]
    assert ("supervisor", "resumed") in events
    store.set_held(waiting, False, by="test")
    until(lambda: is_in(store, waiting, RunState.COMPLETED))
    assert store.get_run(by_person).pause_reason == PauseReason.PERSON


def test_supervisor__sigterm_ends_workers_that_do_not_obey(store, config, until, start_supervisor):
    first = start_supervisor(shutdown_s=0.5)
    run_id = store.create_run(config("stubborn 60"), by="test").run_id
    until(lambda: is_in(store, run_id, RunState.RUNNING))
    process = store.read_processes(run_id)[0]
    first.terminate()
    assert first.wait(timeout=20) == 0
    run = store.get_run(run_id)
    assert (run.state, run.pause_reason, run.failure) == (RunState.PAUSED, PauseReason.SHUTDOWN, None)
    assert not is_alive(process)


def test_supervisor__sigusr1_ends_the_waiting_of_a_shutdown(store, config, until, start_supervisor):
    first = start_supervisor(shutdown_s=60)
    run_id = store.create_run(config("stubborn 3"), by="test").run_id
    until(lambda: is_in(store, run_id, RunState.RUNNING))
    first.terminate()
    with pytest.raises(subprocess.TimeoutExpired):
        first.wait(timeout=0.5)
    first.send_signal(signal.SIGUSR1)
    assert first.wait(timeout=5) == 0
    assert is_in(store, run_id, RunState.RUNNING)
    until(lambda: is_in(store, run_id, RunState.COMPLETED))


def test_supervisor__adopts_what_a_killed_one_left_and_pauses_it_too(store, config, until, start_supervisor):
    first = start_supervisor()
    run_id = store.create_run(config("pausable 60"), by="test").run_id
    log = store.run_paths(run_id).log
    until(lambda: log.exists() and "listens" in log.read_text())
    first.kill()
    first.wait()
    second = start_supervisor()
    waiting = store.create_run(config("complete"), by="test").run_id
    until(lambda: store.get_run(waiting).waiting_for is not None)
    second.terminate()
    assert second.wait(timeout=20) == 0
    assert store.get_run(run_id).pause_reason == PauseReason.SHUTDOWN


@pytest.mark.parametrize(
    ("request_", "state", "reason"),
    [
        (None, RunState.PAUSED, PauseReason.SHUTDOWN),
        (Request.FINISH, RunState.PAUSED, PauseReason.SHUTDOWN),
        (Request.PAUSE, RunState.PAUSED, PauseReason.PERSON),
        (Request.STOP_HARD, RunState.PAUSED, PauseReason.STOPPED_HARD),
        (Request.DISCARD, RunState.DISCARDED, None),
    ],
)
def test_pause_for_shutdown__a_worker_that_dies_of_the_signal(store, config, home, request_, state, reason):
    """Such as one that was just starting: no handler yet."""
    run_id = store.create_run(config("x"), by="test", state=RunState.STARTING).run_id
    worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", str(home / run_id)])
    store.record_process(run_id, describe_process(worker.pid, "rank 0"))
    if request_ is not None:
        store.set_request(run_id, request_, by="test")
    pause_for_shutdown(store, by="test", wait_s=10)
    assert worker.wait() == -(
        signal.SIGKILL if reason in (PauseReason.STOPPED_HARD, None) else signal.SIGTERM
    )
    run = store.get_run(run_id)
    assert (run.state, run.pause_reason) == (state, reason)


RANK = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
print("ready", flush=True)
time.sleep(60)
"""
RANKS_LAUNCHER = """
import subprocess, sys
rank = subprocess.Popen([sys.executable, "-c", *sys.argv[1:]], start_new_session=True)
print(rank.pid, flush=True)
print("the rank ended with", rank.wait())
"""


def test_pause_for_shutdown__tells_ranks_and_never_their_launcher(store, config, home):
    run_id = store.create_run(config("x"), by="test", state=RunState.STARTING).run_id
    command = [sys.executable, "-c", RANKS_LAUNCHER, RANK, str(home)]
    launcher = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    rank_pid = int(launcher.stdout.readline())
    assert launcher.stdout.readline() == "ready\n"
    store.record_process(run_id, describe_process(launcher.pid, "launcher"))
    store.record_process(run_id, describe_process(rank_pid, "rank 0"))
    began = time.monotonic()
    pause_for_shutdown(store, by="test", wait_s=20)
    assert time.monotonic() - began < 15
    assert launcher.wait() == 0
    assert launcher.stdout.read() == "the rank ended with 7\n"
    assert is_in(store, run_id, RunState.PAUSED)


def test_go_on_after_shutdown__keeps_its_place_in_the_queue(store, config):
    ids = {}
    for name in ("shutdown", "person", "waiting", "discarded"):
        ids[name] = store.create_run(config(name), by="test").run_id
    for name in ("shutdown", "person", "discarded"):
        store.change_state(ids[name], (RunState.QUEUED,), RunState.RUNNING, by="test")
        reason = PauseReason.PERSON if name == "person" else PauseReason.SHUTDOWN
        store.change_state(ids[name], LIVE_STATES, RunState.PAUSED, by="test", pause_reason=str(reason))
    store.set_request(ids["discarded"], Request.DISCARD, by="test")
    go_on_after_shutdown(store, by="supervisor")
    shutdown, waiting = store.get_run(ids["shutdown"]), store.get_run(ids["waiting"])
    assert shutdown.state is RunState.QUEUED and shutdown.pause_reason is None
    assert shutdown.queued_at < waiting.queued_at
    assert is_in(store, ids["person"], RunState.PAUSED)
    assert is_in(store, ids["discarded"], RunState.PAUSED)


@pytest.mark.slow
def test_supervisor__sigterm_pauses_two_ranks_under_torchs_launcher(store, config, until, start_supervisor):
    first = start_supervisor(shutdown_s=60)
    run_id = store.create_run(config("pausable 60", num_processes=2), by="test").run_id
    log = store.run_paths(run_id).log
    until(lambda: log.exists() and log.read_text().count("listens") == 2)
    first.terminate()
    assert first.wait(timeout=60) == 0
    assert not living(store.read_processes(run_id))
    assert store.get_run(run_id).pause_reason == PauseReason.SHUTDOWN
    assert "SIGTERM" not in log.read_text(), "torch's launcher was told nothing, and saw its ranks end well"
    start_supervisor()
    until(lambda: is_in(store, run_id, RunState.COMPLETED))


@pytest.mark.slow
def test_supervisor__a_hard_stop_of_two_ranks(store, config, until, start_supervisor):
    start_supervisor()
    run_id = store.create_run(config("stubborn 60", num_processes=2), by="test").run_id
    until(lambda: len(store.read_processes(run_id)) == 3)
    processes = store.read_processes(run_id)
    store.set_request(run_id, Request.STOP_HARD, by="test")
    until(lambda: is_in(store, run_id, RunState.PAUSED))
    assert not living(processes)
