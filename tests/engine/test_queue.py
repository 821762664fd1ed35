"""The order of the queue, slots, and who has to wait for whom."""

import os
import signal
import subprocess
import sys

import pytest

from superft_hf.engine.processes import describe_process, is_alive
from superft_hf.engine.starting import WAITS_FOR_PROCESSES, in_order
from superft_hf.engine.supervisor import Supervisor
from superft_hf.records import LIVE_STATES, ProcessRecord, Request, RunState
from superft_hf.store import RunStore
from superft_hf.store_queue import Move
from tests.engine.steps import is_in, passes_until


def test_in_order__priority_then_time_then_creation(store, config):
    first, second, third = (store.create_run(config(f"run {n}"), by="test").run_id for n in range(3))
    urgent = store.create_run(config("urgent"), by="test", priority=5).run_id
    at_work = store.create_run(config("at work"), by="test", state=RunState.STARTING).run_id
    for run_id in (first, second, third):
        store.update_run(run_id, queued_at="2026-11-24T10:00:00.000+00:00")
    store.update_run(first, queued_at="2026-11-24T10:00:01.000+00:00")
    assert [run.run_id for run in in_order(store.list_runs())] == [urgent, second, third, first]
    assert at_work in {run.run_id for run in store.list_runs()}


def test_step__starts_in_the_order_of_the_queue(store, supervisor, config, until):
    names = ("a", "b", "c", "d", "e")
    ids = {name: store.create_run(config("complete"), by="test").run_id for name in names}
    store.set_priority(ids["d"], 3, by="test")
    store.move(ids["c"], Move.UP, by="test")
    store.set_held(ids["a"], True, by="test")
    store.move(ids["a"], Move.FIRST, by="test")
    waiting = [ids[name] for name in "bcde"]
    passes_until(supervisor, until, lambda: all(is_in(store, one, RunState.COMPLETED) for one in waiting))
    began = sorted(waiting, key=lambda one: store.get_run(one).started_at)
    # The first move swaps b and c; a, moved before d, takes its place and its priority, and is held.
    assert [next(name for name in names if ids[name] == one) for one in began] == ["d", "c", "b", "e"]
    assert is_in(store, ids["a"], RunState.QUEUED)
    store.set_held(ids["a"], False, by="test")
    passes_until(supervisor, until, lambda: is_in(store, ids["a"], RunState.COMPLETED))


def test_step__two_slots_train_two_at_once_and_never_a_third(store, supervisor, config, until):
    store.change_settings(cpu_slots=2)
    ids = [store.create_run(config("sleep 1"), by="test").run_id for _ in range(5)]
    seen: list[int] = []

    def are_all_complete() -> bool:
        seen.append(len(store.list_runs(LIVE_STATES)))
        return all(is_in(store, one, RunState.COMPLETED) for one in ids)

    supervisor.step()
    assert [store.get_run(one).is_live for one in ids] == [True, True, False, False, False]
    assert store.get_run(ids[2]).waiting_for == "waits for one of the CPU's 2 slots, which other runs use"
    passes_until(supervisor, until, are_all_complete)
    assert max(seen) == 2 and seen.count(2) > 5
    passes_until(supervisor, until, lambda: not supervisor.step())


def test_step__two_homes_share_the_slots_of_the_machine(tmp_path, store, supervisor, launcher, config, until):
    other_home = tmp_path / "other"
    others = RunStore(other_home)
    other = Supervisor(other_home, launcher)
    for one in (store, others):
        one.change_settings(cpu_slots=2)
    ours = [store.create_run(config("sleep 60"), by="test").run_id for _ in range(2)]
    theirs = others.create_run(config("complete"), by="test").run_id
    passes_until(supervisor, until, lambda: all(is_in(store, one, RunState.RUNNING) for one in ours))
    other.step()
    assert is_in(others, theirs, RunState.QUEUED)
    store.set_request(ours[0], Request.STOP_HARD, by="test")
    passes_until(supervisor, until, lambda: is_in(store, ours[0], RunState.PAUSED))
    passes_until(other, until, lambda: is_in(others, theirs, RunState.COMPLETED))
    passes_until(other, until, lambda: not other.step())
    store.set_request(ours[1], Request.DISCARD, by="test")
    passes_until(supervisor, until, lambda: is_in(store, ours[1], RunState.DISCARDED))


def test_step__fewer_slots_hold_for_runs_that_are_at_work_already(store, supervisor, config, until):
    store.change_settings(cpu_slots=2)
    first, second = (store.create_run(config("sleep 60"), by="test").run_id for _ in range(2))
    passes_until(supervisor, until, lambda: is_in(store, second, RunState.RUNNING))
    store.change_settings(cpu_slots=1)
    waiting = store.create_run(config("complete"), by="test").run_id
    store.set_request(first, Request.DISCARD, by="test")
    passes_until(supervisor, until, lambda: is_in(store, first, RunState.DISCARDED))
    supervisor.step()
    assert is_in(store, waiting, RunState.QUEUED), "the second run is the one that may train"
    store.set_request(second, Request.DISCARD, by="test")
    passes_until(supervisor, until, lambda: is_in(store, waiting, RunState.COMPLETED))


def test_five_queued_runs_of_which_several_go_wrong(store, supervisor, config, until):
    names = ("complete", "die 9", "complete", "pausable 60", "complete")
    one, two, three, four, five = (store.create_run(config(name), by="test").run_id for name in names)
    store.set_request(three, Request.DISCARD, by="test")
    passes_until(supervisor, until, lambda: is_in(store, four, RunState.RUNNING))
    assert is_in(store, five, RunState.QUEUED)
    store.set_request(four, Request.PAUSE, by="test")
    passes_until(supervisor, until, lambda: is_in(store, five, RunState.COMPLETED))
    store.requeue(four, by="test")
    passes_until(supervisor, until, lambda: not supervisor.step())
    assert [store.get_run(run_id).state for run_id in (one, two, three, four, five)] == [
        RunState.COMPLETED, RunState.FAILED, RunState.DISCARDED, RunState.COMPLETED, RunState.COMPLETED,
    ]  # fmt: skip
    assert store.get_run(three).started_at is None


def test_step__a_run_that_fails_is_resumed_and_watched_anew(store, supervisor, config, until):
    """The dead process of its first start must not make the second look as if it had ended."""
    run_id = store.create_run(config("exit 3"), by="test").run_id
    passes_until(supervisor, until, lambda: is_in(store, run_id, RunState.FAILED))
    first = store.read_processes(run_id)
    (store.run_paths(run_id).folder / "hold").touch()
    store.requeue(run_id, by="test")
    passes_until(supervisor, until, lambda: is_in(store, run_id, RunState.RUNNING))
    assert [one.pid for one in store.read_processes(run_id)] != [one.pid for one in first]
    (store.run_paths(run_id).folder / "hold").unlink()
    passes_until(supervisor, until, lambda: is_in(store, run_id, RunState.FAILED))


def test_step__never_starts_a_run_whose_processes_live(store, supervisor, config, until, monkeypatch):
    run_id = store.create_run(config("complete"), by="test", state=RunState.STARTING).run_id
    old = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", str(store.home)])
    store.record_process(run_id, describe_process(old.pid, "rank 0"))
    store.change_state(run_id, LIVE_STATES, RunState.PAUSED, by="test")
    store.requeue(run_id, by="test")
    other = store.create_run(config("complete"), by="test").run_id
    supervisor.step()
    assert store.get_run(run_id).waiting_for == WAITS_FOR_PROCESSES
    passes_until(supervisor, until, lambda: is_in(store, other, RunState.COMPLETED))
    assert is_in(store, run_id, RunState.QUEUED) and old.poll() is None
    monkeypatch.setattr("superft_hf.engine.starting.LEFTOVER_GRACE_S", 0.2)
    passes_until(supervisor, until, lambda: is_in(store, run_id, RunState.COMPLETED))
    assert old.wait() == -signal.SIGKILL


def test_step__what_goes_wrong_in_one_start_fails_that_run_only(
    store, supervisor, config, until, monkeypatch
):
    broken, fine = (store.create_run(config("complete"), by="test").run_id for _ in range(2))
    read_config = store.read_config

    def read(store_, run_id):
        if run_id == broken:
            raise RuntimeError("a fault of ours")
        return read_config(run_id)

    monkeypatch.setattr(type(store), "read_config", read)
    passes_until(supervisor, until, lambda: is_in(store, fine, RunState.COMPLETED))
    assert store.get_run(broken).state is RunState.FAILED
    assert "a fault of ours" in store.get_run(broken).failure.message


@pytest.mark.parametrize("role", ["rank 0", "launcher"])
def test_step__forgets_dead_processes_before_it_starts_a_run_again(store, supervisor, config, until, role):
    run_id = store.create_run(config("complete"), by="test", state=RunState.STARTING).run_id
    store.record_process(run_id, ProcessRecord(os.getpid(), 1.0, role))
    store.change_state(run_id, LIVE_STATES, RunState.PAUSED, by="test")
    store.requeue(run_id, by="test")
    passes_until(supervisor, until, lambda: is_in(store, run_id, RunState.COMPLETED))
    assert [one.started for one in store.read_processes(run_id)] != [1.0]
    passes_until(supervisor, until, lambda: not supervisor.step())
    assert not any(is_alive(one) for one in store.read_processes(run_id))
