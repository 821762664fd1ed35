"""The Start page of an empty store: three ways to begin, one of them with a single click."""

from typing import Any

import streamlit as st

from dashboard import choosers, data_picker, dialogs, formats, forms, inspection, look, messages, readers
from dashboard.starting import start
from superft_hf.config import DataConfig
from superft_hf.errors import SuperFTError
from superft_hf.samples import IMAGE_SAMPLES
from superft_hf.starting_points import EXAMPLES, example, starting_point

DIGITS = "sample:digits"
PICTURES = 5


def draw() -> None:
    """Draws the page."""
    st.title("No run yet. The first one needs a model, images and one click.", anchor=False)
    st.caption(
        f"Runs, pictures and models are kept in {formats.plain(str(readers.store().home))}; "
        "deleting that folder deletes everything."
    )
    first, second, third = st.columns(3)
    with first.container(border=True, height="stretch"):
        is_pressed = _digits_card()
    with second.container(border=True, height="stretch"):
        look.card_head("Use your images")
        st.markdown("A folder with one folder a class, or a .zip of it. They stay on this machine.")
        _opener("Choose images", "folder_open", "start_choose_folder", "images")
    with third.container(border=True, height="stretch"):
        look.card_head("Use the Hub")
        st.markdown("Search its image data sets, look at pictures of one, and take any classification model.")
        st.button(
            "Search the Hub", icon=":material/search:", key="start_choose_hub",
            on_click=data_picker.open_search,
        )  # fmt: skip
    with st.container(horizontal=True):
        _opener("Load a YAML instead", "upload_file", "start_load_yaml", "load yaml", type="tertiary")
        for name, values in EXAMPLES.items():
            if st.button(
                f"Worked example: {values['name']}", icon=":material/menu_book:", type="tertiary",
                key=f"start_example_{name}",
            ):  # fmt: skip
                forms.fill(example(name))
                st.rerun()
    if is_pressed:
        start(starting_point(DIGITS, name="first try"))
    choosers.draw_dialog()


def _opener(label: str, icon: str, key: str, dialog: str, **options: Any) -> None:
    st.button(
        label, icon=f":material/{icon}:", key=key, on_click=dialogs.open_dialog, args=(dialog,), **options
    )


def _digits_card() -> bool:
    look.card_head("Try it on digits")
    st.markdown(f"{formats.plain(IMAGE_SAMPLES[DIGITS].description)}. Nothing to download but a small model.")
    try:
        pictures = inspection.example_images(DataConfig(name_or_path=DIGITS), tuple(range(PICTURES)), 1, 0)
    except SuperFTError as error:
        messages.show(error)
        return False
    grid = st.grid(PICTURES, min_column_width=40, gap=(6, 6))
    for (picture,) in pictures:
        grid.cell().image(picture, width="stretch", alt="a scanned digit")
    with st.container(horizontal=True):
        is_pressed = st.button(
            "Start on digits", type="primary", icon=":material/play_arrow:", key="start_digits"
        )
        if st.button("Settings first", type="tertiary", icon=":material/tune:", key="start_digits_settings"):
            forms.fill(starting_point(DIGITS), {"name": None})
            st.rerun()
    return is_pressed
