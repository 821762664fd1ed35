"""The picture of the closer look, with a heat map over it when that is asked for.

The heat map is that of the saved model: the one of the best checkpoint, whatever epoch is looked at.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st

from dashboard import charts, computing, formats, messages, readers
from dashboard.close_look_picture import LargePicture, encoded, with_heat
from dashboard.examples import Place
from superft_hf.errors import SuperFTError
from superft_hf.sources.load import open_reference

HEAT_MAP = "superft_hf.training.explain:heat_map"
GRAD_CAM = "Grad-CAM"
ATTENTION = "attention"
METHODS = {ATTENTION: "Attention", GRAD_CAM: "One class"}
PREDICTED, TRUE = "predicted", "true"
MAX_SIDE = 620
NAME_LENGTH = 30


@dataclass(frozen=True)
class Subject:
    """What is looked at.

    Attributes:
        place: The prediction.
        reference: The image, as a prediction file names it.
        picture: Its pixels.
        class_names: Of the run.
        label: The true class.
        prediction: The predicted class.
    """

    place: Place
    reference: str
    picture: LargePicture
    class_names: tuple[str, ...]
    label: int
    prediction: int

    @property
    def model(self) -> Path:
        """The folder of the saved model, which may not be there."""
        return readers.run_paths(self.place.run_id).model

    def choices(self) -> list[str | int]:
        """The classes that can be explained, the predicted one first."""
        known: list[str | int] = [PREDICTED] if self.label == self.prediction else [PREDICTED, TRUE]
        others = range(len(self.class_names))
        return [*known, *(one for one in others if one not in (self.label, self.prediction))]

    def class_of(self, choice: str | int) -> int:
        """The class that a choice stands for."""
        return int({PREDICTED: self.prediction, TRUE: self.label}.get(str(choice), choice))

    def words(self, choice: str | int) -> str:
        """A choice as it is shown."""
        name = charts.shortened(self.class_names[self.class_of(choice)], NAME_LENGTH)
        if choice == PREDICTED:
            return f"predicted and true: {name}" if self.label == self.prediction else f"predicted: {name}"
        return f"true: {name}" if choice == TRUE else name


def draw(subject: Subject) -> None:
    """Draws the picture, and below it the switch for the heat map with its choices."""
    picture = subject.picture
    with st.container(key="pixels_close_look" if picture.is_small else None):
        frame = st.empty()
    _show(frame, picture, encoded(picture.image, is_small=picture.is_small))
    if not _draw_switch(subject.model):
        return
    choices = st.container(horizontal=True, vertical_alignment="bottom")
    try:
        found = _choose(subject, choices)
    except SuperFTError as error:
        messages.show(error)
        return
    with choices:
        strength = st.slider("Strength", 0, 100, 70, 5, format="%d %%", key="close_look_strength", width=140)
    image = with_heat(picture.image, found["values"], found["box"], strength / 100)
    _show(frame, picture, encoded(image, is_small=picture.is_small))
    st.markdown(f":small[:gray[{words(found, subject.class_names)}]]")


def words(found: dict[str, Any], class_names: tuple[str, ...]) -> str:
    """What a heat map shows, and what has to be known of it, in Markdown.

    Args:
        found: The answer of `superft_hf.training.explain.heat_map`.
        class_names: Of the run.
    """

    def name(class_id: int) -> str:
        return formats.plain(charts.shortened(class_names[class_id], NAME_LENGTH))

    method = found["method"][0].upper() + found["method"][1:]
    if found["class_id"] is None:
        parts = [f"{method}: the brighter, the more the model looks there, for whatever class."]
    else:
        parts = [f"{method}: the brighter, the more speaks for {name(found['class_id'])}."]
    says = f"{name(found['prediction'])}, {formats.percent(found['confidence'])}"
    parts.append(f"By the saved model, which says {says}.")
    left, top, right, bottom = found["box"]
    if left > 0.01 or top > 0.01 or right < 0.99 or bottom < 0.99:
        parts.append("What is grey is cut off before the model sees the image.")
    if found["note"]:
        parts.append(formats.worded(found["note"]))
    return " ".join(parts)


def _draw_switch(model: Path) -> bool:
    is_there = model.is_dir()
    is_on = st.toggle(
        "Heat map", key="close_look_heat", disabled=not is_there,
        help="Where in the image the saved model looks." if is_there
        else "The model is saved when a run is completed; this run has none.",
    )  # fmt: skip
    return is_on and is_there


def _choose(subject: Subject, place: st.delta_generator.DeltaGenerator) -> dict[str, Any]:
    """Draws the choices that this model has, and returns the heat map of what is chosen."""
    with st.spinner("Asking the model. The first time takes some seconds."):
        first = _heat(subject, subject.prediction, None)
    method = None
    if first["has_rollout"]:
        asked = place.segmented_control(
            "Shown", list(METHODS), format_func=METHODS.__getitem__, default=ATTENTION, required=True,
            key="close_look_method",
            help="Attention: what the model looks at, for whatever class. One class: what speaks for it.",
        )  # fmt: skip
        if asked != GRAD_CAM:
            return first
        method = GRAD_CAM
    choice = place.selectbox(
        "Explained class", subject.choices(), format_func=subject.words, width=210,
        key=f"close_look_class_{subject.place.split}_{subject.place.step}_{subject.place.row}",
    )  # fmt: skip
    class_id = subject.class_of(choice)
    if class_id == subject.prediction and method is None:
        return first
    with st.spinner("Asking the model."):
        return _heat(subject, class_id, method)


def _show(frame: st.delta_generator.DeltaGenerator, picture: LargePicture, shown: bytes) -> None:
    width, height = picture.image.size
    wide = min(MAX_SIDE, round(MAX_SIDE * width / height))
    frame.image(shown, width=max(wide, 1), alt="the image that is looked at")


def _heat(subject: Subject, class_id: int, method: str | None) -> dict[str, Any]:
    """The heat map of an image. Raises SuperFTError."""
    model = subject.model
    try:
        stamp = (model / "config.json").stat().st_mtime_ns
    except OSError:
        stamp = 0
    return _asked(str(model), stamp, subject.place.run_id, subject.reference, class_id, method)


@st.cache_data(max_entries=48, show_spinner=False)
def _asked(
    model: str, stamp: int, run_id: str, reference: str, class_id: int, method: str | None
) -> dict[str, Any]:
    encoded_image = open_reference(readers.config(run_id).data, reference)
    return computing.child().call(HEAT_MAP, model, encoded_image, class_id, method)
