"""What persons may ask of a run in which state, the order of the queue, and times at work."""

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from superft_hf import schema
from superft_hf.config_file import make_config
from superft_hf.errors import RunNotFoundError, StateError
from superft_hf.records import Failure, HomeSettings, PauseReason, ProcessRecord, Request, RunState
from superft_hf.store import RunStore
from superft_hf.store_queue import Move

CONFIG = make_config({"model": {"name_or_path": "m"}, "data": {"name_or_path": "d"}})
MISSING = "20200101-0000-aaaa"

QUEUED, STARTING, RUNNING, PAUSED, COMPLETED, FAILED, DISCARDED = RunState
ALLOWED = {
    Request.FINISH: {STARTING, RUNNING},
    Request.PAUSE: {STARTING, RUNNING},
    Request.STOP_HARD: {STARTING, RUNNING},
    Request.DISCARD: {QUEUED, STARTING, RUNNING, PAUSED, FAILED},
}


def create(store: RunStore, name: str | None = None, state: RunState = QUEUED, priority: int = 0) -> str:
    named = CONFIG.model_copy(update={"name": name})
    return store.create_run(named, by="page", state=state, priority=priority).run_id


def whats(store: RunStore, run_id: str) -> list[str]:
    return [event.what for event in store.read_events(run_id)]


def order(store: RunStore) -> list[str]:
    """Names in the order in which they start."""
    runs = [run for run in store.list_runs([QUEUED])][::-1]
    return [run.name for run in sorted(runs, key=lambda run: (-run.priority, run.queued_at))]


def at(store: RunStore, run_id: str, **columns: str | float | None) -> None:
    """Sets times by hand."""
    with store._write() as connection:  # noqa: SLF001
        connection.execute(sa.update(schema.runs).where(schema.runs.c.run_id == run_id).values(columns))


# Requests


@pytest.mark.parametrize("state", list(RunState))
@pytest.mark.parametrize("request_", list(Request))
def test_what_may_be_asked_in_which_state(store, request_, state):
    run_id = create(store, "mine", state)
    if state in ALLOWED[request_]:
        assert store.set_request(run_id, request_, by="page").request == request_
        assert whats(store, run_id) == ["created", f"asked to {request_}"]
        return
    with pytest.raises(StateError, match=f"mine is {state}: it cannot be asked to {request_}") as caught:
        store.set_request(run_id, request_, by="page")
    assert caught.value.hint
    assert store.get_run(run_id).request is None and whats(store, run_id) == ["created"]


def test_a_later_wish_replaces_an_earlier_one_until_the_run_is_to_be_discarded(store):
    run_id = create(store, "mine", RUNNING)
    for request in (Request.FINISH, Request.PAUSE, Request.STOP_HARD, Request.DISCARD):
        assert store.set_request(run_id, request, by="page").request == request
    assert store.set_request(run_id, Request.DISCARD, by="page").request == Request.DISCARD
    for request in (Request.FINISH, Request.PAUSE, Request.STOP_HARD):
        with pytest.raises(StateError, match="mine is being discarded"):
            store.set_request(run_id, request, by="page")
    assert store.get_run(run_id).request == Request.DISCARD
    assert whats(store, run_id).count("asked to discard") == 1


@pytest.mark.parametrize("request_", [Request.PAUSE, Request.STOP_HARD, Request.FINISH])
def test_a_request_is_over_once_the_run_is_paused(store, request_):
    run_id = create(store, state=RUNNING)
    store.set_request(run_id, request_, by="page")
    assert store.change_state(run_id, [RUNNING], PAUSED, by="worker", pause_reason=PauseReason.PERSON)
    run = store.get_run(run_id)
    assert (run.request, run.pause_reason, run.ended_at) == (None, PauseReason.PERSON, None)
    assert store.read_events(run_id)[-1].detail == PauseReason.PERSON


def test_the_wish_to_discard_outlives_a_pause(store):
    run_id = create(store, "mine", RUNNING)
    store.set_request(run_id, Request.DISCARD, by="page")
    store.change_state(run_id, [RUNNING], PAUSED, by="worker", pause_reason=PauseReason.SHUTDOWN)
    assert store.get_run(run_id).request == Request.DISCARD
    with pytest.raises(StateError, match="mine is being discarded"):
        store.requeue(run_id, by="page")
    assert store.get_run(run_id).state is PAUSED


# Resuming


@pytest.mark.parametrize("state", list(RunState))
def test_only_paused_and_failed_runs_are_resumed(store, state):
    run_id = create(store, "mine", state)
    if state in (PAUSED, FAILED):
        assert store.requeue(run_id, by="page").state is QUEUED
        assert whats(store, run_id) == ["created", "resumed"]
        return
    with pytest.raises(StateError, match=f"mine is {state}: it cannot be resumed"):
        store.requeue(run_id, by="page")
    assert store.get_run(run_id).state is state and whats(store, run_id) == ["created"]


def test_a_resumed_run_waits_anew_and_keeps_what_it_has_reached(store):
    run_id = create(store, "mine", RUNNING, priority=3)
    at(store, run_id, queued_at="2020-01-01T00:00:00.000+00:00", waiting_for="a GPU")
    store.update_run(run_id, global_step=70, best_value=0.5, best_step=60)
    store.change_state(run_id, [RUNNING], FAILED, by="worker", failure=Failure("E", "gone", "look"))
    assert store.get_run(run_id).ended_at is not None
    run = store.requeue(run_id, by="page")
    assert (run.failure, run.ended_at, run.request, run.waiting_for, run.pause_reason, run.is_held) == (
        None, None, None, None, None, False,
    )  # fmt: skip
    assert run.queued_at > "2026" and run.priority == 3
    assert (run.global_step, run.best_value, run.best_step) == (70, 0.5, 60)


def test_unknown_runs(store):
    for ask in (
        lambda: store.requeue(MISSING, by="page"),
        lambda: store.move(MISSING, Move.FIRST, by="page"),
        lambda: store.set_held(MISSING, True, by="page"),
        lambda: store.set_priority(MISSING, 1, by="page"),
    ):
        with pytest.raises(RunNotFoundError):
            ask()


# The order of the queue


@pytest.fixture
def queue(store: RunStore) -> dict[str, str]:
    """Runs a, b, c, d, queued in this order; b has a higher priority, so they start as b, a, c, d."""
    ids = {name: create(store, name, priority=int(name == "b")) for name in "abcd"}
    for number, run_id in enumerate(ids.values()):
        at(store, run_id, queued_at=f"2026-01-01T00:00:0{number}.000+00:00")
    assert order(store) == ["b", "a", "c", "d"]
    return ids


@pytest.mark.parametrize(
    ("name", "where", "expected"),
    [
        ("c", Move.FIRST, "cbad"), ("c", Move.UP, "bcad"), ("c", Move.DOWN, "badc"), ("c", Move.LAST, "badc"),
        ("a", Move.UP, "abcd"), ("b", Move.DOWN, "abcd"), ("b", Move.LAST, "acdb"), ("b", Move.FIRST, "bacd"),
        ("b", Move.UP, "bacd"), ("d", Move.DOWN, "bacd"), ("d", Move.FIRST, "dbac"),
    ],
)  # fmt: skip
def test_a_run_is_moved_past_others_whatever_their_priorities(store, queue, name, where, expected):
    store.move(queue[name], where, by="page")
    assert "".join(order(store)) == expected
    is_moved = expected != "bacd"
    assert (whats(store, queue[name])[-1] == f"moved {where}") == is_moved


def test_only_queued_runs_are_moved_and_others_are_not_counted(store, queue):
    store.change_state(queue["a"], [QUEUED], STARTING, by="supervisor")
    with pytest.raises(StateError, match="a is starting, not queued"):
        store.move(queue["a"], Move.FIRST, by="page")
    store.move(queue["c"], Move.UP, by="page")
    assert order(store) == ["c", "b", "d"]


def test_a_higher_priority_starts_first(store, queue):
    store.set_priority(queue["d"], 2, by="page")
    assert order(store) == ["d", "b", "a", "c"]
    store.set_priority(queue["d"], -1, by="page")
    assert order(store) == ["b", "a", "c", "d"]
    assert whats(store, queue["d"])[-2:] == ["priority 2", "priority -1"]
    store.change_state(queue["d"], [QUEUED], STARTING, by="supervisor")
    with pytest.raises(StateError, match="d is starting, not queued"):
        store.set_priority(queue["d"], 1, by="page")


# Times


def test_time_at_work_is_added_up_over_starts_and_pauses(store):
    run_id = create(store)
    for seconds, end in ((90, PAUSED), (30, FAILED), (5, COMPLETED)):
        store.change_state(run_id, [QUEUED], STARTING, by="supervisor")
        store.change_state(run_id, [STARTING], RUNNING, by="worker")
        started = sa.text(f"strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now', '-{seconds} seconds')")
        at(store, run_id, started_at=started)
        store.change_state(run_id, [RUNNING], end, by="worker")
        if end is not COMPLETED:
            at(store, run_id, queued_at="2026")
            store.requeue(run_id, by="page")
    assert store.get_run(run_id).worked_s == pytest.approx(125, abs=3)


def test_no_time_at_work_is_counted_while_a_run_waits_or_is_paused(store):
    run_id = create(store)
    store.change_state(run_id, [QUEUED], DISCARDED, by="supervisor")
    assert store.get_run(run_id).worked_s == 0
    run_id = create(store, state=PAUSED)
    at(store, run_id, started_at="2020-01-01T00:00:00.000+00:00", worked_s=7.0)
    store.change_state(run_id, [PAUSED], DISCARDED, by="supervisor")
    assert store.get_run(run_id).worked_s == 7.0


# Processes and settings


def test_the_processes_of_one_run_are_forgotten(store):
    first, second = create(store), create(store)
    for run_id in (first, second):
        store.record_process(run_id, ProcessRecord(7, 1.5, "rank 0"))
    store.forget_processes(first)
    assert store.read_processes(first) == []
    assert store.read_processes(second) == [ProcessRecord(7, 1.5, "rank 0")]


def test_settings_come_back_and_others_stay(store, home):
    assert store.read_settings() == HomeSettings(cpu_slots=1, webhook_url=None, is_supervisor_stopped=False)
    assert store.change_settings(cpu_slots=3, webhook_url="https://example.org/hook").cpu_slots == 3
    store.change_settings(is_supervisor_stopped=True)
    store.change_settings(webhook_url=None)
    other = RunStore(home)
    assert other.read_settings() == HomeSettings(3, None, True)
    other.close()
    with pytest.raises(TypeError):
        store.change_settings(colour="blue")
    assert store.read_settings() == HomeSettings(3, None, True)


def test_a_setting_of_a_later_version_is_passed_over(store):
    with store._write() as connection:  # noqa: SLF001
        connection.execute(sa.insert(schema.settings).values(key="colour", value='"blue"'))
    assert store.read_settings() == HomeSettings()


# Many at once


ENDS = (PAUSED, COMPLETED, FAILED, DISCARDED)


def test_eight_threads_that_ask_and_change_leave_no_contradiction(store, home):
    run_ids = [create(store, state=RUNNING) for _ in range(12)]
    won: list[tuple[str, RunState]] = []
    asked: list[str] = []
    barrier = threading.Barrier(8, timeout=60)

    def act(number: int) -> None:
        mine = RunStore(home)
        for run_id in run_ids:
            barrier.wait()
            if number < 4:
                if mine.change_state(run_id, [RUNNING], ENDS[number], by="worker"):
                    won.append((run_id, ENDS[number]))
                continue
            with contextlib.suppress(StateError):
                mine.set_request(run_id, list(Request)[number - 4], by="page")
                asked.append(run_id)
        mine.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(act, range(8)))  # raises what a thread raised
    assert sorted(run_id for run_id, _ in won) == sorted(run_ids)  # one winner each
    for run_id, state in won:
        told = whats(store, run_id)
        assert store.get_run(run_id).state is state and told.count(str(state)) == 1
        later = set(told[told.index(str(state)) + 1 :])
        assert later <= ({"asked to discard"} if state in (PAUSED, FAILED) else set())
        assert sum(what.startswith("asked") for what in told) == asked.count(run_id)
        if state is PAUSED:
            assert store.get_run(run_id).request in (None, Request.DISCARD)
