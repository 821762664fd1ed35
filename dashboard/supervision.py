"""Starts a supervisor where runs need one, and says so on every page when none lives."""

import contextlib
import time
from pathlib import Path

import streamlit as st

from dashboard import dialogs, formats, messages, readers, state
from superft_hf.engine import control
from superft_hf.errors import HomeError, SuperFTError
from superft_hf.records import TERMINAL_STATES, Request, RunRecord, RunState

PATIENCE_S = 10.0
"""A supervisor that was started needs a moment; one that is not there after this time does not live."""


def draw() -> None:
    """Draws the banner on top of a page, where one is needed; looks again every few seconds."""
    dialogs.poll(_watch, "3s")


@st.cache_data(ttl=60, max_entries=8, show_spinner=False)
def expect_run(home: Path) -> None:
    """Says once a minute that a run is about to come, so that a worker is ready for it; returns at once."""
    with contextlib.suppress(HomeError):  # the start itself has the words for it
        control.expect_run(home)


def _watch() -> None:
    banner = st.container()
    unsettled = [record for record in readers.run_list() if _is_unsettled(record)]
    if not unsettled:
        state.drop_value(state.SUPERVISOR_MISSED_SINCE)
        return
    home = readers.store().home
    try:
        # Whoever finds an unfinished run makes sure that somebody works on it; it returns at once if so.
        control.ensure_supervisor(home)
        status = control.supervisor_status(home)
    except HomeError as error:
        with banner:
            messages.show(error)
            _start_button()
        return
    if status.pid is not None:
        state.drop_value(state.SUPERVISOR_MISSED_SINCE)
    elif status.is_stopped:
        with banner:
            _say(
                f"The supervisor was stopped: {_consequence(unsettled)}.", "So it stays until it is started."
            )
    elif _is_missed():
        with banner:
            _say(
                f"The supervisor does not stay alive: {_consequence(unsettled)}.",
                f"The reason stands at the end of `{readers.home_paths().supervisor_log}`.",
            )


def _say(sentence: str, advice: str) -> None:
    with st.container(border=True, gap="xsmall", key="supervision"):
        messages.note(sentence, advice)
        _start_button()


def _start_button() -> None:
    if not st.button("Start the supervisor", icon=":material/play_arrow:", key="supervision_start"):
        return
    try:
        control.start_supervisor(readers.store().home)
    except SuperFTError as error:
        messages.show(error)
        return
    state.put_value(state.SUPERVISOR_MISSED_SINCE, time.monotonic())
    st.rerun()


def _is_unsettled(record: RunRecord) -> bool:
    return record.is_unfinished or (record.request == Request.DISCARD and record.state not in TERMINAL_STATES)


def _is_missed() -> bool:
    """Whether this tab has found no supervisor for a while."""
    since = state.get_value(state.SUPERVISOR_MISSED_SINCE)
    if since is None:
        state.put_value(state.SUPERVISOR_MISSED_SINCE, time.monotonic())
        return False
    return time.monotonic() - since > PATIENCE_S


def _consequence(unsettled: list[RunRecord]) -> str:
    waiting = sum(record.state is RunState.QUEUED for record in unsettled)
    live = sum(record.is_live for record in unsettled)
    parts = []
    if waiting:
        parts.append(f"{formats.counted(waiting, 'run')} {'waits' if waiting == 1 else 'wait'}")
    if live:
        parts.append(f"nobody watches {formats.counted(live, 'run')} at work")
    return ", and ".join(parts) or "a run waits to be discarded"
