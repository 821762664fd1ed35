"""The run that others are measured against: the pinned baseline of a set of images, else A."""

from collections.abc import Sequence

import streamlit as st

from dashboard import formats, messages, readers
from dashboard.compare_views import pairs
from dashboard.compare_views.view import View
from superft_hf.errors import HomeError, RunNotFoundError
from superft_hf.evaluation.comparison import PairedComparison, ends_in_words, holm, is_shown, signed
from superft_hf.records import RunRecord


def pinned(data: str) -> RunRecord | None:
    """The pinned baseline of a set of images."""
    run_id = readers.store().read_baselines().get(data)
    if run_id is None:
        return None
    try:
        return readers.run(run_id)
    except RunNotFoundError:  # deleted a moment ago
        return None


def draw_pin(view: View) -> None:
    """Says which run is pinned as the baseline of A's images, and offers to change that."""
    data = view.sides[0].record.data
    found = pinned(data)
    images = formats.plain(formats.source_title(data))
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="compare_pin"):
        if found is None:
            st.markdown(f":small[:gray[:material/keep: No baseline of {images} is pinned.]]", width="content")
        else:
            words = f"Baseline of {images}: **{formats.plain(found.name)}**"
            st.markdown(f":small[:material/keep: {words}]", width="content")
            _button("Remove the pin", "keep_off", data, None, "compare_unpin")
        for side in view.sides[:2]:
            is_it = found is not None and side.record.run_id == found.run_id
            if not is_it and side.record.data == data and len(view.records) > 1:
                _button(f"Pin {side.letter}", "keep", data, side.record.run_id, f"compare_pin_{side.letter}")


def _button(label: str, icon: str, data: str, run_id: str | None, key: str) -> None:
    about = "Every other run of these images then shows its difference to it." if run_id else None
    if not st.button(label, type="tertiary", icon=f":material/{icon}:", key=key, help=about):
        return
    try:
        if run_id is None:
            readers.store().unpin_baseline(data)
        else:
            readers.store().pin_baseline(data, run_id)
    except HomeError as error:
        messages.show(error)
        return
    st.rerun()


def reference_of(view: View) -> RunRecord | None:
    """What the runs in the table of figures are measured against; None where the headline says it all."""
    if len(view.records) < 2:
        return None
    found = pinned(view.sides[0].record.data)
    if found is not None and (len(view.records) > 2 or found.run_id not in _ids(view.records[:2])):
        return found
    return view.sides[0].record if len(view.records) > 2 else None


def against(
    reference: RunRecord, records: Sequence[RunRecord], split: str
) -> dict[str, tuple[PairedComparison, float]]:
    """The runs compared with one of them, each with its p-value corrected for their number (Holm).

    Returns:
        By run id; runs that have no image in common with the reference, and itself, are left out.
    """
    found = {
        one.run_id: compared
        for one in records
        if one.run_id != reference.run_id and (compared := pairs.against(reference, one, split)) is not None
    }
    corrected = holm([one.p_value for one in found.values()])
    return {run_id: (one, p) for (run_id, one), p in zip(found.items(), corrected, strict=True)}


def in_short(found: PairedComparison, p_value: float) -> str:
    """A difference for a table: `+3.0 (+1.0 to +5.0), better`."""
    verdict = "better" if found.difference > 0 else "worse"
    verdict = verdict if is_shown(found, p_value) else "not shown"
    return f"{signed(found.difference)} ({ends_in_words(found)}), {verdict}"


def _ids(records: Sequence[RunRecord]) -> set[str]:
    return {one.run_id for one in records}
