"""The queue panel: what trains on which device and how far it is, what waits, in which order and why."""

from collections.abc import Sequence

import streamlit as st

from dashboard import formats, headlines, look, messages, readers, run_verbs, state
from superft_hf import verbs
from superft_hf.engine.starting import in_order
from superft_hf.errors import SuperFTError
from superft_hf.records import Request, RunRecord, RunState
from superft_hf.store_queue import Move

PAGE_SIZE = 6
LIVE_HEIGHT, ROW_HEIGHT, HEAD_HEIGHT = 84, 43, 64
MAX_HEIGHT = 520

_MOVES = {
    Move.FIRST: ("vertical_align_top", "To the front"),
    Move.UP: ("arrow_upward", "Up"),
    Move.DOWN: ("arrow_downward", "Down"),
    Move.LAST: ("vertical_align_bottom", "To the end"),
}


def draw(records: Sequence[RunRecord]) -> None:
    """Draws the panel; nothing when no run is queued or live.

    Args:
        records: All runs, newest first.
    """
    live, waiting = [one for one in records if one.is_live], in_order(records)
    if not live and not waiting:
        state.drop_value(state.QUEUE_ROWS)
        return
    with st.container(border=True, height=_height(len(live), len(waiting)), gap="small", key="queue"):
        look.card_head("At work and waiting", _note(live, waiting))
        for record in reversed(live):
            _draw_live(record)
        number = 1
        num_pages = max(1, -(-len(waiting) // PAGE_SIZE))
        rows = st.container(gap="xsmall")
        if num_pages > 1:
            number = min(st.pagination(num_pages, key="queue_page"), num_pages)
        first = (number - 1) * PAGE_SIZE
        next_id = next((one.run_id for one in waiting if not one.is_held), None)
        with rows:
            for place, record in enumerate(waiting[first : first + PAGE_SIZE], first + 1):
                badge = "next" if record.run_id == next_id else str(place)
                _draw_waiting(record, "held" if record.is_held else badge, (place, len(waiting)))


def _height(num_live: int, num_waiting: int) -> int:
    """Grows with the rows and never shrinks while it is drawn, so that nothing below it jumps."""
    pages = 52 if num_waiting > PAGE_SIZE else 0
    rows = num_live * LIVE_HEIGHT + min(num_waiting, PAGE_SIZE) * ROW_HEIGHT + pages + HEAD_HEIGHT
    height = max(min(rows, MAX_HEIGHT), state.get_value(state.QUEUE_ROWS, 0))
    state.put_value(state.QUEUE_ROWS, height)
    return height


def _note(live: Sequence[RunRecord], waiting: Sequence[RunRecord]) -> str:
    held = sum(record.is_held for record in waiting)
    parts = [f"{len(live)} at work", f"{len(waiting)} waiting"] + ([f"{held} of them held"] if held else [])
    return ", ".join(parts)


def _draw_live(record: RunRecord) -> None:
    points = readers.metrics(record.run_id)  # few runs are live at once: no more than there are devices
    with st.container(gap="xxsmall"):
        with _row():
            with st.container(horizontal=True, width="stretch", vertical_alignment="center"):
                st.badge(**formats.state_badge(record.state))
                _draw_name(record)
                st.markdown(f":small[:gray[{_device(record)}]]", width="content")
            with st.container(horizontal=True, width="content", vertical_alignment="center"):
                run_verbs.draw_pending(record)
                is_slow = run_verbs.is_slow(record)
                if is_slow:
                    run_verbs.draw(record, verbs.STOP_HARD, f"queue_slow_{record.run_id}")
                run_verbs.draw_together(record, "Stop", "stop_circle", f"queue_{record.run_id}")
        share = min(1.0, record.global_step / record.max_steps) if record.max_steps else 0.0
        st.progress(share, text=_progress_words(record, headlines.seconds_left(record, points)))


def _progress_words(record: RunRecord, left_s: float | None) -> str:
    if record.state is RunState.RUNNING:
        return f":small[{headlines.progress_text(record, left_s)}]"
    return ":small[:gray[images and model are being prepared]]"


def _device(record: RunRecord) -> str:
    return formats.plain(record.facts.get("device") or "its device is not known yet")


def _draw_waiting(record: RunRecord, place: str, position: tuple[int, int]) -> None:
    with _row():
        with st.container(horizontal=True, width="stretch", vertical_alignment="center"):
            st.badge(place, color="yellow" if record.is_held else "gray")
            _draw_name(record)
            st.markdown(f":small[:gray[{_why(record)}]]", width="content")
        with st.container(horizontal=True, width="content", gap="xsmall", vertical_alignment="center"):
            run_verbs.draw_pending(record)
            if record.request != Request.DISCARD:
                _draw_moves(record, position)
                for verb in verbs.fitting_verbs(record):
                    run_verbs.draw(record, verb, f"queue_{record.run_id}", type="tertiary")


def _draw_moves(record: RunRecord, position: tuple[int, int]) -> None:
    place, last = position
    for where, (icon, words) in _MOVES.items():
        is_there = place == (1 if where in (Move.FIRST, Move.UP) else last)
        if st.button(
            "", type="tertiary", icon=f":material/{icon}:", help=words, disabled=is_there, width=28,
            key=f"queue_{record.run_id}_{where}",
        ):  # fmt: skip
            _move(record.run_id, where)


def _move(run_id: str, where: Move) -> None:
    try:
        readers.store().move(run_id, where, by=run_verbs.BY)
    except SuperFTError as error:
        messages.show(error)
        return
    st.rerun()


def _draw_name(record: RunRecord) -> None:
    if st.button(
        f"**{formats.plain(record.name)}**", type="tertiary", key=f"queue_{record.run_id}_open",
        help="Opens the run.",
    ):  # fmt: skip
        state.open_page(state.RUN_PAGE, record.run_id)


def _why(record: RunRecord) -> str:
    """Why it waits, and how long it will train."""
    why = record.waiting_for or "waits its turn"
    if record.is_held:
        why = "held: waits until it is let go"
    parts = [formats.plain(why)]
    if record.priority:
        parts.append(f"priority {record.priority}")
    if record.global_step:
        parts.append(f"goes on after step {formats.count(record.global_step)}")
    else:
        epochs = record.num_train_epochs or readers.decided(record.run_id).training.num_train_epochs
        parts.append(formats.counted(round(epochs), "epoch"))
    return " · ".join(parts)


def _row() -> "st.delta_generator.DeltaGenerator":
    return st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center")
