"""Compare: which of two runs is better, on which images, and by which settings; and many runs at once."""

from collections.abc import Mapping, Sequence

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard import close_look, formats, messages, readers, reporting, state
from dashboard.compare_views import (
    baseline,
    changes,
    curves,
    delta,
    differing,
    figures,
    head,
    layers,
    many,
    seeds,
    sides,
    trio,
)
from dashboard.compare_views.view import View
from superft_hf.records import RunRecord

MAX_RUNS = many.MAX_COMPARED
PICKER = "compare_runs"
TABS = "compare_view"

# By title: icon, what draws it, and whether it takes A and B image by image. (A text here would be drawn.)
VIEWS = {
    "Changes": (":material/difference:", changes.draw, True),
    "Delta matrix": (":material/grid_on:", delta.draw, True),
    "Layers": (":material/layers:", layers.draw, False),
    "Settings": (":material/tune:", differing.draw, False),
    "Seeds": (":material/casino:", seeds.draw, False),
    "Many runs": (":material/scatter_plot:", lambda view: many.draw(view.records), False),
}


def draw_page() -> None:
    """Draws the page from top to bottom."""
    known = {record.run_id: record for record in readers.run_list()}
    top = st.container()
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small", key="compare_pickers"):
        run_ids, unknown = _choose(known)
        records = [known[run_id] for run_id in run_ids]
        if len(records) >= 2:
            split = sides.choose_split()
            made = sides.make(records, split)
            _swap(run_ids)
            trio.draw_offer(records)
            reporting.draw_button(list(dict.fromkeys(run_ids)), "compare")
    if unknown:
        messages.note(
            f"{formats.counted(len(unknown), 'run')} of the link is not here.", "It may have been deleted."
        )
    if len(records) < 2:
        with top:
            head.draw_empty(list(known.values()), records)
        if len(known) > 1:
            many.draw(records)
        return
    pair, obstacle = sides.find_pair(made)
    view = View(made, split, pair)
    with top:
        head.draw(view, obstacle)
    baseline.draw_pin(view)
    left, right = _places(len(made))
    with left, st.container(border=True, height="stretch"):
        curves.draw(view)
    with right, st.container(border=True, height="stretch"):
        figures.draw(view)
    _draw_views(view)
    close_look.draw()


def _places(num_sides: int) -> Sequence[DeltaGenerator]:
    """Where curves and figures go: side by side, as long as the figures of all runs fit there."""
    if num_sides > figures.MAX_COLUMNS:
        return st.container(), st.container()
    return st.columns([1.3 if num_sides == 2 else 1.05, 1], gap="small")


def _draw_views(view: View) -> None:
    """Only the open view is drawn."""
    shown = {title: one for title, one in VIEWS.items() if view.pair is not None or not one[2]}
    titles = [f"{icon} {title}" for title, (icon, _, _) in shown.items()]
    for tab, (_, draw, _) in zip(st.tabs(titles, on_change="rerun", key=TABS), shown.values(), strict=True):
        if tab.open:
            with tab:
                draw(view)


def _choose(known: Mapping[str, RunRecord]) -> tuple[list[str], list[str]]:
    """The runs to compare, and ids of the link that are not here; a run twice: two of its epochs."""
    asked = state.compared_run_ids()
    once = list(dict.fromkeys(asked))
    # At each run: what a browser was told in a run that was cut short, it has not heard.
    state.put_value(PICKER, [run_id for run_id in once if run_id in known][:MAX_RUNS])
    names = _names(list(known.values()))
    chosen = st.multiselect(
        "Runs", list(known), format_func=lambda run_id: names.get(run_id, run_id), key=PICKER,
        max_selections=MAX_RUNS, placeholder="Choose two or more runs",
        help="The first two are A and B: they are compared image by image.",
        on_change=lambda: state.keep_compared_in_link(state.get_value(PICKER, [])),
    )  # fmt: skip
    if len(asked) == 2 and len(once) == 1 and once == chosen:
        chosen = asked
    state.keep_compared_in_link(chosen)
    return list(chosen), [run_id for run_id in once if run_id not in known]


def _swap(chosen: Sequence[str]) -> None:
    if len(set(chosen)) < 2:
        return
    st.button(
        "Swap", icon=":material/swap_horiz:", key="compare_swap", help="A becomes B, and B becomes A.",
        on_click=lambda: state.keep_compared_in_link([chosen[1], chosen[0], *chosen[2:]]),
    )  # fmt: skip


def _names(records: Sequence[RunRecord]) -> dict[str, str]:
    """Names for the picker; runs of the same name get the end of their id."""
    counts = pd.Series([record.name for record in records]).value_counts()
    return {
        one.run_id: one.name if counts[one.name] == 1 else f"{one.name} ({one.run_id[-4:]})"
        for one in records
    }


draw_page()
