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
