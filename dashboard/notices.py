"""Telling of the end of a run on whichever page is open: a toast, the tab's title, the computer's notices.

What stays true: a tab tells of an end once, and never of one from before it was opened. Whether this computer
shows notices is kept by the browser, not here: the switch, and asking for permission, are the browser's.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache

import streamlit as st

from dashboard import formats, state
from dashboard.notice_component import CSS, HTML, JS
from superft_hf.records import PauseReason, RunRecord, RunState

TITLE = "superft"
MAX_KEPT = 20


@dataclass(frozen=True)
class Notice:
    """The end of a run in words, plain text.

    Attributes:
        key: Names this end: a run that is resumed ends again.
        title: Run and state: `digits is finished`.
        text: What came of it; may be empty.
        icon: A Material icon, as Streamlit writes it.
    """

    key: str
    title: str
    text: str
    icon: str


@dataclass
class Noticed:
    """What a tab has seen.

    Attributes:
        since: When it was opened, UTC, ISO 8601.
        unfinished: The runs that were unfinished when it looked last.
        told: The ends that it told of, the newest last.
    """

    since: str
    unfinished: set[str] = field(default_factory=set)
    told: list[Notice] = field(default_factory=list)


def draw(records: Sequence[RunRecord]) -> None:
    """Draws toasts for runs that have just ended, sets the tab's title, and tells the browser.

    Args:
        records: All runs.
    """
    noticed = state.get_value(state.NOTICED)
    if noticed is None:
        noticed = Noticed(datetime.now(UTC).isoformat(timespec="milliseconds"))
        state.put_value(state.NOTICED, noticed)
    for notice in look(noticed, records):
        text = f": {formats.plain(notice.text)}" if notice.text else "."
        st.toast(f"**{formats.plain(notice.title)}**{text}", icon=notice.icon, duration="long")
    set_title(tab_title(records, state.selected_run_id()))
    told = [{"key": one.key, "title": one.title, "text": one.text} for one in noticed.told]
    _component()(data={"told": told}, key="notices")


def look(noticed: Noticed, records: Sequence[RunRecord]) -> list[Notice]:
    """The ends that this tab has not told of; remembers them, and what is unfinished now."""
    known = {one.key for one in noticed.told}
    new = [
        notice
        for record in records
        if _has_just_ended(record, noticed) and (notice := notice_of(record)).key not in known
    ]
    noticed.told = [*noticed.told, *new][-MAX_KEPT:]
    noticed.unfinished = {record.run_id for record in records if record.is_unfinished}
    return new


def notice_of(record: RunRecord) -> Notice:
    """The end of a run in words."""
    key = f"{record.run_id} {record.state} {record.ended_at or record.progress_at or ''}"
    icon = formats.STATE_LOOKS[record.state].icon
    if record.state is RunState.FAILED:
        return Notice(key, f"{record.name} failed", record.failure.message if record.failure else "", icon)
    if record.state is RunState.PAUSED:
        return Notice(key, f"{record.name} is paused", f"{record.pause_reason}.", icon)
    share = record.evaluation.get("eval", {}).get("accuracy", record.accuracy)
    text = f"{formats.percent(share)} on eval." if share is not None else ""
    return Notice(key, f"{record.name} is finished", text, icon)


def tab_title(records: Sequence[RunRecord], chosen: str | None) -> str:
    """The title of the browser's tab: how far the run is that trains; of several the chosen, else the first.

    Args:
        records: All runs, newest first.
        chosen: The run that this tab looks at, or None.
    """
    running = [one for one in records if one.state is RunState.RUNNING and one.max_steps]
    if not running:
        return TITLE
    shown = next((one for one in running if one.run_id == chosen), running[-1])
    return f"{min(100 * shown.global_step // shown.max_steps, 100)} % · {shown.name} · {TITLE}"


def set_title(title: str) -> None:
    """Sets the title of the browser's tab, and remembers it for the next script run."""
    state.put_value(state.TAB_TITLE, title)
    st.set_page_config(title)


def _has_just_ended(record: RunRecord, noticed: Noticed) -> bool:
    """A person's own pause is no news, nor is a discarded run."""
    if record.state in (RunState.COMPLETED, RunState.FAILED):
        return record.ended_at is not None and record.ended_at > noticed.since
    by_itself: Collection[str] = (PauseReason.SHUTDOWN, PauseReason.DISK)
    return (
        record.state is RunState.PAUSED
        and record.pause_reason in by_itself
        and record.run_id in noticed.unfinished
    )


@cache
def _component() -> "st.components.v2.types.ComponentRenderer":
    return st.components.v2.component("superft_notices", html=HTML, css=CSS, js=JS)
