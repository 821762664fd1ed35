"""Cached reading of the store, for pages. What stays true: a page never shows what a write has outdated.

SQLite appends every write to its write-ahead log, so the state of that file is a version of the whole store,
read in microseconds. Lists are cached by it. New metric points are appended to those read before; a long
curve is thinned, so that neither time nor memory grow with a run.
"""

import threading
from pathlib import Path

import pandas as pd
import streamlit as st

from superft_hf.checkpoints import find_checkpoints
from superft_hf.config import RunConfig
from superft_hf.paths import HomePaths, RunPaths, home_dir
from superft_hf.recipe.decided import decided_config
from superft_hf.records import Event, RunRecord, RunState
from superft_hf.store import RunStore
from superft_hf.store_metrics import MetricsVersion

Version = tuple[int, ...]

MAX_POINTS = 1000
"""Of a curve, before those that came while it was shown."""
SPARKLINE_POINTS = 200
MAX_SPARKLINES = 2000
"""Kept beyond those that a page shows."""


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


def decided(run_id: str) -> RunConfig:
    """The configuration that a run trained with; before its start, with rough choices of the rule."""
    is_settled = run_paths(run_id).resolved.exists()  # written once, at the start
    return _decided(str(store().home), run_id, is_settled)


def metrics(run_id: str, keys: tuple[str, ...] | None = None) -> pd.DataFrame:
    """The metric points of a run so far; only those that are new since the last call are read.

    Of a key with more than `MAX_POINTS`, those that its curve shows: see `RunStore.read_curve`.

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
    return _sparklines(str(store().home), key).refreshed(run_ids)


def events(run_id: str) -> list[Event]:
    """The history of a run, oldest first."""
    return store().read_events(run_id)


def checkpoint_step(run_id: str) -> int | None:
    """The global step of the newest complete checkpoint of a run, from which it would go on."""
    newest = find_checkpoints(run_paths(run_id).checkpoints).newest
    return newest.global_step if newest else None


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
        self._version = MetricsVersion()
        self._frame = pd.DataFrame()
        self._limit = 0

    def refreshed(self) -> pd.DataFrame:
        with self._lock:
            found = store().metrics_version(self._run_id)
            if self._frame.empty or found.num_drops != self._version.num_drops:
                self._read_anew()
            elif found.last_row != self._version.last_row:
                self._append(found.last_row)
            self._version = found
            return self._frame

    def _append(self, last_row: int) -> None:
        seen = int(self._frame["row"].iloc[-1])
        if len(self._frame) + last_row - seen > self._limit:
            self._read_anew()
            return
        new = store().read_metrics(self._run_id, after_row=seen)
        if not new.empty:  # a point logged again replaces the old one and comes as a new row
            joined = pd.concat([self._frame, new], ignore_index=True)
            self._frame = joined.drop_duplicates(["key", "step"], keep="last", ignore_index=True)

    def _read_anew(self) -> None:
        self._frame = store().read_curves(self._run_id, MAX_POINTS)
        self._limit = len(self._frame) + 4 * MAX_POINTS


class _Sparklines:
    """Small curves of one metric. A run's is read again when its points have changed."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._lock = threading.Lock()
        self._lines: dict[str, tuple[MetricsVersion, list[float]]] = {}

    def refreshed(self, run_ids: tuple[str, ...]) -> dict[str, list[float]]:
        with self._lock:
            found = store().metrics_versions(run_ids)
            if len(self._lines) > len(found) + MAX_SPARKLINES:
                self._lines = {one: line for one, line in self._lines.items() if one in found}
            changed = [one for one in found if one not in self._lines or self._lines[one][0] != found[one]]
            new = store().sparklines(changed, self._key, SPARKLINE_POINTS)
            self._lines |= {one: (found[one], new.get(one, [])) for one in changed}
            return {one: self._lines[one][1] for one in found if self._lines[one][1]}


@st.cache_resource(max_entries=4, show_spinner=False)
def _open_store(home: str) -> RunStore:
    return RunStore(Path(home))


@st.cache_resource(max_entries=2, show_spinner=False)
def _run_list(home: str, version: Version) -> list[RunRecord]:
    return store().list_runs()


@st.cache_resource(max_entries=256, show_spinner=False)
def _config(home: str, run_id: str) -> RunConfig:
    return store().read_config(run_id)


@st.cache_resource(max_entries=256, show_spinner=False)
def _decided(home: str, run_id: str, is_settled: bool) -> RunConfig:
    return decided_config(store().run_paths(run_id))


@st.cache_resource(max_entries=32, show_spinner=False)
def _curve(home: str, run_id: str) -> _Curve:
    return _Curve(run_id)


@st.cache_resource(max_entries=4, show_spinner=False)
def _sparklines(home: str, key: str) -> _Sparklines:
    return _Sparklines(key)


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except FileNotFoundError:
        return (0, 0)
    return (status.st_mtime_ns, status.st_size)
