import pytest

from dashboard import readers
from superft_hf.paths import HOME_VARIABLE
from tests.factories import make_completed_run, make_queued_run


@pytest.fixture
def home_of_pages(home, store, monkeypatch):
    monkeypatch.setenv(HOME_VARIABLE, str(home))
    return store


def test_run_list__shows_each_write_at_once(home_of_pages):
    store = home_of_pages
    assert readers.run_list() == []
    record = make_queued_run(store, "a")
    assert [one.name for one in readers.run_list()] == ["a"]

    store.set_held(record.run_id, True, by="page")
    assert readers.run_list()[0].is_held

    for number in range(50):  # faster than a clock tick: none may be missed
        store.update_run(record.run_id, global_step=number)
        assert readers.run_list()[0].global_step == number


def test_metrics__only_new_points_are_read_and_a_repeated_point_replaces_the_old(home_of_pages, monkeypatch):
    store = home_of_pages
    record = make_queued_run(store, "a")
    store.log_metrics(record.run_id, 1, 0.1, {"loss": 3.0})
    assert readers.metrics(record.run_id)["value"].tolist() == [3.0]

    asked = []
    original = type(store).read_metrics

    def spy(self, run_id, after_row=0, keys=None):
        asked.append(after_row)
        return original(self, run_id, after_row, keys)

    monkeypatch.setattr(type(store), "read_metrics", spy)
    store.log_metrics(record.run_id, 2, 0.2, {"loss": 2.0})
    store.log_metrics(record.run_id, 1, 0.1, {"loss": 1.0})

    assert sorted(readers.metrics(record.run_id)["value"]) == [1.0, 2.0]
    assert asked == [1]


def test_sparklines__of_the_runs_asked_for(home_of_pages):
    record = make_completed_run(home_of_pages, "a", hidden=4, epochs=2)
    make_completed_run(home_of_pages, "b", hidden=4, epochs=2)
    lines = readers.sparklines((record.run_id,))

    assert list(lines) == [record.run_id]
    assert len(lines[record.run_id]) == 2


def test_metrics__points_that_a_resumed_run_dropped_are_gone(home_of_pages):
    store = home_of_pages
    record = make_queued_run(store, "a")
    for step in (1, 2, 3):
        store.log_metrics(record.run_id, step, step / 10, {"loss": float(step)})
    assert readers.metrics(record.run_id)["step"].tolist() == [1, 2, 3]
    store.drop_metrics_after(record.run_id, 1)
    assert readers.metrics(record.run_id)["step"].tolist() == [1]
    store.log_metrics(record.run_id, 2, 0.2, {"loss": 9.0})
    assert readers.metrics(record.run_id)["value"].tolist() == [1.0, 9.0]


def test_metrics__do_not_grow_with_a_run_and_keep_its_spike_and_its_end(home_of_pages, monkeypatch):
    monkeypatch.setattr(readers, "MAX_POINTS", 30)
    store = home_of_pages
    record = make_queued_run(store, "a")
    for step in range(1, 601):
        store.log_metrics(record.run_id, step, step / 10, {"loss": 99.0 if step == 77 else 1 / step})
        points = readers.metrics(record.run_id)
        assert len(points) <= 150
        assert points["step"].iloc[-1] == step
    assert points["value"].max() == 99.0 and points["step"].is_unique


def test_sparklines__follow_a_run_that_gains_points_and_forget_those_that_are_not_shown(
    home_of_pages, monkeypatch
):
    store = home_of_pages
    first, second = make_queued_run(store, "a").run_id, make_queued_run(store, "b").run_id
    for run_id in (first, second):
        store.log_metrics(run_id, 1, 1.0, {"eval_loss": 3.0})
    assert readers.sparklines((first, second)) == {first: [3.0], second: [3.0]}
    store.log_metrics(second, 2, 2.0, {"eval_loss": 2.0})
    assert readers.sparklines((first, second)) == {first: [3.0], second: [3.0, 2.0]}

    asked = []
    original = type(store).sparklines
    monkeypatch.setattr(type(store), "sparklines", lambda *given: asked.append(given[1]) or original(*given))
    monkeypatch.setattr(readers, "MAX_SPARKLINES", 0)
    assert readers.sparklines((first,)) == {first: [3.0]}
    assert readers.sparklines((first, second)) == {first: [3.0], second: [3.0, 2.0]}
    assert asked == [[], [second]]
