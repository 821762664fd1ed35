"""A tab tells of the end of a run once, and never of one from before it was opened."""

from dataclasses import replace

import pytest

from dashboard import notices
from superft_hf.records import PauseReason, RunState
from tests.factories import continue_run, make_completed_run, make_queued_run, make_running_run


def toasts(test) -> list[str]:
    return [one.value for one in test.toast]


def fail(store, run):
    from superft_hf.records import Failure

    store.change_state(
        run.run_id, [RunState.RUNNING, RunState.QUEUED], RunState.FAILED, by="supervisor",
        failure=Failure("E", "The disk is full.", ""),
    )  # fmt: skip


@pytest.mark.parametrize("page", ["runs", "errors", "start"])
def test_toast__a_run_that_ends_is_told_once_on_any_page(open_page, store, page):
    make_completed_run(store, "before", hidden=4, epochs=1)
    run = make_running_run(store, "live", epochs_done=1, epochs=2)
    test = open_page(page)
    assert toasts(test) == []
    list(continue_run(store, run.run_id))
    accuracy = f"{100 * store.get_run(run.run_id).evaluation['eval']['accuracy']:.1f} %"
    told = [one.replace("\\", "") for one in toasts(test.run())]
    assert told == [f"**live is finished**: {accuracy} on eval."]
    assert toasts(test.run()) == [] and not test.exception


def test_toast__a_failure_with_its_reason_even_if_it_was_never_seen_at_work(open_page, store):
    test = open_page("runs")
    fail(store, make_queued_run(store, "short"))
    assert [one.replace("\\", "") for one in toasts(test.run())] == ["**short failed**: The disk is full."]


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (PauseReason.DISK, ["**live is paused**: too little disk space."]),
        (PauseReason.SHUTDOWN, ["**live is paused**: the machine was shut down."]),
        (PauseReason.PERSON, []),
        (PauseReason.STOPPED_HARD, []),
    ],
)
def test_toast__a_pause_only_if_no_person_asked_for_it(open_page, store, reason, expected):
    run = make_running_run(store, "live", epochs_done=1, epochs=2)
    test = open_page("runs")
    store.change_state(run.run_id, [RunState.RUNNING], RunState.PAUSED, by="worker", pause_reason=str(reason))
    assert [one.replace("\\", "") for one in toasts(test.run())] == expected


def test_toast__a_resumed_run_ends_a_second_time(open_page, store):
    run = make_running_run(store, "live", epochs_done=1, epochs=2)
    test = open_page("runs")
    fail(store, run)
    assert len(toasts(test.run())) == 1
    store.requeue(run.run_id, by="page")
    assert toasts(test.run()) == []
    fail(store, run)
    assert len(toasts(test.run())) == 1


def test_toast__a_name_with_markdown_in_it(open_page, store):
    run = make_running_run(store, "*loud* [x](http://a)", epochs_done=1, epochs=2)
    test = open_page("runs")
    fail(store, run)
    assert r"\*loud\* \[x\]\(http" in toasts(test.run())[0]


def test_browser__gets_what_was_told_as_plain_text(open_page, store):
    run = make_running_run(store, "<b>live</b>", epochs_done=1, epochs=2)
    test = open_page("runs")
    fail(store, run)
    test.run()
    told = test.session_state["noticed"].told
    assert [(one.title, one.text) for one in told] == [("<b>live</b> failed", "The disk is full.")]


def test_title__of_the_tab(store):
    assert notices.tab_title([], None) == "superft"
    run = replace(make_queued_run(store, "one"), state=RunState.RUNNING, global_step=139, max_steps=320)
    other = replace(run, run_id="other", name="two", global_step=32)
    assert notices.tab_title([run], None) == "43 % · one · superft"
    assert notices.tab_title([other, run], None) == "43 % · one · superft"  # the one that began first
    assert notices.tab_title([other, run], "other") == "10 % · two · superft"
    assert notices.tab_title([replace(run, state=RunState.COMPLETED)], run.run_id) == "superft"


def test_title__is_restored_when_the_run_has_ended(open_page, store):
    run = make_running_run(store, "live", epochs_done=1, epochs=2)
    test = open_page("runs")
    assert test.session_state["tab_title"] == "50 % · live · superft"
    list(continue_run(store, run.run_id))
    assert test.run().session_state["tab_title"] == "superft"
