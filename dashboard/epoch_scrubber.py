"""The one slider over the evaluations of a run, which moves everything on the Errors page.

It stands at the best evaluation until it is moved. Where it stands is in the link. A live run can be
followed: each new evaluation is shown by itself.
"""

from collections.abc import Sequence

import streamlit as st

from dashboard import state
from superft_hf.records import RunRecord

NEWEST = "newest"
SLIDER, FOLLOW = "errors_epoch", "errors_follow"


def draw(record: RunRecord, steps: Sequence[int]) -> int:
    """Draws the slider and the buttons beside it.

    Args:
        record: The run.
        steps: Global steps of its evaluations, ascending, at least one.

    Returns:
        The step of the evaluation to show.
    """
    step = _standing_at(record, steps)
    if len(steps) > 1:
        _draw_slider(record.run_id, steps, step)
        _draw_buttons(record, steps, step)
    if record.is_unfinished:
        is_following = state.chosen_step(record.run_id) == NEWEST
        state.put_value(FOLLOW, is_following)
        st.toggle(
            "Follow the newest", key=FOLLOW, on_change=_take_follow, args=(record.run_id, step),
            help="Each new evaluation is shown as soon as it is there.",
        )  # fmt: skip
    return step


def words(steps: Sequence[int], step: int) -> str:
    """Which evaluation a step is, such as `3 of 8`."""
    return f"{steps.index(step) + 1} of {len(steps)}"


def _standing_at(record: RunRecord, steps: Sequence[int]) -> int:
    """The step that was chosen, when there is such an evaluation, else the best; the link says the same."""
    asked = state.chosen_step(record.run_id)
    best = record.best_step if record.best_step in steps else steps[-1]
    found = {NEWEST: steps[-1], **{str(one): one for one in steps}}
    state.choose_step(record.run_id, asked if asked in found else None)
    return found.get(asked or "", best)


def _draw_slider(run_id: str, steps: Sequence[int], step: int) -> None:
    state.put_value(SLIDER, step)
    st.select_slider(
        "Evaluation", steps, format_func=lambda one: words(steps, one) if one in steps else str(one),
        key=SLIDER, on_change=lambda: state.choose_step(run_id, str(state.get_value(SLIDER))),
        help="Each epoch ends with an evaluation. At first, the best one is shown. Once it has the focus, "
        "the arrow keys move it.",
    )  # fmt: skip


def _draw_buttons(record: RunRecord, steps: Sequence[int], step: int) -> None:
    index = steps.index(step)
    best = record.best_step if record.best_step in steps else None
    goals = (
        ("Previous", ":material/chevron_left:", steps[index - 1] if index else None, None),
        ("Next", ":material/chevron_right:", steps[index + 1] if index + 1 < len(steps) else None, None),
        ("Best", None, best, "The evaluation whose checkpoint is kept."),
        ("Newest", None, steps[-1], None),
    )
    with st.container(horizontal=True, gap="small", width="content", key="errors_steps"):
        for title, icon, goal, help_text in goals:
            st.button(
                title, icon=icon, icon_position="right" if title == "Next" else "left",
                key=f"errors_step_{title.lower()}", type="tertiary", help=help_text,
                disabled=goal is None or goal == step, on_click=state.choose_step,
                args=(record.run_id, None if title == "Best" else str(goal)),
            )  # fmt: skip


def _take_follow(run_id: str, step: int) -> None:
    state.choose_step(run_id, NEWEST if state.get_value(FOLLOW) else str(step))
