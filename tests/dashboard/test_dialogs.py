"""While any dialog is open, the parts of a page that draw themselves again rest."""

import pytest
import streamlit as st

from dashboard import dialogs, state
from tests.factories import make_queued_run, make_running_run


@pytest.fixture
def polled(monkeypatch):
    """What was drawn as a fragment: its times between two drawings, by name."""
    seen = {}
    fragment = st.fragment

    def spy(draw=None, *, run_every=None, **options):
        if draw is not None:
            seen[draw.__name__] = run_every
        return fragment(draw, run_every=run_every, **options)

    monkeypatch.setattr(dialogs.st, "fragment", spy)
    return seen


def test_poll__parts_of_the_runs_page_rest_while_it_asks(open_page, store, polled):
    run = make_queued_run(store)
    open_page("runs")
    assert polled == {"_activity": "3s", "_watch": "3s", "_panel": "2s"}
    open_page("runs", session={state.RUNS_ASKED: ("discard", [run.run_id])})
    assert polled == {"_activity": None, "_watch": None, "_panel": None}


def test_poll__parts_of_the_run_page_rest_while_the_hub_dialog_is_open(open_page, store, polled):
    run = make_running_run(store, epochs_done=1, epochs=2)
    open_page("run", run=run.run_id)
    assert polled["_draw_live"] == "2s"
    open_page("run", session={state.HUB_DIALOG: True}, run=run.run_id)
    assert polled["_draw_live"] is None


def test_dialogs__one_left_open_on_another_page_is_forgotten(open_page, store, polled):
    make_queued_run(store)
    test = open_page("run", session={state.START_DIALOG: "model", state.RUNS_ASKED: ("discard", [])})
    assert state.START_DIALOG not in test.session_state and state.RUNS_ASKED not in test.session_state
    assert polled["_activity"] == "3s" and not test.exception
