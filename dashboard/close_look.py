"""One image seen closely, in a dialog: large, with everything that is known of its prediction."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from dashboard import (
    charts,
    close_look_charts,
    close_look_heat,
    close_look_likes,
    examples,
    formats,
    headlines,
    marking,
    messages,
    readers,
    state,
)
from dashboard.close_look_picture import LargePicture, large_picture
from dashboard.examples import Evaluation, Place
from dashboard.look import facts
from superft_hf.errors import SuperFTError
from superft_hf.evaluation import history
from superft_hf.evaluation.prediction_files import Logits, read_row
from superft_hf.records import RunRecord
from superft_hf.sources.load import shown_reference

LIKELIEST = 5
NAME_LENGTH = 40


@dataclass(frozen=True)
class _Look:
    """What is known of the image that is looked at.

    Attributes:
        record: The run.
        evaluation: The evaluation that the prediction is of.
        place: Where the prediction lies.
        row: Its columns, see `superft_hf.evaluation.prediction_files`.
    """

    record: RunRecord
    evaluation: Evaluation
    place: Place
    row: dict[str, Any]

    @property
    def label(self) -> int:
        return int(self.row["label"])

    @property
    def prediction(self) -> int:
        return int(self.row["prediction"])

    def name(self, class_id: int) -> str:
        return formats.plain(charts.shortened(self.evaluation.class_names[class_id], NAME_LENGTH))


def ask(place: Place) -> None:
    """Callback of a button: asks for a closer look at an image."""
    state.put_value(state.CLOSE_LOOK, (place,))
    st.rerun()  # a button within a fragment would draw that alone, without the dialog


def draw() -> None:
    """Opens the dialog if it was asked for; pages with galleries call it once, at their end."""
    if state.get_value(state.CLOSE_LOOK):
        _show()


def _close() -> None:
    state.drop_value(state.CLOSE_LOOK)


@st.dialog("A closer look", width="large", icon=":material/zoom_in:", on_dismiss=_close)
def _show() -> None:
    trail: tuple[Place, ...] = state.get_value(state.CLOSE_LOOK, ())
    if not trail:
        return
    try:
        look = _read(trail[-1])
    except SuperFTError as error:
        messages.show(error)
        _draw_back(trail)
        return
    if look is None:
        messages.empty(
            "Test is sealed.", "Its images are shown once its results are opened.", ":material/lock:"
        )
        return
    left, right = st.columns([1, 1], gap="medium")
    with left:
        picture = _draw_picture(look)
    with right:
        _draw_back(trail)
        _draw_answer(look, picture)
        _draw_likeliest(look)
        _draw_history(look)
        marking.draw_controls(
            look.record, look.place, look.row["example_id"], look.row["image"],
            look.evaluation.class_names[look.label], look.evaluation.class_names, "close_look",
        )  # fmt: skip
        _draw_source(look)
    close_look_likes.draw(look.record, look.evaluation, look.place, look.label)


def _read(place: Place) -> _Look | None:
    """What is known; None of test images that nobody may see yet. Raises SuperFTError."""
    record = readers.run(place.run_id)
    if place.split == "test" and not headlines.has_looked_at_test(readers.events(place.run_id)):
        return None
    evaluation = examples.evaluation(place.run_id, place.split, place.step)
    return _Look(record, evaluation, place, _row(evaluation.path, evaluation.stamp, place.row))


def _draw_back(trail: tuple[Place, ...]) -> None:
    if len(trail) > 1:
        st.button(
            "Back to the image before", icon=":material/arrow_back:", type="tertiary", key="close_look_back",
            on_click=lambda: state.put_value(state.CLOSE_LOOK, trail[:-1]),
        )  # fmt: skip


def _draw_picture(look: _Look) -> LargePicture | None:
    picture = large_picture(look.place.run_id, look.row["image"])
    if picture is None:
        messages.empty(
            "The image file is gone or unreadable.",
            "What was predicted of it stays.",
            ":material/broken_image:",
        )
    else:
        names = look.evaluation.class_names
        close_look_heat.draw(
            close_look_heat.Subject(
                look.place, look.row["image"], picture, names, look.label, look.prediction
            )
        )
    return picture


def _draw_answer(look: _Look, picture: LargePicture | None) -> None:
    is_right = look.label == look.prediction
    true, taken = look.name(look.label), look.name(look.prediction)
    if is_right:
        st.markdown(f":blue[:material/check: **{true}, recognised**]")
    else:
        st.markdown(f":orange[:material/close: **{true}, taken for {taken}**]")
    facts(
        {
            "Confidence": formats.percent(look.row["confidence"]),
            "Loss": _loss(look.row["loss"]),
            "Image": f"{picture.size[0]:,} × {picture.size[1]:,} px" if picture else formats.NOTHING,
            "Evaluation": _when(look),
        }
    )


def _draw_source(look: _Look) -> None:
    """Where the image lies and what it is called, each to be copied."""
    data = readers.config(look.place.run_id).data
    with st.container(gap="xxsmall"):
        st.markdown(":small[:gray[Source and example id]]")
        with st.container(horizontal=True):
            st.code(shown_reference(data, look.row["image"]), language=None, wrap_lines=True)
            st.code(look.row["example_id"], language=None, width=200)


def _draw_likeliest(look: _Look) -> None:
    found = likeliest(look.row, len(look.evaluation.class_names), LIKELIEST)
    if not found:
        st.markdown(":gray[The logits of this prediction are no numbers, so there are no probabilities.]")
        return
    names = look.evaluation.class_names
    if look.label not in [one for one, _ in found]:
        found.append((look.label, float(np.exp(-look.row["loss"]))))
    figure = close_look_charts.class_figure(
        [(names[one], share, _meaning(look, one)) for one, share in found],
        is_dark=st.context.theme.type == "dark",
    )
    words = ", ".join(f"{names[one]} {formats.percent(share)}" for one, share in found)
    st.plotly_chart(
        figure, theme="streamlit", config=charts.CONFIG, key="close_look_classes",
        alt=f"The likeliest classes: {words}.",
    )  # fmt: skip


def _draw_history(look: _Look) -> None:
    if look.place.split != "eval":
        return
    steps = examples.steps(look.place.run_id, "eval")
    if len(steps) < 2:
        st.markdown(":small[:gray[Its history begins with the second evaluation.]]")
        return
    paths = readers.run_paths(look.place.run_id)
    files = tuple(paths.prediction_file("eval", step) for step in steps)
    try:
        found = _history(files, look.evaluation.stamp, look.place.row)
    except SuperFTError as error:
        messages.show(error)
        return
    numbers = {step: number for number, step in enumerate(steps, start=1)}
    answers = found.assign(
        number=found["step"].map(numbers),
        is_right=found["prediction"] == look.label,
        name=[look.evaluation.class_names[int(one)] for one in found["prediction"]],
    )
    right = int(answers["is_right"].sum())
    st.markdown(
        f":small[**Over the epochs** :gray[probability of {look.name(look.label)} · "
        f"right in {right} of {len(answers)}]]"
    )
    figure = close_look_charts.history_figure(
        answers, numbers.get(look.place.step), len(steps), is_dark=st.context.theme.type == "dark"
    )
    st.plotly_chart(
        figure, theme="streamlit", config=charts.CONFIG, key="close_look_history",
        alt=f"Right in {right} of {len(answers)} evaluations.",
    )  # fmt: skip


def likeliest(row: dict[str, Any], num_classes: int, count: int) -> list[tuple[int, float]]:
    """The likeliest classes of one prediction with their probabilities, likeliest first.

    Args:
        row: As `read_row` gives it, with all logits or with the highest.
        num_classes: C.
        count: How many; fewer where there are no more classes.

    Returns:
        Class ids and fractions; empty when the logits are no numbers.
    """
    values = np.asarray(row["logits"], dtype=np.float32)[None]
    ids = np.asarray(row["logit_ids"])[None] if "logit_ids" in row else None
    logits = Logits(values, ids, num_classes, np.array([row["confidence"]]))
    shares = np.exp(logits.log_probabilities[0].astype(np.float64))
    if not np.isfinite(shares).all():
        return []
    best = np.argsort(-shares, kind="stable")[:count]
    return [(int(ids[0, one]) if ids is not None else int(one), float(shares[one])) for one in best]


def _meaning(look: _Look, class_id: int) -> str:
    if class_id == look.label:
        return "true"
    return "wrong" if class_id == look.prediction else ""


def _when(look: _Look) -> str:
    if look.place.split == "test":
        return ":green[test]"
    steps = examples.steps(look.place.run_id, "eval")
    return f":violet[eval] {steps.index(look.place.step) + 1} of {len(steps)}"


def _loss(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else formats.NOTHING


@st.cache_data(max_entries=64, show_spinner=False)
def _row(path: Path, stamp: int, row: int) -> dict[str, Any]:
    return read_row(path, row)


@st.cache_data(max_entries=64, show_spinner=False)
def _history(files: tuple[Path, ...], stamp: int, row: int) -> pd.DataFrame:
    return history.of_row(files, row)
