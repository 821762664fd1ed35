"""The moment of pressing Start: the run is checked once more, recorded, and shown."""

import streamlit as st

from dashboard import forms, messages, readers, state
from superft_hf.config import RunConfig
from superft_hf.engine import control
from superft_hf.errors import SuperFTError


def start(config: RunConfig) -> None:
    """Submits a run and goes to its page; a refusal is shown, and no run is created."""
    bar = st.progress(0.0, text="Checking model and images")

    def hear(done: int, total: int) -> None:
        bar.progress(done / total if total else 0.0, text=f"{done:,} of {total:,} images opened")

    try:
        record = control.submit(readers.store(), config, by="page", progress=hear)
    except SuperFTError as error:
        bar.empty()
        messages.show(error)
        return
    forms.put({"name": None})
    state.drop_value(state.START_ORIGIN)
    state.open_page(state.RUN_PAGE, record.run_id)
