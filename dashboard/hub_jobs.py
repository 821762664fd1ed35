"""Work on the Hub that goes on while pages are used: looks at data sets, and downloads.

It belongs to the server, not to a tab: a page that was closed finds its download again. Everything is kept by
what it depends on, and bounded.
"""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import streamlit as st
from PIL import Image

from dashboard import hub_access
from dashboard.thumbnails import thumbnail
from superft_hf.config import DataConfig, ModelConfig, RunConfig
from superft_hf.errors import SuperFTError
from superft_hf.hub.data import HubDataPreview, preview_data
from superft_hf.hub.fetch import Fetch
from superft_hf.samples import MODEL_SAMPLES

MAX_FETCHES = 8
WAIT_S = 0.1
LOOKING = "Looking at its files on the Hub"


@dataclass(frozen=True)
class Look:
    """What a look at a data set showed.

    Attributes:
        seen: What is known of it; its pictures are left out.
        pictures: A few of them as thumbnails, each with its label.
    """

    seen: HubDataPreview
    pictures: tuple[tuple[Image.Image, str], ...]


@dataclass
class Download:
    """A download at work or done.

    Attributes:
        data: What is fetched.
        fetch: The child that does it.
        started: When it began, `time.monotonic`.
        known: Times and bytes of the last seconds, for the speed.
    """

    data: DataConfig
    fetch: Fetch
    started: float = field(default_factory=time.monotonic)
    known: list[tuple[float, int]] = field(default_factory=list)

    def speed(self) -> float | None:
        """Bytes a second, lately; None until there is something to tell."""
        self.known.append((time.monotonic(), self.fetch.done))
        del self.known[:-20]
        (first, before), (last, after) = self.known[0], self.known[-1]
        return (after - before) / (last - first) if last - first > 1 and after > before else None


def look(data: DataConfig) -> Look:
    """Looks at a data set of the Hub; draws that it waits, so that a click can end the waiting.

    Raises:
        SuperFTError: Why nothing can be said of it.
    """
    sign, begin = st.empty(), time.monotonic()
    try:
        while (found := peek(data, WAIT_S)) is None:
            waited = time.monotonic() - begin
            about = f" · {waited:.0f} s" if waited >= 3 else ""
            sign.caption(f":material/progress_activity: {LOOKING}{about}")
        return found
    finally:  # an error too ends the waiting
        sign.empty()


def peek(data: DataConfig, patience_s: float) -> Look | None:
    """Looks likewise, but returns None when the Hub has not answered within `patience_s`."""
    future = _look(data.model_dump_json(), hub_access.token_digest(), hub_access.session_token)
    try:
        found = future.result(patience_s)
    except TimeoutError:
        return None
    if isinstance(found, SuperFTError):
        raise found
    return found


def forget_looks() -> None:
    """Makes the next look ask the Hub anew."""
    _look.clear()


def download(data: DataConfig) -> Download | None:
    """The download of this data set, if one was started and not yet forgotten."""
    return _downloads().get(_key(data))


def start_download(data: DataConfig) -> None:
    """Begins to fetch a data set; one that is at work already goes on."""
    kept = _downloads()
    found = kept.get(_key(data))
    if found is not None and found.fetch.is_running:
        return
    model = ModelConfig(name_or_path=next(iter(MODEL_SAMPLES)))  # of this machine: nothing to fetch
    kept[_key(data)] = Download(data, Fetch(RunConfig(model=model, data=data), hub_access.session_token()))
    for key in [key for key, one in kept.items() if not one.fetch.is_running][
        : max(0, len(kept) - MAX_FETCHES)
    ]:
        kept.pop(key, None)


def forget_download(data: DataConfig) -> None:
    """Ends a download if it is at work, and forgets it."""
    found = _downloads().pop(_key(data), None)
    if found is not None and found.fetch.is_running:
        found.fetch.cancel()


def _key(data: DataConfig) -> str:
    return f"{data.name_or_path} {data.config_name} {data.revision}"


@st.cache_resource(max_entries=1, show_spinner=False)
def _downloads() -> dict[str, Download]:
    return {}


# Errors are kept as well: the client of a Hub that is down repeats its requests for many seconds.
@st.cache_resource(max_entries=24, ttl="5m", show_spinner=False)
def _look(data_json: str, asker: str, _token: Callable[[], str | None]) -> Future[Look | SuperFTError]:
    pool = ThreadPoolExecutor(1, thread_name_prefix="hub-look")
    future = pool.submit(_look_now, DataConfig.model_validate_json(data_json), _token())
    pool.shutdown(wait=False)
    return future


def _look_now(data: DataConfig, token: str | None) -> Look | SuperFTError:
    try:
        seen = preview_data(data, token)
    except SuperFTError as error:
        return error
    made = ((thumbnail(encoded), label) for encoded, label in seen.rows)
    pictures = tuple((picture, label) for picture, label in made if picture is not None)
    return Look(replace(seen, rows=()), pictures)
