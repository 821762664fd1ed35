"""Runs: what was trained, what is at work, what waits."""

from collections.abc import Sequence

import streamlit as st

from dashboard import formats, messages, readers, runs_table, state
from superft_hf.engine import control
from superft_hf.errors import StateError, SuperFTError
from superft_hf.records import RunRecord, RunState

PAGE_SIZE = 20
VERBS = {"delete": "Delete", "discard": "Discard"}
_LOSES = {
    "delete": "Record, model, predictions and log are removed. This cannot be undone.",
    "discard": "Training stops and the weights are removed; the record stays.",
}


def page() -> None:
    """The whole page. The panel refreshes itself; dialogs stay outside, so that a refresh closes none."""
    if not readers.run_list():
        _empty()
        return
    _panel()
    asked = state.get_value(state.RUNS_ASKED)
    if asked:
        _confirm(*asked)


def _empty() -> None:
    st.title("No run yet.", anchor=False)
    messages.empty("Nothing was trained here so far", "Choose a model and images on the Start page.")
    if st.button("New run", type="primary", icon=":material/add:", key="runs_new"):
        st.switch_page(state.START_PAGE)


@st.fragment(run_every="2s")
def _panel() -> None:
    records = readers.run_list()
    if not records:
        st.rerun()
    st.title(_sentence(records), anchor=False)
    st.caption(_counts(records))
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
    waiting = [record for record in reversed(records) if record.state is RunState.QUEUED]
    if waiting:
        _queue(waiting)


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
    are_unfinished = bool(selected) and all(record.is_unfinished for record in selected)
    are_ended = bool(selected) and not any(record.is_unfinished for record in selected)
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
        if st.button(
            "Discard", type="tertiary", icon=":material/close:", disabled=not are_unfinished,
            key="runs_discard",
            help="Stops it and removes its weights; its record stays.",
        ):  # fmt: skip
            _ask("discard", run_ids)
        if st.button(
            "Delete", type="tertiary", icon=":material/delete:", disabled=not are_ended, key="runs_delete",
            help="Removes the record and the folder of runs that have ended.",
        ):  # fmt: skip
            _ask("delete", run_ids)
        st.caption(
            f"{len(selected)} selected." if selected else "Select rows to act on them.", width="content"
        )


def _ask(verb: str, run_ids: list[str]) -> None:
    state.put_value(state.RUNS_ASKED, (verb, run_ids))
    st.rerun()


def _close() -> None:
    state.drop_value(state.RUNS_ASKED)


def _confirm(verb: str, run_ids: list[str]) -> None:
    title = f"{VERBS[verb]} {formats.counted(len(run_ids), 'run')}?"
    st.dialog(title, on_dismiss=_close)(_confirmation)(verb, run_ids)


def _confirmation(verb: str, run_ids: list[str]) -> None:
    names = [f"**{formats.plain(one.name)}**" for one in readers.run_list() if one.run_id in run_ids]
    listed = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    st.markdown(f"{listed}  \n{_LOSES[verb]}")
    with st.container(horizontal=True):
        is_sure = st.button(VERBS[verb], type="primary", key=f"runs_sure_{verb}")
        if st.button("Keep", key="runs_keep"):
            _close()
            st.rerun()
    if is_sure and all([_act(verb, run_id) for run_id in run_ids]):
        _close()
        st.rerun()


def _act(verb: str, run_id: str) -> bool:
    try:
        if verb == "delete":
            readers.store().delete_run(run_id)
            state.forget_run(run_id)
        else:
            control.discard(readers.store(), run_id, by="page")
    except SuperFTError as error:
        messages.show(error)
        return False
    return True


def _queue(waiting: Sequence[RunRecord]) -> None:
    with st.container(border=True):
        with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
            st.subheader("Queue", anchor=False, width="content")
            st.markdown(":small[:gray[runs in this order, one at a time]]", width="content")
        is_next_found = False
        for place, record in enumerate(waiting, 1):
            is_next = not is_next_found and not record.is_held
            is_next_found = is_next_found or is_next
            _queue_row(record, "next" if is_next else "held" if record.is_held else str(place))


def _queue_row(record: RunRecord, place: str) -> None:
    epochs = formats.counted(readers.config(record.run_id).training.num_train_epochs, "epoch")
    why = record.waiting_for or ("waits until it is let go" if record.is_held else "waits its turn")
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        with st.container(horizontal=True, width="stretch", vertical_alignment="center"):
            st.badge(place, color="yellow" if record.is_held else "gray")
            st.markdown(f"**{formats.plain(record.name)}**", width="content")
            st.markdown(f":small[:gray[{formats.plain(why)} · {epochs}]]", width="content")
        with st.container(horizontal=True, width="content"):
            label, icon = ("Let go", "play_arrow") if record.is_held else ("Hold", "pan_tool")
            if st.button(label, type="tertiary", icon=f":material/{icon}:", key=f"runs_hold_{record.run_id}"):
                _hold(record)
            if st.button(
                "Discard", type="tertiary", icon=":material/close:", key=f"runs_drop_{record.run_id}"
            ) and _act("discard", record.run_id):
                st.rerun()


def _hold(record: RunRecord) -> None:
    try:
        readers.store().set_held(record.run_id, not record.is_held, by="page")
        control.ensure_supervisor(readers.store().home)
    except StateError as error:
        messages.show(error)
        return
    st.rerun()


page()
