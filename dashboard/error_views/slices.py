"""Parts of the images on which the run does worse than on the rest, and their wrong images."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from dashboard import charts, formats, gallery, messages, readers, state
from dashboard.error_views.view import View
from dashboard.look import card_head
from dashboard.slice_chart import SliceBar, slice_figure
from superft_hf import slice_review
from superft_hf.errors import SuperFTError
from superft_hf.evaluation import slices
from superft_hf.slice_review import SliceReview

TABLE, CHOSEN = "slices_table", "slices_chosen"
IN_CHART, PER_PAGE, COLUMNS = 14, 14, 7
TABLE_HEIGHT = 420


def draw(view: View) -> None:
    """Draws the slices, worst first, and the wrong images of the one that is open."""
    evaluation = view.evaluation
    try:
        review = _review(
            evaluation.run_id, evaluation.split, evaluation.step, evaluation.stamp, view.record.data,
            readers.version(),
        )  # fmt: skip
    except SuperFTError as error:
        messages.show(error)
        return
    _draw_slices(view, review)


@st.fragment
def _draw_slices(view: View, review: SliceReview) -> None:
    table, evaluation = review.table, view.evaluation
    with st.container(border=True):
        card_head("Slices", "worst first · select one to see its wrong images")
        st.markdown(_answer(review))
        if table.empty:
            st.markdown(
                f":gray[A slice needs {slices.MIN_IMAGES} images, and as many beside it; this split has "
                f"{formats.counted(len(review.rows), 'image')}.]"
            )
            return
        left, right = st.columns([1.9, 1], gap="medium")
        with left:
            chosen = _draw_table(view, table)
        with right:
            _draw_chart(table, float(evaluation.rows["is_right"].mean()))
        _draw_notes(review)
    with st.container(border=True):
        _draw_wrong(view, review, chosen)


def _answer(review: SliceReview) -> str:
    table = review.table
    words = formats.plain(slices.in_words(table))
    if table.empty or not table["is_shown"].any():
        return f"**{words}**"
    names = [_title(one, 32) for one in table[table["is_shown"]].head(3).to_dict("records")]
    more = int(table["is_shown"].sum()) - len(names)
    return f":orange[:material/close:] **{words}** {', '.join(names)}{f' and {more:,} more' if more else ''}."


def _draw_table(view: View, table: pd.DataFrame) -> int:
    """The table; the row that is open, at first the worst."""
    key = state.fresh_key(f"{TABLE}_{view.record.run_id}_{view.evaluation.split}_{view.evaluation.step}")
    shown = pd.DataFrame(
        {
            "Slice": table["slice"],
            "By": table["kind"],
            "Wrong": [
                f"{wrong:,} of {size:,}"
                for wrong, size in zip(table["num_wrong"], table["num_images"], strict=True)
            ],
            "Right": [formats.percent(share) for share in table["accuracy"]],
            "To the rest": [formats.points(share) for share in table["difference"]],
            "p, corrected": [p_words(value) for value in table["p_adjusted"]],
            "Worse": ["yes" if is_shown else None for is_shown in table["is_shown"]],
        }
    )
    column = st.column_config
    right = {"alignment": "right"}
    event = st.dataframe(
        shown, hide_index=True, height="content" if len(shown) <= 11 else TABLE_HEIGHT, key=key,
        selection_mode="single-row", on_select="rerun", placeholder=formats.NOTHING, column_config={
            "Slice": column.TextColumn(width=176),
            "By": column.TextColumn(width=80),
            "Wrong": column.TextColumn(width=82, **right),
            "Right": column.TextColumn(width=60, **right),
            "To the rest": column.TextColumn(width=88, **right),
            "p, corrected": column.TextColumn(
                width=80, help="Fisher's exact test against the rest, one-sided, corrected for all slices "
                "that were looked at (Benjamini & Hochberg 1995).", **right,
            ),
            "Worse": column.TextColumn(width=54, help="Shown where the corrected p is below 0.05."),
        },
    )  # fmt: skip
    rows = event["selection"]["rows"] if event else []
    return rows[0] if rows and rows[0] < len(table) else 0


def _draw_chart(table: pd.DataFrame, accuracy: float) -> None:
    bars = [
        SliceBar(_name(one), one["accuracy"], one["low"], one["high"], bool(one["is_shown"]))
        for one in table.head(IN_CHART).to_dict("records")
    ]
    figure = slice_figure(bars, accuracy, is_dark=st.context.theme.type == "dark")
    st.plotly_chart(
        figure, theme="streamlit", config=charts.CONFIG, key="slices_chart",
        alt="Share of right answers of the worst slices; the table holds the same.",
    )  # fmt: skip


def _draw_notes(review: SliceReview) -> None:
    notes = []
    if review.examples is None:
        notes.append(
            "Of the images of this run nothing but their classes is known: it is of an earlier version. A "
            "new run notes size, brightness, contrast, sharpness and metadata."
        )
    if not review.saved:
        notes.append("Filters that are saved under Images are compared here as well.")
    if notes:
        st.markdown(f":small[:gray[{' '.join(notes)}]]")


def _draw_wrong(view: View, review: SliceReview, chosen: int) -> None:
    evaluation, one = view.evaluation, review.table.iloc[chosen]
    wrong = review.wrong(chosen)
    size = formats.counted(int(one["num_images"]), "image")
    card_head(
        f"{_title(one, 40)}: {len(wrong):,} of {size} wrong",
        f"{formats.percent(float(one['accuracy']))} right, 95 % interval "
        f"{formats.interval(float(one['low']), float(one['high']))} · worst first",
    )
    if not len(wrong):
        st.markdown(":gray[Every image of this slice was recognised.]")
        return
    key = f"slices_wrong_{evaluation.split}_{evaluation.step}_{chosen}"
    gallery.show_pages(evaluation, wrong, key, size=PER_PAGE, columns=COLUMNS)


def _title(one: Mapping[str, Any], length: int) -> str:
    """A slice as a heading, such as `Class cat` or `Blurred (up to 0.02)`."""
    name = _name(one)
    return formats.plain(charts.shortened(name[:1].upper() + name[1:], length))


def _name(one: Mapping[str, Any]) -> str:
    return f"class {one['slice']}" if one["kind"] == slices.CLASS else str(one["slice"])


def p_words(value: float) -> str:
    """A p-value, as short as it can be said.

    Example:
        >>> [p_words(one) for one in (0.00002, 0.0312, 0.8, 1.0)]
        ['< 0.001', '0.031', '0.80', '1']
    """
    if value < 0.001:
        return "< 0.001"
    return "1" if value >= 0.995 else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def _review(
    run_id: str, split: str, step: int, stamp: int, data: str, version: readers.Version
) -> SliceReview:
    saved = _saved(run_id, split, step, stamp, data, version)
    names = tuple((name, len(positions), hash(positions.tobytes())) for name, positions in saved.items())
    return _judged(run_id, split, step, (stamp, *examples_stamp(run_id, split)), names, saved)


def examples_stamp(run_id: str, split: str) -> tuple[int, ...]:
    """Changes when the example file of a split does."""
    try:
        return (readers.run_paths(run_id).examples_file(split).stat().st_mtime_ns,)
    except OSError:
        return ()


@st.cache_resource(max_entries=8, show_spinner=False)
def _saved(
    run_id: str, split: str, step: int, stamp: int, data: str, version: readers.Version
) -> dict[str, np.ndarray]:
    return slice_review.saved_positions(readers.store(), data, readers.run_paths(run_id), split, step)


@st.cache_resource(max_entries=6, show_spinner="Comparing parts of the images")
def _judged(
    run_id: str, split: str, step: int, stamps: tuple[int, ...], names: tuple[tuple[str, int, int], ...],
    _saved_positions: dict[str, np.ndarray],
) -> SliceReview:  # fmt: skip
    return slice_review.review(readers.run_paths(run_id), split, step, _saved_positions)
