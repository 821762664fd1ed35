"""Why a run failed, as a card: what happened, what to do, and a button for each change that may settle it."""

import streamlit as st

from dashboard import formats, state
from superft_hf.records import Failure, Remedy, RunRecord
from superft_hf.settings import find_setting


def draw(record: RunRecord) -> None:
    """Draws the failure of a run; nothing when it has none.

    Args:
        record: The run; its settings are what a remedy begins with.
    """
    failure = record.failure
    if failure is None:
        return
    with st.container(border=True, gap="xsmall", key="failure_card"):
        st.markdown(f":red[:material/error: **{formats.worded(failure.message)}**]")
        if failure.hint:
            st.markdown(formats.worded(failure.hint))
        if failure.remedies:
            _draw_remedies(record, failure)
        if failure.log:
            _draw_log(failure)


def changes_text(remedy: Remedy) -> str:
    """What a remedy changes, in Markdown, for the help of its button.

    Example:
        >>> changes_text(Remedy("", {"model.image_size": 112, "training.auto_find_batch_size": True}))
        'Image size 112 px, Find batch size on'
    """
    parts = []
    for key, value in remedy.changes.items():
        setting = find_setting(key)
        unit = f" {setting.unit}" if setting.unit else ""
        parts.append(formats.plain(f"{setting.title} {_value_text(value)}{unit}"))
    return ", ".join(parts)


def _draw_remedies(record: RunRecord, failure: Failure) -> None:
    with st.container(horizontal=True, vertical_alignment="center", key="failure_remedies"):
        for number, remedy in enumerate(failure.remedies):
            if st.button(
                remedy.title, type="secondary" if number else "primary", icon=":material/replay:",
                key=f"failure_remedy_{number}",
                help=f"Opens Start with this run's settings, changed: {changes_text(remedy)}.",
            ):  # fmt: skip
                state.repeat_run(record.run_id, remedy.changes)


def _draw_log(failure: Failure) -> None:
    title = f"The last {formats.counted(len(failure.log), 'line')} of its log · {formats.plain(failure.kind)}"
    with st.expander(title, icon=":material/terminal:", key="failure_log"):
        st.code("\n".join(failure.log), language=None)


def _value_text(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return formats.significant(value) if isinstance(value, float) else str(value)
