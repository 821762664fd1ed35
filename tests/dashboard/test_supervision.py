"""The banner on every page when runs wait and nobody starts them."""

import time

import pytest

from dashboard import state, supervision
from superft_hf.engine import control
from superft_hf.errors import HomeError
from tests.factories import (
    held_supervisor,
    make_completed_run,
    make_queued_run,
    make_running_run,
)

BUTTON = "supervision_start"


def text_of(test) -> str:
    return "\n".join(str(one.value) for one in test.main.markdown).replace("\\", "")


def has_button(test) -> bool:
    return BUTTON in [one.key for one in test.main.button]


@pytest.fixture
def started(monkeypatch, store):
    """Homes for which a supervisor was started; none really is."""
    homes = []

    def start(home):
        homes.append(home)
        store.change_settings(is_supervisor_stopped=False)

    monkeypatch.setattr(control, "start_supervisor", start)
    return homes


@pytest.mark.parametrize("page", ["start", "runs", "run", "errors", "compare", "try_it", "publish"])
def test_banner__stopped_by_a_person(open_page, store, started, page):
    make_queued_run(store, "one")
    make_queued_run(store, "two")
    store.change_settings(is_supervisor_stopped=True)
    test = open_page(page)
    assert "The supervisor was stopped: 2 runs wait." in text_of(test)
    test.button(key=BUTTON).click().run()
    assert started == [store.home]
    assert not has_button(test) and not test.exception


def test_banner__runs_at_work_that_nobody_watches(open_page, store):
    make_running_run(store, "live", epochs_done=1, epochs=2)
    store.change_settings(is_supervisor_stopped=True)
    assert "nobody watches 1 run at work" in text_of(open_page("runs"))


def test_banner__none_when_nothing_has_to_be_done(open_page, store):
    make_completed_run(store, "done", hidden=4, epochs=1)
    store.change_settings(is_supervisor_stopped=True)
    assert not has_button(open_page("runs"))


def test_banner__none_while_a_supervisor_lives(open_page, store):
    make_queued_run(store, "one")
    with held_supervisor(store):
        assert not has_button(open_page("runs"))


def test_banner__it_could_not_be_started(open_page, store, monkeypatch, started):
    def refuse(home):
        raise HomeError("The supervisor could not be started: no memory.", hint="Look after memory.")

    make_queued_run(store, "one")
    test = open_page("runs")
    monkeypatch.setattr(control, "ensure_supervisor", refuse)
    test.run()
    assert "could not be started: no memory" in text_of(test) and has_button(test)
    assert not test.exception


def test_banner__one_that_does_not_stay_alive(open_page, store, started):
    make_queued_run(store, "one")
    test = open_page("runs")
    assert not has_button(test)  # it may be starting
    test.session_state[state.SUPERVISOR_MISSED_SINCE] = time.monotonic() - supervision.PATIENCE_S - 1
    test.run()
    assert "does not stay alive: 1 run waits" in text_of(test)
    assert store.paths.supervisor_log.name in text_of(test)


def test_the_start_page_expects_a_run(open_page, home, monkeypatch):
    expected = []
    monkeypatch.setattr(control, "expect_run", expected.append)
    supervision.expect_run.clear()
    for name in ("runs", "start", "start"):
        assert not open_page(name).exception
    assert expected == [home], "once, though the page is drawn again and again"


def test_the_start_page_bears_a_home_in_which_none_can_be_started(open_page, home, monkeypatch):
    def refuse(home):
        raise HomeError("no", hint="no")

    monkeypatch.setattr(control, "expect_run", refuse)
    supervision.expect_run.clear()
    assert not open_page("start").exception
