"""The log of a run's worker on a page: its last lines, with the test figures sealed until they are opened."""

import re
from pathlib import Path

import streamlit as st

from dashboard.look import card_head
from superft_hf import vault

PANEL_HEIGHT = 296
LOG_LINES, LOG_BYTES = 200, 64_000


def draw(title: str, path: Path, is_test_open: bool) -> None:
    """Draws the end of a log, newest last.

    Args:
        title: Of the card.
        path: The log.
        is_test_open: Whether the run's test figures have been looked at.
    """
    text = _tail(path) or "The worker has said nothing yet."
    shown = text if is_test_open else vault.seal_text(text)
    card_head(title, "newest last")
    with st.container(height=PANEL_HEIGHT - 78, border=False, autoscroll=True, key="run_log"):
        st.code(shown, language=None)


def _tail(path: Path) -> str:
    """The last lines of a log, read from its end only; progress bars leave their last state."""
    try:
        with path.open("rb") as opened:
            size = opened.seek(0, 2)
            opened.seek(max(0, size - LOG_BYTES))
            text = opened.read().decode("utf-8", "replace")
    except OSError:
        return ""
    plain = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text)
    lines = [line.rsplit("\r", 1)[-1] for line in plain.replace("\r\n", "\n").rstrip().split("\n")]
    return "\n".join(lines[-LOG_LINES:])
