"""The dialog that chooses images: a folder, a table or a zip, a data set of the Hub, a sample."""

import secrets
import shutil
from datetime import UTC, datetime
from pathlib import Path

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from dashboard import data_look, dialogs, hub_search, inspection, messages, readers, state
from superft_hf.config import DataConfig
from superft_hf.errors import ArchiveError, DataError, DataNotFoundError, SuperFTError
from superft_hf.hub import search
from superft_hf.hub.local_copies import is_local
from superft_hf.samples import IMAGE_SAMPLES

CHUNK_BYTES = 2**20
MAX_UPLOAD_MB = 2000
OWN, SEARCH, HERE = "Your own", "Search the Hub", "Used before, samples"
_TABS = "start_data_tabs"


@st.dialog("Choose images", width="large", on_dismiss=dialogs.close_dialog)
def choose_images() -> None:
    """The lists, or the data set of the Hub that is looked at."""
    if state.get_value(state.DATA_LOOK) is not None:
        data_look.draw()
        return
    tabs = st.tabs([OWN, SEARCH, HERE], on_change="rerun", key=_TABS)
    for tab, draw in zip(tabs, (_own, _search, _here), strict=True):
        if tab.open:
            with tab:
                draw()


def open_search() -> None:
    """Callback of a button: opens the dialog at the search."""
    state.put_value(_TABS, SEARCH)
    dialogs.open_dialog("images")


def use_images(name_or_path: str) -> None:
    """Puts a set of images into the form; what belonged to the last one goes back to its default."""
    data_look.use_images({"data.name_or_path": name_or_path})


def _own() -> None:
    dialogs.by_hand(
        "images", "Folder, .zip, .csv or .jsonl on this machine, or a Hub id",
        "~/pictures or uoft-cs/cifar10", _choose,
    )  # fmt: skip
    st.caption(
        "A folder has one folder a class, optionally below train, validation and test. A table names an "
        "image and its label in each row, and may name a split and a group such as the patient."
    )
    uploaded = st.file_uploader(
        "Or a .zip from your computer: one folder a class, images inside", type="zip",
        max_upload_size=MAX_UPLOAD_MB, key="start_upload",
    )  # fmt: skip
    if uploaded is not None and st.button("Use this zip", icon=":material/folder_zip:", key="start_use_zip"):
        with st.spinner("Keeping the zip"):
            kept = _keep_upload(uploaded)
        _use_local(str(kept))


def _search() -> None:
    hub_search.draw(search.DATASET, _choose)


def _here() -> None:
    dialogs.choice_list(
        "Used before", dialogs.recent([record.data for record in readers.run_list()]), _choose
    )
    samples = [
        dialogs.Choice(
            name, one.title, dialogs.sample_note(name, one.description, one.licence, one.download_bytes)
        )
        for name, one in IMAGE_SAMPLES.items()
    ]
    dialogs.choice_list("Samples", samples, _choose)


def _choose(name_or_path: str) -> None:
    """Uses what is on this machine; looks first at what is on the Hub."""
    if is_local(name_or_path):
        _use_local(name_or_path)
        return
    data_look.begin(name_or_path)
    dialogs.redraw()


def _use_local(name_or_path: str) -> None:
    try:
        inspection.data_info(DataConfig(name_or_path=name_or_path))
    except (DataNotFoundError, ArchiveError) as error:
        messages.show(error)
        return
    except DataError:
        pass  # there are images: the page says what is wrong with them, beside the settings that may mend it
    except SuperFTError as error:
        messages.show(error)
        return
    use_images(name_or_path)
    dialogs.done()


def _keep_upload(uploaded: UploadedFile) -> Path:
    """Writes an upload to disk under a name of our own making: the browser's name never becomes a path."""
    folder = readers.home_paths().uploads
    folder.mkdir(exist_ok=True)
    target = folder / f"{datetime.now(UTC):%Y%m%d-%H%M}-{secrets.token_hex(3)}.zip"
    with target.open("wb") as opened:
        shutil.copyfileobj(uploaded, opened, CHUNK_BYTES)
    return target
