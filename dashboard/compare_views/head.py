"""The top of the Compare page: the answer, how it was found, and what has to be known with it."""

from collections.abc import Sequence

import streamlit as st

from dashboard import formats, headlines, messages, readers, state
from dashboard.compare_views import sides, trio
from dashboard.compare_views.sides import Obstacle
from dashboard.compare_views.view import View
from superft_hf import vault
from superft_hf.errors import SuperFTError
from superft_hf.evaluation.comparison import relabelled_in_words
from superft_hf.records import RunRecord


def draw(view: View, obstacle: Obstacle | None) -> None:
    """Draws sentence and context, or what stands in the way, with the button that clears it."""
    if trio.draw(view):
        _draw_notes(view)
        return
    if obstacle is not None:
        _draw_obstacle(view, obstacle)
        return
    if view.pair is None:
        return
    first, second = view.sides[:2]
    names = [formats.plain(one.record.name) for one in (first, second)]
    if first.record.run_id == second.record.run_id:
        names = [f"{name}, epoch {_epoch(view, place)}" for place, name in enumerate(names)]
        sentence = headlines.of_comparison_worded(*names, view.pair.found, view.split)
    else:
        sentence = headlines.of_comparison(first.record.name, second.record.name, view.pair.found, view.split)
    st.title(sentence, anchor=False)
    st.caption(headlines.comparison_method(view.pair.found, view.pair.joined.sizes, view.pair.f1))
    _draw_notes(view)


def draw_empty(known: Sequence[RunRecord], records: Sequence[RunRecord]) -> None:
    """Says what is missing for a comparison, and offers the next step."""
    if len(known) < 2:
        st.title("There is nothing to compare yet: that takes two runs.", anchor=False)
        if st.button("Start a run", type="primary", icon=":material/play_arrow:", key="compare_start"):
            state.open_page(state.START_PAGE)
        return
    if records:
        st.title(f"Choose a run to compare {formats.plain(records[0].name)} with.", anchor=False)
    else:
        st.title("Choose two runs to compare.", anchor=False)
    st.caption("The first two are compared image by image; the curves show all of them.")
    newest = [one.run_id for one in known if one.accuracy is not None and one not in records]
    offered = [*[one.run_id for one in records], *newest][:2]
    label = "Compare the two newest" if not records else "Compare with the newest"
    with st.container(horizontal=True):
        trio.draw_offer(records)
        if len(offered) == 2 and st.button(
            label, type="primary", icon=":material/compare_arrows:", key="compare_newest"
        ):
            state.open_compare(offered[::-1] if not records else offered)
        if records and len(readers.run_paths(records[0].run_id).prediction_steps("eval")) > 1:
            st.button(
                "Compare two of its epochs", icon=":material/history:", key="compare_epochs",
                on_click=state.keep_compared_in_link, args=([records[0].run_id] * 2,),
            )  # fmt: skip


def _epoch(view: View, place: int) -> str:
    side = view.sides[place]
    points = readers.metrics(side.record.run_id)
    at = points[(points["step"] == side.step) & points["key"].str.startswith("eval_")]["epoch"]
    return formats.epochs(at.iloc[0]) if len(at) else f"at step {formats.count(side.step)}"


def _draw_obstacle(view: View, obstacle: Obstacle) -> None:
    st.title(obstacle.title, anchor=False)
    if not obstacle.way:
        st.caption(obstacle.advice)
        return
    with st.container(border=True):
        icon = ":green[:material/lock:]" if obstacle.way == "open test" else ":yellow[:material/warning:]"
        st.markdown(f"{icon} {obstacle.advice}")
        if obstacle.way == "open test":
            _draw_opening(view)
        else:
            st.button(
                f"Compare on the {formats.counted(obstacle.num_common, 'image')} in common",
                icon=":material/join_inner:", key="compare_common", on_click=sides.compare_on_common,
                args=tuple(view.sides[:2]),
            )  # fmt: skip


def _draw_opening(view: View) -> None:
    records = {one.record.run_id: one.record for one in view.sides[:2] if one.is_sealed}
    for record in records.values():
        words = formats.plain(vault.words(vault.standing(readers.store(), record)))
        st.markdown(f":small[:gray[{formats.plain(record.name)}: {words}]]")
    if st.button("Open their test results", icon=":material/lock_open:", key="compare_open_test"):
        try:
            for record in records.values():
                vault.open_test(readers.store(), record, by="page", detail="Compare")
        except SuperFTError as error:
            messages.show(error)
            return
        st.rerun()


def _draw_notes(view: View) -> None:
    """What has to be known with the answer."""
    pair = view.pair
    if pair is None:
        return
    relabelled = relabelled_in_words(pair.joined.num_relabelled)
    if relabelled:
        messages.note(relabelled, "Only images with the same label in both are compared.")
    if not pair.joined.has_all:
        _draw_not_all(view)
    opened = {one.record.run_id: one.record for one in view.sides if not one.is_sealed}
    if view.split == "test" and len(opened) > 1:
        best = max(opened.values(), key=lambda one: -1.0 if one.accuracy is None else one.accuracy)
        messages.note(
            "Whoever chooses between runs by these figures spoils the test set.",
            f"The best of them on eval is **{formats.plain(best.name)}** with "
            f"{formats.percent(best.accuracy)}: choose that one, and read its test figures as they are.",
        )


def _draw_not_all(view: View) -> None:
    if view.pair is None:
        return
    a, b = view.pair.joined.sizes
    common = formats.counted(view.pair.joined.num_common, "image")
    messages.note(
        f"A and B were not evaluated on the same {view.split} images: they have {common} in common, of "
        f"{formats.count(a)} and {formats.count(b)}.",
        "One of them may have been trained on some of these. Their accuracies in the table are each of its "
        "own images.",
    )
