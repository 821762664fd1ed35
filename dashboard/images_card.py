"""The cards of the chosen images on the Start page: facts, then examples, class balance, sizes and splits."""

import math

import streamlit as st

from dashboard import (
    charts,
    data_charts,
    dialogs,
    downloads,
    formats,
    forms,
    hub_jobs,
    inspection,
    look,
    messages,
    split_builder,
    state,
)
from superft_hf.config import DataConfig
from superft_hf.errors import DataError, SuperFTError
from superft_hf.records import DataInfo

CLASSES_PER_PAGE = 20
EXAMPLE_COLUMNS = 10
LONGEST_NAME = 22
PATIENCE_S = 1.0
SPLIT_KEY = ":gray-badge[train] :violet-badge[eval] :green-badge[test]"
EXAMPLES, BALANCE, SIZES, SPLITS = "Examples by class", "Class balance", "Image sizes", "Splits"


def draw(data: DataConfig) -> DataInfo | None:
    """Draws the facts; None when the images cannot be found or are not fetched yet, which the card says."""
    opens = {"on_click": dialogs.open_dialog, "args": ("images",)}
    look.card_head_with_verb("Images", "Change", "swap_horiz", "start_change_images", **opens)
    if not inspection.is_here(data):
        _draw_absent(data)
        return None
    try:
        info = inspection.data_info(data)
    except SuperFTError as error:
        _draw_failure(data, error)
        return None
    _draw_facts(data, info)
    return info


def _draw_facts(data: DataConfig, info: DataInfo) -> None:
    st.markdown(f"**{formats.plain(info.title)}**  \n:gray[{formats.plain(_description(data, info))}]")
    by_class = _class_counts(info).values()
    look.facts(
        {
            "Images": formats.count(info.num_images), "Classes": formats.count(len(info.class_names)),
            "Smallest class": formats.count(min(by_class)), "Largest": formats.count(max(by_class)),
        }
    )  # fmt: skip
    train, evaluated, test = (
        formats.count(sum(info.counts[name].values())) for name in ("train", "eval", "test")
    )
    with st.container(gap="xxsmall"):
        test_badge = f":green-badge[:material/lock: test {test}]"
        st.markdown(f":gray-badge[train {train}] :violet-badge[eval {evaluated}] {test_badge}")
        about = split_builder.about_splits(data, info)
        st.caption(f"{about} The test images are looked at once, at the end.{_left_out(info)}")
        if info.licence or info.licence_note:
            st.caption(formats.plain(f"Licence {info.licence}. {info.licence_note}"))


def draw_examples(data: DataConfig, info: DataInfo) -> None:
    """Draws what the images look like: examples by class, class balance, sizes, and the splits."""
    names = [EXAMPLES, BALANCE, SIZES, SPLITS]
    tabs = st.tabs(names, on_change="rerun", key="start_images_tabs")
    for tab, draw_one in zip(tabs, (_examples, _balance, _sizes, split_builder.draw), strict=True):
        if tab.open:
            with tab:
                draw_one(data, info)


def _draw_absent(data: DataConfig) -> None:
    """A data set of the Hub that is not on this machine: what it costs, and the means to fetch it."""
    st.markdown(f"**{formats.plain(data.name_or_path)}**  \n:gray[on the Hub, not on this machine yet]")
    if downloads.draw(data, "start_card", lambda: None):
        return
    try:
        found = hub_jobs.peek(data, PATIENCE_S)
    except SuperFTError as error:
        messages.show(error)
        if st.button("Try again", icon=":material/refresh:", key="start_card_again"):
            hub_jobs.forget_looks()
            st.rerun()
        return
    if found is None:
        dialogs.poll(_wait_for_look, "0.5s", data)
        return
    seen = found.seen
    look.facts(
        {
            "Images": formats.count(seen.num_rows),
            "Classes": formats.count(len(seen.class_names) or None),
            "Download": formats.size(seen.download_bytes),
            "Licence": formats.plain(seen.licence or formats.NOTHING),
        }
    )
    if seen.problem and not seen.columns:
        messages.show(SuperFTError(seen.problem, hint=seen.hint))
        return
    downloads.warn_of_files(seen)
    if st.button("Download", icon=":material/download:", key="start_card_download"):
        hub_jobs.start_download(data)
        st.rerun()
    st.caption(f"{downloads.expected(seen)}. They are counted and checked once they are here.")


def _wait_for_look(data: DataConfig) -> None:
    """The page goes on while the Hub is slow; it is drawn again as soon as the Hub has answered."""
    try:
        is_done = hub_jobs.peek(data, 0.0) is not None
    except SuperFTError:  # told when the page is drawn again
        is_done = True
    if is_done and not dialogs.is_dialog_open():
        st.rerun()
    st.caption(f":material/progress_activity: {hub_jobs.LOOKING}")


def _draw_failure(data: DataConfig, error: SuperFTError) -> None:
    messages.show(error)
    if not isinstance(error, DataError):
        if st.button("Try again", icon=":material/refresh:", key="start_card_again"):
            inspection.forget()
            st.rerun()
        return
    if data.group_column is not None:
        label = f"Do not group by {formats.plain(data.group_column)}"
        if st.button(label, icon=":material/undo:", key="start_card_no_group"):
            forms.put({split_builder.GROUP: None})
            st.rerun()


def _description(data: DataConfig, info: DataInfo) -> str:
    """The quiet line below the title: what it is, or where it lies."""
    if info.source == "sample":
        return info.description
    parts = [info.name_or_path]
    if info.source == "hub":
        parts += [data.config_name or "", f"commit {inspection.local_revision(data)[:7]}"]
    return " · ".join(part for part in parts if part)


def _left_out(info: DataInfo) -> str:
    if not info.num_unlabelled:
        return ""
    return f" {formats.counted(info.num_unlabelled, 'row')} without a label left out."


def _class_counts(info: DataInfo) -> dict[str, int]:
    return {name: sum(split.get(name, 0) for split in info.counts.values()) for name in info.class_names}


def _examples(data: DataConfig, info: DataInfo) -> None:
    """A few training images of each class."""
    body = st.container()
    num_pages = math.ceil(len(info.class_names) / CLASSES_PER_PAGE)
    side = "distribute" if num_pages > 1 else "right"
    with st.container(horizontal=True, horizontal_alignment=side, vertical_alignment="center"):
        shown_page = st.pagination(num_pages, key="start_examples_page") if num_pages > 1 else 1
        if st.button(
            "Other examples", type="tertiary", icon=":material/refresh:", key="start_other_examples"
        ):
            state.put_value(state.START_SHUFFLE, state.get_value(state.START_SHUFFLE, 0) + 1)
    first = (shown_page - 1) * CLASSES_PER_PAGE
    class_ids = tuple(range(first, min(first + CLASSES_PER_PAGE, len(info.class_names))))
    across = max(1, EXAMPLE_COLUMNS // len(class_ids))
    drawn = inspection.example_images(data, class_ids, 2 * across, state.get_value(state.START_SHUFFLE, 0))
    counts = _class_counts(info)
    gap = (14, 14 if across == 1 else 28)
    grid = body.grid(min(EXAMPLE_COLUMNS, len(class_ids)), min_column_width=80 * min(across, 3), gap=gap)
    names = data_charts.distinct_names(
        [info.class_names[class_id] for class_id in class_ids], LONGEST_NAME * min(across, 2)
    )
    for class_id, images, shown in zip(class_ids, drawn, names, strict=True):
        name = info.class_names[class_id]
        with grid.cell(), st.container(gap="xsmall"):
            inner = st.grid(across, min_column_width=60, gap=(8, 8))
            for image in images:
                inner.cell().image(image, width="stretch", alt=f"a training image of class {name}")
            st.markdown(f":small[:gray[**{formats.plain(shown)}** · {formats.count(counts[name])}]]")


def _balance(data: DataConfig, info: DataInfo) -> None:
    """How many images of each class, and what that means."""
    st.markdown(f"{balance_sentence(_class_counts(info))}  \n{SPLIT_KEY}")
    figure = data_charts.class_balance_figure(info.counts, is_dark=_is_dark())
    st.plotly_chart(
        figure, config=charts.CONFIG, key="start_class_balance",
        alt="bars of the number of images by class, train, eval and test one on another",
    )  # fmt: skip


def balance_sentence(counts: dict[str, int]) -> str:
    """The class balance in words.

    Example:
        >>> balance_sentence({"cat": 50, "dog": 10})
        'The largest class, cat, has 5.0 times as many images as the smallest, dog: 50 against 10.'
        >>> balance_sentence({"cat": 50, "dog": 49})
        'The classes are even: 49 to 50 images.'
    """
    small, large = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
    least, most = counts[small], counts[large]
    if most <= 1.5 * least:
        span = f"{least:,} to {most:,} images" if least != most else formats.counted(most, "image") + " each"
        return f"The classes are even: {span}."
    names = [formats.plain(charts.shortened(name, 80)) for name in (large, small)]
    times = f"{most / least:,.1f} times" if least else "many times"
    return (
        f"The largest class, {names[0]}, has {times} as many images as the smallest, {names[1]}: "
        f"{most:,} against {least:,}."
    )


def _sizes(data: DataConfig, info: DataInfo) -> None:
    """How large the images are."""
    sizes = inspection.image_sizes(data)
    st.markdown(sizes_sentence(sizes.tolist(), info.num_images))
    if len(sizes) and (sizes != sizes[0]).any():
        st.plotly_chart(
            data_charts.image_sizes_figure(sizes, is_dark=_is_dark()), config=charts.CONFIG,
            key="start_image_sizes", alt="marks at width and height of the images, larger for many images",
        )  # fmt: skip


def sizes_sentence(sizes: list[list[int]], num_images: int) -> str:
    """The sizes in words.

    Args:
        sizes: Widths and heights of the images that were looked at.
        num_images: How many there are.

    Example:
        >>> sizes_sentence([[8, 8], [8, 8]], 2)
        'All images are 8 × 8 px.'
        >>> sizes_sentence([[8, 8], [16, 8]], 900)
        'From 8 × 8 to 16 × 8 px, by 2 of 900 images.'
    """
    if not sizes:
        return "No image could be opened."
    part = "" if len(sizes) >= num_images else f", by {len(sizes):,} of {num_images:,} images"
    ordered = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    low, high = (f"{width:,} × {height:,}" for width, height in (ordered[0], ordered[-1]))
    if low == high:
        return f"All images are {low} px{part}."
    return f"From {low} to {high} px{part}."


def _is_dark() -> bool:
    return st.context.theme.type == "dark"
