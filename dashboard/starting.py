"""The moment of pressing Start: the run is checked once more, recorded, and shown."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from dashboard import formats, forms, hub_access, messages, readers, state
from superft_hf.config import RunConfig
from superft_hf.engine import control
from superft_hf.errors import SuperFTError
from superft_hf.starting_points import suited_settings


def start(config: RunConfig) -> None:
    """Submits a run and goes to its page; a refusal is shown, and no run is created."""
    bar = st.progress(0.0, text="Checking model and images")

    def hear(done: int, total: int) -> None:
        bar.progress(done / total if total else 0.0, text=f"{done:,} of {total:,} images opened")

    def hear_bytes(done: int, total: int | None) -> None:
        of = f" of {formats.size(total)}" if total else ""
        bar.progress(done / total if total else 0.0, text=f"Fetching from the Hub: {formats.size(done)}{of}")

    try:
        record = control.submit(
            readers.store(), config, by="page", progress=hear, on_bytes=hear_bytes,
            token=hub_access.session_token(),
        )  # fmt: skip
    except SuperFTError as error:
        bar.empty()
        messages.show(error)
        return
    forms.put({"name": None})
    state.drop_value(state.START_ORIGIN)
    state.open_page(state.RUN_PAGE, record.run_id)


def suggest_settings(flat: Mapping[str, Any]) -> None:
    """Offers the settings that suit a sample of images, as long as the form has others."""
    suited = suited_settings(flat["data.name_or_path"])
    if all(flat[key] == value for key, value in suited.items()):
        return
    label = "Take the settings that suit these images"
    if st.button(label, type="tertiary", icon=":material/lightbulb:", key="start_take_suited"):
        forms.put(suited)
        st.rerun()
