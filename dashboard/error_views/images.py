"""All images of an evaluation: filtered, sorted, page by page."""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import streamlit as st

from dashboard import examples, formats, gallery, marking, messages, readers, state
from dashboard.error_views import images_bar, images_choice, images_saved
from dashboard.error_views.images_choice import Choice
from dashboard.error_views.view import View
from superft_hf.errors import DataNotFoundError
from superft_hf.evaluation import history, prediction_query
from superft_hf.evaluation.prediction_filter import Filter, Outcome
from superft_hf.evaluation.prediction_query import Order

SIZES = (24, 48, 96)
COLUMNS = 8
SIZE = "images_size"


@st.fragment
def draw(view: View) -> None:
    """Draws the filter bar, how many images fit, and a page of them."""
    evaluation = view.evaluation
    choice, problem = images_choice.current(evaluation.class_names)
    orders = _orders(evaluation)
    if choice.order.to_text() not in orders:
        choice = replace(choice, order=Order())
    try:
        metadata = _metadata_of(evaluation)
    except DataNotFoundError as error:
        metadata, problem = {}, problem or error
    with st.container(border=True):
        images_bar.draw(choice, evaluation.class_names, metadata)
    if problem is not None:
        messages.show(problem)
    with st.container(border=True):
        try:
            _draw_found(view, choice, orders, tuple(metadata))
        except DataNotFoundError as error:
            messages.show(error)
            _draw_clear()


def _draw_found(view: View, choice: Choice, orders: list[str], columns: tuple[str, ...]) -> None:
    evaluation = view.evaluation
    found = _find(view, choice)
    total = len(evaluation.rows)
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.subheader(f"{len(found):,} of {formats.counted(total, 'image')}", anchor=False, width="content")
        with st.container(horizontal=True, vertical_alignment="center", width="content", gap="xsmall"):
            if not choice.is_empty:
                _draw_clear()
            images_saved.draw(view, choice)
            _draw_export(view, found)
            size = st.selectbox(
                "Images a page", SIZES, format_func=lambda one: f"{one} a page", key=SIZE, width=120,
                label_visibility="collapsed", persist_state="session",
            )  # fmt: skip
            images_bar.draw_order(choice, orders, columns)
    _draw_notes(evaluation, choice)
    if not len(found):
        _draw_nothing(evaluation, choice)
        return
    number = zlib.crc32(f"{choice} {size} {len(found)}".encode())  # another question begins at its first page
    key = f"images_{evaluation.split}_{evaluation.step}_{number}"
    gallery.show_pages(evaluation, found, key, size=size, columns=COLUMNS)


def _draw_clear() -> None:
    st.button(
        "Clear filter", type="tertiary", icon=":material/filter_list_off:", key="images_clear",
        on_click=_clear,
    )  # fmt: skip


def _clear() -> None:
    """Callback: every image again, in the order that was chosen."""
    images_choice.keep(Choice(order=Order.from_text(state.get_value(images_bar.SORT, ""))))


def _draw_notes(evaluation: examples.Evaluation, choice: Choice) -> None:
    """What an order or a range cannot tell of these rows."""
    num_lost = _count_nan(evaluation)
    if num_lost:
        messages.note(
            f"{formats.counted(num_lost, 'image')} without a probability (NaN).",
            "They come last in every order and are in no range of confidence or loss.",
        )
    if choice.is_marked_only and not marking.marks_by_id(readers.run(evaluation.run_id)):
        st.markdown(":gray[No image of this set is marked yet: a closer look at one has the marks.]")


def _draw_nothing(evaluation: examples.Evaluation, choice: Choice) -> None:
    is_right = evaluation.rows["is_right"]
    if choice.chosen.outcome == Outcome.WRONG and is_right.all():
        words = "None is wrong: every image of this evaluation was recognised."
    elif choice.chosen.outcome == Outcome.RIGHT and not is_right.any():
        words = "None is right: no image of this evaluation was recognised."
    elif choice.is_empty:
        words = "This evaluation has no images."
    else:
        words = "No image fits all of this. Widen the filter, or clear it."
    st.markdown(f":gray[{words}]")


def _draw_export(view: View, found: np.ndarray) -> None:
    evaluation = view.evaluation
    marks = {key: str(mark.kind) for key, mark in marking.marks_by_id(view.record).items()}
    st.download_button(
        "Export CSV", _csv_of(evaluation.path, found, marks), type="tertiary", icon=":material/download:",
        file_name=f"{evaluation.run_id}-{evaluation.split}-{evaluation.step}.csv", mime="text/csv",
        key="images_export", on_click="ignore", disabled=not len(found),
        help="All images that are found, in this order.",
    )  # fmt: skip


def _csv_of(path: Path, found: np.ndarray, marks: Mapping[str, str]) -> Callable[[], bytes]:
    """Makes the file when it is asked for, not before; it runs outside the script of the page."""
    return lambda: prediction_query.table(path, found, marks).write_csv().encode()


def _orders(evaluation: examples.Evaluation) -> list[str]:
    return images_bar.offered_orders(
        has_margin=prediction_query.has_margin(evaluation.path),
        has_disagreement=len(examples.steps(evaluation.run_id, evaluation.split)) > 1,
    )


def _find(view: View, choice: Choice) -> np.ndarray:
    """Positions that fit, in order. Raises DataNotFoundError."""
    evaluation, chosen = view.evaluation, choice.chosen
    if choice.is_marked_only:
        chosen = replace(chosen, example_ids=frozenset(marking.marks_by_id(view.record)))
    examples_path = _examples_path(evaluation)
    stamps: tuple[int, ...] = (evaluation.stamp, _stamp(examples_path) if chosen.metadata else 0)
    others: tuple[Path, ...] = ()
    if choice.order.by == "disagreement":
        paths = readers.run_paths(evaluation.run_id)
        steps = examples.steps(evaluation.run_id, evaluation.split)
        others = tuple(paths.prediction_file(evaluation.split, step) for step in steps)
        stamps += tuple(_stamp(path) for path in others)
    return _found(evaluation.path, chosen.to_json(), choice.order, examples_path, others, stamps)


@st.cache_resource(max_entries=12, show_spinner=False)
def _found(
    path: Path,
    chosen: str,
    order: Order,
    examples_path: Path,
    others: tuple[Path, ...],
    stamps: tuple[int, ...],
) -> np.ndarray:
    """4 bytes an image, so that paging through what is found asks the file only for what is shown."""
    disagreement = _disagreement(path, others) if others else None
    found = prediction_query.find(
        path, Filter.from_json(chosen), order, examples_path, disagreement=disagreement
    )
    return found.astype(np.int32)


def _disagreement(path: Path, others: tuple[Path, ...]) -> np.ndarray:
    """How little the epochs agree on each row of a file; NaN where an epoch did not have the image."""
    step = int(path.stem.rpartition("-")[2])
    answers = history.read_answers(others, keep=[step])
    rows = answers.rows_at(step, np.arange(len(answers.labels)))
    made = np.full(prediction_query.count(path), np.nan)
    made[rows] = history.disagreement(answers)
    return made


def _metadata_of(evaluation: examples.Evaluation) -> dict[str, list[str]]:
    path = _examples_path(evaluation)
    return _metadata(path, _stamp(path))


@st.cache_resource(max_entries=12, show_spinner=False)
def _metadata(path: Path, stamp: int) -> dict[str, list[str]]:
    return prediction_query.metadata_values(path, images_bar.MOST_VALUES)


def _count_nan(evaluation: examples.Evaluation) -> int:
    return int(evaluation.rows["confidence"].isna().sum())


def _examples_path(evaluation: examples.Evaluation) -> Path:
    return readers.run_paths(evaluation.run_id).examples_file(evaluation.split)


def _stamp(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
