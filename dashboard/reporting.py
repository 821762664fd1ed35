"""The report of a run, or of several, as a download: nothing is reckoned before it is asked for."""

import io
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from dashboard import formats, readers
from superft_hf import vault
from superft_hf.store import RunStore

PICTURES = 60


def draw_button(run_ids: Sequence[str], key: str) -> None:
    """Draws a button that opens what a report may hold, and the downloads.

    Args:
        run_ids: One run, or several that are compared with the first.
        key: Begins the keys of the widgets.
    """
    with st.popover("Report", icon=":material/description:", key=f"{key}_report"):
        st.markdown("One HTML file with figures that work offline.  \n" + _about_test(run_ids), width=340)
        has_pictures = st.checkbox(
            f"With the {PICTURES} worst eval mistakes as pictures", key=f"{key}_report_pictures",
            help="Whoever gets the file sees these images.",
        )  # fmt: skip
        number = PICTURES if has_pictures else 0
        store, chosen = readers.store(), list(run_ids)  # the downloads are made outside the page's script
        stem = f"report-{chosen[0]}" + (f"-and-{len(chosen) - 1}-more" if len(chosen) > 1 else "")
        st.download_button(
            "Report as HTML", lambda: make(store, chosen, number), f"{stem}.html", "text/html",
            key=f"{key}_report_html", icon=":material/download:", on_click="ignore",
        )  # fmt: skip
        st.download_button(
            "Tables as CSV", lambda: make_tables(store, chosen), f"{stem}.zip", "application/zip",
            key=f"{key}_report_csv", icon=":material/download:", on_click="ignore",
        )  # fmt: skip


def make(store: RunStore, run_ids: Sequence[str], num_pictures: int = 0) -> str:
    """The report as HTML; test figures are in it where they were opened. Raises SuperFTError."""
    # plotly.js is 5 MB, and no page needs it before.
    from superft_hf.reports.report import make_report

    return make_report(store, run_ids, num_pictures=num_pictures)


def make_tables(store: RunStore, run_ids: Sequence[str]) -> bytes:
    """The tables of the report as a zip of CSV files. Raises SuperFTError."""
    from superft_hf.reports.report import write_tables

    packed = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as into:
        for path in write_tables(store, run_ids, Path(folder)):
            into.write(path, path.name)
    return packed.getvalue()


def _about_test(run_ids: Sequence[str]) -> str:
    """Whether test figures are in it, and how they would come in."""
    records = [one for one in readers.run_list() if one.run_id in set(run_ids) and vault.has_test(one)]
    standings = vault.standings(readers.store(), records)
    opened = sum(one.is_open for one in standings.values())
    if not standings:
        return ":gray[:small[There are no test figures.]]"
    if opened == len(standings):
        return ":gray[:small[:material/lock_open: With the test figures, which were opened.]]"
    sealed = formats.counted(len(standings) - opened, "run")
    whose = "Test is sealed" if len(standings) == 1 else f"Test of {sealed} is sealed"
    return f":gray[:small[:material/lock: {whose}, and stays out. Errors opens it.]]"
