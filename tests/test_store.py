import json
import math
import os
import threading
import time

import pytest
import sqlalchemy as sa

from superft_hf import schema
from superft_hf.config_file import make_config
from superft_hf.errors import RunNotFoundError, StateError
from superft_hf.records import Failure, ProcessRecord, Request, RunState
from superft_hf.store import RunStore

CONFIG = make_config({"model": {"name_or_path": "m"}, "data": {"name_or_path": "d"}})
MISSING = "20200101-0000-aaaa"


def create(store: RunStore, name: str | None = None, state: RunState = RunState.QUEUED) -> str:
    return store.create_run(CONFIG.model_copy(update={"name": name}), by="page", state=state).run_id


# Creating and reading


def test_a_new_run_is_queued_and_has_its_whole_configuration(store):
    run = store.create_run(CONFIG, by="page")
    assert run.state is RunState.QUEUED
    assert (run.name, run.model, run.data, run.best_metric) == (run.run_id, "m", "d", "eval_loss")
    assert (run.started_at, run.ended_at, run.failure, run.evaluation, run.facts) == (
        None,
        None,
        None,
        {},
        {},
    )
    assert store.read_config(run.run_id) == CONFIG
    assert [(event.by, event.what) for event in store.read_events(run.run_id)] == [("page", "created")]


def test_a_run_that_its_creator_starts_has_a_start_time(store):
    run = store.create_run(CONFIG, by="command line", state=RunState.STARTING)
    assert run.state is RunState.STARTING and run.started_at == run.created_at


def test_a_name_is_text_and_never_a_path(store, home):
    run = store.get_run(create(store, name="../../etc/passwd; rm -rf ~"))
    assert run.name == "../../etc/passwd; rm -rf ~"
    assert store.run_paths(run.run_id).folder.parent == home


def test_ids_are_never_given_twice(store, monkeypatch):
    letters = iter("aaaa" + "aaaa" + "bbbb")
    monkeypatch.setattr("superft_hf.store.secrets.choice", lambda _: next(letters))
    first, second = create(store), create(store)
    assert first.endswith("-aaaa") and second.endswith("-bbbb")


@pytest.mark.parametrize("run_id", [MISSING, "../superft", "", "/etc", "x" * 5000, "' OR 1=1 --"])
def test_an_unknown_run(store, run_id):
    with pytest.raises(RunNotFoundError):
        store.get_run(run_id)
    with pytest.raises(RunNotFoundError):
        store.delete_run(run_id)
    with pytest.raises(RunNotFoundError):
        store.set_request(run_id, Request.DISCARD, by="page")
    assert not store.has_run(run_id)


def test_runs_are_listed_newest_first_and_by_state(store):
    first, second, third = create(store), create(store), create(store)
    store.change_state(second, [RunState.QUEUED], RunState.STARTING, by="supervisor")
    assert [run.run_id for run in store.list_runs()] == [third, second, first]
    assert [run.run_id for run in store.list_runs([RunState.STARTING])] == [second]
    assert store.list_runs([]) == []


def test_a_second_store_on_the_same_home_sees_the_runs(store, home):
    run_id = create(store)
    other = RunStore(home)
    assert other.get_run(run_id) == store.get_run(run_id)
    other.close()


# States


def test_a_state_changes_only_from_the_states_named(store):
    run_id = create(store)
    assert not store.change_state(run_id, [RunState.RUNNING], RunState.COMPLETED, by="worker")
    assert store.get_run(run_id).state is RunState.QUEUED
    assert store.change_state(run_id, [RunState.QUEUED], RunState.STARTING, by="supervisor")
    assert store.get_run(run_id).started_at is not None
    assert not store.change_state(MISSING, list(RunState), RunState.FAILED, by="supervisor")


def test_a_late_writer_cannot_rewrite_a_finished_run(store):
    run_id = create(store, state=RunState.RUNNING)
    assert store.change_state(run_id, [RunState.RUNNING], RunState.COMPLETED, by="worker")
    ended_at = store.get_run(run_id).ended_at
    assert ended_at is not None
    late = Failure("WorkerDiedError", "gone", "look")
    live = [RunState.STARTING, RunState.RUNNING]
    assert not store.change_state(run_id, live, RunState.FAILED, by="supervisor", failure=late)
    run = store.get_run(run_id)
    assert (run.state, run.failure, run.ended_at) == (RunState.COMPLETED, None, ended_at)


def test_of_two_threads_one_wins(store, home):
    run_ids = [create(store) for _ in range(20)]
    other = RunStore(home)
    won: list[tuple[str, str]] = []
    barrier = threading.Barrier(2)

    def claim(one: RunStore, name: str) -> None:
        for run_id in run_ids:
            barrier.wait(10)
            if one.change_state(run_id, [RunState.QUEUED], RunState.STARTING, by=name):
                won.append((run_id, name))

    threads = [threading.Thread(target=claim, args=pair) for pair in ((store, "first"), (other, "second"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    other.close()
    assert sorted(run_id for run_id, _ in won) == sorted(run_ids)
    for run_id, name in won:
        assert [event.by for event in store.read_events(run_id)] == ["page", name]


def test_a_failure_is_kept_with_its_hint_and_told_in_the_history(store):
    run_id = create(store, state=RunState.RUNNING)
    failure = Failure("DivergedError", "The loss is no longer a number at step 4.", "Lower it.")
    store.change_state(run_id, [RunState.RUNNING], RunState.FAILED, by="worker", failure=failure)
    run = store.get_run(run_id)
    assert run.failure == failure and run.ended_at is not None
    event = store.read_events(run_id)[-1]
    assert (event.by, event.what, event.detail) == ("worker", "failed", failure.message)


def test_progress_is_written_without_touching_the_state(store):
    run_id = create(store, state=RunState.RUNNING)
    store.update_run(run_id, global_step=7, max_steps=70, epoch=0.5, facts={"counts": {"train": 3}})
    run = store.get_run(run_id)
    assert (run.state, run.global_step, run.max_steps, run.epoch) == (RunState.RUNNING, 7, 70, 0.5)
    assert run.facts == {"counts": {"train": 3}}
    with pytest.raises(ValueError, match="change_state"):
        store.update_run(run_id, state="completed")


# Requests


def test_a_request_is_recorded_and_told_in_the_history(store):
    run_id = create(store)
    run = store.set_request(run_id, Request.DISCARD, by="page")
    assert run.request == "discard" and store.get_run(run_id).state is RunState.QUEUED
    assert store.read_events(run_id)[-1].what == "asked to discard"


@pytest.mark.parametrize("state", [RunState.COMPLETED, RunState.DISCARDED])
def test_a_request_on_a_run_that_has_ended_is_refused(store, state):
    run_id = create(store, "first try", RunState.RUNNING)
    store.change_state(run_id, [RunState.RUNNING], state, by="worker")
    with pytest.raises(StateError, match=f"first try is {state}: it cannot be asked to discard"):
        store.set_request(run_id, Request.DISCARD, by="page")
    assert store.get_run(run_id).request is None


def test_only_a_queued_run_is_held(store):
    run_id = create(store)
    store.set_held(run_id, True, by="page")
    assert store.get_run(run_id).is_held is True
    store.set_held(run_id, False, by="page")
    assert store.get_run(run_id).is_held is False
    store.change_state(run_id, [RunState.QUEUED], RunState.STARTING, by="supervisor")
    with pytest.raises(StateError, match="is starting, not queued"):
        store.set_held(run_id, True, by="page")


# Deleting


@pytest.mark.parametrize("state", [RunState.QUEUED, RunState.STARTING, RunState.RUNNING])
def test_a_run_that_is_not_over_cannot_be_deleted(store, state):
    run_id = create(store, state=state)
    with pytest.raises(StateError) as caught:
        store.delete_run(run_id)
    assert str(state) in caught.value.message and caught.value.hint == "Discard it first, then delete it."
    assert store.has_run(run_id) and store.run_paths(run_id).config.exists()


@pytest.mark.parametrize("state", [RunState.COMPLETED, RunState.FAILED, RunState.DISCARDED, RunState.PAUSED])
def test_a_deleted_run_is_gone_with_all_that_belongs_to_it(store, state):
    run_id, other = create(store, state=RunState.RUNNING), create(store)
    store.log_metrics(run_id, 1, 0.1, {"loss": 1.0})
    store.record_process(run_id, ProcessRecord(1, 2.0, "rank 0"))
    store.change_state(run_id, [RunState.RUNNING], state, by="worker")
    store.delete_run(run_id)
    assert not store.run_paths(run_id).folder.exists()
    assert [run.run_id for run in store.list_runs()] == [other]
    assert store.read_metrics(run_id).empty
    assert store.read_events(run_id) == [] and store.read_processes(run_id) == []
    assert len(store.read_events(other)) == 1


# Metrics


def test_metrics_come_back_in_the_order_in_which_they_were_logged(store):
    run_id = create(store)
    store.log_metrics(run_id, 10, 0.5, {"loss": 2.0, "learning_rate": 1e-4})
    store.log_metrics(run_id, 20, 1.0, {"loss": 1.0})
    points = store.read_metrics(run_id)
    assert list(points.columns) == ["row", "step", "epoch", "key", "value", "time"]
    assert points[["step", "epoch", "key", "value"]].values.tolist() == [
        [10, 0.5, "loss", 2.0],
        [10, 0.5, "learning_rate", 1e-4],
        [20, 1.0, "loss", 1.0],
    ]
    assert points["row"].is_monotonic_increasing


def test_a_tail_query_reads_only_what_is_new(store):
    run_id, other = create(store), create(store)
    store.log_metrics(run_id, 1, 0.1, {"loss": 3.0})
    seen = store.metrics_version(run_id).last_row
    store.log_metrics(other, 1, 0.1, {"loss": 9.0})
    store.log_metrics(run_id, 2, 0.2, {"loss": 2.0, "grad_norm": 1.0})
    assert store.read_metrics(run_id, after_row=seen)["value"].tolist() == [2.0, 1.0]
    assert store.read_metrics(run_id, after_row=seen, keys=["grad_norm"])["value"].tolist() == [1.0]
    assert store.read_metrics(run_id, after_row=store.metrics_version(run_id).last_row).empty


def test_a_point_logged_again_replaces_the_old_one_and_counts_as_new(store):
    run_id = create(store)
    store.log_metrics(run_id, 1, 0.1, {"loss": 3.0})
    store.log_metrics(run_id, 2, 0.2, {"loss": 2.0})
    seen = store.metrics_version(run_id).last_row
    store.log_metrics(run_id, 1, 0.1, {"loss": 2.5})
    fresh = store.read_metrics(run_id, after_row=seen)
    assert fresh[["step", "value"]].values.tolist() == [[1, 2.5]]
    assert store.read_metrics(run_id)["value"].tolist() == [2.0, 2.5]


def test_rows_are_never_used_again_even_after_the_last_was_removed(store):
    run_id = create(store)
    store.log_metrics(run_id, 1, 0.1, {"loss": 3.0})
    store.log_metrics(run_id, 2, 0.2, {"loss": 2.0})
    assert store.metrics_version(run_id) == (2, 0)
    store.drop_metrics_after(run_id, 1)
    store.log_metrics(run_id, 2, 0.2, {"loss": 1.0})
    assert store.metrics_version(run_id) == (3, 1)
    assert store.read_metrics(run_id, after_row=2)[["step", "value"]].values.tolist() == [[2, 1.0]]


def test_what_is_not_a_number_stays_not_a_number(store):
    run_id = create(store)
    store.log_metrics(run_id, 1, 0.1, {"loss": math.nan, "grad_norm": math.inf})
    points = store.read_metrics(run_id)
    assert points["value"].dtype == "float64"
    assert math.isnan(points["value"][0]) and points["value"][1] == math.inf
    assert math.isnan(store.last_values(run_id)["loss"])
    assert math.isnan(store.sparklines([run_id], "loss")[run_id][0])


def test_no_points_are_an_empty_table_of_the_same_kind(store):
    run_id = create(store)
    store.log_metrics(run_id, 1, 0.1, {})
    points = store.read_metrics(run_id)
    assert points.empty and points["value"].dtype == "float64" and points["step"].dtype == "int64"
    assert store.metrics_version(run_id).last_row == 0 and store.last_values(run_id) == {}


def test_last_values_are_those_of_the_highest_step(store):
    run_id = create(store)
    store.log_metrics(run_id, 20, 1.0, {"loss": 1.0})
    store.log_metrics(run_id, 10, 0.5, {"loss": 2.0, "eval_loss": 7.0})
    assert store.last_values(run_id) == {"loss": 1.0, "eval_loss": 7.0}


def test_sparklines_are_by_run_and_in_the_order_of_the_steps(store):
    first, second = create(store), create(store)
    store.log_metrics(first, 2, 0.2, {"loss": 1.0})
    store.log_metrics(first, 1, 0.1, {"loss": 2.0})
    store.log_metrics(second, 1, 0.1, {"loss": 5.0, "eval_loss": 4.0})
    assert store.sparklines([first, second], "loss") == {first: [2.0, 1.0], second: [5.0]}
    assert store.sparklines([], "loss") == {}


# Processes and writers


def test_a_process_is_noted_once_with_its_start(store):
    run_id = create(store)
    store.record_process(run_id, ProcessRecord(os.getpid(), 12.5, "launcher"))
    store.record_process(run_id, ProcessRecord(os.getpid(), 13.5, "rank 0"))
    assert store.read_processes(run_id) == [ProcessRecord(os.getpid(), 13.5, "rank 0")]


def test_four_writers_at_once_lose_nothing(store, home):
    run_id = create(store)

    def write(number: int) -> None:
        mine = RunStore(home)
        for step in range(50):
            mine.log_metrics(run_id, step, step / 50, {f"metric_{number}": float(step)})
        mine.close()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(store.read_metrics(run_id)) == 200


def test_a_thousand_runs_of_a_thousand_steps_are_read_without_their_history(store):
    engine = schema.open_database(store.paths.database)
    runs = [f"20260101-0000-{index:04d}" for index in range(1000)]
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        row = {
            "name": "n",
            "state": "completed",
            "task": "t",
            "model": "m",
            "data": "d",
            "created_at": "2026",
        }
        connection.execute(sa.insert(schema.runs), [{**row, "run_id": run_id} for run_id in runs])
        connection.exec_driver_sql(
            "WITH RECURSIVE steps(step) AS (SELECT 1 UNION ALL SELECT step + 1 FROM steps WHERE step < 1000) "
            "INSERT INTO metrics (run_id, row, step, epoch, key, value, time) "
            "SELECT run_id, step, step, 1, 'loss', 1.0 / step, '2026' FROM runs CROSS JOIN steps"
        )
        connection.exec_driver_sql("COMMIT")
    engine.dispose()
    begin = time.perf_counter()
    assert len(store.list_runs()) == 1000
    assert len(store.read_metrics(runs[500])) == 1000
    assert store.read_metrics(runs[500], after_row=997)["step"].tolist() == [998, 999, 1000]
    assert time.perf_counter() - begin < 1.0


def test_read_config_values__of_many_runs_at_once(store):
    runs = [store.create_run(CONFIG, by="test") for _ in range(3)]
    found = store.read_config_values([runs[0].run_id, runs[2].run_id])
    assert found == {runs[0].run_id: CONFIG.model_dump(mode="json"), runs[2].run_id: found[runs[2].run_id]}
    assert store.read_config_values().keys() == {one.run_id for one in runs}


def test_read_config_values__of_runs_of_an_earlier_version(store):
    known, gone = (store.create_run(CONFIG, by="test") for _ in range(2))
    with store._write() as connection:  # noqa: SLF001 - as version 2 left them
        connection.execute(sa.update(schema.runs).values(config=None))
    store.run_paths(gone.run_id).config.unlink()
    assert store.read_config_values() == {known.run_id: CONFIG.model_dump(mode="json")}
    store.run_paths(known.run_id).config.unlink()  # it is in the database by now
    assert store.read_config_values().keys() == {known.run_id}


def test_read_config_values__a_setting_that_came_later_has_its_default(store):
    run = store.create_run(CONFIG, by="test")
    values = CONFIG.model_dump(mode="json")
    del values["data"]["num_folds"]
    store.update_run(run.run_id, config=json.dumps(values))
    assert store.read_config_values()[run.run_id]["data"]["num_folds"] is None
