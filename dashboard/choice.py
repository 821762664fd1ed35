"""The run that a page looks at, or a sentence about why there is none. What stays true: the link wins."""

import streamlit as st

from dashboard import formats, messages, readers, state
from superft_hf.errors import RunNotFoundError
from superft_hf.records import RunRecord


def chosen_run() -> RunRecord:
    """The run of the link, else the one chosen before, else the newest; ends the script if there is none."""
    run_id = state.selected_run_id()
    records = readers.run_list()
    if run_id is None and not records:
        st.title("No run yet. The first one needs a model, images and one click.", anchor=False)
        messages.empty("There is nothing to show.", "Start a run: its curves and its errors appear here.")
        if st.button("Start a run", type="primary", icon=":material/play_arrow:", key="choice_start"):
            state.open_page(state.START_PAGE)
        st.stop()
    try:
        return readers.run(run_id or records[0].run_id)
    except RunNotFoundError:
        shown = formats.plain(str(run_id)[:60])
        st.title(f"There is no run {shown}.", anchor=False)
        messages.empty(
            "The link names a run that is not here.", "It may have been deleted, or lie in another home."
        )
        if st.button("See all runs", type="primary", icon=":material/list:", key="choice_runs"):
            state.open_page(state.RUNS_PAGE)
        st.stop()


def show_head(record: RunRecord, sentence: str, context: str) -> None:
    """The top of a page about a run: sentence, state in words, context line.

    Args:
        record: The run.
        sentence: The answer, in Markdown.
        context: What is quiet beside the state, in Markdown.
    """
    st.title(sentence, anchor=False)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.badge(**formats.state_badge(record.state))
        st.caption(context, width="content")
