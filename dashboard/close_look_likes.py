"""The images that are most like the one that is looked at, by the features that the model reads."""

from pathlib import Path

import numpy as np
import streamlit as st

from dashboard import charts, examples, formats, headlines, readers, state
from dashboard.examples import Evaluation, Place
from superft_hf.errors import DataNotFoundError, SuperFTError
from superft_hf.evaluation import neighbours
from superft_hf.evaluation.prediction_files import read_texts
from superft_hf.records import RunRecord

COUNT = 8
NAME_LENGTH = 14


def draw(record: RunRecord, evaluation: Evaluation, place: Place, label: int) -> None:
    """Draws the nearest images; a click goes to one.

    Args:
        record: The run.
        evaluation: The evaluation that is looked at.
        place: The image.
        label: Its true class.
    """
    paths = readers.run_paths(record.run_id)
    own = neighbours.find(paths, place.split, place.step)
    if own is None:
        _draw_none(record)
        return
    head = st.container(
        horizontal=True, horizontal_alignment="distribute", vertical_alignment="center", gap="small"
    )
    title = head.empty()
    split = _choose_split(record, head)
    try:
        pool = evaluation if split == place.split else _pool(record, split)
        file = neighbours.find(paths, split, pool.step) if pool is not None else None
        if file is None:
            _draw_none(record)
            return
        but = place.row if split == place.split else None
        found, similarities = _nearest(own, place.row, file, but, _stamp(own) + _stamp(file))
        images = read_texts(pool.path, found)["image"].tolist()
    except (DataNotFoundError, SuperFTError) as error:
        st.markdown(f":small[:gray[The nearest images cannot be shown: {formats.worded(error.message)}]]")
        return
    labels = pool.rows["label"].to_numpy()[found]
    name = formats.plain(charts.shortened(evaluation.class_names[label], NAME_LENGTH))
    same = int((labels == label).sum())
    title.markdown(
        f"**Nearest images in {split}** :small[:gray[{same} of {len(found)} are labelled {name} · "
        "by the features that the best checkpoint reads]]",
        width="content",
    )
    if not len(found):
        st.markdown(":gray[There is no other image to compare it with.]")
        return
    grid = st.grid(COUNT, min_column_width=100, gap=(14, 12), key="close_look_likes")
    for position, image, similarity in zip(found.tolist(), images, similarities.tolist(), strict=True):
        with grid.cell(), st.container(gap="xxsmall"):
            _draw_one(pool, position, image, similarity, label)


def _choose_split(record: RunRecord, place: st.delta_generator.DeltaGenerator) -> str:
    """Eval, unless test is open and was asked for."""
    is_open = headlines.has_looked_at_test(readers.events(record.run_id))
    if not is_open or not readers.run_paths(record.run_id).embeddings_steps("test"):
        return "eval"
    with place:
        return st.segmented_control(
            "Look for images like it in", ["eval", "test"], default="eval", required=True,
            key="close_look_likes_split", label_visibility="collapsed",
            format_func=lambda one: f":{formats.SPLIT_COLORS[one]}[{one}]",
        ) or "eval"  # fmt: skip


def _pool(record: RunRecord, split: str) -> Evaluation | None:
    if split == "eval":
        return examples.best_evaluation(record)
    steps = examples.steps(record.run_id, split)
    return examples.evaluation(record.run_id, split, steps[-1]) if steps else None


def _draw_one(pool: Evaluation, position: int, image: str, similarity: float, label: int) -> None:
    row, names = pool.rows.iloc[position], pool.class_names
    its, predicted = int(row["label"]), int(row["prediction"])
    picture = examples.picture(pool.run_id, image)
    words = f"labelled {names[its]}, predicted {names[predicted]}"
    if picture is None:
        with st.container(border=True, height=96, vertical_alignment="center"):
            st.markdown(":small[:gray[:material/broken_image: gone]]")
    else:
        with st.container(key=f"pixels_like_{position}" if picture.is_small else None):
            st.image(picture.encoded, width="stretch", alt=words)
    name = formats.plain(charts.shortened(names[its], NAME_LENGTH))
    st.button(
        name if its == label else f"≠ **{name}**", type="tertiary", width="stretch",
        icon=":material/arrow_forward:", key=f"close_look_like_{pool.split}_{position}",
        on_click=_go, args=(pool.place(position),), help=f"Look at this image: {formats.plain(words)}",
    )  # fmt: skip
    color, icon = ("blue", "check") if its == predicted else ("orange", "close")
    taken = formats.plain(charts.shortened(names[predicted], NAME_LENGTH))
    st.markdown(f":small[:{color}[:material/{icon}: {taken}] :gray[· {similarity:.2f}]]")


def _go(place: Place) -> None:
    trail: tuple[Place, ...] = state.get_value(state.CLOSE_LOOK, ())
    state.put_value(state.CLOSE_LOOK, (*trail, place))


def _draw_none(record: RunRecord) -> None:
    why = (
        "They come with the next best evaluation."
        if record.is_unfinished
        else "This run kept no features of its images: it is of an earlier version, or has too many images. "
        "A new run with these settings keeps them."
    )
    st.markdown(f":small[**Nearest images** :gray[cannot be shown. {why}]]")


def _stamp(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


@st.cache_data(max_entries=128, show_spinner=False)
def _nearest(own: Path, row: int, file: Path, but: int | None, stamp: int) -> tuple[np.ndarray, np.ndarray]:
    return neighbours.nearest_to(file, neighbours.feature(own, row), COUNT, but)
