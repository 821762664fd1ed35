"""Cached reading of the store, for pages. What stays true: a page never shows what a write has outdated.

SQLite appends every write to its write-ahead log, so the state of that file is a version of the whole store,
read in microseconds. Lists are cached by it. Metric points are read once each and appended.
"""

import threading
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from superft_hf.config import RunConfig
from superft_hf.paths import HomePaths, RunPaths, home_dir
from superft_hf.records import Event, RunRecord, RunState
from superft_hf.store import RunStore

Version = tuple[int, ...]


def store() -> RunStore:
    """The store of this home, opened once a server.

    Raises:
        HomeError: If the home cannot be used.
    """
    return _open_store(str(home_dir()))


def version() -> Version:
    """Changes with every write to the store; a cache key."""
    database = store().paths.database
    return (*_stamp(database), *_stamp(database.with_name(f"{database.name}-wal")))


def run_list() -> list[RunRecord]:
    """All runs, newest first."""
    return _run_list(str(store().home), version())


def run(run_id: str) -> RunRecord:
    """One run. Raises RunNotFoundError."""
    return store().get_run(run_id)


def run_paths(run_id: str) -> RunPaths:
    """The files of one run. Raises RunNotFoundError for an id that is not of our making."""
    return store().run_paths(run_id)


def home_paths() -> HomePaths:
    """The files of the home that belong to no single run."""
    return store().paths


def config(run_id: str) -> RunConfig:
    """The configuration of a run as asked; written once, so read once."""
    return _config(str(store().home), run_id)


def metrics(run_id: str, keys: tuple[str, ...] | None = None) -> pd.DataFrame:
    """The metric points of a run so far; only those that are new since the last call are read.

    Returns:
        Columns row (int), step (int), epoch (float), key (str), value (float), time (str), in the order in
        which they were logged. Do not change it in place.
    """
    frame = _curve(str(store().home), run_id).refreshed()
    return frame if keys is None else frame[frame["key"].isin(keys)]


def last_values(run_id: str) -> dict[str, float]:
    """The last value of each metric of a run."""
    return store().last_values(run_id)


def sparklines(run_ids: tuple[str, ...], key: str = "eval_loss") -> dict[str, list[float]]:
    """One metric's values in the order of the steps, by run."""
    return _sparklines(str(store().home), version(), run_ids, key)


def events(run_id: str) -> list[Event]:
    """The history of a run, oldest first."""
    return store().read_events(run_id)


def state_counts() -> dict[RunState, int]:
    """How many runs are in each state that occurs."""
    counts: dict[RunState, int] = {}
    for record in run_list():
        counts[record.state] = counts.get(record.state, 0) + 1
    return counts


class _Curve:
    """The points of one run, read once each. Threads of several tabs share it, hence the lock."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._lock = threading.Lock()
        self._frame: pd.DataFrame | None = None

    def refreshed(self) -> pd.DataFrame:
        with self._lock:
            after = 0 if self._frame is None or self._frame.empty else int(self._frame["row"].iloc[-1])
            new = store().read_metrics(self._run_id, after_row=after)
            if self._frame is None or self._frame.empty:
                self._frame = new
            elif not new.empty:
                # A point logged again replaces the old one and comes as a new row.
                joined = pd.concat([self._frame, new], ignore_index=True)
                self._frame = joined.drop_duplicates(["key", "step"], keep="last", ignore_index=True)
            return self._frame


@st.cache_resource(max_entries=4, show_spinner=False)
def _open_store(home: str) -> RunStore:
    return RunStore(Path(home))


@st.cache_resource(max_entries=8, show_spinner=False)
def _run_list(home: str, version: Version) -> list[RunRecord]:
    return store().list_runs()


@st.cache_resource(max_entries=256, show_spinner=False)
def _config(home: str, run_id: str) -> RunConfig:
    return store().read_config(run_id)


@st.cache_resource(max_entries=64, show_spinner=False)
def _curve(home: str, run_id: str) -> _Curve:
    return _Curve(run_id)


@st.cache_resource(max_entries=16, show_spinner=False)
def _sparklines(home: str, version: Version, run_ids: tuple[str, ...], key: str) -> dict[str, Any]:
    return store().sparklines(list(run_ids), key)


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except FileNotFoundError:
        return (0, 0)
    return (status.st_mtime_ns, status.st_size)
