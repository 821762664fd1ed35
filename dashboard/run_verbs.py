"""What can be done to a run, as buttons: each says what it costs before it is pressed for good.

The words come from `superft_hf.verbs`, which the command line shares. A verb that takes nothing away is one
button; every other opens a popover with its consequence and the one button that does it.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import streamlit as st

from dashboard import formats, messages, readers
from superft_hf import verbs
from superft_hf.engine import control
from superft_hf.errors import SuperFTError
from superft_hf.records import Request, RunRecord
from superft_hf.verbs import Verb

SLOW_S = 30.0
"""So long after a request that is not obeyed, the hard stop is offered loudly."""

BY = "page"

_AT_ONCE = (verbs.RESUME, verbs.HOLD, verbs.LET_GO)
"""They take nothing away, so that one click does."""

_SURE = {
    verbs.FINISH: "Finish this run", verbs.PAUSE: "Pause this run", verbs.STOP_HARD: "Stop it now",
    verbs.DISCARD: "Discard this run",
}  # fmt: skip

_ASKED = {
    Request.FINISH: "Finishing at the next step",
    Request.PAUSE: "Pausing at the next step",
    Request.STOP_HARD: "Being stopped hard",
    Request.DISCARD: "Being discarded",
}


def draw(record: RunRecord, verb: Verb, place: str, **looks: Any) -> None:
    """Draws one verb as a button, or as a popover with its consequence.

    Args:
        record: The run.
        verb: What to do to it.
        place: Begins the keys of the widgets, such as `run`.
        looks: For `st.button` or `st.popover`: type, disabled.
    """
    key = f"{place}_{verb.name.replace('-', '_')}"
    icon = f":material/{verb.icon}:"
    if verb in _AT_ONCE:
        if st.button(verb.title, icon=icon, key=key, help=verb.consequence, **looks):
            _act_and_redraw(verb, record.run_id)
        return
    with st.popover(verb.title, icon=icon, key=key, **looks):
        _consequence(record, verb, place)


def draw_together(record: RunRecord, label: str, icon: str, place: str) -> None:
    """Draws all verbs that fit a run behind one button, each with its consequence."""
    fitting = verbs.fitting_verbs(record)
    if not fitting:
        return
    with st.popover(label, type="tertiary", icon=f":material/{icon}:", key=f"{place}_verbs"):
        for verb in fitting:
            _consequence(record, verb, place)


def draw_pending(record: RunRecord) -> None:
    """Draws what a run was asked to do and has not done yet; nothing when it was asked nothing."""
    words = pending_words(record)
    if words:
        st.markdown(f":small[:gray[:material/hourglass_top: {words}]]", width="content")


def draw_slow(record: RunRecord, place: str) -> None:
    """Says that a request is not obeyed, and offers the hard stop; nothing while it may still be."""
    if not is_slow(record):
        return
    since = formats.duration(asked_s(record))
    with st.container(border=True, gap="xsmall"):
        messages.note(
            f"It was asked to {formats.plain(record.request or '')} {since} ago, and has not done so.",
            "A long step or an evaluation may hold it up. If it does not answer at all, stop it hard.",
        )
        with st.container(horizontal=True):
            draw(record, verbs.STOP_HARD, place)


def pending_words(record: RunRecord) -> str:
    """What a run was asked to do and has not done yet, such as `Pausing at the next step`; may be empty."""
    is_open = record.is_live or (record.request == Request.DISCARD and record.state in verbs.DISCARD.states)
    return _ASKED[Request(record.request)] if record.request and is_open else ""


def asked_s(record: RunRecord) -> float | None:
    """Seconds since a run was asked what it was asked last; None when nothing was asked."""
    asked = [one.time for one in readers.events(record.run_id) if one.what == f"asked to {record.request}"]
    if not record.request or not asked:
        return None
    return (datetime.now(UTC) - datetime.fromisoformat(asked[-1])).total_seconds()


def is_slow(record: RunRecord) -> bool:
    """Whether a live run was asked to pause or to finish a good while ago, and has not."""
    if not record.is_live or record.request not in (Request.FINISH, Request.PAUSE):
        return False
    return (asked_s(record) or 0.0) > SLOW_S


def act(verb: Verb, run_id: str) -> bool:
    """Does it; a refusal is shown, and False is returned."""
    try:
        _ACTS[verb.name](run_id)
    except SuperFTError as error:
        messages.show(error)
        return False
    return True


def _consequence(record: RunRecord, verb: Verb, place: str) -> None:
    final = "  \n:yellow[:material/warning: This cannot be undone.]" if verb.is_final else ""
    st.markdown(f"{verb.consequence}{final}", width=300)
    if st.button(
        _SURE.get(verb, verb.title), icon=f":material/{verb.icon}:",
        key=f"{place}_{verb.name.replace('-', '_')}_now",
    ):  # fmt: skip
        _act_and_redraw(verb, record.run_id)


def _act_and_redraw(verb: Verb, run_id: str) -> None:
    if act(verb, run_id):
        st.rerun()


def _set_held(run_id: str, is_held: bool) -> None:
    readers.store().set_held(run_id, is_held, by=BY)
    control.ensure_supervisor(readers.store().home)


_ACTS: Mapping[str, Callable[[str], object]] = {
    verbs.FINISH.name: lambda run_id: control.finish(readers.store(), run_id, by=BY),
    verbs.PAUSE.name: lambda run_id: control.pause(readers.store(), run_id, by=BY),
    verbs.STOP_HARD.name: lambda run_id: control.stop_hard(readers.store(), run_id, by=BY),
    verbs.RESUME.name: lambda run_id: control.resume(readers.store(), run_id, by=BY),
    verbs.HOLD.name: lambda run_id: _set_held(run_id, True),
    verbs.LET_GO.name: lambda run_id: _set_held(run_id, False),
    verbs.DISCARD.name: lambda run_id: control.discard(readers.store(), run_id, by=BY),
}
