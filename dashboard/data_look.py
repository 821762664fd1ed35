"""A look at a data set of the Hub before it is used: counts, columns to correct, pictures, what it costs."""

from typing import Any

import streamlit as st

from dashboard import dialogs, downloads, formats, forms, hub_jobs, inspection, look, messages, state
from dashboard.charts import shortened
from dashboard.hub_jobs import Look
from superft_hf.config import DataConfig
from superft_hf.errors import SuperFTError
from superft_hf.hub.data import HubDataPreview
from superft_hf.settings import all_settings, find_setting
from superft_hf.sources.hub_columns import FOLDER_NAME

COLUMNS = 8
SHOWN_CLASSES = 6
GROUP = "start_look_group_column"
_CORRECTED = ("config_name", "image_column", "label_column")


def begin(name: str, revision: str = "main") -> None:
    """Looks at a data set from now on."""
    state.put_value(state.DATA_LOOK, {"name_or_path": name, "revision": revision})
    state.drop_value(GROUP)
    for field in _CORRECTED:
        state.drop_value(_key(field))


def end() -> None:
    """Goes back to the lists."""
    state.drop_value(state.DATA_LOOK)


def draw() -> None:
    """Draws the data set that `begin` named, within the dialog of the images."""
    if st.button("Back to the list", type="tertiary", icon=":material/arrow_back:", key="start_data_back"):
        end()
        dialogs.redraw()
    asked = DataConfig(**state.get_value(state.DATA_LOOK))
    head = st.container(gap="xxsmall")
    try:
        found = hub_jobs.look(asked)
    except SuperFTError as error:
        head.markdown(f"**{formats.plain(asked.name_or_path)}**")
        messages.show(error)
        _try_again()
        return
    with head:
        _head(found.seen)
    _facts(found.seen)
    _choices(found.seen)
    if found.seen.problem:
        messages.show(SuperFTError(found.seen.problem, hint=found.seen.hint))
        _other_revision(found.seen)
    _pictures(found)
    if not found.seen.problem:
        _use(found.seen)


def use_images(changes: dict[str, Any]) -> None:
    """Puts a set of images into the form; what belonged to the last one goes back to its default.

    Args:
        changes: Settings of the new one by dotted key, `data.name_or_path` among them.
    """
    own = {
        one.key: one.default
        for one in all_settings()
        if one.group == "data" and one.kind in ("str", "texts", "pairs") and not one.is_required
    }
    forms.put({**own, **changes})


def _head(seen: HubDataPreview) -> None:
    st.markdown(f"**{formats.plain(seen.repo_id)}**")
    parts = [
        f"licence {seen.licence or 'not stated'}",
        "gated: its terms have to be accepted" if seen.is_gated else "",
        f"commit {seen.commit[:7]}" if seen.commit else "",
        "from the cache of this machine, the Hub does not answer" if seen.is_cached_view else "",
    ]
    st.caption(formats.plain(" · ".join(part for part in parts if part)))


def _facts(seen: HubDataPreview) -> None:
    if not seen.splits:
        return
    look.facts(
        {
            "Images": formats.count(seen.num_rows),
            "Classes": formats.count(len(seen.class_names) or None),
            "Download": formats.size(seen.download_bytes),
        }
    )
    colors = formats.SPLIT_COLORS
    badges = [
        f":{colors.get(split, 'gray')}-badge[{formats.plain(split)} {formats.count(count)}]"
        for split, count in seen.splits.items()
    ]
    names = ", ".join(shortened(name, 24) for name in seen.class_names[:SHOWN_CLASSES])
    more = len(seen.class_names) - SHOWN_CLASSES
    about = f"Classes: {names} and {more:,} more." if more > 0 else f"Classes: {names}."
    if not seen.class_names:
        about = "Which classes there are shows once it is downloaded." if seen.label_column else ""
    with st.container(gap="xxsmall"):
        st.markdown(" ".join(badges))
        if about:
            st.caption(formats.plain(about))


def _choices(seen: HubDataPreview) -> None:
    """The configuration and the columns, each for correction."""
    if not seen.columns:
        return
    grid = st.grid(4, min_column_width=150, gap="small")
    if len(seen.configs) > 1:
        _choose(grid, "config_name", seen.configs, seen.config_name)
    _choose(grid, "image_column", seen.image_columns, seen.image_column, seen)
    labels = seen.label_columns or ((FOLDER_NAME,) if seen.class_names else ())
    guessed = seen.label_column or (FOLDER_NAME if seen.class_names else None)
    if guessed == FOLDER_NAME:
        labels = (FOLDER_NAME, *seen.label_columns)
    _choose(grid, "label_column", labels, guessed, seen)
    if seen.group_columns:
        one = find_setting("data.group_column")
        grid.cell().selectbox(
            one.title,
            seen.group_columns,
            index=None,
            placeholder="none",
            key=GROUP,
            help=forms.help_text(one),
        )


def _choose(
    grid: Any, field: str, options: tuple[str, ...], chosen: str | None, seen: HubDataPreview | None = None
) -> None:
    one = find_setting(f"data.{field}")
    if not options:
        return

    def words(name: str) -> str:
        kind = seen.columns.get(name) if seen else None
        return f"{name} ({kind})" if kind else name

    grid.cell().selectbox(
        one.title, options, index=options.index(chosen) if chosen in options else None, key=_key(field),
        format_func=words, help=forms.help_text(one), placeholder="choose", on_change=_correct, args=(field,),
    )  # fmt: skip


def _correct(field: str) -> None:
    """Callback of a correction: the next look is at the data set as corrected."""
    asked = dict(state.get_value(state.DATA_LOOK, {}))
    value = state.get_value(_key(field))
    asked[field] = None if value == FOLDER_NAME else value
    if field == "config_name":  # another configuration may have other columns
        for other in ("image_column", "label_column"):
            asked.pop(other, None)
            state.drop_value(_key(other))
        state.drop_value(GROUP)
    state.put_value(state.DATA_LOOK, asked)


def _pictures(found: Look) -> None:
    if not found.pictures:
        return
    grid = st.grid(COLUMNS, min_column_width=84, gap=(12, 10), key="start_look_pictures")
    for picture, label in found.pictures:
        with grid.cell(), st.container(gap="xxsmall"):
            st.image(picture, width="stretch", alt=f"a picture labelled {label or 'with nothing'}")
            name = formats.plain(shortened(label, 20)) if label else "no label"
            st.markdown(f":small[:gray[{name}]]")


def _use(seen: HubDataPreview) -> None:
    changes = _settings(seen)
    pinned = DataConfig(**{key.removeprefix("data."): value for key, value in changes.items()})

    def use() -> None:
        use_images(changes)
        end()
        dialogs.close_dialog()

    if downloads.draw(pinned, "start_look", use):
        return
    is_here = inspection.is_here(pinned)
    if not is_here:
        downloads.warn_of_files(seen)
    with st.container(horizontal=True, vertical_alignment="center"):
        label, icon = ("Use these images", "check") if is_here else ("Download and use", "download")
        is_pressed = st.button(label, type="primary", icon=f":material/{icon}:", key="start_use_data")
        if is_here:
            st.caption("They are on this machine already.", width="stretch")
        else:
            cost = downloads.expected(seen) or "How much it is shows while it is fetched"
            st.caption(f"{cost}. Kept in the Hugging Face cache of this machine.", width="stretch")
    if is_pressed and is_here:
        use()
        st.rerun()
    elif is_pressed:
        hub_jobs.start_download(pinned)
        dialogs.redraw()


def _settings(seen: HubDataPreview) -> dict[str, Any]:
    """What to put into the form: the commit that was looked at, and the columns as they were seen."""
    changes = {
        "data.name_or_path": seen.repo_id, "data.revision": seen.commit, "data.config_name": seen.config_name,
        "data.image_column": seen.image_column, "data.label_column": seen.label_column,
        "data.group_column": state.get_value(GROUP),
    }  # fmt: skip
    known = {split.lower() for split in seen.splits}
    if known and not known & {"train", "training"}:
        changes["data.train_split"] = max(seen.splits, key=lambda split: seen.splits[split] or 0)
    return changes


def _other_revision(seen: HubDataPreview) -> None:
    if seen.other_revision is None:
        return
    if st.button(
        "Look at the converted copy", type="primary", icon=":material/table_view:",
        key="start_look_converted",
        help=f"The Hub keeps the same rows as Parquet files at {seen.other_revision}.",
    ):  # fmt: skip
        begin(seen.repo_id, seen.other_revision)
        dialogs.redraw()


def _try_again() -> None:
    if st.button("Try again", icon=":material/refresh:", key="start_look_again"):
        hub_jobs.forget_looks()
        dialogs.redraw()


def _key(field: str) -> str:
    return f"start_look_{field}"
