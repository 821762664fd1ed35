"""Grids of pictures, each with its prediction and label underneath in the colours of right and wrong."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import streamlit as st

from dashboard import examples
from dashboard.charts import shortened
from dashboard.formats import plain

_NAME_LENGTH = 18


@dataclass(frozen=True)
class Tile:
    """One picture of a grid.

    Attributes:
        reference: The image, as a prediction file names it.
        caption: Markdown; empty for none.
        alt: What a screen reader says.
    """

    reference: str
    caption: str
    alt: str


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
            if tile.caption:
                st.markdown(tile.caption)
    for _ in range(slots - len(tiles)):
        grid.cell().empty()


def show_pages(
    run_id: str, rows: pd.DataFrame, class_names: Sequence[str], key: str, *, size: int, columns: int = 4
) -> None:
    """Draws one page of prediction rows, and below it the means to turn the page when there are more.

    Args:
        run_id: The run whose predictions they are.
        rows: All of them, in order; see prediction_files.
        class_names: Names by class id.
        key: Unique on the page; the page that is open belongs to it.
        size: Pictures on a page.
        columns: Of the grid, on a wide page.
    """
    place = st.container()
    number = 1
    if len(rows) > size:
        number = st.pagination(-(-len(rows) // size), key=f"{key}_page")
    with place:
        shown = rows.iloc[(number - 1) * size : number * size]
        show(run_id, prediction_tiles(shown, class_names), key, columns=columns, slots=size)


def prediction_tiles(
    rows: pd.DataFrame, class_names: Sequence[str], *, has_caption: bool = True
) -> list[Tile]:
    """Tiles of prediction rows: the prediction with its confidence, and below it the label."""
    made = []
    for row in rows.itertuples():
        predicted, label = class_names[row.prediction], class_names[row.label]
        caption = f"{verdict(predicted, row.is_right)} {_share(row.confidence)}  \n{true_name(label)}"
        alt = f"predicted {predicted}, {100 * row.confidence:.0f} %, true {label}"
        made.append(Tile(row.image, caption if has_caption else "", alt))
    return made


def verdict(predicted: str, is_right: bool) -> str:
    """A prediction in small Markdown: mark and colour say whether it is right."""
    color, icon = ("blue", "check") if is_right else ("orange", "close")
    return f":small[:{color}[:material/{icon}: **{plain(shortened(predicted, _NAME_LENGTH))}**]]"


def true_name(label: str) -> str:
    """A label in small grey Markdown."""
    return f":small[:gray[true {plain(shortened(label, _NAME_LENGTH))}]]"


def _share(fraction: float) -> str:
    return f":small[{100 * fraction:.0f} %]"


def _show_picture(picture: examples.Picture | None, tile: Tile) -> None:
    if picture is None:
        with st.container(border=True, height=96, vertical_alignment="center"):
            st.markdown(":small[:gray[:material/broken_image: The image file is gone or unreadable.]]")
        return
    st.image(picture.encoded, width="stretch", alt=tile.alt)
