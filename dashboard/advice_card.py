"""What the curves of a run suggest for the next one: a few lines, each with a button that begins it."""

import streamlit as st

from dashboard import formats, readers, state
from dashboard.failure_card import changes_text
from dashboard.look import card_head
from superft_hf.advice import Advice, advise
from superft_hf.errors import SuperFTError
from superft_hf.records import RunRecord
from superft_hf.settings import find_setting


def draw(record: RunRecord) -> None:
    """Draws the advice about a run, the weightiest first; a card in any case.

    Args:
        record: A run that ended.
    """
    with st.container(border=True, height="stretch", key="advice_card"):
        try:
            found = advise(record, readers.decided(record.run_id), readers.metrics(record.run_id))
        except SuperFTError as error:  # its file was removed: the rest of the page is still worth showing
            card_head("What to do next time")
            st.markdown(f":gray[{formats.worded(error.message)}]")
            return
        card_head("What to do next time", "from its curves" if found else "")
        if not found:
            st.markdown("**Nothing stands out.** Look at the errors next.")
        for one in found:
            _draw_one(record, one)


def _draw_one(record: RunRecord, one: Advice) -> None:
    with st.container(gap="xxsmall", key=f"advice_{one.code}"):
        title, text = formats.worded(one.title), formats.worded(one.text)
        st.markdown(f":material/lightbulb: **{title}** {text}")
        setting = find_setting(one.setting)
        label = one.remedy.title if one.remedy else f"Change {setting.title.lower()}"
        what = (
            f"changed: {changes_text(one.remedy)}"
            if one.remedy
            else f"where {formats.plain(setting.title)} can be changed"
        )
        if st.button(
            label, type="tertiary", icon=":material/replay:", key=f"advice_{one.code}_begin",
            help=f"Opens Start with this run's settings, {what}.  \n`{one.setting}`",
        ):  # fmt: skip
            state.repeat_run(record.run_id, one.remedy.changes if one.remedy else None)
