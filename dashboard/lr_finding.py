"""Learning-rate range tests of the Start page: begun by a click, at work in a thread, kept by their settings.

A test belongs to everything that acts within an update, so neither to the learning rate itself nor to its
schedule, and it is found again when the rate that it suggested was taken.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import streamlit as st

from dashboard import hub_access, readers, stoppable
from dashboard.stoppable import Stoppable
from superft_hf.config import RunConfig
from superft_hf.hub.fetch import fetch, is_here
from superft_hf.preflight.lr_find import LrRange, find

_NO_PART = {
    "name": True,
    "training": {
        "learning_rate", "num_train_epochs", "time_budget_s", "lr_scheduler_type", "warmup_steps",
        "cooldown_steps", "ema_decay", "report_to", "logging_steps", "save_steps",
    },
    "early_stopping": True,
    "augmentation": {"progressive_resizing", "test_time"},
}  # fmt: skip
"""Settings that a test has no use for."""


@dataclass
class RangeTest(Stoppable[LrRange]):
    """A range test at work or done.

    Attributes:
        points: What the child said so far, see superft_hf.preflight.lr_find.find.
    """

    points: list[dict[str, Any]] = field(default_factory=list)


def known(config: RunConfig) -> RangeTest | None:
    """The test for these settings, if one was begun."""
    return _kept().get(_key(config))


def begin(config: RunConfig) -> None:
    """Tests these settings in the background, unless that was begun; one for other settings is stopped."""
    kept, key = _kept(), _key(config)
    if key in kept:
        return
    test, home, token = RangeTest(), Path(readers.store().home), hub_access.session_token()
    stoppable.begin(kept, key, test, lambda: _run(config, home, test, token))


def forget(config: RunConfig) -> None:
    """Ends the test for these settings if it is at work, and forgets it."""
    stoppable.forget(_kept(), _key(config))


def _run(config: RunConfig, home: Path, test: RangeTest, token: str | None) -> LrRange:
    """Fetches what is not here yet, since the process that computes never sees a token, and tests."""
    here = config if is_here(config) else fetch(config, token)
    return find(here, home, test.points.append, test.stop)


def _key(config: RunConfig) -> str:
    return json.dumps(config.model_dump(mode="json", exclude=_NO_PART))


@st.cache_resource(max_entries=1, show_spinner=False)
def _kept() -> dict[str, RangeTest]:
    return {}
