"""The dialogs of the Start page: choose a model, choose images, begin with a YAML or with an earlier run.

Each fills the form and ends with a rerun. A choice that cannot be found stays in the dialog, with the reason.
Which one is open is state of the tab, so that a rerun of the page closes none.
"""

import secrets
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from dashboard import formats, forms, inspection, messages, readers, state
from superft_hf.config import DataConfig
from superft_hf.config_file import dump_config, parse_config
from superft_hf.errors import (
    ArchiveError,
    ConfigError,
    DataError,
    DataNotFoundError,
    DownloadError,
    MissingPackageError,
    ModelError,
    SuperFTError,
)
from superft_hf.samples import IMAGE_SAMPLES, MODEL_SAMPLES, is_fetched
from superft_hf.settings import all_settings

MAX_RECENT = 4
CHUNK_BYTES = 2**20
MAX_UPLOAD_MB = 2000


@dataclass(frozen=True)
class Choice:
    """One line of a dialog."""

    name_or_path: str
    title: str
    note: str


def open_dialog(name: str) -> None:
    """Callback of a button: opens a dialog by its name."""
    state.put_value(state.START_DIALOG, name)


def close_dialog() -> None:
    """Notes that no dialog is open; also the callback of a dismissal."""
    state.drop_value(state.START_DIALOG)


def is_dialog_open() -> bool:
    """Whether a dialog of the Start page is open."""
    return bool(state.get_value(state.START_DIALOG))


def draw_dialog() -> None:
    """Draws the dialog that is open, if any; the last call of the page."""
    name = state.get_value(state.START_DIALOG)
    if name:
        _DIALOGS[name]()


@st.dialog("Choose a model", width="medium", on_dismiss=close_dialog)
def choose_model() -> None:
    """Samples, models of earlier runs, any Hub id or local folder."""
    samples = [
        Choice(name, one.title, _note(name, one.description, one.licence, one.package.size_bytes))
        for name, one in MODEL_SAMPLES.items()
    ]
    _choice_list("Sample", samples, _use_model)
    _choice_list("Used before", _recent([record.model for record in readers.run_list()]), _use_model)
    _by_hand("model", "Hub id or folder on this machine", "microsoft/resnet-18 or ~/models/mine", _use_model)


@st.dialog("Choose images", width="medium", on_dismiss=close_dialog)
def choose_images() -> None:
    """Own images first; then samples, images of earlier runs, and the Hub."""
    _by_hand("images", "Folder on this machine, or Hub id", "~/pictures or uoft-cs/cifar10", _use_images)
    uploaded = st.file_uploader(
        "Or a .zip: one folder a class, images inside", type="zip", max_upload_size=MAX_UPLOAD_MB,
        key="start_upload",
    )  # fmt: skip
    if uploaded is not None and st.button("Use this zip", icon=":material/folder_zip:", key="start_use_zip"):
        _use_images(str(_keep_upload(uploaded)))
    _choice_list("Used before", _recent([record.data for record in readers.run_list()]), _use_images)
    samples = [
        Choice(name, one.title, _note(name, one.description, one.licence, one.download_bytes))
        for name, one in IMAGE_SAMPLES.items()
    ]
    _choice_list("Samples", samples, _use_images)


@st.dialog("Load a YAML", width="medium", on_dismiss=close_dialog)
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
    _done()


@st.dialog("Repeat a run with changes", width="medium", on_dismiss=close_dialog)
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
        _done()


@st.dialog("YAML and command", width="large", on_dismiss=close_dialog)
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
    forms.fill(readers.config(run_id), {**changes, "name": name})
    state.put_value(state.START_ORIGIN, run_id)


def use_images(name_or_path: str) -> None:
    """Puts a set of images into the form; what belonged to the last one goes back to its default."""
    own = {
        one.key: one.default
        for one in all_settings()
        if one.group == "data" and one.kind == "str" and not one.is_required
    }
    forms.put({**own, "data.name_or_path": name_or_path})


def _use_model(name_or_path: str) -> None:
    try:
        info = inspection.model_info(name_or_path, "main")
        if info.problem:
            raise ModelError(info.problem, hint=info.hint)
    except SuperFTError as error:
        messages.show(error)
        return
    forms.put({"model.name_or_path": name_or_path, "model.revision": "main"})
    _done()


def _use_images(name_or_path: str) -> None:
    try:
        inspection.data_info(DataConfig(name_or_path=name_or_path))
    except (DataNotFoundError, ArchiveError, DownloadError, MissingPackageError) as error:
        messages.show(error)
        return
    except DataError:
        pass  # there are images: the page says what is wrong with them, beside the settings that may mend it
    use_images(name_or_path)
    _done()


def _done() -> None:
    close_dialog()
    st.rerun()


def _choice_list(title: str, choices: Sequence[Choice], use: Callable[[str], None]) -> None:
    if not choices:
        return
    st.markdown(f":small[:gray[{title}]]")
    for one in choices:
        with (
            st.container(border=True),
            st.container(horizontal=True, vertical_alignment="center", wrap=False),
        ):
            note = f"  \n:small[:gray[{one.note}]]" if one.note else ""
            st.markdown(f"**{formats.plain(one.title)}**{note}", width="stretch")
            is_pressed = st.button("Use", key=f"{forms.PAGE}_use_{one.name_or_path}")
        if is_pressed:
            use(one.name_or_path)


def _by_hand(key: str, label: str, placeholder: str, use: Callable[[str], None]) -> None:
    with (
        st.form(f"{forms.PAGE}_by_hand_{key}", border=False),
        st.container(horizontal=True, vertical_alignment="bottom"),
    ):
        name = st.text_input(label, placeholder=placeholder, key=f"{forms.PAGE}_typed_{key}")
        is_sent = st.form_submit_button("Use", key=f"{forms.PAGE}_use_typed_{key}")
    if is_sent and name.strip():
        use(name.strip())


def _recent(names: Sequence[str]) -> list[Choice]:
    samples = {*IMAGE_SAMPLES, *MODEL_SAMPLES}
    own = [name for name in dict.fromkeys(names) if name not in samples]
    return [Choice(name, formats.source_title(name), formats.plain(name)) for name in own[:MAX_RECENT]]


def _note(name: str, description: str, licence: str, download_bytes: int) -> str:
    parts = [description, licence]
    if download_bytes:
        parts.append("here already" if is_fetched(name) else f"{formats.size(download_bytes)} to fetch")
    return " · ".join(formats.plain(part) for part in parts)


def _keep_upload(uploaded: UploadedFile) -> Path:
    """Writes an upload to disk under a name of our own making: the browser's name never becomes a path."""
    folder = readers.home_paths().uploads
    folder.mkdir(exist_ok=True)
    target = folder / f"{datetime.now(UTC):%Y%m%d-%H%M}-{secrets.token_hex(3)}.zip"
    with target.open("wb") as opened:
        shutil.copyfileobj(uploaded, opened, CHUNK_BYTES)
    return target


def _text_of(uploaded: UploadedFile) -> str:
    try:
        return uploaded.getvalue().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"The file {uploaded.name} is not a text file.", hint="Give the YAML file of a run."
        ) from error


_DIALOGS = {
    "model": choose_model,
    "images": choose_images,
    "load yaml": load_yaml,
    "repeat": choose_run,
    "show yaml": show_yaml,
}
