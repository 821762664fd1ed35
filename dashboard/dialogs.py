"""Which dialog is open, and what those of the Start page share.

Whether one is open is state of the tab, so that a rerun of the page closes none.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import streamlit as st
from streamlit.errors import StreamlitAPIException

from dashboard import formats, forms, state
from superft_hf.samples import IMAGE_SAMPLES, MODEL_SAMPLES, is_fetched

MAX_RECENT = 4

_PAGES = {
    state.START_DIALOG: ("Start",),
    state.RUNS_ASKED: ("Runs",),
    state.HUB_DIALOG: None,
    state.CLOSE_LOOK: ("Errors", "Compare"),
}
"""By the session key that tells of an open dialog: the pages that draw it, or None for every page."""


@dataclass(frozen=True)
class Choice:
    """One line of a dialog."""

    name_or_path: str
    title: str
    note: str


def open_dialog(name: str) -> None:
    """Callback of a button: opens a dialog by its name, see `choosers.draw_dialog`."""
    state.put_value(state.START_DIALOG, name)


def close_dialog() -> None:
    """Notes that no dialog is open; also the callback of a dismissal."""
    state.drop_value(state.START_DIALOG)


def is_dialog_open() -> bool:
    """Whether any dialog is open."""
    return any(state.get_value(key) for key in _PAGES)


def close_elsewhere(page_title: str) -> None:
    """Notes that dialogs of other pages are gone: a step back in the browser leaves them open."""
    for key, titles in _PAGES.items():
        if titles is not None and page_title not in titles:
            state.drop_value(key)


def poll(draw: Callable[..., None], every: str, *arguments: object) -> None:
    """Draws a part of the page again and again; it rests while a dialog is open.

    Streamlit may lose what a dialog has just drawn when a rerun of another part begins at that moment.

    Args:
        draw: Draws the part.
        every: Time between two drawings, such as `0.5s`.
        arguments: For `draw`.
    """
    st.fragment(draw, run_every=None if is_dialog_open() else every)(*arguments)


def done() -> None:
    """Ends a dialog that has filled the form."""
    close_dialog()
    st.rerun()


def redraw() -> None:
    """Draws the open dialog again; alone, unless the whole page was run, which has to be run again then."""
    try:
        st.rerun(scope="fragment")
    except StreamlitAPIException:
        st.rerun()


def choice_list(title: str, choices: Sequence[Choice], use: Callable[[str], None], verb: str = "Use") -> None:
    """Lines with a button each, named by `verb`; `use` is called with what was chosen."""
    if not choices:
        return
    st.markdown(f":small[:gray[{title}]]")
    for one in choices:
        with (
            st.container(border=True),
            st.container(horizontal=True, vertical_alignment="center", wrap=False),
        ):
            note = f"  \n:small[:gray[{one.note}]]" if one.note else ""
            st.markdown(f"**{formats.plain(one.title)}**{note}", width="stretch")
            is_pressed = st.button(verb, key=f"{forms.PAGE}_use_{one.name_or_path}")
        if is_pressed:
            use(one.name_or_path)


def by_hand(key: str, label: str, placeholder: str, use: Callable[[str], None]) -> None:
    """A field for what no list has; `use` is called with what was typed."""
    with (
        st.form(f"{forms.PAGE}_by_hand_{key}", border=False),
        st.container(horizontal=True, vertical_alignment="bottom"),
    ):
        name = st.text_input(label, placeholder=placeholder, key=f"{forms.PAGE}_typed_{key}")
        is_sent = st.form_submit_button("Use", key=f"{forms.PAGE}_use_typed_{key}")
    if is_sent and name.strip():
        use(name.strip())


def recent(names: Sequence[str]) -> list[Choice]:
    """The newest names that earlier runs used, samples left out."""
    samples = {*IMAGE_SAMPLES, *MODEL_SAMPLES}
    own = [name for name in dict.fromkeys(names) if name not in samples]
    return [Choice(name, formats.source_title(name), formats.plain(name)) for name in own[:MAX_RECENT]]


def sample_note(name: str, description: str, licence: str, download_bytes: int) -> str:
    """The quiet line below the title of a sample."""
    parts = [description, licence]
    if download_bytes:
        parts.append("here already" if is_fetched(name) else f"{formats.size(download_bytes)} to fetch")
    return " · ".join(formats.plain(part) for part in parts)
