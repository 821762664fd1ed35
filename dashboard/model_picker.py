"""The dialog that chooses a model: search, starting points, samples, earlier models, any name.

Whatever is chosen is shown as a card first, with what stands in its way and the way on; only then is it used.
"""

import streamlit as st

from dashboard import dialogs, formats, forms, hub_search, inspection, messages, model_card, readers, state
from superft_hf.config import RunConfig
from superft_hf.errors import ConfigError, SuperFTError
from superft_hf.hub import search
from superft_hf.records import ModelInfo
from superft_hf.samples import MODEL_SAMPLES
from superft_hf.starting_points import STARTING_MODELS

SEARCH, STARTING, HERE, BY_HAND = "Search the Hub", "Starting points", "Used before, samples", "By hand"
NEEDS = {
    "smallest": "Smallest", "balanced": "Balanced", "strongest": "Strongest",
}  # fmt: skip


@st.dialog("Choose a model", width="large", on_dismiss=dialogs.close_dialog)
def choose_model() -> None:
    """The lists, or the card of the model that is looked at."""
    looked_at = state.get_value(state.MODEL_LOOK)
    if looked_at is not None:
        _look(*looked_at)
        return
    tabs = st.tabs([SEARCH, STARTING, HERE, BY_HAND], on_change="rerun", key="start_model_tabs")
    for tab, draw in zip(tabs, (_search, _starting_points, _here, _by_hand), strict=True):
        if tab.open:
            with tab:
                draw()


def _search() -> None:
    hub_search.draw(search.MODEL, _look_at)


def _starting_points() -> None:
    st.markdown(
        ":small[:gray[A few to begin with, each with a reason; any other model of the Hub fits as well.]]"
    )
    for need, title in NEEDS.items():
        choices = [
            dialogs.Choice(
                one.repo_id, one.repo_id,
                f"{one.family} · {one.library} · {one.size}. {one.reason}",
            )
            for one in STARTING_MODELS
            if one.need == need
        ]  # fmt: skip
        dialogs.choice_list(title, choices, _look_at, "Look")


def _here() -> None:
    samples = [
        dialogs.Choice(
            name, one.title, dialogs.sample_note(name, one.description, one.licence, one.package.size_bytes)
        )
        for name, one in MODEL_SAMPLES.items()
    ]
    dialogs.choice_list(
        "Used before", dialogs.recent([record.model for record in readers.run_list()]), _look_at, "Look"
    )
    dialogs.choice_list("Samples", samples, _look_at, "Look")


def _by_hand() -> None:
    with st.form("start_by_hand_model", border=False):
        name = st.text_input(
            "Hub id, or folder on this machine", placeholder="microsoft/resnet-18 or ~/models/mine",
            key="start_typed_model",
        )  # fmt: skip
        revision = st.text_input(
            "Revision", placeholder="main", key="start_typed_revision",
            help="Branch, tag or commit of a Hub model. A run pins it to the commit.",
        )  # fmt: skip
        is_sent = st.form_submit_button("Look", key="start_use_typed_model")
    if is_sent and name.strip():
        _look_at(name.strip(), revision.strip() or "main")


def _look_at(name_or_path: str, revision: str = "main") -> None:
    """Shows the card of a model instead of the lists."""
    state.put_value(state.MODEL_LOOK, (name_or_path, revision))
    dialogs.redraw()


def _look(name_or_path: str, revision: str) -> None:
    if st.button("Back to the list", type="tertiary", icon=":material/arrow_back:", key="start_model_back"):
        state.drop_value(state.MODEL_LOOK)
        dialogs.redraw()
    info = _info(name_or_path, revision)
    if info is None:
        return
    with st.container(border=True):
        model_card.draw_facts(info, _config(name_or_path))
    if info.problem:
        messages.show(SuperFTError(info.problem, hint=info.hint))
        return
    if st.button("Use this model", type="primary", icon=":material/check:", key="start_use_model"):
        forms.put({"model.name_or_path": name_or_path, "model.revision": revision})
        state.drop_value(state.MODEL_LOOK)
        dialogs.done()


def _info(name_or_path: str, revision: str) -> ModelInfo | None:
    try:
        return inspection.model_info(name_or_path, revision)
    except SuperFTError as error:
        st.markdown(f"**{formats.plain(name_or_path)}**")
        messages.show(error)
        return None


def _config(name_or_path: str) -> RunConfig:
    """The settings of the form, for the estimate of the memory; the defaults when some are refused."""
    try:
        config = forms.read_config()
    except ConfigError:
        return RunConfig.model_validate(
            {"model": {"name_or_path": name_or_path}, "data": {"name_or_path": "sample:digits"}}
        )
    # The image size in the form was chosen for another model.
    return config.model_copy(update={"model": config.model.model_copy(update={"image_size": None})})
