"""The timeline of a run: every event in words, with its time and who did it, newest last."""

import streamlit as st

from dashboard import formats, readers
from dashboard.look import card_head
from superft_hf.engine import notify
from superft_hf.records import LOOKED_AT_TEST, PUBLISHED, Event, RunState

MAX_SHOWN = 10
"""More are folded: the older ones open by a click."""

_WORDS = {
    "created": "Created",
    str(RunState.STARTING): "Started: images and model are prepared",
    str(RunState.RUNNING): "Training began",
    str(RunState.COMPLETED): "Completed",
    str(RunState.FAILED): "Failed",
    str(RunState.PAUSED): "Paused",
    str(RunState.DISCARDED): "Discarded: its weights are removed",
    "resumed": "Put into the queue again, to go on",
    "held": "Held back in the queue",
    "let go": "Let go",
    "moved first": "Moved to the front of the queue",
    "moved last": "Moved to the end of the queue",
    "moved up": "Moved up in the queue",
    "moved down": "Moved down in the queue",
    "evaluated test": "Evaluated on test, once",
    notify.NOTIFIED: "Told the webhook",
    notify.NOT_NOTIFIED: "Could not tell the webhook",
    LOOKED_AT_TEST: "Looked at the test figures",
    PUBLISHED: "Published",
}

_WHO = {
    "page": "a person, on the page",
    "command line": "a person, by command line",
    "show": "a person, by superft show",
    "show --json": "a script or a person, by superft show --json",
    "report": "a person, in a report",
    "slices": "a person, by superft slices",
    "demo": "the demo",
    "supervisor": "the supervisor",
    "worker": "the worker",
}


def draw(run_id: str) -> None:
    """Draws the timeline of a run as a card."""
    events = readers.events(run_id)
    lines = [_line(event, words) for event, words in zip(events, in_words(events), strict=True)]
    with st.container(border=True):
        card_head("Timeline", "newest last")
        older, newer = lines[:-MAX_SHOWN], lines[-MAX_SHOWN:]
        folded = st.container()
        if older:
            with folded.expander(f"{formats.counted(len(older), 'earlier event')}", key="timeline_older"):
                st.markdown("  \n".join(older))
        st.markdown("  \n".join(newer) or ":gray[Nothing has happened yet.]")


def in_words(events: list[Event]) -> list[str]:
    """Each event as a phrase of Markdown, without time and person.

    Example:
        >>> in_words([Event("", "worker", "running"), Event("", "worker", "running")])
        ['Training began', 'Training went on']
    """
    seen: set[str] = set()
    phrases = []
    for event in events:
        words = _WORDS.get(event.what, event.what[:1].upper() + event.what[1:])
        if event.what == RunState.RUNNING and event.what in seen:
            words = "Training went on"
        seen.add(event.what)
        phrases.append(formats.plain(words) + _detail(event))
    return phrases


def _detail(event: Event) -> str:
    if not event.detail:
        return ""
    if event.what == PUBLISHED and event.detail.startswith("https://"):
        return f": [{formats.plain(event.detail)}]({event.detail})"
    return f": {formats.plain(event.detail)}"


def _line(event: Event, words: str) -> str:
    who = formats.plain(_WHO.get(event.by, event.by))
    return f":small[:gray[{formats.moment_s(event.time)}]] {words} :small[:gray[by {who}]]"
