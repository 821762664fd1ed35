"""The smoke run of the Start page: begun by a click, at work in a thread, kept while settings stay.

What was measured belongs to one configuration; another setting, another measurement.
"""

import json
from pathlib import Path

import streamlit as st

from dashboard import computing, hub_access, readers, stoppable
from dashboard.stoppable import Stoppable
from superft_hf.config import RunConfig
from superft_hf.hub.fetch import fetch, is_here
from superft_hf.preflight.smoke import SmokeResult, measure

FIRST_BATCH = "superft_hf.training.preview:augmented_batch"
BATCH_LIMIT = 24


class Measurement(Stoppable[SmokeResult]):
    """A smoke run at work or done."""


def find(config: RunConfig) -> Measurement | None:
    """The measurement of this configuration, if one was started."""
    return _kept().get(_key(config))


def start(config: RunConfig) -> None:
    """Measures a configuration in the background; one that is at work for another is stopped."""
    work, home, token = Measurement(), Path(readers.store().home), hub_access.session_token()
    stoppable.begin(_kept(), _key(config), work, lambda: measure(_fetched(config, token), home, work.stop))


def stop(config: RunConfig) -> None:
    """Ends and forgets the measurement of a configuration."""
    stoppable.forget(_kept(), _key(config))


def first_batch(config: RunConfig) -> list[tuple[bytes, str]]:
    """The first training batch as the network will see it: PNGs with labels in words. Raises SuperFTError."""
    return _first_batch(_key(config), str(readers.store().home), hub_access.session_token())


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
