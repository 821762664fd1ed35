"""The dialogs of the Start page that begin with a YAML or with an earlier run, and the list of all dialogs.

Each fills the form and ends with a rerun. A choice that cannot be found stays in the dialog, with the reason.
"""

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from dashboard import (
    data_picker,
    dialogs,
    findings_dialog,
    forms,
    lr_dialog,
    messages,
    model_picker,
    readers,
    state,
)
from superft_hf.config_file import dump_config, parse_config
from superft_hf.errors import ConfigError, SuperFTError


def draw_dialog() -> None:
    """Draws the dialog that is open, if any; the last call of the page."""
    name = state.get_value(state.START_DIALOG)
    if name:
        _DIALOGS[name]()


@st.dialog("Load a YAML", width="medium", on_dismiss=dialogs.close_dialog)
def load_yaml() -> None:
    """Fills the form with a run's YAML file."""
    uploaded = st.file_uploader(
        "The YAML of a run, such as its config.yaml", type=["yaml", "yml"], key="start_yaml",
        max_upload_size=1,
    )  # fmt: skip
    if uploaded is None:
        st.caption("`superft init > run.yaml` writes a complete one, with every setting explained.")
        return
    try:
        config = parse_config(_text_of(uploaded), where=uploaded.name)
    except ConfigError as error:
        messages.show(error)
        return
    forms.fill(config)
    state.drop_value(state.START_ORIGIN)
    dialogs.done()


@st.dialog("Repeat a run with changes", width="medium", on_dismiss=dialogs.close_dialog)
def choose_run() -> None:
    """Fills the form with the settings of an earlier run."""
    records = {record.run_id: record for record in readers.run_list()[:200]}
    chosen = st.selectbox(
        "Begin with the settings of", list(records), key="start_repeat_run",
        format_func=lambda run_id: f"{records[run_id].name} · {records[run_id].state}",
    )  # fmt: skip
    if st.button("Use its settings", type="primary", key="start_repeat"):
        try:
            begin_with_run(chosen, {})
        except SuperFTError as error:
            messages.show(error)
            return
        dialogs.done()


@st.dialog("YAML and command", width="large", on_dismiss=dialogs.close_dialog)
def show_yaml() -> None:
    """The same run without this page."""
    try:
        config = forms.read_config()
    except ConfigError as error:
        messages.show(error)
        return
    st.markdown("Save this as `run.yaml`:")
    text = dump_config(config)
    st.code(text, language=None, height=420)
    st.markdown("Then train in the foreground, or queue it:")
    st.code("superft train run.yaml\nsuperft submit run.yaml", language=None)
    st.download_button(
        "Download run.yaml", dump_config(config, commented=True), "run.yaml", "application/yaml",
        icon=":material/download:", help="With every setting explained.", on_click="ignore",
    )  # fmt: skip


def begin_with_run(run_id: str, changes: dict[str, object]) -> None:
    """Fills the form with a run's settings; draw nothing of the form before it.

    Raises:
        RunNotFoundError: If there is no such run.
        ConfigError: If its file is gone or cannot be read.
    """
    record = readers.run(run_id)
    name = None if record.name == record.run_id else f"{record.name} again"[:120]
    forms.fill(readers.config(run_id), {"name": name, **changes})
    state.put_value(state.START_ORIGIN, run_id)


def _text_of(uploaded: UploadedFile) -> str:
    try:
        return uploaded.getvalue().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"The file {uploaded.name} is not a text file.", hint="Give the YAML file of a run."
        ) from error


_DIALOGS = {
    "model": model_picker.choose_model,
    "images": data_picker.choose_images,
    "load yaml": load_yaml,
    "repeat": choose_run,
    "show yaml": show_yaml,
    "finding": findings_dialog.show_finding,
    "first batch": findings_dialog.show_first_batch,
    lr_dialog.NAME: lr_dialog.show,
}
