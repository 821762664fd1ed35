"""A download at work on a page: how far it is, how long it will take, and the means to stop it."""

from collections.abc import Callable

import streamlit as st

from dashboard import formats, hub_jobs, messages
from superft_hf.config import DataConfig
from superft_hf.errors import SuperFTError
from superft_hf.hub.data import HubDataPreview

ASSUMED_SPEED = 10e6
"""Bytes a second: what the time before a download is reckoned with."""

FILE_S = 0.05
"""Seconds a file costs besides its bytes, with several at a time."""


def draw(data: DataConfig, key: str, done: Callable[[], None]) -> bool:
    """Draws the download of a data set, if there is one; whether one is at work.

    Args:
        data: What is fetched.
        key: Unique on the page.
        done: Called once it is complete, while the page looks at it.
    """
    job = hub_jobs.download(data)
    if job is None:
        return False
    if job.fetch.is_running:
        _at_work(data, key, done)
        return True
    try:
        job.fetch.result(0)
    except SuperFTError as error:
        messages.show(error)
    else:
        hub_jobs.forget_download(data)
    return False


def expected(seen: HubDataPreview) -> str:
    """Size and time of a download as the end of a sentence; empty when nothing is known.

    Example:
        >>> expected(HubDataPreview("acme/cells", download_bytes=600_000_000, num_files=3))
        '600.0 MB in 3 files, about 1 min at 10 MB a second'
    """
    if seen.download_bytes is None or seen.num_files is None:
        return ""
    seconds = max(seen.download_bytes / ASSUMED_SPEED, seen.num_files * FILE_S)
    reason = "a request for each" if seen.is_many_files else f"at {ASSUMED_SPEED / 1e6:.0f} MB a second"
    files = formats.counted(seen.num_files, "file")
    time = f"about {formats.duration(seconds)} {'with ' if seen.is_many_files else ''}{reason}"
    return f"{formats.size(seen.download_bytes)} in {files}, {time if seconds >= 1 else 'a moment'}"


def warn_of_files(seen: HubDataPreview) -> None:
    """Says that a data set of single files is slow to fetch."""
    if seen.is_many_files:
        files = formats.counted(seen.num_files or 0, "single file")
        messages.note(
            f"It is kept as {files}.",
            "Fetching costs a request for each, and the Hub may ask to slow down. What is here is kept, so "
            "it can be stopped and gone on with.",
        )


def progress_words(done: int, total: int | None, speed: float | None) -> str:
    """How far a download is.

    Example:
        >>> progress_words(12_000_000, 40_000_000, 4_000_000)
        '12.0 MB of 40.0 MB · 4.0 MB/s · 7.0 s left'
        >>> progress_words(0, None, None)
        ''
    """
    if not total:
        return ""
    words = [f"{formats.size(done)} of {formats.size(total)}"]
    if speed and done < total:
        words += [f"{formats.size(round(speed))}/s", f"{formats.duration((total - done) / speed)} left"]
    return " · ".join(words)


@st.fragment(run_every="0.5s")
def _at_work(data: DataConfig, key: str, done: Callable[[], None]) -> None:
    job = hub_jobs.download(data)
    if job is None:
        st.rerun()
    fetch = job.fetch
    if not fetch.is_running:
        if _is_complete(job):
            hub_jobs.forget_download(data)
            done()
        st.rerun()
    share = fetch.done / fetch.total if fetch.total else 0.0
    words = progress_words(fetch.done, fetch.total, job.speed())
    with st.container(horizontal=True, vertical_alignment="center", wrap=False):
        st.progress(
            min(share, 1.0),
            text=formats.plain(fetch.stage) + (f" · {words}" if words else ""),
            width="stretch",
        )
        if st.button("Stop", icon=":material/close:", key=f"{key}_stop", help="What is here is kept."):
            hub_jobs.forget_download(data)
            st.rerun()


def _is_complete(job: hub_jobs.Download) -> bool:
    try:
        return job.fetch.result(0) is not None
    except SuperFTError:  # told when the page is drawn again
        return False
