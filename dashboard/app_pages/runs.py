"""Runs: what was trained, what is at work, what waits."""

from collections.abc import Sequence

import streamlit as st

from dashboard import (
    dialogs,
    formats,
    home_settings,
    messages,
    queue_panel,
    readers,
    run_verbs,
    runs_table,
    state,
)
from superft_hf import verbs
from superft_hf.errors import SuperFTError
from superft_hf.records import UNFINISHED_STATES, RunRecord, RunState
from superft_hf.verbs import Verb

PAGE_SIZE = 20
_DELETE = Verb(
    "delete", "Delete", "Record, model, predictions and log are removed.", "delete_forever",
    tuple(one for one in RunState if one not in UNFINISHED_STATES), is_final=True,
)  # fmt: skip
# Of several runs at once, what stops them or takes something away is asked before it is done.
_ASKED_FIRST = {verb.name: verb for verb in (verbs.PAUSE, verbs.DISCARD, _DELETE)}


def page() -> None:
    """The whole page. The panel refreshes itself; dialogs stay outside, so that a refresh closes none."""
    if not readers.run_list():
        _empty()
        return
    dialogs.poll(_panel, "2s")
    asked = state.get_value(state.RUNS_ASKED)
    if asked:
        _confirm(*asked)


def _empty() -> None:
    st.title("No run yet.", anchor=False)
    messages.empty("Nothing was trained here so far", "Choose a model and images on the Start page.")
    if st.button("New run", type="primary", icon=":material/add:", key="runs_new"):
        st.switch_page(state.START_PAGE)


def _panel() -> None:
    records = readers.run_list()
    if not records:
        st.rerun()
    st.title(_sentence(records), anchor=False)
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.caption(_counts(records), width="content")
        home_settings.draw()
    with st.container():
        queue_panel.draw(records)
    shown = _filtered(records)
    num_pages = max(1, -(-len(shown) // PAGE_SIZE))
    table, below = st.container(), st.container()
    number = 1
    if num_pages > 1:
        number = min(below.pagination(num_pages, key="runs_page"), num_pages)
    part = shown[(number - 1) * PAGE_SIZE : number * PAGE_SIZE]
    with table:
        if part:
            selected = runs_table.draw(part)
        else:
            selected = []
            messages.empty("No run matches", "Change the filters above.", icon=":material/filter_alt_off:")
    with below:
        _verbs(selected)


def _sentence(records: Sequence[RunRecord]) -> str:
    live = [record for record in records if record.is_live]
    done = [one for one in records if one.state is RunState.COMPLETED and one.accuracy is not None]
    parts = []
    if live:
        so_far = (
            f", {formats.percent(live[0].accuracy)} on eval so far" if live[0].accuracy is not None else ""
        )
        others = f", and {len(live) - 1} more" if len(live) > 1 else ""
        doing = "training" if live[0].state is RunState.RUNNING else "starting"
        parts.append(f"{live[0].name} is {doing}{so_far}{others}.")
    if done:
        best = max(done, key=lambda record: record.accuracy or 0.0)
        parts.append(f"Best finished run: {best.name} with {formats.percent(best.accuracy)}.")
    return formats.plain(" ".join(parts) or f"{formats.counted(len(records), 'run')}, none finished yet.")


def _counts(records: Sequence[RunRecord]) -> str:
    counts = readers.state_counts()
    parts = [f"{counts[one]:,} {one}" for one in runs_table.STATES if counts.get(one)]
    return f"{formats.counted(len(records), 'run')}: {', '.join(parts)}"


def _filtered(records: Sequence[RunRecord]) -> list[RunRecord]:
    present = {record.state for record in records}
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        states = st.pills(
            "State", [one for one in runs_table.STATES if one in present], selection_mode="multi",
            format_func=lambda one: one.value.capitalize(), label_visibility="collapsed", key="runs_states",
        )  # fmt: skip
        with st.container(horizontal=True, width="content", vertical_alignment="center"):
            text = st.text_input(
                "Filter", placeholder="Filter by name, model or data", label_visibility="collapsed",
                key="runs_filter", width=260, live=True,
            )  # fmt: skip
            if st.button("New run", type="primary", icon=":material/add:", key="runs_new"):
                st.switch_page(state.START_PAGE)
    words = (text or "").lower().split()
    return [
        record
        for record in records
        if (not states or record.state in states)
        and all(
            word in f"{record.name} {record.model} {record.data} {record.run_id}".lower() for word in words
        )
    ]


def _verbs(selected: Sequence[RunRecord]) -> None:
    """What can be done with the selected rows; a verb that does not fit is disabled."""
    one = selected[0] if len(selected) == 1 else None
    run_ids = [record.run_id for record in selected]
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button("Open", icon=":material/arrow_forward:", disabled=one is None, key="runs_open"):
            state.open_page(state.RUN_PAGE, run_ids[0])
        if st.button(
            "Compare", icon=":material/compare_arrows:", disabled=len(selected) < 2, key="runs_compare"
        ):
            state.open_compare(run_ids)
        if st.button(
            "Repeat with changes", icon=":material/content_copy:", disabled=one is None, key="runs_repeat"
        ):
            state.repeat_run(run_ids[0])
        is_letting_go = bool(selected) and all(record.is_held for record in selected)
        for verb in (verbs.PAUSE, verbs.RESUME, verbs.LET_GO if is_letting_go else verbs.HOLD):
            _verb_button(verb, selected, "secondary")
        for verb in (verbs.DISCARD, _DELETE):
            _verb_button(verb, selected, "tertiary")
        st.caption(
            f"{len(selected)} selected." if selected else "Select rows to act on them.", width="content"
        )


def _verb_button(verb: Verb, selected: Sequence[RunRecord], kind: str) -> None:
    """A verb for all selected runs; disabled unless it fits each of them."""
    is_fitting = bool(selected) and all(verb in _fitting(record) for record in selected)
    name = "hold" if verb is verbs.LET_GO else verb.name
    if not st.button(
        verb.title, type=kind, icon=f":material/{verb.icon}:", disabled=not is_fitting,
        key=f"runs_{name}", help=verb.consequence,
    ):  # fmt: skip
        return
    run_ids = [record.run_id for record in selected]
    if verb.name in _ASKED_FIRST:
        state.put_value(state.RUNS_ASKED, (verb.name, run_ids))
        st.rerun()
    elif all([run_verbs.act(verb, run_id) for run_id in run_ids]):
        st.rerun()


def _fitting(record: RunRecord) -> list[Verb]:
    return [*verbs.fitting_verbs(record), *([_DELETE] if record.state in _DELETE.states else [])]


def _close() -> None:
    state.drop_value(state.RUNS_ASKED)


def _confirm(name: str, run_ids: list[str]) -> None:
    title = f"{_ASKED_FIRST[name].title} {formats.counted(len(run_ids), 'run')}?"
    st.dialog(title, on_dismiss=_close)(_confirmation)(_ASKED_FIRST[name], run_ids)


def _confirmation(verb: Verb, run_ids: list[str]) -> None:
    names = [f"**{formats.plain(one.name)}**" for one in readers.run_list() if one.run_id in run_ids]
    listed = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    final = "  \n:yellow[:material/warning: This cannot be undone.]" if verb.is_final else ""
    st.markdown(f"{listed}  \n{verb.consequence}{final}")
    with st.container(horizontal=True):
        is_sure = st.button(verb.title, type="primary", key=f"runs_sure_{verb.name}")
        if st.button("Keep" if verb.is_final else "Leave", key="runs_keep"):
            _close()
            st.rerun()
    if is_sure and all([_act(verb, run_id) for run_id in run_ids]):
        _close()
        st.rerun()


def _act(verb: Verb, run_id: str) -> bool:
    if verb is not _DELETE:
        return run_verbs.act(verb, run_id)
    try:
        readers.store().delete_run(run_id)
    except SuperFTError as error:
        messages.show(error)
        return False
    state.forget_run(run_id)
    return True


page()
