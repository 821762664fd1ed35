"""The dialogs with pictures of the pre-flight check: those of a finding, and the first batch."""

import io

import streamlit as st
from PIL import Image

from dashboard import dialogs, examples, formats, forms, measuring, messages, readers, state
from superft_hf.config import DataConfig
from superft_hf.errors import ConfigError, SuperFTError
from superft_hf.recipe.decided import roughly
from superft_hf.recipe.presets import augmentation_steps
from superft_hf.records import Finding, ImageRef
from superft_hf.sources.load import open_reference, shown_reference

PER_PAGE = 24
COLUMNS = 6
MAX_NAME = 26


def open_dialog(finding: Finding) -> None:
    """Callback of a button: opens the pictures of a finding."""
    state.put_value(state.START_FINDING, finding)
    dialogs.open_dialog("finding")


@st.dialog("Pictures", width="large", on_dismiss=dialogs.close_dialog)
def show_finding() -> None:
    """The pictures of the finding that was opened, and what settles it."""
    finding: Finding = state.get_value(state.START_FINDING)
    st.markdown(f"**{formats.worded(finding.title)}** {formats.worded(finding.text)}")
    pages = -(-len(finding.images) // PER_PAGE)
    number = st.pagination(pages, key="start_finding_page") if pages > 1 else 1
    data = _data()
    grid = st.grid(COLUMNS, min_column_width=110, gap=(14, 12))
    for image in finding.images[(number - 1) * PER_PAGE : number * PER_PAGE]:
        with grid.cell(), st.container(gap="xxsmall"):
            _draw_image(image, data)
    if finding.num_images > len(finding.images):
        st.caption(f"The first {len(finding.images):,} of {finding.num_images:,}.")
    with st.container(horizontal=True):
        for position, remedy in enumerate(finding.remedies):
            if st.button(remedy.title, icon=":material/healing:", key=f"finding_remedy_{position}"):
                forms.put(remedy.changes)
                dialogs.done()


@st.dialog("The first batch as the network sees it", width="large", on_dismiss=dialogs.close_dialog)
def show_first_batch() -> None:
    """Augmented images, made by the code that trains."""
    try:
        config = forms.read_config()
        with st.spinner("Preparing the batch"):
            images = measuring.first_batch(config)
    except SuperFTError as error:
        messages.show(error)
        return
    width, height = Image.open(io.BytesIO(images[0][0])).size if images else (0, 0)
    augmentation = roughly(config).augmentation
    steps = augmentation_steps(augmentation)
    mixed = " Each image, and its label, is mixed with the next one." if steps.mixup or steps.cutmix else ""
    st.caption(
        f"The first {len(images)} images of the first step, {width} × {height} px, after augmentation "
        f"({forms.choice_word(augmentation.preset).lower()}); made back from the network's input.{mixed}"
    )
    grid = st.grid(COLUMNS + 2, min_column_width=90, gap=(12, 10))
    for encoded, name in images:
        with grid.cell(), st.container(gap="xxsmall"):
            st.image(encoded, width="stretch", alt=f"an augmented image: {name}")
            st.markdown(f":small[:gray[{formats.plain(name)}]]")


def _data() -> DataConfig | None:
    try:
        return forms.read_config().data
    except ConfigError:  # the settings were changed to something refused meanwhile
        return None


def _draw_image(image: ImageRef, data: DataConfig | None) -> None:
    picture = _picture(image, data.model_dump_json()) if data is not None else None
    if picture is None:
        with st.container(
            border=True, height=110, vertical_alignment="center", horizontal_alignment="center"
        ):
            st.markdown(":small[:gray[:material/broken_image: cannot be opened]]")
    else:
        with st.container(key=f"pixels_{image.split}_{image.example_id}" if picture.is_small else None):
            st.image(picture.encoded, width="stretch", alt=image.note or "an image of the finding")
    name = shown_reference(data, image.reference) if data is not None else image.reference
    colour = formats.SPLIT_COLORS.get(image.split, "gray")
    lines = [f":{colour}[{image.split}]" + (f" · {formats.plain(image.label)}" if image.label else "")]
    lines += [f":gray[{formats.plain(_short(text))}]" for text in (name, image.note) if text]
    st.markdown("  \n".join(f":small[{line}]" for line in lines))


def _short(name: str) -> str:
    """The end of a long text: it is what tells files apart."""
    return name if len(name) <= MAX_NAME else f"…{name[1 - MAX_NAME :]}"


def _picture(image: ImageRef, data_json: str) -> examples.Picture | None:
    try:
        return _opened(image.reference, data_json, str(readers.store().home))
    except (SuperFTError, ValueError):
        return None


@st.cache_resource(max_entries=400, ttl="10m", show_spinner=False)
def _opened(reference: str, data_json: str, home: str) -> examples.Picture:
    return examples.make_picture(open_reference(DataConfig.model_validate_json(data_json), reference))
