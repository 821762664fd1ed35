"""The splits on the Start page: given or cut, how much of it, by group, and what comes of it at once.

What is set here are the settings of the form, under their own widget keys.
"""

from collections.abc import Mapping

import pandas as pd
import streamlit as st

from dashboard import formats, forms, inspection, messages
from superft_hf.config import DataConfig
from superft_hf.records import DataInfo
from superft_hf.settings import find_setting

SPLIT_BY, GROUP = "data.split_by", "data.group_column"
EVAL_FRACTION, TEST_FRACTION, SEED = "data.eval_fraction", "data.test_fraction", "data.split_seed"
KEYS = frozenset((SPLIT_BY, GROUP, EVAL_FRACTION, TEST_FRACTION, SEED))
"""The settings that this draws; whoever draws the rest leaves them out."""

MAX_ROWS = 30
SPLITS = ("train", "eval", "test")


def draw(data: DataConfig, info: DataInfo) -> None:
    """Draws the fields, a sentence of what they mean, and the images by class and split.

    Args:
        data: As it is now.
        info: What these settings make of the images.
    """
    grid = st.grid(5, min_column_width=150, gap="small")
    with grid.cell(), st.container(gap="xxsmall"):
        forms.draw_field(find_setting(SPLIT_BY))
        st.caption("as the images come" if data.split_by == "given" else "all put together, cut anew")
    for key, split in ((EVAL_FRACTION, "eval"), (TEST_FRACTION, "test")):
        with grid.cell(), st.container(gap="xxsmall"):
            forms.draw_field(find_setting(key), disabled=split not in info.is_cut)
            st.caption(_about_part(info, split))
    with grid.cell(), st.container(gap="xxsmall"):
        forms.draw_field(find_setting(SEED), disabled=not info.is_cut)
        st.caption("another seed, other images")
    with grid.cell(), st.container(gap="xxsmall"):
        _group_field(data, info.columns)
        st.caption("stays on one side of a cut")
    st.markdown(about_splits(data, info))
    _about_groups(data, info)
    _table(info)


def _group_field(data: DataConfig, columns: tuple[str, ...]) -> None:
    """The choice of the column to group by, among the columns that these images have."""
    one = find_setting(GROUP)
    options = list(dict.fromkeys([*columns, *([data.group_column] if data.group_column else [])]))
    st.selectbox(
        one.title, options, index=None, key=forms.widget_key(GROUP), help=forms.help_text(one),
        placeholder="none" if columns else "these images have none", disabled=not options,
    )  # fmt: skip


def about_splits(data: DataConfig, info: DataInfo) -> str:
    """Where the splits come from, as a sentence.

    Example:
        >>> info = DataInfo("a", "a", "", "local", is_cut=("eval",))
        >>> about_splits(DataConfig(name_or_path="a"), info)
        'Eval is cut from train, stratified by class, split seed 42.'
        >>> about_splits(DataConfig(name_or_path="a", num_folds=5), info)
        'Eval is fold 1 of 5 of train, stratified by class, split seed 42.'
    """
    if not info.is_cut:
        return "All three splits are given."
    how = f"by {formats.plain(data.group_column)}" if data.group_column else "stratified by class"
    if data.num_folds is not None:
        fold = f"Eval is fold {data.fold + 1} of {data.num_folds} of train"
        return f"{fold}, {how}, split seed {data.split_seed}."
    if "train" in info.is_cut:
        return f"All images are put together and cut anew, {how}, split seed {data.split_seed}."
    cut = " and ".join(info.is_cut).capitalize() + (" are" if len(info.is_cut) > 1 else " is")
    return f"{cut} cut from train, {how}, split seed {data.split_seed}."


def group_sentence(column: str, groups: Mapping[str, frozenset[str]]) -> tuple[bool, str]:
    """Whether no group is in two splits, and a sentence that says so.

    Example:
        >>> group_sentence("patient", {"train": frozenset("ab"), "eval": frozenset("c")})
        (True, 'No patient is on two sides.')
        >>> group_sentence("patient", {"train": frozenset("ab"), "eval": frozenset("b")})
        (False, '1 patient is in two splits, such as b in train and eval.')
    """
    noun = formats.plain(column)
    shared: dict[str, list[str]] = {}
    for split, held in groups.items():
        for group in held:
            shared.setdefault(group, []).append(split)
    twice = sorted(group for group, splits in shared.items() if len(splits) > 1)
    if not twice:
        return True, f"No {noun} is on two sides."
    where = " and ".join(shared[twice[0]])
    number = f"1 {noun} is" if len(twice) == 1 else f"{len(twice):,} values of {noun} are"
    return False, f"{number} in two splits, such as {formats.plain(twice[0])} in {where}."


def _about_part(info: DataInfo, split: str) -> str:
    if split not in info.is_cut:
        return f"{split} is given"
    return formats.counted(sum(info.counts[split].values()), "image")


def _about_groups(data: DataConfig, info: DataInfo) -> None:
    if data.group_column is None:
        return
    is_apart, sentence = group_sentence(data.group_column, inspection.groups(data))
    counts = ", ".join(f"{split} {info.num_groups.get(split, 0):,}" for split in SPLITS)
    words = f"Values of {formats.plain(data.group_column)} by split: {counts}."
    if is_apart:
        st.markdown(f":material/check: **{sentence}** :gray[{words}]")
    else:
        messages.note(sentence, f"{words} Set Splits to Cut to keep each on one side.")


def _table(info: DataInfo) -> None:
    table = split_table(info.counts)
    st.dataframe(
        table, hide_index=True, height="content" if len(table) <= 12 else 420, width="stretch",
        column_config={"Class": st.column_config.TextColumn(width=150)}
        | {name: st.column_config.NumberColumn(format="localized", width=54) for name in table.columns[1:]},
        key="start_split_table",
    )  # fmt: skip
    if len(info.class_names) > MAX_ROWS:
        st.caption(f"The {MAX_ROWS - 1} smallest of {len(info.class_names):,} classes, and all together.")


def split_table(counts: Mapping[str, Mapping[str, int]]) -> pd.DataFrame:
    """Images by class and split, with a row of totals; of very many classes only the smallest.

    Args:
        counts: Images by class name, by split.
    """
    table = pd.DataFrame({split: pd.Series(counts[split]) for split in SPLITS if split in counts})
    table = table.fillna(0).astype(int)
    table["all"] = table.sum(axis=1)
    totals = table.sum(axis=0)
    if len(table) > MAX_ROWS:
        table = table.sort_values("all", kind="stable").head(MAX_ROWS - 1)
    table.loc["All classes"] = totals
    return table.rename_axis("Class").reset_index()
