"""What every page shares: below the menu the run picker and what is at work now, on top of it a banner."""

import streamlit as st

from dashboard import dialogs, hub_access, notices, readers, state, supervision
from superft_hf.records import RunState

RUN_PAGES = ("Run", "Errors", "Try it", "Publish")
MAX_CHOICES = 200


def draw(page_title: str) -> None:
    """Draws the part of the sidebar that is ours, and what has to be said on top of the page."""
    dialogs.close_elsewhere(page_title)
    with st.sidebar:
        if page_title in RUN_PAGES and readers.run_list():
            _run_picker()
        dialogs.poll(_activity, "3s")
    hub_access.draw()
    supervision.draw()


def _run_picker() -> None:
    """A run once chosen stays chosen across pages, and stands in the link."""
    records = {record.run_id: record for record in readers.run_list()}
    chosen = state.selected_run_id()
    choices = list(records)[:MAX_CHOICES]
    if chosen not in records:
        chosen = choices[0] if chosen is None else None
    elif chosen not in choices:
        choices.append(chosen)
    if chosen:
        state.select_run(chosen)
    state.put_value(state.RUN_PICKER, chosen)
    st.selectbox(
        "Run", choices, format_func=lambda run_id: records[run_id].name if run_id in records else run_id,
        key=state.RUN_PICKER, placeholder="Choose a run", on_change=state.take_picked_run,
        help="Run, Errors, Try it and Publish look at this run. It stands in the link.",
    )  # fmt: skip


def _activity() -> None:
    counts = readers.state_counts()
    live = counts.get(RunState.RUNNING, 0) + counts.get(RunState.STARTING, 0)
    parts = [
        f"{number} {word}"
        for number, word in ((live, "running"), (counts.get(RunState.QUEUED, 0), "queued"))
        if number
    ]
    st.markdown(f":small[:gray[:material/memory: {' · '.join(parts) or 'nothing running'}]]")
    notices.draw(readers.run_list())
