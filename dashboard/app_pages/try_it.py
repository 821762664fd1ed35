"""Try it: what a finished model says about images that it has never seen."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import streamlit as st

from dashboard import charts, choice, computing, examples, formats, messages, readers, state
from dashboard.child import PREDICT
from superft_hf.errors import ConfigError, DecisionError, SuperFTError
from superft_hf.evaluation import decision as decisions
from superft_hf.evaluation.decision import Answer, Decision
from superft_hf.records import RunRecord, RunState
from superft_hf.words import VIEWS

TOP_K = 5
MAX_IMAGES = 24
MAX_MEGABYTES = 100
TYPES = ["png", "jpg", "jpeg", "bmp", "gif", "tif", "tiff", "webp"]
KEPT, PLAIN = "Operating point", "Plain model"


@dataclass(frozen=True)
class _Upload:
    name: str
    encoded: bytes
    picture: examples.Picture | None
    problem: str


def draw_page() -> None:
    """Draws the page from top to bottom."""
    record = choice.chosen_run()
    model = readers.run_paths(record.run_id).model
    if not model.is_dir():
        _draw_no_model(record)
        return
    head = st.container()
    files = st.file_uploader(
        "Images", type=TYPES, accept_multiple_files=True, max_upload_size=MAX_MEGABYTES, key="try_files",
        help=f"Up to {MAX_IMAGES} at once. They stay on this machine and are not kept.",
    )  # fmt: skip
    decision = _choose_decision(record)
    uploads = [_read(file.name, file.getvalue()) for file in files[:MAX_IMAGES]]
    good = [one for one in uploads if one.picture is not None]
    test_time = _test_time(record)
    answers = _predict(model, good, decision, test_time)
    with head:
        choice.show_head(record, _sentence(record, good, answers, decision), _context(record, test_time))
    if len(files) > MAX_IMAGES:
        messages.note(
            f"Only the first {MAX_IMAGES} of {len(files)} images are shown.", "Take the others next."
        )
    for one in uploads:
        if one.picture is None:
            st.markdown(f":red[:material/error: **{formats.plain(one.name)} is not a readable image: "
                        f"{formats.plain(one.problem)}.**] :gray[Choose another file.]")  # fmt: skip
    if answers:
        _draw_answers(record, good, answers, decision)
    elif not files:
        messages.empty(
            "No image yet.",
            "Drop some above: their five likeliest classes appear here.",
            ":material/image_search:",
        )


def _draw_no_model(record: RunRecord) -> None:
    name = formats.plain(record.name)
    if record.is_unfinished:
        choice.show_head(record, f"{name} cannot be tried yet: it is not finished.", "")
        messages.empty(
            "The model is saved at the end of the run.", "Choose a finished run on the left, or wait."
        )
    else:
        choice.show_head(record, f"{name} has no model to try.", "")
        why = (
            "Its model was removed."
            if record.state is RunState.COMPLETED
            else "Only completed runs have a model."
        )
        messages.empty(why, "Choose another run on the left, or repeat this one.")
    if st.button("Open the run", type="primary", icon=":material/show_chart:", key="try_open_run"):
        state.open_page(state.RUN_PAGE, record.run_id)


def _read(name: str, encoded: bytes) -> _Upload:
    try:
        return _Upload(name, encoded, examples.make_picture(encoded), "")
    except ValueError as error:
        return _Upload(name, encoded, None, str(error))


def _choose_decision(record: RunRecord) -> Decision | None:
    """The operating point that answers; None for the plain model. Draws the switch where there is one."""
    try:
        kept = decisions.read(readers.run_paths(record.run_id).decision, record.facts.get("class_names"))
    except DecisionError as error:
        messages.show(error)
        return None
    if kept is None or kept.is_plain:
        return None
    asked = st.segmented_control(
        "Answers by", [KEPT, PLAIN], default=KEPT, required=True, key="try_answers_by",
        help="The plain model answers with the likeliest class, and its probabilities are not calibrated.",
    )  # fmt: skip
    if asked == PLAIN:
        return None
    words = " ".join(formats.plain(line) for line in decisions.in_words(kept))
    st.markdown(f":small[:gray[{words}]]")
    return kept


def _test_time(record: RunRecord) -> str:
    """The views of an image that the run averages over; `none`, and why, where its settings are gone."""
    try:
        return readers.decided(record.run_id).augmentation.test_time
    except ConfigError as error:
        messages.show(error)
        return "none"


def _predict(model: Path, uploads: list[_Upload], decision: Decision | None, test_time: str) -> list[Answer]:
    """What is said about each image; empty when there is nothing to show."""
    if not uploads:
        return []
    try:
        with st.spinner("Reading the images with this model. The first time takes some seconds."):
            names, logits = _cached_logits(
                str(model), model.stat().st_mtime_ns, tuple(one.encoded for one in uploads), test_time
            )
        if decision is not None and list(decision.class_names) != names:
            raise DecisionError(
                "The operating point was chosen for other classes than the model's.",
                hint="Choose it again on the Errors page, under Thresholds.",
            )
        return decisions.answer(logits, names, decision, TOP_K)
    except SuperFTError as error:
        messages.show(error)
        return []


@st.cache_data(max_entries=16, show_spinner=False)
def _cached_logits(
    model: str, stamp: int, encoded: tuple[bytes, ...], test_time: str
) -> tuple[list[str], np.ndarray]:
    return computing.child().call(PREDICT, model, list(encoded), test_time)


def _sentence(
    record: RunRecord, uploads: list[_Upload], answers: list[Answer], decision: Decision | None
) -> str:
    name = formats.plain(record.name)
    if not answers:
        return f"{name}: give it an image, and see what it takes it for."
    if len(answers) == 1:
        one, image = answers[0], formats.plain(charts.shortened(uploads[0].name, 40))
        if one.label is None:
            return f"{name} is not sure about {image}."
        probability = dict(one.predictions).get(one.label)
        share = f": {formats.percent(probability)}" if probability is not None else ""
        return f"{name} takes {image} for {formats.plain(one.label)}{share}."
    if decision is not None:
        unsure = sum(not one.is_sure for one in answers)
        rest = f"is not sure of {unsure}" if unsure else "is sure of all"
        return f"{name} answers {len(answers) - unsure} of {len(answers)} images, and {rest}."
    sure = sum(one.predictions[0][1] >= 0.9 for one in answers)
    return f"{name} is at least 90 % sure of {sure} of {formats.counted(len(answers), 'image')}."


def _context(record: RunRecord, test_time: str) -> str:
    size = formats.eval_size(record)
    right = f"right on {formats.percent(record.accuracy)} of {formats.counted(size, 'eval image')}"
    classes = formats.counted(len(record.facts.get("class_names", [])), "class", "classes")
    about = [right, classes, formats.plain(record.model)] if size else [formats.plain(record.model)]
    return " · ".join([*about, *([f"averaged over {VIEWS[test_time]}"] if test_time in VIEWS else [])])


def _draw_answers(
    record: RunRecord, uploads: list[_Upload], answers: list[Answer], decision: Decision | None
) -> None:
    is_dark = st.context.theme.type == "dark"
    color = charts.run_colors([record.run_id], is_dark)[record.run_id]
    grid = st.grid(2, min_column_width=300, gap="small", key="try_answers")
    for index, (one, answer) in enumerate(zip(uploads, answers, strict=True)):
        with (
            grid.cell(),
            st.container(border=True, horizontal=True, vertical_alignment="center", gap="medium"),
        ):
            with st.container(width=150, gap="xxsmall"):
                st.image(one.picture.encoded, width="stretch", alt=one.name)
                width, height = one.picture.size
                name = formats.plain(charts.shortened(one.name, 20))
                st.markdown(f":small[{name}]  \n:small[:gray[{width} × {height} px]]")
                if decision is not None:
                    st.markdown(_answer_words(answer))
            found = answer.predictions
            figure = charts.bar_figure([label for label, _ in found], [p for _, p in found], color, is_dark)
            words = ", ".join(f"{label} {formats.percent(p)}" for label, p in found)
            st.plotly_chart(
                figure, theme="streamlit", config=charts.CONFIG, key=f"try_bars_{index}", alt=words
            )


def _answer_words(answer: Answer) -> str:
    if answer.label is None:
        return ":gray[:material/help: **not sure**]"
    return f":material/arrow_forward: **{formats.plain(charts.shortened(answer.label, 18))}**"


draw_page()
