"""The queue panel of the Runs page: what trains, what waits, in which order and why; and its settings."""

import time

import pytest

from dashboard import home_settings, state
from superft_hf.records import Request, RunState
from tests.dashboard.test_run import set_event_time
from tests.factories import fill_with_runs, make_completed_run, make_queued_run, make_running_run


def text_of(test) -> str:
    return "\n".join(str(one.value) for one in test.main.markdown)


def keys(test) -> list[str]:
    return [button.key for button in test.main.button]


def shown_order(test, *records) -> list[str]:
    """Names of queued runs in the order of their rows."""
    names = {f"queue_{one.run_id}_open": one.name for one in records}
    return [names[button.key] for button in test.main.button if button.key in names]


def test_panel__only_when_something_is_queued_or_live(open_page, store):
    make_completed_run(store, "done", hidden=4, epochs=1)
    assert "At work and waiting" not in [one.value for one in open_page("runs").subheader]
    make_queued_run(store, "next")
    assert "At work and waiting" in [one.value for one in open_page("runs").subheader]


def test_panel__a_live_run_has_device_and_progress(open_page, store):
    make_running_run(store, "live", epochs_done=3)
    test = open_page("runs")
    assert "2 CPU cores" in text_of(test)
    assert "Epoch 4 of 8 · step 120 of 320" in test.get("progress")[0].proto.text
    assert "left" in test.get("progress")[0].proto.text


def test_panel__order_reason_and_held(open_page, store):
    first, second, third = (make_queued_run(store, name) for name in ("first", "second", "third"))
    store.update_run(first.run_id, waiting_for="waits for the CPU, which another run uses")
    store.set_held(second.run_id, True, by="page")
    store.set_priority(third.run_id, 5, by="page")
    test = open_page("runs")
    assert shown_order(test, first, second, third) == ["third", "first", "second"]
    assert "waits for the CPU, which another run uses · 8 epochs" in text_of(test).replace("\\", "")
    assert "held: waits until it is let go" in text_of(test).replace("\\", "")
    assert "priority 5" in text_of(test)


def test_panel__moves_first_up_down_last(open_page, store):
    runs = [make_queued_run(store, name) for name in ("a", "b", "c")]
    by_name = {one.name: one.run_id for one in runs}
    test = open_page("runs")

    def press(name, where):
        test.button(key=f"queue_{by_name[name]}_{where}").click().run()
        assert not test.exception
        return shown_order(test, *runs)

    assert test.button(key=f"queue_{by_name['a']}_up").disabled
    assert test.button(key=f"queue_{by_name['c']}_last").disabled
    assert press("c", "first") == ["c", "a", "b"]
    assert press("c", "down") == ["a", "c", "b"]
    assert press("b", "up") == ["a", "b", "c"]
    assert press("a", "last") == ["b", "c", "a"]


def test_panel__hold_and_let_go(open_page, store):
    record = make_queued_run(store, "waiting")
    test = open_page("runs")
    test.button(key=f"queue_{record.run_id}_hold").click().run()
    assert store.get_run(record.run_id).is_held
    test.button(key=f"queue_{record.run_id}_let_go").click().run()
    assert not store.get_run(record.run_id).is_held
    assert [one.what for one in store.read_events(record.run_id)] == ["created", "held", "let go"]


def test_panel__discard_says_what_is_lost_and_is_asked_of_the_supervisor(open_page, store):
    record = make_queued_run(store, "waiting")
    test = open_page("runs")
    assert "deletes its weights and checkpoints" in text_of(test)
    test.button(key=f"queue_{record.run_id}_discard_now").click().run()
    assert not test.exception
    assert store.get_run(record.run_id).request == "discard"
    assert "Being discarded" in text_of(test) and f"queue_{record.run_id}_hold" not in keys(test)


def test_panel__stop_verbs_of_a_live_run(open_page, store):
    record = make_running_run(store, "live", epochs_done=1, epochs=2)
    test = open_page("runs")
    test.button(key=f"queue_{record.run_id}_pause_now").click().run()
    assert store.get_run(record.run_id).request == "pause"
    assert "Pausing at the next step" in text_of(test)
    assert f"queue_slow_{record.run_id}_stop_hard_now" not in keys(test)
    set_event_time(store, record.run_id, "asked to pause", seconds_ago=31)
    test.run()
    assert f"queue_slow_{record.run_id}_stop_hard_now" in keys(test)


def test_panel__many_queued_runs_are_paged(open_page, store):
    runs = [make_queued_run(store, f"run-{number}") for number in range(8)]
    test = open_page("runs")
    assert shown_order(test, *runs) == [f"run-{number}" for number in range(6)]


def test_panel__never_becomes_lower_while_it_is_there(open_page, store):
    make_running_run(store, "live", epochs_done=1, epochs=2)
    record = make_queued_run(store, "waiting")
    test = open_page("runs")
    height = test.session_state[state.QUEUE_ROWS]
    store.change_state(record.run_id, [RunState.QUEUED], RunState.DISCARDED, by="supervisor")
    assert test.run().session_state[state.QUEUE_ROWS] == height


def test_settings__runs_at_once(open_page, store):
    make_queued_run(store)
    test = open_page("runs")
    slots = test.number_input(key=home_settings.SLOTS)
    assert slots.value == 1
    slots.set_value(3).run()
    assert store.read_settings().cpu_slots == 3
    assert test.run().number_input(key=home_settings.SLOTS).value == 3
    store.change_settings(cpu_slots=2)  # from the command line, or another tab
    assert test.run().number_input(key=home_settings.SLOTS).value == 2


def test_settings__webhook_is_masked_and_can_be_removed(open_page, store):
    url = "https://hooks.example.com/services/T000/B000/verysecretpart9876"
    make_queued_run(store)
    test = open_page("runs")
    test.text_input(key=home_settings.WEBHOOK).set_value(url)
    next(one for one in test.main.button if one.label == "Save").click().run()
    assert store.read_settings().webhook_url == url
    assert "https://hooks.example.com/…" in text_of(test).replace("\\", "")
    assert "verysecret" not in str(test.main)
    test.button(key="home_webhook_remove").click().run()
    assert store.read_settings().webhook_url is None


def test_settings__what_is_no_web_address_is_refused(open_page, store):
    make_queued_run(store)
    test = open_page("runs")
    test.text_input(key=home_settings.WEBHOOK).set_value("file:///etc/passwd")
    next(one for one in test.main.button if one.label == "Save").click().run()
    assert "The webhook is no web address" in text_of(test)
    assert store.read_settings().webhook_url is None and not test.exception


def test_pending__a_run_being_stopped_hard_can_only_be_discarded(open_page, store):
    record = make_running_run(store, "live", epochs_done=1, epochs=2)
    store.set_request(record.run_id, Request.PAUSE, by="page")
    store.set_request(record.run_id, Request.STOP_HARD, by="page")
    test = open_page("runs")
    mine = {key for key in keys(test) if key and record.run_id in key and key.endswith("_now")}
    assert mine == {f"queue_{record.run_id}_discard_now"}


def test_settings__a_test_message_is_answered_in_words(open_page, store):
    store.change_settings(webhook_url="http://127.0.0.1:9/nobody-listens-here")
    make_queued_run(store)
    test = open_page("runs")
    test.button(key="home_webhook_test").click().run()
    assert "did not arrive" in test.toast[0].value and "refused" in test.toast[0].value
    assert "nobody-listens" not in test.toast[0].value


@pytest.mark.slow
@pytest.mark.parametrize("page", ["runs", "run"])
def test_speed__a_thousand_runs_and_a_long_queue(open_page, store, page):
    fill_with_runs(store, 1000)
    for name in ("a", "b"):
        make_running_run(store, name, epochs_done=2)
    for number in range(50):
        make_queued_run(store, f"waiting-{number}")
    test = open_page(page)
    times = []
    for _ in range(4):
        began = time.perf_counter()
        test.run()
        times.append(time.perf_counter() - began)
    assert not test.exception and min(times) < 0.3
