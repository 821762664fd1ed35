"""Filters with a name: applied, saved and deleted behind one button of the Images."""

import streamlit as st

from dashboard import formats, messages, readers, state
from dashboard.error_views import images_choice
from dashboard.error_views.images_choice import Choice
from dashboard.error_views.view import View
from superft_hf import saved_filters
from superft_hf.errors import SuperFTError
from superft_hf.saved_filters import MAX_NAME, SavedFilter

NAME, PROBLEM = "images_save_name", "images_save_problem"


def draw(view: View, choice: Choice) -> None:
    """Draws the button with the saved filters of these images behind it."""
    data, names = view.record.data, view.evaluation.class_names
    try:
        found = saved_filters.read_saved(readers.store(), data, names)
    except SuperFTError as error:
        messages.show(error)
        return
    with st.popover("Saved filters", icon=":material/bookmark:", type="tertiary", key="images_saved"):
        for number, (name, saved) in enumerate(found.items()):
            _draw_saved(data, name, saved, choice, number)
        if not found:
            st.markdown(":gray[None yet for these images.]")
        _draw_form(view, choice)
        problem = state.get_value(PROBLEM)
        state.drop_value(PROBLEM)
        if problem is not None:
            messages.show(problem)


def _draw_saved(data: str, name: str, saved: SavedFilter, choice: Choice, number: int) -> None:
    is_shown = saved == SavedFilter(choice.chosen, choice.is_marked_only)
    with st.container(horizontal=True, wrap=False, width=300, gap="xxsmall"):
        st.button(
            formats.plain(name), icon=":material/check:" if is_shown else ":material/filter_list:",
            key=f"images_apply_{number}_{name}", width="stretch", help="Apply this filter",
            on_click=images_choice.keep,
            args=(Choice(saved.chosen, saved.is_marked_only, choice.order),),
        )  # fmt: skip
        st.button(
            ":material/delete:", type="tertiary", help="Delete this filter", on_click=_delete,
            args=(data, name), key=f"images_delete_{number}_{name}",
        )  # fmt: skip


def _draw_form(view: View, choice: Choice) -> None:
    if choice.is_empty:
        st.markdown(":small[:gray[Set a filter to save it by a name.]]")
        return
    with st.container(horizontal=True, vertical_alignment="bottom", wrap=False, width=300, gap="xxsmall"):
        st.text_input(
            "Save this filter as", key=NAME, max_chars=MAX_NAME, width="stretch", on_change=_save,
            args=(view, choice), placeholder="such as: sure but wrong",
            help="A filter of the same name is replaced. Order and epoch are not part of it.",
        )  # fmt: skip
        st.button("Save", key="images_save", on_click=_save, args=(view, choice))


def _save(view: View, choice: Choice) -> None:
    """Callback of the name and its button: Enter and a press do the same, once."""
    name = state.get_value(NAME)
    if not name:
        return
    saved = SavedFilter(choice.chosen, choice.is_marked_only)
    try:
        saved_filters.save(readers.store(), view.record.data, name, saved, view.evaluation.class_names)
    except SuperFTError as error:
        state.put_value(PROBLEM, error)
        return
    state.put_value(NAME, "")


def _delete(data: str, name: str) -> None:
    """Callback."""
    try:
        saved_filters.delete(readers.store(), data, name)
    except SuperFTError as error:
        state.put_value(PROBLEM, error)
