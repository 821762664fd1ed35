"""The settings of a run: what differs from the defaults first, and the same run as a file and a command."""

import pandas as pd
import streamlit as st

from dashboard import formats, readers
from superft_hf.config_file import dump_config, value_of
from superft_hf.records import RunRecord
from superft_hf.settings import GROUP_TITLES, all_settings


def draw(record: RunRecord) -> None:
    """Draws the settings, folded."""
    config = readers.config(record.run_id)
    settings = [one for one in all_settings() if one.key != "name"]
    changed = [one for one in settings if not one.is_required and value_of(config, one) != one.default]
    title = f"Settings: {len(changed)} of {len(settings)} changed"
    with st.expander(title, icon=":material/tune:", key="run_settings"):
        table = pd.DataFrame(
            {
                "": ["●" if one in changed or one.is_required else "" for one in settings],
                "Group": [GROUP_TITLES[one.group] for one in settings],
                "Setting": [one.title for one in settings],
                "Value": [formats.setting_value(value_of(config, one)) for one in settings],
                "Default": [
                    "required" if one.is_required else formats.setting_value(one.default) for one in settings
                ],
            }
        )
        order = table[""].ne("").sort_values(ascending=False, kind="stable").index
        st.dataframe(table.loc[order], hide_index=True, height=380, key="run_settings_table")
        st.caption("● differs from the default, or has none.")
    with st.expander("Show YAML and command", icon=":material/terminal:", key="run_yaml"):
        path = readers.run_paths(record.run_id).config
        st.markdown("The same run from a shell:")
        st.code(f"superft --home {readers.home_paths().home} train {path}", language="bash", wrap_lines=True)
        st.code(dump_config(config), language="yaml", height=380)
