import pytest

from dashboard import state
from superft_hf.engine import control
from tests.factories import make_completed_run, make_queued_run, make_running_run


def sidebar_text(test) -> str:
    return "\n".join(one.value for one in test.sidebar.markdown)


def test_activity__counts_what_is_at_work(open_page, store):
    make_running_run(store, "live", epochs_done=1, epochs=2)
    make_queued_run(store, "one")
    make_queued_run(store, "two")

    assert "1 running · 2 queued" in sidebar_text(open_page("runs"))


def test_activity__unfinished_run_is_seen_to(open_page, store, monkeypatch):
    test = open_page("runs")
    seen = []
    monkeypatch.setattr(control, "ensure_supervisor", seen.append)
    test.run()
    assert seen == []

    make_queued_run(store, "one")
    test.run()
    assert seen == [store.home]


def test_picker__stands_only_where_a_page_looks_at_one_run(open_page, store):
    make_completed_run(store, "a", hidden=4, epochs=1)

    assert [one.label for one in open_page("errors").sidebar.selectbox] == ["Run"]
    assert not open_page("runs").sidebar.selectbox


@pytest.mark.parametrize("name", ["run", "errors", "try_it"])
def test_picker__choice_is_kept_across_pages_and_stands_in_the_link(open_page, store, name):
    older = make_completed_run(store, "older", hidden=4, epochs=1)
    make_completed_run(store, "newer", hidden=4, epochs=1)
    test = open_page("run")
    test.sidebar.selectbox[0].set_value(older.run_id).run()
    test.switch_page(f"app_pages/{name}.py").run()

    assert not test.exception
    assert test.sidebar.selectbox[0].value == older.run_id
    assert test.query_params["run"] == older.run_id


def test_picker__the_link_wins(open_page, store):
    older = make_completed_run(store, "older", hidden=4, epochs=1)
    newer = make_completed_run(store, "newer", hidden=4, epochs=1)
    test = open_page("errors", session={state.RUN: newer.run_id}, run=older.run_id)

    assert test.sidebar.selectbox[0].value == older.run_id


def test_picker__link_to_a_run_that_is_gone_is_said(open_page, store):
    make_completed_run(store, "a", hidden=4, epochs=1)
    test = open_page("run", run="20260101-0000-abcd")

    assert not test.exception
    assert test.sidebar.selectbox[0].value is None
