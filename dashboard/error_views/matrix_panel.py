"""The images behind a cell, row or column of the matrix, and the worst mistakes of all."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st

from dashboard import charts, formats, gallery
from dashboard.error_views import matrix_data
from dashboard.examples import Evaluation
from dashboard.look import card_head
from dashboard.state import Selection

PER_PAGE = 12
SHORT_NAME = 9  # a name of so many letters fits under a small picture
FEW, FEWEST = 8, 4  # so many images in a cell leave room for one, and for two rows to compare them with


@dataclass(frozen=True)
class Words:
    """What stands above the images: a title, a quiet note, and what is said where there is none."""

    title: str
    note: str
    nothing: str


def draw(evaluation: Evaluation, matrix: np.ndarray, chosen: Selection) -> None:
    """Draws the images behind what is open."""
    found = matrix_data.rows_behind(evaluation, chosen)
    words = words_of(chosen, matrix, evaluation)
    card_head(words.title, words.note)
    if len(found):
        key = f"errors_cell_{chosen.kind}_{chosen.label}_{chosen.prediction}_{chosen.is_wrong_only:d}"
        gallery.show_pages(evaluation, found, key, size=PER_PAGE)
    else:
        st.markdown(f":gray[{words.nothing}]")
    is_mistake = chosen.kind == "cell" and chosen.label != chosen.prediction
    _draw_likes(evaluation, chosen, len(found) if is_mistake else FEW + 1)


def draw_worst(evaluation: Evaluation) -> None:
    """Draws the mistakes with the highest loss."""
    rows = evaluation.rows
    wrong = np.flatnonzero(~rows["is_right"].to_numpy())
    losses = np.nan_to_num(rows["loss"].to_numpy()[wrong], nan=-1.0)
    wrong = wrong[np.argsort(-losses, kind="stable")]
    card_head("Worst mistakes", "highest loss first: surest where wrong")
    unsure = int(rows["confidence"].isna().sum())
    if unsure:
        st.markdown(
            f":orange[:material/close:] {formats.counted(unsure, 'image')} got no probabilities: what the "
            "model answered was not a number. They come last here, and their predictions mean nothing."
        )
    if not len(wrong):
        st.markdown(":gray[None: every image of this evaluation was recognised.]")
        return
    key = f"errors_worst_{evaluation.split}_{evaluation.step}"
    columns = 10 if max(len(name) for name in evaluation.class_names) <= SHORT_NAME else 7
    gallery.show_pages(evaluation, wrong, key, size=2 * columns, columns=columns)


def words_of(chosen: Selection, matrix: np.ndarray, evaluation: Evaluation) -> Words:
    """The words about what is open, in Markdown."""
    if chosen.kind == "cell":
        return _cell_words(chosen, matrix, evaluation)
    is_row = chosen.kind == "row"
    class_id = chosen.label if is_row else chosen.prediction
    name = _short(evaluation.class_names[class_id])
    total = int(matrix[class_id].sum() if is_row else matrix[:, class_id].sum())
    wrong = total - int(matrix[class_id, class_id])
    nothing = f"{evaluation.split} has no image of {name}." if is_row else f"No image was taken for {name}."
    measure = f"{'recall' if is_row else 'precision'} {formats.percent(1 - wrong / total)}" if total else ""
    if chosen.is_wrong_only:
        title = f"{name} taken for another class" if is_row else f"Another class taken for {name}"
        nothing = f"None: every image {'of' if is_row else 'taken for'} {name} was recognised."
        return Words(f"{title}: {formats.counted(wrong, 'image')}", _joined(measure, "worst first"), nothing)
    title = name if is_row else f"Predicted {name}"
    return Words(
        f"{title}: {formats.counted(total, 'image')}, {formats.count(wrong)} wrong",
        _joined(measure, "worst first"),
        nothing,
    )


def _cell_words(chosen: Selection, matrix: np.ndarray, evaluation: Evaluation) -> Words:
    label, prediction = chosen.label, chosen.prediction
    true, taken = _short(evaluation.class_names[label]), _short(evaluation.class_names[prediction])
    count, support = int(matrix[label, prediction]), int(matrix[label].sum())
    is_right = label == prediction
    title = f"{true} recognised" if is_right else f"{true} taken for {taken}"
    share = f"{formats.percent(count / support)} of {true}" if support else ""
    nothing = (
        f"{evaluation.split} has no image of {true}."
        if not support
        else f"No image of {true} was {'recognised' if is_right else f'taken for {taken}'} here."
    )
    order = "least sure first" if is_right else "worst first"
    return Words(f"{title}: {formats.counted(count, 'image')}", _joined(share, order), nothing)


def _draw_likes(evaluation: Evaluation, chosen: Selection, num_images: int) -> None:
    """Below few mistakes: what the two classes look like where they were recognised."""
    names, rows = evaluation.class_names, evaluation.rows
    shown: tuple[int, ...] = ()
    if num_images <= FEW:
        pair = (chosen.prediction, chosen.label)
        shown = pair if num_images <= FEWEST else pair[:1]
    for place in range(2):
        best = _surest(rows, shown[place]) if place < len(shown) else []
        if not len(best):
            for _ in range(2):  # takes the places of heading and pictures, see gallery.show
                st.empty()
            continue
        name = _short(names[shown[place]])
        st.markdown(f":small[:gray[For comparison, {name} recognised with most confidence]]")
        tiles = gallery.prediction_tiles(evaluation, best, has_caption=False)
        gallery.show(evaluation.run_id, tiles, f"errors_like_{'label' if place else 'prediction'}")


def _surest(rows: pd.DataFrame, class_id: int) -> list[int]:
    recognised = rows[(rows["label"] == class_id) & rows["is_right"]]
    return recognised.nlargest(FEWEST, "confidence").index.tolist()


def _joined(*parts: str) -> str:
    return " · ".join(part for part in parts if part)


def _short(name: str) -> str:
    return formats.plain(charts.shortened(name, 24))
