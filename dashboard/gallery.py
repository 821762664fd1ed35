"""Grids of pictures, each with its prediction and label underneath in the colours of right and wrong.

A picture that is a prediction has a quiet button for a closer look, and shows its mark.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from dashboard import close_look, examples, marking, readers, state
from dashboard.charts import shortened
from dashboard.formats import plain

_NAME_LENGTH = 18
_MANY_PAGES = 20


@dataclass(frozen=True)
class Tile:
    """One picture of a grid.

    Attributes:
        reference: The image, as a prediction file names it.
        caption: Markdown; empty for none.
        alt: What a screen reader says.
        place: Its prediction, for a closer look; None where there is none.
        badge: Its mark, in Markdown; empty for none.
    """

    reference: str
    caption: str
    alt: str
    place: examples.Place | None = None
    badge: str = ""


def show(
    run_id: str, tiles: Sequence[Tile], key: str, *, columns: int = 4, min_width: int = 80, slots: int = 0
) -> None:
    """Draws a grid of pictures; on a narrow page it wraps by itself.

    Args:
        run_id: The run whose data the pictures are of.
        tiles: What to draw: one page of it, at most a few dozen.
        key: Unique on the page.
        columns: Of the grid, on a wide page.
        min_width: Of a picture, in pixels.
        slots: Places to fill at least, the rest with nothing. A click while the page still loads can leave
            pictures of the last drawing in places that this one does not fill.
    """
    grid = st.grid(columns, min_column_width=min_width, gap=(14, 12), key=key)
    for tile in tiles:
        with grid.cell(), st.container(gap="xxsmall"):
            _show_picture(examples.picture(run_id, tile.reference), tile)
            _show_caption(tile, key)
            if tile.badge:
                st.markdown(tile.badge)
    for _ in range(slots - len(tiles)):
        grid.cell().empty()


def show_pages(
    evaluation: examples.Evaluation, positions: Sequence[int], key: str, *, size: int, columns: int = 4
) -> None:
    """Draws one page of prediction rows, and below it the means to turn the page when there are more.

    Args:
        evaluation: The predictions.
        positions: Rows of it, in the order in which they are shown.
        key: Unique on the page; the page that is open belongs to it.
        size: Pictures on a page.
        columns: Of the grid, on a wide page.
    """
    place = st.container()
    number = 1
    if len(positions) > size:
        number = _turn_pages(-(-len(positions) // size), f"{key}_page")
    with place:
        shown = prediction_tiles(evaluation, positions[(number - 1) * size : number * size])
        show(evaluation.run_id, shown, key, columns=columns, slots=size)


def prediction_tiles(
    evaluation: examples.Evaluation, positions: Sequence[int], *, has_caption: bool = True
) -> list[Tile]:
    """Tiles of prediction rows: the prediction with its confidence, and below it the label."""
    made, names = [], evaluation.class_names
    shown = evaluation.rows.iloc[list(positions)]
    texts = evaluation.texts(list(positions))
    marks = marking.marks_by_id(readers.run(evaluation.run_id))
    for position, row, text in zip(positions, shown.itertuples(), texts.itertuples(), strict=True):
        predicted, label, share = names[row.prediction], names[row.label], _share(row.confidence)
        caption = f"{verdict(predicted, row.is_right)} :small[{share}]  \n{true_name(label)}"
        alt = f"predicted {predicted}, {share}, true {label}"
        mark = marks.get(text.example_id)
        badge = marking.badge(mark) if mark else ""
        made.append(Tile(text.image, caption if has_caption else "", alt, evaluation.place(position), badge))
    return made


def verdict(predicted: str, is_right: bool) -> str:
    """A prediction in small Markdown: mark and colour say whether it is right."""
    color, icon = ("blue", "check") if is_right else ("orange", "close")
    return f":small[:{color}[:material/{icon}: **{plain(shortened(predicted, _NAME_LENGTH))}**]]"


def true_name(label: str) -> str:
    """A label in small grey Markdown."""
    return f":small[:gray[true {plain(shortened(label, _NAME_LENGTH))}]]"


def _turn_pages(num_pages: int, key: str) -> int:
    """The page that is open; where there are many, a number leads to any of them."""
    if num_pages <= _MANY_PAGES:
        return st.pagination(num_pages, key=key)
    times, start = state.get_value(f"{key}_start", (0, 1))
    with st.container(horizontal=True, vertical_alignment="center"):
        # Streamlit warns of a page that is set from outside, so a typed one begins a widget of its own.
        number = st.pagination(num_pages, default=start, key=f"{key}_{times}")
        st.number_input(
            "Go to page", 1, num_pages, None, key=f"{key}_typed", placeholder="Go to page", width=130,
            label_visibility="collapsed", on_change=_take_page, args=(key,),
        )  # fmt: skip
    return number


def _take_page(key: str) -> None:
    """Callback of the typed page."""
    typed = state.get_value(f"{key}_typed")
    if typed is not None:
        times, _ = state.get_value(f"{key}_start", (0, 1))
        state.put_value(f"{key}_start", (times + 1, int(typed)))
        state.put_value(f"{key}_typed", None)


def _share(fraction: float) -> str:
    return "no probability" if math.isnan(fraction) else f"{100 * fraction:.0f} %"


def _show_caption(tile: Tile, key: str) -> None:
    if tile.place is None:
        if tile.caption:
            st.markdown(tile.caption)
        return
    with st.container(horizontal=True, horizontal_alignment="right", wrap=False, gap="xxsmall"):
        if tile.caption:
            st.markdown(tile.caption, width="stretch")
        _draw_look(tile.place, key)


def _draw_look(place: examples.Place, key: str) -> None:
    # The key names the image, not the slot: a click on a page that is being turned opens what was seen.
    is_asked = st.button(
        ":material/zoom_in:", type="tertiary", help="Look closer", on_click=close_look.ask, args=(place,),
        key=f"{key}_look_{place.run_id}_{place.split}_{place.step}_{place.row}",
    )  # fmt: skip
    if is_asked:
        st.rerun()  # within a fragment, the end of the page, where the dialog is drawn, is not reached


def _show_picture(picture: examples.Picture | None, tile: Tile) -> None:
    if picture is None:
        with st.container(border=True, height=96, vertical_alignment="center"):
            st.markdown(":small[:gray[:material/broken_image: The image file is gone or unreadable.]]")
        return
    st.image(picture.encoded, width="stretch", alt=tile.alt)
