import time

import pytest

from dashboard import readers, runs_table, state
from superft_hf.records import PauseReason, RunState
from tests.factories import (
    fill_with_runs,
    make_completed_run,
    make_failed_run,
    make_queued_run,
    make_running_run,
)


def title(test) -> str:
    return test.title[0].value


def text_of(test) -> str:
    return "\n".join(str(one.value) for kind in (test.markdown, test.caption) for one in kind)


def select(test, *records):
    """Selects rows as a click would: AppTest does not simulate clicks on tables."""
    shown = [record.run_id for record in readers.run_list()]
    rows = [shown.index(record.run_id) for record in records]
    selection = {"selection": {"rows": rows, "columns": [], "cells": []}}
    test.session_state[runs_table.table_key(shown)] = selection
    return test.run()


def names(test) -> list[str]:
    return test.dataframe[0].value["Run"].tolist()


def test_runs__empty_store_says_what_to_do(open_page):
    test = open_page("runs")

    assert not test.exception
    assert title(test) == "No run yet."
    assert [button.label for button in test.main.button] == ["New run"]


def test_runs__sentence_and_table(open_page, store):
    best = make_completed_run(store, "good", hidden=16, epochs=2)
    make_failed_run(store, "bad", epochs=2)
    make_running_run(store, "live", epochs_done=1, epochs=2)
    test = open_page("runs")

    assert not test.exception
    accuracy = f"{100 * store.get_run(best.run_id).accuracy:.1f} %"
    assert title(test).startswith("live is training, ")
    assert f"Best finished run: good with {accuracy}" in title(test).replace("\\", "")
    assert "3 runs: 1 running, 1 completed, 1 failed" in text_of(test)
    table = test.dataframe[0].value
    assert table["Run"].tolist() == ["live", "bad", "good"]
    assert table["State"].tolist() == [["running"], ["failed"], ["completed"]]
    assert table["Train"].tolist() == ["1,257"] * 3
    assert table["Accuracy"].iloc[2] == accuracy
    assert "–" in table["95 % interval"].iloc[2]


def test_runs__name_with_markdown_is_shown_as_typed(open_page, store):
    make_completed_run(store, "**loud**", hidden=4, epochs=1)
    test = open_page("runs")

    assert r"\*\*loud\*\*" in title(test)


def test_filters__by_state_and_text(open_page, store):
    make_queued_run(store, "first")
    make_queued_run(store, "second")
    make_failed_run(store, "third", epochs=1)
    test = open_page("runs")
    test.get_by_key("runs_filter").set_value("SEC").run()
    assert names(test) == ["second"]

    test.get_by_key("runs_filter").set_value("").run()
    test.get_by_key("runs_states").set_value([RunState.FAILED]).run()
    assert names(test) == ["third"]

    test.get_by_key("runs_filter").set_value("nothing like it").run()
    assert not test.exception
    assert "No run matches" in text_of(test)


def test_verbs__fit_the_selection(open_page, store):
    done = make_completed_run(store, "done", hidden=4, epochs=1)
    waiting = make_queued_run(store, "waiting")
    test = open_page("runs")

    def enabled():
        keys = ("open", "compare", "repeat", "discard", "delete")
        return {key for key in keys if not test.get_by_key(f"runs_{key}").disabled}

    assert enabled() == set()
    select(test, done)
    assert enabled() == {"open", "repeat", "delete"}
    select(test, waiting)
    assert enabled() == {"open", "repeat", "discard"}
    select(test, waiting, done)
    assert enabled() == {"compare"}


def test_selection__belongs_to_the_run_when_another_comes_in_above(open_page, store):
    done = make_completed_run(store, "done", hidden=4, epochs=1)
    test = select(open_page("runs"), done)
    make_queued_run(store, "newer")
    test.run()

    assert test.session_state[state.RUNS_SELECTED] == [done.run_id]
    assert not test.get_by_key("runs_delete").disabled


def test_open__goes_to_the_run(open_page, store):
    done = make_completed_run(store, "done", hidden=4, epochs=1)
    test = select(open_page("runs"), done)
    test.get_by_key("runs_open").click().run()

    assert not test.exception
    assert test.query_params["run"] == done.run_id


def test_delete__asks_first(open_page, store):
    done = make_completed_run(store, "done", hidden=4, epochs=1)
    test = select(open_page("runs"), done)
    test.get_by_key("runs_delete").click().run()

    assert store.has_run(done.run_id)
    assert "cannot be undone" in text_of(test)
    test.get_by_key("runs_sure_delete").click().run()

    assert not test.exception
    assert not store.has_run(done.run_id)
    assert not store.run_paths(done.run_id).folder.exists()


def test_verbs__several_at_once(open_page, store):
    live = [make_running_run(store, name, epochs_done=1, epochs=2) for name in ("a", "b")]
    test = select(open_page("runs"), *live)
    assert not test.get_by_key("runs_pause").disabled and test.get_by_key("runs_resume").disabled
    test.get_by_key("runs_pause").click().run()
    assert "Saves everything at the next step" in text_of(test)
    assert [store.get_run(one.run_id).request for one in live] == [None, None]
    test.get_by_key("runs_sure_pause").click().run()
    assert [store.get_run(one.run_id).request for one in live] == ["pause", "pause"]

    for one in live:
        store.change_state(one.run_id, [RunState.RUNNING], RunState.PAUSED, by="worker")
    select(test, *live).get_by_key("runs_resume").click().run()
    assert [store.get_run(one.run_id).state for one in live] == [RunState.QUEUED] * 2
    select(test, *live).get_by_key("runs_hold").click().run()
    assert all(store.get_run(one.run_id).is_held for one in live)
    assert select(test, *live).get_by_key("runs_hold").label == "Let go"


def test_table__says_why_paused_and_what_is_special_in_the_queue(open_page, store):
    for number, reason in enumerate(PauseReason):
        run = make_running_run(store, f"paused-{number}", epochs_done=1, epochs=2)
        store.change_state(
            run.run_id, [RunState.RUNNING], RunState.PAUSED, by="worker", pause_reason=str(reason)
        )
    held, first = make_queued_run(store, "held"), make_queued_run(store, "first")
    store.set_held(held.run_id, True, by="page")
    store.set_priority(first.run_id, 2, by="command line")
    table = open_page("runs").dataframe[0].value
    assert table["State"].tolist() == [
        ["queued: priority 2"], ["queued: held"], ["paused: stopped hard"], ["paused: disk is full"],
        ["paused: shutdown"], ["paused: by a person"],
    ]  # fmt: skip


def test_best_epoch__of_a_run_in_the_middle(store):
    record = make_running_run(store, "live", epochs_done=2, epochs=5)

    assert runs_table.best_epoch(record) in {"1 of 5", "2 of 5"}


@pytest.mark.slow
def test_speed__a_thousand_runs(open_page, store):
    fill_with_runs(store, 1000)
    test = open_page("runs")
    assert len(test.dataframe[0].value) == 20

    times = []
    for _ in range(3):
        began = time.perf_counter()
        test.run()
        times.append(time.perf_counter() - began)
    assert min(times) < 0.3
