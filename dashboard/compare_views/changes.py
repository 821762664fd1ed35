"""Which images B fixes and which it breaks, as galleries."""

from collections.abc import Sequence

import numpy as np
import streamlit as st

from dashboard import charts, formats, gallery
from dashboard.compare_views.view import Pair, View, positions
from dashboard.look import card_head

PER_PAGE, WIDE_PAGE = 12, 20
ALL = -1


@st.fragment
def draw(view: View) -> None:
    """Draws fixed and broken side by side, then what both miss and where B has become less sure."""
    pair = view.pair
    if pair is None:
        return
    indices = _of_class(pair)
    right_a, right_b = pair.joined.right_a[indices], pair.joined.right_b[indices]
    fixed, broken = indices[right_b & ~right_a], indices[right_a & ~right_b]
    missed, known = indices[~right_a & ~right_b], indices[right_a & right_b]
    left, right = st.columns(2, gap="small")
    with left, st.container(border=True, height="stretch"):
        card_head(f"Fixed by B: {formats.count(len(fixed))}", "A wrong, B right · A's worst first")
        draw_tiles(pair, _sorted(pair, fixed, by_a=True), "fixed", "None: B fixes no mistake of A.")
    with right, st.container(border=True, height="stretch"):
        card_head(f"Broken by B: {formats.count(len(broken))}", "A right, B wrong · B's worst first")
        draw_tiles(
            pair, _sorted(pair, broken), "broken", "None: every image that A has right, B has right too."
        )
    with st.container(border=True):
        card_head(f"Both wrong: {formats.count(len(missed))}", "hard for both, or labelled wrongly")
        draw_tiles(
            pair, _sorted(pair, missed), "both", "None: each image is right in one of the two.",
            columns=10, size=WIDE_PAGE,
        )  # fmt: skip
    with st.container(border=True):
        falling, falls = _less_sure(pair, known)
        card_head(
            f"Both right, B less sure: {formats.count(len(falling))}",
            f"of {formats.count(len(known))} that both have right · largest fall of confidence first",
        )
        draw_tiles(
            pair, falling, "unsure", "None: where both are right, B is at least as sure as A.",
            columns=10, size=WIDE_PAGE, notes=falls,
        )  # fmt: skip


def draw_tiles(
    pair: Pair,
    indices: np.ndarray,
    key: str,
    otherwise: str,
    *,
    columns: int = 5,
    size: int = PER_PAGE,
    notes: Sequence[str] = (),
) -> None:
    """Draws one page of common images with what A and B say of each, and the means to turn the page.

    Args:
        pair: A and B.
        indices: Images, as indices into `pair.joined`, in the order in which they are shown.
        key: Unique on the page.
        otherwise: What is said when there are none.
        columns: Of the grid, on a wide page.
        size: Pictures on a page.
        notes: Quiet words for each image, in Markdown; none by default.
    """
    if not len(indices):
        st.markdown(f":gray[{otherwise}]")
        return
    place, number = st.container(), 1
    if len(indices) > size:
        pages = -(-len(indices) // size)
        number = min(st.pagination(pages, key=f"compare_{key}_page"), pages)
    shown = slice((number - 1) * size, number * size)
    with place:
        tiles = _tiles(pair, indices[shown], notes[shown])
        gallery.show(
            pair.second.run_id, tiles, f"compare_{key}", columns=columns, slots=min(size, len(indices))
        )


def _tiles(pair: Pair, indices: np.ndarray, notes: Sequence[str]) -> list[gallery.Tile]:
    joined, names = pair.joined, pair.joined.class_names
    _, rows_b = positions(pair, indices)
    images = pair.second.texts(rows_b.tolist())["image"]
    right_a, right_b = joined.right_a, joined.right_b
    made = []
    for order, (index, row, image) in enumerate(zip(indices, rows_b, images, strict=True)):
        first, second = names[joined.predictions_a[index]], names[joined.predictions_b[index]]
        label = names[joined.labels[index]]
        verdicts = (
            f":small[A] {gallery.verdict(first, right_a[index])}  \n"
            f":small[B] {gallery.verdict(second, right_b[index])}"
        )
        below = notes[order] if len(notes) else gallery.true_name(label)
        alt = f"A {first}, B {second}, true {label}"
        made.append(gallery.Tile(image, f"{verdicts}  \n{below}", alt, pair.second.place(row)))
    return made


def _of_class(pair: Pair) -> np.ndarray:
    """Indices of the common images of the class that is chosen; all by default."""
    labels, names = pair.joined.labels, pair.joined.class_names
    counts = np.bincount(labels, minlength=len(names))
    is_changed = pair.joined.right_a != pair.joined.right_b
    changes = np.bincount(labels[is_changed], minlength=len(names))
    options = [ALL, *sorted(np.flatnonzero(counts).tolist(), key=lambda one: (-changes[one], one))]
    chosen = st.selectbox(
        "Class", options, key="compare_class", width=320,
        format_func=lambda one: "All classes" if one == ALL else (
            f"{charts.shortened(names[one], 28)}: {formats.counted(int(changes[one]), 'change')}"
        ),
        help="Of the images whose label it is. Classes with the most changes come first.",
    )  # fmt: skip
    return np.arange(len(labels)) if chosen in (ALL, None) else np.flatnonzero(labels == chosen)


def _sorted(pair: Pair, indices: np.ndarray, *, by_a: bool = False) -> np.ndarray:
    """The highest loss first, of A's or of B's; a loss that is not a number comes last."""
    rows_a, rows_b = positions(pair, indices)
    rows, found = (pair.first.rows, rows_a) if by_a else (pair.second.rows, rows_b)
    losses = rows["loss"].to_numpy()[found]
    return indices[np.argsort(-np.nan_to_num(losses, nan=-1.0), kind="stable")]


def _less_sure(pair: Pair, indices: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Where the confidence falls from A to B, the largest fall first, and both confidences in words."""
    rows_a, rows_b = positions(pair, indices)
    before = pair.first.rows["confidence"].to_numpy()[rows_a]
    after = pair.second.rows["confidence"].to_numpy()[rows_b]
    order = np.argsort(after - before, kind="stable")
    order = order[(after - before)[order] < 0]
    notes = [f":small[:gray[{100 * before[one]:.0f} → {100 * after[one]:.0f} %]]" for one in order]
    return indices[order], notes
