"""The dashboard: `superft serve`, or `streamlit run dashboard/app.py`. Its pages, and what they share."""

import streamlit as st

from dashboard import look, messages, readers, sidebar, state
from superft_hf.errors import HomeError

look.apply()
page = st.navigation(
    {
        "Train": [
            st.Page(state.START_PAGE, title="Start", icon=":material/play_circle:", default=True),
            st.Page(state.RUNS_PAGE, title="Runs", icon=":material/list:"),
        ],
        "Understand": [
            st.Page(state.RUN_PAGE, title="Run", icon=":material/show_chart:"),
            st.Page(state.ERRORS_PAGE, title="Errors", icon=":material/grid_on:"),
            st.Page(state.COMPARE_PAGE, title="Compare", icon=":material/compare_arrows:"),
        ],
        "Use": [
            st.Page(state.TRY_PAGE, title="Try it", icon=":material/image_search:"),
            st.Page(state.PUBLISH_PAGE, title="Publish", icon=":material/publish:"),
        ],
    },
    expanded=True,
)
try:
    readers.store()
except HomeError as error:
    st.title("The runs cannot be read.", anchor=False)
    messages.show(error)
    st.stop()
sidebar.draw(page.title)
page.run()
