"""What full training bought: the first line of a comparison of full, head only and from scratch."""

from collections.abc import Sequence

import streamlit as st

from dashboard import dialogs, formats, readers, state, trio_buttons
from dashboard.compare_views import groups
from dashboard.compare_views.view import View
from superft_hf import trio
from superft_hf.records import RunRecord
from superft_hf.trio import Gain, Part, Trio

Standing = tuple[tuple[str, int | None], ...]
"""Of each run: its state, and the step of its best evaluation."""


def draw(view: View) -> bool:
    """Draws the answer, or how the three get on; False where another sentence has to be said.

    The answer is that of the kept checkpoints: with other epochs chosen, A and B are compared as they are.
    """
    found = _of_runs(str(readers.store().home), _ids(view.records), readers.version())
    if found is None or any(side.is_sealed for side in view.sides):
        return False
    if any(run.is_unfinished for run in found.present):
        dialogs.poll(_look, "2s", _ids(view.records), _standing(view.records))
    answer = _gains(str(readers.store().home), _ids(view.records), view.split, readers.version())
    if answer is None:
        return view.split == "eval" and _draw_waiting(found)
    if not all(side.is_kept or side.record.is_unfinished for side in view.sides):
        return False  # the best epoch of a run that goes on moves on under the page
    accuracy, gains = answer
    st.title(f"{trio.in_words(accuracy, gains, trio.images_a_class(found))}", anchor=False)
    st.caption(trio.method_in_words(gains))
    _draw_rest(found, gains)
    return True


def draw_offer(records: Sequence[RunRecord]) -> None:
    """Offers to compare the other runs of a trio with the one or those that are chosen."""
    chosen = [record.run_id for record in records]
    for record in records:
        found = _find(str(readers.store().home), record.run_id, readers.version())
        if found.part_of(record.run_id) is None:
            continue
        ids = trio_buttons.ordered(found)
        more = [str(found.part_of(one)) for one in ids if one not in chosen]
        if more and set(chosen) <= set(ids):
            st.button(
                f"Add {' and '.join(more)}", icon=":material/stacked_bar_chart:", key="compare_trio",
                on_click=state.keep_compared_in_link, args=(ids,),
                help="The same settings with other layers trained: says what full training buys.",
            )  # fmt: skip
        return


def _draw_waiting(found: Trio) -> bool:
    """Says how the runs get on; False when none of them will go on."""
    if not any(run.is_unfinished for run in found.present):
        return False
    parts = [
        f"{part} is {formats.STATE_LOOKS[run.state].word}" for part in Part if (run := found.runs.get(part))
    ]
    words = f"{', '.join(parts[:-1])} and {parts[-1]}"
    st.title(f"What full training buys is not known yet: {words}.", anchor=False)
    st.caption("The answer stands here as soon as full and one of the others have been evaluated.")
    return True


def _draw_rest(found: Trio, gains: Sequence[Gain]) -> None:
    """What is still to come."""
    done = {Part.FULL, *(one.part for one in gains)}
    waiting = [
        f"{part} is {formats.STATE_LOOKS[run.state].word}"
        for part, run in found.runs.items()
        if run is not None and (run.is_unfinished or part not in done)
    ]
    if waiting:
        st.markdown(f":small[:gray[:material/hourglass_top: So far: {', '.join(waiting)}.]]")


def _look(ids: tuple[str, ...], seen: Standing) -> None:
    """Draws the page again once a run has got on."""
    known = {run.run_id: run for run in readers.run_list()}
    if _standing([known[one] for one in ids if one in known]) != seen:
        st.rerun()


def _standing(records: Sequence[RunRecord]) -> Standing:
    return tuple((str(run.state), run.best_step) for run in records)


def _ids(records: Sequence[RunRecord]) -> tuple[str, ...]:
    return tuple(run.run_id for run in records)


@st.cache_resource(max_entries=16, show_spinner=False)
def _of_runs(home: str, ids: tuple[str, ...], version: readers.Version) -> Trio | None:
    return trio.of_runs(readers.store(), [run for run in readers.run_list() if run.run_id in ids])


@st.cache_resource(max_entries=32, show_spinner=False)
def _find(home: str, run_id: str, version: readers.Version) -> Trio:
    return trio.find(readers.store(), run_id, readers.run_list(), groups.values())


@st.cache_resource(max_entries=16, show_spinner=False)
def _gains(
    home: str, ids: tuple[str, ...], split: str, version: readers.Version
) -> tuple[float, list[Gain]] | None:
    found = _of_runs(home, ids, version)
    return trio.gains(readers.store(), found, split) if found is not None else None
