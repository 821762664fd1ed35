"""From whose files a marked image is shown: this run's predictions, else another run on the same images."""

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from dashboard import readers
from dashboard.examples import Place
from superft_hf.errors import SuperFTError
from superft_hf.mark_places import Seen, find_seen, places_of
from superft_hf.marks import Places, short_id
from superft_hf.records import Mark, RunRecord
from superft_hf.sources.images import digest
from superft_hf.sources.load import open_reference


@dataclass(frozen=True)
class Source:
    """Where a marked image is found.

    Attributes:
        run_id: The run through whose data it is opened.
        reference: The image.
        place: A prediction that may be looked at closely, or None.
    """

    run_id: str
    reference: str
    place: Place | None


def places(record: RunRecord, example_ids: Sequence[str]) -> Places:
    """Where marked images stand in a run."""
    return _places(record.run_id, _stamp(record.run_id), tuple(example_ids))


def is_on_test(mark: Mark, found: Places) -> bool:
    """Whether a marked image stands in the test split of the run, as far as that is known."""
    if "test" in found.known:
        return "test" in found.counts.get(short_id(mark.example_id), {})
    return mark.split == "test"


def find(record: RunRecord, marks: Sequence[Mark], *, is_test_open: bool) -> list[Source | None]:
    """Finds the images of some marks, at most a page of them.

    Args:
        record: The run that is looked at.
        marks: Of its images.
        is_test_open: Whether its test predictions may be looked at.

    Returns:
        One a mark; None where no run that is left can show it.
    """
    others = tuple(one.run_id for one in readers.run_list() if one.data == record.data)
    ids = tuple(mark.example_id for mark in marks)
    seen = _seen(record.run_id, _stamp(record.run_id), others, ids)
    return [_source(record, mark, seen.get(mark.example_id), others, is_test_open) for mark in marks]


def _source(
    record: RunRecord, mark: Mark, seen: Seen | None, run_ids: tuple[str, ...], is_test_open: bool
) -> Source | None:
    if seen is not None and seen.image:
        is_own = seen.run_id == record.run_id
        may_look = seen.evaluated_as == "eval" or (is_own and is_test_open)
        place = Place(seen.run_id, seen.evaluated_as, seen.step, seen.row) if may_look else None
        return Source(seen.run_id, seen.image, place)
    for run_id in (mark.run_id, record.run_id):
        # A reference may mean another image where the data are read otherwise; the bytes tell.
        if run_id in run_ids and mark.image and _is_image(run_id, mark.image, short_id(mark.example_id)):
            return Source(run_id, mark.image, None)
    return None


def _stamp(run_id: str) -> tuple[int, ...]:
    """Changes when a run writes its first evaluation of a split or notes its images."""
    paths = readers.run_paths(run_id)
    return (
        len(paths.prediction_steps("eval")) > 0,
        len(paths.prediction_steps("test")) > 0,
        paths.examples_file("train").exists(),
    )


@st.cache_data(max_entries=64, show_spinner=False)
def _places(run_id: str, stamp: tuple[int, ...], example_ids: tuple[str, ...]) -> Places:
    return places_of(readers.run_paths(run_id), example_ids)


@st.cache_data(max_entries=64, show_spinner=False)
def _seen(
    run_id: str, stamp: tuple[int, ...], run_ids: tuple[str, ...], example_ids: tuple[str, ...]
) -> dict[str, Seen]:
    return find_seen(readers.store(), readers.run(run_id), example_ids)


@st.cache_data(max_entries=512, show_spinner=False)
def _is_image(run_id: str, reference: str, short: str) -> bool:
    try:
        return digest(open_reference(readers.config(run_id).data, reference)).startswith(short)
    except (SuperFTError, ValueError):
        return False
