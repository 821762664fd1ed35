"""The smoke run of the Start page: begun by a click, at work in a thread, kept while settings stay.

What was measured belongs to one configuration; another setting, another measurement.
"""

import json
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import streamlit as st

from dashboard import computing, hub_access, readers
from superft_hf.config import RunConfig
from superft_hf.errors import SuperFTError
from superft_hf.hub.fetch import fetch, is_here
from superft_hf.preflight.smoke import SmokeResult, measure

MAX_KEPT = 16
FIRST_BATCH = "superft_hf.training.preview:augmented_batch"
BATCH_LIMIT = 24


@dataclass
class Measurement:
    """A smoke run at work or done.

    Attributes:
        future: Its result, once done.
        stop: Ends it when set.
    """

    future: Future[SmokeResult]
    stop: threading.Event = field(default_factory=threading.Event)

    def result(self) -> SmokeResult | SuperFTError | None:
        """What came of it; None while it is at work."""
        if not self.future.done():
            return None
        error = self.future.exception()
        if error is None:
            return self.future.result()
        if isinstance(error, SuperFTError):
            return error
        raise error


def find(config: RunConfig) -> Measurement | None:
    """The measurement of this configuration, if one was started."""
    return _kept().get(_key(config))


def start(config: RunConfig) -> None:
    """Measures a configuration in the background; one that is at work for another is stopped."""
    kept = _kept()
    for other in kept.values():
        other.stop.set()
    stop = threading.Event()
    pool = ThreadPoolExecutor(1, thread_name_prefix="smoke")
    future = pool.submit(_measure, config, Path(readers.store().home), stop, hub_access.session_token())
    pool.shutdown(wait=False)
    kept[_key(config)] = Measurement(future, stop)
    while len(kept) > MAX_KEPT:
        kept.pop(next(iter(kept)))


def stop(config: RunConfig) -> None:
    """Ends and forgets the measurement of a configuration."""
    found = _kept().pop(_key(config), None)
    if found is not None:
        found.stop.set()


def first_batch(config: RunConfig) -> list[tuple[bytes, str]]:
    """The first training batch as the network will see it: PNGs with labels in words. Raises SuperFTError."""
    return _first_batch(_key(config), str(readers.store().home), hub_access.session_token())


def _measure(config: RunConfig, home: Path, stop: threading.Event, token: str | None) -> SmokeResult:
    return measure(_fetched(config, token), home, stop)


def _fetched(config: RunConfig, token: str | None) -> RunConfig:
    """Brings here what is not here yet: the processes that compute never see a token."""
    return config if is_here(config) else fetch(config, token)


def _key(config: RunConfig) -> str:
    return json.dumps(config.model_dump(mode="json", exclude={"name"}))


@st.cache_resource(max_entries=1, show_spinner=False)
def _kept() -> dict[str, Measurement]:
    return {}


@st.cache_resource(max_entries=8, ttl="1h", show_spinner=False)
def _first_batch(config_json: str, home: str, _token: str | None) -> list[tuple[bytes, str]]:
    config = _fetched(RunConfig.model_validate_json(config_json), _token)
    return computing.child().call(FIRST_BATCH, config.model_dump_json(), home, BATCH_LIMIT)
