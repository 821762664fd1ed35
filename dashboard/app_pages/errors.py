"""Errors: where a run is wrong, from the matrix down to the pictures, for any epoch and while it trains."""

import streamlit as st

from dashboard import (
    choice,
    close_look,
    dialogs,
    epoch_scrubber,
    examples,
    formats,
    headlines,
    messages,
    readers,
    state,
)
from dashboard.error_views import (
    calibration,
    epochs,
    figures,
    images,
    images_choice,
    marks,
    matrix,
    slices,
    suspects,
    thresholds,
)
from dashboard.error_views.view import View
from superft_hf import vault
from superft_hf.errors import DataNotFoundError
from superft_hf.records import RunRecord

# By title: icon, and what draws it. No docstring: Streamlit shows the loose texts of a page.
VIEWS = {
    "Matrix": (":material/grid_on:", matrix.draw),
    "Images": (":material/photo_library:", images.draw),
    "Epochs": (":material/history:", epochs.draw),
    "Thresholds": (":material/tune:", thresholds.draw),
    "Calibration": (":material/balance:", calibration.draw),
    "Label errors": (":material/rule:", suspects.draw),
    "Slices": (":material/donut_small:", slices.draw),
    "Marks": (":material/flag:", marks.draw),
}

TABS = "errors_view"


def draw_page() -> None:
    """Draws the page from top to bottom."""
    record = choice.chosen_run()
    steps = examples.steps(record.run_id, "eval")
    if not steps:
        _draw_nothing_yet(record)
        return
    standing = vault.standing(readers.store(), record)
    head = st.container()
    split, step = _draw_controls(record, steps, standing.is_open)
    if record.is_unfinished:
        dialogs.poll(_follow, "2s", record.run_id, len(steps))
    if split == "test" and not _may_show_test(record, head, standing):
        return
    try:
        evaluation = examples.evaluation(record.run_id, split, step)
    except DataNotFoundError as error:
        with head:
            choice.show_head(record, f"{formats.plain(record.name)}: this evaluation cannot be shown.", "")
        messages.show(error)
        return
    with head:
        sentence = headlines.of_errors(record, split, evaluation.rows, evaluation.class_names)
        choice.show_head(record, sentence, _context(record, split, step, standing))
    view = View(record, evaluation, standing.is_open)
    figures.draw(view)
    _draw_views(view)
    close_look.draw()


def _draw_nothing_yet(record: RunRecord) -> None:
    if record.is_unfinished:
        choice.show_head(record, f"{formats.plain(record.name)} has not been evaluated yet.", "")
        messages.empty(
            "The first errors appear here at the end of the first epoch.",
            "This page shows them by itself; nothing has to be pressed.",
            ":material/hourglass_top:",
        )
        dialogs.poll(_follow, "2s", record.run_id, 0)
    else:
        choice.show_head(record, f"{formats.plain(record.name)} ended before its first evaluation.", "")
        messages.empty("There are no predictions to look at.", "The Run page says why, and repeats the run.")
    if st.button("Open the run", type="primary", icon=":material/show_chart:", key="errors_open_run"):
        state.open_page(state.RUN_PAGE, record.run_id)


def _draw_views(view: View) -> None:
    """Only the open view is drawn."""
    titles = [f"{icon} {title}" for title, (icon, _) in VIEWS.items()]
    images_choice.follow_link(TABS, titles[list(VIEWS).index("Images")])
    for tab, (_, draw) in zip(st.tabs(titles, on_change="rerun", key=TABS), VIEWS.values(), strict=True):
        if tab.open:
            with tab:
                draw(view)


def _follow(run_id: str, num_drawn: int) -> None:
    """Draws the page anew when an evaluation was added or the run ended, and only then."""
    if len(examples.steps(run_id, "eval")) != num_drawn or not readers.run(run_id).is_unfinished:
        st.rerun()


def _draw_controls(record: RunRecord, steps: list[int], is_test_open: bool) -> tuple[str, int]:
    lock = "" if is_test_open else ":material/lock: "
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium", key="errors_controls"):
        split = st.segmented_control(
            "Split", ["eval", "test"], default="eval", required=True, key="errors_split",
            format_func=lambda one: f":violet[{one}]" if one == "eval" else f"{lock}{one}",
            persist_state="session",
        )  # fmt: skip
        step = epoch_scrubber.draw(record, steps) if split != "test" else _test_step(record)
    return split or "eval", step


def _test_step(record: RunRecord) -> int:
    steps = examples.steps(record.run_id, "test")
    return steps[-1] if steps else 0


def _may_show_test(
    record: RunRecord, head: st.delta_generator.DeltaGenerator, standing: vault.Standing
) -> bool:
    """Whether the test results may be shown; otherwise says why not and offers to open them."""
    if not examples.steps(record.run_id, "test"):
        with head:
            choice.show_head(record, f"{formats.plain(record.name)} has no test results.", "")
        when = "at the end of the run" if record.is_unfinished else "at the end of a run that completes"
        messages.empty("Test is evaluated once.", f"That happens {when}.", ":material/lock:")
        return False
    if standing.is_open:
        return True
    with head:
        choice.show_head(record, f"{formats.plain(record.name)}: test is sealed.", vault.words(standing))
    with st.container(border=True):
        st.markdown(":green[:material/lock:] **Look at test when you have finished choosing.**")
        st.markdown(
            "Its images had no part in training or in choosing the checkpoint, so its accuracy is what to "
            "expect of new images. Whoever looks and then changes settings spoils that. "
            "The first look is noted in the run."
        )
        if st.button("Open test results", icon=":material/lock_open:", key="errors_open_test"):
            vault.open_test(readers.store(), record, by="page")
            st.rerun()
    return False


def _context(record: RunRecord, split: str, step: int, standing: vault.Standing) -> str:
    points = readers.metrics(record.run_id, ("eval_accuracy", "eval_loss"))
    epochs = points[points["step"] == step]["epoch"]
    parts = []
    if split == "test":
        parts.append("evaluated once, with the best checkpoint")
    elif len(epochs):
        best = ", the best" if step == record.best_step else ""
        parts.append(f"epoch {formats.epochs(epochs.iloc[0])} of {record.num_train_epochs:g}{best}")
    parts.append(formats.plain(record.data))
    if vault.has_test(record):
        is_short = split == "eval" and not standing.is_open
        parts.append(vault.SEALED if is_short else vault.words(standing))
    return " · ".join(parts)


draw_page()
