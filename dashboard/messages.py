"""Errors and notes as a sentence with a hint, never a traceback."""

import streamlit as st

from dashboard.formats import worded
from superft_hf.errors import SuperFTError
from superft_hf.records import Failure


def show(error: SuperFTError | Failure) -> None:
    """Says what happened and what to do, in the colour that is used for failures alone."""
    with st.container(border=True, gap="xxsmall"):
        st.markdown(f":red[:material/error: **{worded(error.message)}**]")
        if error.hint:
            st.markdown(f":gray[{worded(error.hint)}]")


def note(sentence: str, advice: str = "") -> None:
    """Says something worth knowing that stops nobody: bold in yellow, then the advice."""
    st.markdown(f":yellow[:material/warning: **{sentence}**] {advice}")


def empty(title: str, advice: str, icon: str = ":material/inbox:") -> None:
    """An empty state: what is not there yet, and what to do next. Draw the button for it right below."""
    with st.container(border=True, gap="xsmall"):
        st.markdown(f":gray[{icon}] **{title}**")
        st.markdown(f":gray[{advice}]")
