"""Doubtful labels as pictures, each with the two answers that settle it."""

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
import streamlit as st

from dashboard import examples, formats, gallery, marking, messages, state
from dashboard.charts import shortened
from superft_hf.errors import SuperFTError
from superft_hf.records import Mark, MarkKind, RunRecord

PER_PAGE, COLUMNS, MIN_WIDTH = 12, 6, 150
_NAME_LENGTH = 16


def draw(record: RunRecord, listed: pd.DataFrame, key: str) -> None:
    """Draws one page of a list of doubtful labels, as `label_review.Review.listed` has them.

    Args:
        record: The run on whose images marks are made.
        listed: What to draw, most doubtful first.
        key: Unique on the page.
    """
    hidden = state.judged_right(record.data)
    left = listed[~listed["example_id"].isin(hidden)]
    place, pages, number = st.container(), -(-len(left) // PER_PAGE), 1
    if pages > 1:
        page_key = f"{key}_page"
        if state.get_value(page_key, 1) > pages:
            state.drop_value(page_key)
        number = st.pagination(pages, key=page_key)
    page = left.iloc[(number - 1) * PER_PAGE : number * PER_PAGE]
    with place:
        if page.empty:
            st.markdown(":gray[You have judged all of these labels to be right.]")
        else:
            _draw_page(record, page, key)
    num_hidden = len(listed) - len(left)
    if num_hidden:
        st.button(
            f"Show {formats.counted(num_hidden, 'image')} judged right again", type="tertiary",
            icon=":material/visibility:", key=f"{key}_show_all", on_click=state.forget_judged_right,
            args=(record.data,),
        )  # fmt: skip


def _draw_page(record: RunRecord, page: pd.DataFrame, key: str) -> None:
    marks = marking.marks_by_id(record)
    grid = st.grid(COLUMNS, min_column_width=MIN_WIDTH, gap=(14, 16), key=f"{key}_tiles")
    for one in page.to_dict("records"):
        name = f"{key}_{one['run_id']}_{one['row']}"
        with grid.cell(), st.container(gap="xxsmall", key=f"{name}_tile"):
            place = examples.Place(one["run_id"], one["split"], int(one["step"]), int(one["row"]))
            alt = f"labelled {one['label']}, looks like {one['suggested']}"
            tile = gallery.Tile(one["image"], _caption(one), alt, place)
            gallery.show(one["run_id"], [tile], f"{name}_picture", columns=1)
            subject = marking.Subject(place, one["example_id"], one["image"], one["label"])
            _draw_answers(record, subject, one, marks.get(one["example_id"]), name)


def _caption(one: Mapping[str, Any]) -> str:
    return (
        f":small[labelled **{_short(one['label'])}** :gray[{100 * one['label_probability']:.0f} %]]  \n"
        f":small[looks like :orange[**{_short(one['suggested'])}**] "
        f":gray[{100 * one['suggested_probability']:.0f} %]]"
    )


def _draw_answers(
    record: RunRecord, subject: marking.Subject, one: Mapping[str, Any], mark: Mark | None, key: str
) -> None:
    """The two buttons; on a marked image the mark, and what takes it back."""
    if mark is not None:
        with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
            st.markdown(marking.badge(mark), width="content")
            st.button(
                "Undo", type="tertiary", key=f"{key}_undo", on_click=_remove, args=(record, subject, key),
                help="Take the mark back.",
            )  # fmt: skip
        _show_error(key)
        return
    with st.container(horizontal=True, gap="xsmall"):
        st.button(
            f"It is {_short(one['suggested'])}", icon=":material/swap_horiz:", key=f"{key}_wrong",
            on_click=_correct, args=(record, subject, one["suggested"], key),
            help=f"The label is wrong: marks it. Why it is doubted: {formats.plain(one['reason'])}.",
        )  # fmt: skip
        st.button(
            "Keep", type="tertiary", icon=":material/check:", key=f"{key}_right",
            on_click=state.judge_right, args=(record.data, subject.example_id),
            help="The label is right: hides the image from this list, in this tab. For any other verdict, "
            "look closely.",
        )  # fmt: skip
    _show_error(key)


def _correct(record: RunRecord, subject: marking.Subject, suggested: str, key: str) -> None:
    _keep(lambda: marking.mark_many(record, [subject], MarkKind.WRONG_LABEL, [suggested]), key)


def _remove(record: RunRecord, subject: marking.Subject, key: str) -> None:
    _keep(lambda: marking.remove(record, [subject.example_id]), key)


def _keep(write: Callable[[], object], key: str) -> None:
    """Writes a mark; the tile says it when that is refused, since a callback cannot."""
    try:
        write()
    except SuperFTError as error:
        state.put_value(f"{key}_error", error)


def _show_error(key: str) -> None:
    error = state.get_value(f"{key}_error")
    if error is not None:
        state.drop_value(f"{key}_error")
        messages.show(error)


def _short(name: str) -> str:
    return formats.plain(shortened(name, _NAME_LENGTH))
