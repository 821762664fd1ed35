"""The one child process that all pages of a server share for what needs torch."""

import streamlit as st

from dashboard.child import Child


@st.cache_resource(max_entries=1, show_spinner=False, on_release=Child.close)
def child() -> Child:
    """The child; it is started by its first call."""
    return Child()
