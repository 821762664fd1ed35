"""Cached reading of what runs were asked to do, and of which runs are seeds of one another."""

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from dashboard import readers
from superft_hf.evaluation.seeds import SeedSummary, summarise
from superft_hf.records import RunRecord
from superft_hf.run_pairs import seed_groups


def values() -> Mapping[str, Mapping[str, Any]]:
    """The configuration of every run as nested values; written once, so read once."""
    return _values(str(readers.store().home), _run_ids())


def group_of(run_id: str) -> tuple[str, ...]:
    """The runs that differ from one in nothing but name and seed, oldest first, itself among them."""
    return _groups(str(readers.store().home), _run_ids()).get(run_id, (run_id,))


def seed_of(run_id: str) -> int | None:
    """The training seed of a run; None when its configuration is gone."""
    found = values().get(run_id)
    return int(found["training"]["seed"]) if found else None


def evaluated(run_ids: Sequence[str]) -> list[RunRecord]:
    """Those that are finished with an eval accuracy: a run that still trains would drag the mean down.

    Of runs with the same seed the newest alone: a repetition says nothing about chance.
    """
    known = {record.run_id: record for record in readers.run_list()}
    records = [known[one] for one in run_ids if one in known]
    done = [one for one in records if one.accuracy is not None and not one.is_unfinished]
    return list({seed_of(one.run_id): one for one in done}.values())


def summary(run_ids: Sequence[str]) -> SeedSummary | None:
    """The eval accuracy over those that are finished; None without any."""
    found = [record.accuracy or 0.0 for record in evaluated(run_ids)]
    return summarise(found) if found else None


def _run_ids() -> str:
    return ",".join(record.run_id for record in readers.run_list())


@st.cache_resource(max_entries=2, show_spinner=False)
def _values(home: str, run_ids: str) -> dict[str, dict[str, Any]]:
    return readers.store().read_config_values()


@st.cache_resource(max_entries=2, show_spinner=False)
def _groups(home: str, run_ids: str) -> dict[str, tuple[str, ...]]:
    return seed_groups(_values(home, run_ids))
