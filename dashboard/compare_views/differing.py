"""The settings in which the compared runs differ, and how many are equal."""

import pandas as pd
import streamlit as st

from dashboard import formats, messages, readers
from dashboard.compare_views.view import View, heading
from dashboard.look import card_head
from superft_hf.config_file import changed_settings, value_of
from superft_hf.errors import SuperFTError
from superft_hf.settings import all_settings


def draw(view: View) -> None:
    """Draws the card."""
    if len(view.records) < 2:
        st.markdown(":gray[None: A and B are two epochs of the same run.]")
        return
    try:
        configs = [readers.config(side.record.run_id) for side in view.sides]
    except SuperFTError as error:
        messages.show(error)
        return
    first, *others = configs
    keys = {one.key for other in others for one, _, _ in changed_settings(first, other)}
    settings = [one for one in all_settings() if one.key != "name"]
    differing = [one for one in settings if one.key in keys]
    with st.container(border=True):
        card_head("Settings that differ")
        if differing:
            table = {"Setting": [one.key for one in differing]}
            for side, config in zip(view.sides, configs, strict=True):
                column = heading(side, len(view.sides))
                table[column] = [formats.setting_value(value_of(config, one)) for one in differing]
            st.table(pd.DataFrame(table), hide_index=True, border="horizontal")
        else:
            st.markdown(":gray[None: all settings are equal.]")
        equal = len(settings) - len(differing)
        seed = ", among them the seed" if "training.seed" not in keys else "; the seed differs"
        st.markdown(f":small[:gray[{formats.counted(equal, 'setting')} are equal{seed}.]]")
