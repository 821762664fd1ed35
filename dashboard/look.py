"""The frame of every page: title, icon, mark, and the little that the theme cannot say."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import streamlit as st

from dashboard import state

_STATIC = Path(__file__).parent / "static"

# Streamlit sets `color-scheme`, so `light-dark()` follows the theme without a rerun. The accent has two
# values, since no colour reads well both under white text and as text on a dark ground. Dialogs lie outside
# of what has the colour scheme, so there the chosen one keeps the colour of the text.
_CSS = """<style>
[data-testid="stButtonGroup"] button[data-selected="true"], [data-testid="stSliderThumbValue"],
[data-testid="stMain"] [data-testid="stTab"][aria-selected="true"] p
  {color: light-dark(#0B7285, #5CC8D8) !important}
[data-testid="stDialog"] [data-testid="stButtonGroup"] button[data-selected="true"]
  {color: inherit !important}
[data-testid="stImage"] img
  {border-radius: 2px; box-shadow: 0 0 0 1px light-dark(#C9CED6, #3B414C)}
[class*="st-key-pixels"] [data-testid="stImage"] img
  {image-rendering: pixelated}
[data-testid="stSidebarLogo"], [data-testid="stHeaderLogo"]
  {box-shadow: none; border-radius: 0}
</style>"""


def apply() -> None:
    """Sets up the page; the first Streamlit call of every script run."""
    # The title that the tab has: notices.set_title changes it, and it must not flicker in between.
    title = state.get_value(state.TAB_TITLE, "superft")
    st.set_page_config(title, page_icon=str(_STATIC / "icon.png"), layout="wide")
    st.logo(str(_STATIC / "logo.png"))
    st.html(_CSS)


def card_head(title: str, note: str = "") -> None:
    """The title of a card, with a quiet note at its right end."""
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.subheader(title, anchor=False, width="content")
        if note:
            st.markdown(f":small[:gray[{note}]]", width="content")


def card_head_with_verb(title: str, verb: str, icon: str, key: str, **options: Any) -> bool:
    """The title of a card, with a quiet button at its right end; whether that was pressed.

    Args:
        title: Of the card.
        verb: On the button.
        icon: Name of a Material icon.
        key: Of the button.
        options: Passed on to the button, such as `on_click`.
    """
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.subheader(title, anchor=False, width="content")
        return st.button(verb, type="tertiary", icon=f":material/{icon}:", key=key, **options)


def facts(values: Mapping[str, str]) -> None:
    """Facts side by side, Markdown by label."""
    grid = st.grid(len(values), min_column_width=90)
    for label, value in values.items():
        with grid.cell():
            fact(label, value)


def fact(label: str, value: str) -> None:
    """A quiet label above its value; both are Markdown."""
    st.markdown(f":gray[:small[{label}]]  \n{value}")
