"""The timeline of a run: events in words, the older ones folded."""

from dashboard import timeline
from superft_hf.records import PUBLISHED, Event
from tests.factories import make_queued_run


def test_words__a_run_that_was_paused_and_resumed():
    what = [
        ("page", "created", ""), ("supervisor", "starting", ""), ("worker", "running", ""),
        ("page", "asked to pause", ""), ("worker", "paused", "a person paused it"), ("page", "resumed", ""),
        ("supervisor", "starting", ""), ("worker", "running", ""), ("worker", "completed", ""),
    ]  # fmt: skip
    assert timeline.in_words([Event("", *one) for one in what]) == [
        "Created", r"Started\: images and model are prepared", "Training began", "Asked to pause",
        r"Paused\: a person paused it".replace(r"\:", ":"), "Put into the queue again, to go on",
        r"Started\: images and model are prepared", "Training went on", "Completed",
    ]  # fmt: skip


def test_words__an_unknown_event_keeps_its_own_and_formats_nothing():
    assert timeline.in_words([Event("", "x", "priority 3", "*a*")]) == [r"Priority 3: \*a\*"]


def test_words__a_publication_is_a_link():
    url = "https://huggingface.co/acme/a/commit/12"
    assert timeline.in_words([Event("", "page", PUBLISHED, url)])[0].endswith(f"]({url})")


def test_timeline__long_ones_are_folded(open_page, store):
    run = make_queued_run(store)
    for number in range(14):
        store.add_event(run.run_id, by="page", what=f"event {number}")
    test = open_page("run", run=run.run_id)
    assert [one.label for one in test.main.expander if "earlier" in one.label] == ["5 earlier events"]
    parts = [one.value for one in test.main.markdown if "Event 13" in one.value]
    assert len(parts) == 1 and "Event 3" not in parts[0] and "Event 4" in parts[0]
