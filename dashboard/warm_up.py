"""Modules that one view of a page needs and that take long to import: brought in while nobody waits."""

import importlib
import threading

import streamlit as st

CLEANLAB = "cleanlab.experimental.label_issues_batched"


@st.cache_resource(show_spinner=False)
def begin(module: str) -> None:
    """Imports a module in the background, once a server; a page calls this when it is drawn."""
    threading.Thread(target=importlib.import_module, args=(module,), daemon=True, name="warm-up").start()
