"""Many runs at once: a table, any setting or figure against any other, and lines through what varies."""

import zlib
from collections.abc import Sequence

import numpy as np
import pandas as pd
import streamlit as st

from dashboard import charts, formats, readers, state
from dashboard.compare_charts import Axis, parallel_figure, scatter_figure
from dashboard.compare_views import baseline, groups
from dashboard.compare_views.many_frame import FIGURES, fold_seeds, make_frame, settings_of, unfolded
from dashboard.look import card_head
from superft_hf.records import RunRecord

MAX_COMPARED = 8
MAX_MEASURED = 40
"""The newest runs of the same images that are set against the pinned baseline."""

MAX_AXES = 8
MAX_SETTING_COLUMNS = 6
TABLE_HEIGHT, CHART_HEIGHT = 420, 380
SCATTER = "compare_scatter"
_ALL, _SAME, _CHOSEN = "All runs", "Same images", "Chosen runs"
_NO_COLOR = ""


@st.fragment
def draw(chosen: Sequence[RunRecord]) -> None:
    """Draws the table of runs, the scatter and the parallel coordinates.

    Args:
        chosen: The runs that are compared above; may be none.
    """
    records = _records(chosen)
    frame = _frame(records)
    if frame.empty:
        st.markdown(":gray[None of these runs has a record to draw.]")
        return
    _draw_table(frame, records)
    picked = _picked(frame)
    left, right = st.columns([1, 1], gap="small")
    with left, st.container(border=True):
        _draw_scatter(frame, picked)
    with right, st.container(border=True):
        _draw_parallel(frame, picked)


def _records(chosen: Sequence[RunRecord]) -> list[RunRecord]:
    """The runs that are drawn, newest first."""
    known = readers.run_list()
    options = [_ALL, *([_SAME, _CHOSEN] if chosen else [])]
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        which = _ALL
        if len(options) > 1:
            which = st.segmented_control(
                "Runs", options, default=_SAME, required=True, key="compare_which",
                label_visibility="collapsed",
            )  # fmt: skip
        st.toggle(
            "Fold seeds", value=True, key="compare_fold",
            help="Runs that differ in nothing but the seed become one row: mean ± standard deviation.",
        )  # fmt: skip
    if which == _CHOSEN:
        return list(chosen)
    if which == _SAME and chosen:
        return [one for one in known if one.data == chosen[0].data]
    return known


def _frame(records: Sequence[RunRecord]) -> pd.DataFrame:
    ids = ",".join(one.run_id for one in records)
    is_folded = bool(state.get_value("compare_fold", True))
    return _cached_frame(str(readers.store().home), readers.version(), ids, is_folded)


@st.cache_resource(max_entries=8, show_spinner=False)
def _cached_frame(home: str, version: readers.Version, ids: str, is_folded: bool) -> pd.DataFrame:
    wanted = set(ids.split(","))
    records = [one for one in readers.run_list() if one.run_id in wanted]
    run_ids = tuple(one.run_id for one in records)
    accuracies, losses = (readers.sparklines(run_ids, key) for key in ("eval_accuracy", "eval_loss"))
    frame = make_frame(records, groups.values(), accuracies, losses)
    if not is_folded:
        return unfolded(frame)
    return fold_seeds(frame, {one: groups.group_of(one) for one in run_ids})


def _draw_table(frame: pd.DataFrame, records: Sequence[RunRecord]) -> None:
    settings = settings_of(frame)[:MAX_SETTING_COLUMNS]
    differences, note = _against_baseline(frame, records)
    shown = pd.DataFrame({"Run": frame["name"], "Accuracy, best": frame["words"]})
    if differences is not None:
        shown["Against baseline"] = differences
    shown["Last"] = frame["last_accuracy"]
    shown["Loss, best"], shown["Loss, last"] = frame["loss"], frame["last_loss"]
    shown["Best epoch"] = frame["best_epoch"]
    shown["Duration"] = [
        None if pd.isna(one) else formats.duration(60 * one) for one in frame["duration_min"]
    ]
    for key in settings:
        shown[_short_key(key, settings)] = frame[key]
    ids = frame["run_id"].tolist()
    key = _table_key(ids)
    with st.container(border=True):
        card_head("Runs", f"{formats.counted(len(frame), 'row')} · select rows: they stand out in the charts")
        number = st.column_config.NumberColumn
        st.dataframe(
            shown, hide_index=True, height="content" if len(shown) <= 10 else TABLE_HEIGHT, key=key,
            placeholder=formats.NOTHING, selection_mode="multi-row",
            on_select=lambda: _take_rows(key, ids),
            selection_default={"selection": {"rows": np.flatnonzero(_is_picked(frame)).tolist()}},
            column_config={
                "Run": st.column_config.TextColumn(width=210),
                "Accuracy, best": st.column_config.TextColumn(alignment="right"),
                "Against baseline": st.column_config.TextColumn(alignment="right", width=196, help=note),
                "Last": number(format="%.1f %%", help="Eval accuracy of the last epoch"),
                "Loss, best": number(format="%.3f"), "Loss, last": number(format="%.3f"),
                "Best epoch": number(format="%.1f"),
                "Duration": st.column_config.TextColumn(alignment="right"),
            },
        )  # fmt: skip
        if note:
            st.markdown(f":small[:gray[{note}]]")
        _draw_verbs(frame)


def _draw_verbs(frame: pd.DataFrame) -> None:
    picked = [run_id for run_ids in _picked(frame)["run_ids"] for run_id in run_ids]
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button(
            "Open", icon=":material/arrow_forward:", disabled=len(_picked(frame)) != 1, key="compare_open"
        ):
            state.open_page(state.RUN_PAGE, picked[0])
        if st.button(
            "Compare", icon=":material/compare_arrows:", key="compare_these",
            disabled=not 2 <= len(picked) <= MAX_COMPARED, help=f"Of 2 to {MAX_COMPARED} runs.",
        ):  # fmt: skip
            state.open_compare(picked[::-1])
        st.caption(
            f"{formats.counted(len(picked), 'run')} selected." if picked else "Select rows or a point.",
            width="content",
        )


def _against_baseline(
    frame: pd.DataFrame, records: Sequence[RunRecord]
) -> tuple[list[str | None] | None, str]:
    """What the newest runs differ by from the pinned baseline of their images, and how that was found."""
    if not records or (reference := baseline.pinned(records[0].data)) is None:
        return None, ""
    same = [one for one in records if one.data == reference.data and one.accuracy is not None]
    found = baseline.against(reference, same[:MAX_MEASURED], "eval")
    words: list[str | None] = []
    for run_ids in frame["run_ids"]:
        if reference.run_id in run_ids:
            words.append("baseline")
        elif len(run_ids) == 1 and run_ids[0] in found:
            words.append(baseline.in_short(*found[run_ids[0]]))
        else:
            shifts = [found[one][0].difference for one in run_ids if one in found]
            words.append(formats.points(float(np.mean(shifts))) + " on average" if shifts else None)
    left_out = len(same) - MAX_MEASURED
    more = f" Of the {formats.count(len(same))} runs, the newest {MAX_MEASURED}." if left_out > 0 else ""
    note = (
        f"Against {formats.plain(reference.name)}: points of eval accuracy with the 95 % interval; verdicts "
        f"hold for all {formats.counted(len(found), 'comparison')} together (Holm).{more}"
    )
    return words, note


def _draw_scatter(frame: pd.DataFrame, picked: pd.DataFrame) -> None:
    card_head("One against another", "a point a row; click one to select it")
    axes = _axes(frame)
    options = list(axes)
    settings = [one for one in options if one not in FIGURES]
    spread = max(settings, key=lambda one: frame[one].nunique(), default=None)
    first = spread or ("duration_min" if "duration_min" in axes else options[0])
    with st.container(horizontal=True, gap="small"):
        x = _choose("Across", options, first, axes)
        y = _choose("Up", options, "accuracy" if "accuracy" in axes else options[-1], axes)
        color = _choose("Colour", [_NO_COLOR, *options], _NO_COLOR, axes)
    chosen = frame["run_id"].isin(picked["run_id"]).tolist()
    figure = scatter_figure(
        frame["name"].tolist(), frame["run_id"].tolist(), axes[x], axes[y], axes.get(color), chosen=chosen,
        is_dark=st.context.theme.type == "dark", height=CHART_HEIGHT,
    )  # fmt: skip
    st.plotly_chart(
        figure, theme="streamlit", config=charts.CONFIG, key=SCATTER, selection_mode="points",
        on_select=lambda: _take_point(frame["run_id"].tolist()),
        alt="One figure or setting of the runs against another; the table above holds the same.",
    )  # fmt: skip


def _draw_parallel(frame: pd.DataFrame, picked: pd.DataFrame) -> None:
    card_head("What varies, and what came of it", "a line a row")
    axes = _axes(frame)
    settings = [one for one in axes if one not in FIGURES]
    if not settings:
        st.markdown(":gray[None of the settings varies among these rows. Choose more runs, or unfold seeds.]")
        return
    shown = st.multiselect(
        "Axes", settings, default=settings[: MAX_AXES - 1], max_selections=MAX_AXES - 1, key="compare_axes",
        format_func=lambda one: axes[one].title, label_visibility="collapsed",
        placeholder="Choose the settings to draw",
    )  # fmt: skip
    outcome = "accuracy" if "accuracy" in axes else next((one for one in FIGURES if one in axes), None)
    drawn = [axes[one] for one in shown] + ([axes[outcome]] if outcome else [])
    if len(drawn) < 2:
        st.markdown(":gray[That takes two axes: choose a setting.]")
        return
    chosen = frame["run_id"].isin(picked["run_id"]).tolist()
    figure = parallel_figure(
        drawn, chosen=chosen, is_dark=st.context.theme.type == "dark", height=CHART_HEIGHT
    )
    st.plotly_chart(
        figure, theme="streamlit", config=charts.CONFIG, key="compare_parallel",
        alt="Parallel coordinates of the settings that vary; the table above holds the same.",
    )  # fmt: skip
    names = [f"**{formats.plain(one)}**" for one in picked["name"][:4]]
    more = f" and {len(picked) - 4} more" if len(picked) > 4 else ""
    which = (
        f"Standing out: {', '.join(names)}{more}." if names else "Select rows above: their lines stand out."
    )
    st.markdown(f":small[:gray[{which}]]")


def _axes(frame: pd.DataFrame) -> dict[str, Axis]:
    """What can be drawn: the settings that vary, then the figures that at least one row has."""
    settings = settings_of(frame)
    made = {
        key: Axis(_short_key(key, settings), frame[key].tolist())
        for key in settings
        if frame[key].map(str).nunique() > 1
    }
    made |= {
        key: Axis(title, frame[key].tolist(), unit)
        for key, (title, unit) in FIGURES.items()
        if frame[key].notna().any()
    }
    return made or {"epochs": Axis("Epochs", [0.0] * len(frame))}


def _short_key(key: str, keys: Sequence[str]) -> str:
    """The last part of a dotted name, unless another ends alike."""
    last = key.rsplit(".", 1)[-1]
    return last if sum(one.rsplit(".", 1)[-1] == last for one in keys) <= 1 else key


def _choose(label: str, options: Sequence[str], default: str, axes: dict[str, Axis]) -> str:
    key = f"compare_{label.lower()}"
    if state.get_value(key) not in options:
        state.put_value(key, default)
    chosen = st.selectbox(
        label, options, key=key, width="stretch",
        format_func=lambda one: axes[one].title if one in axes else "one for all",
    )  # fmt: skip
    return chosen if chosen is not None else default


def _is_picked(frame: pd.DataFrame) -> list[bool]:
    picked = set(state.get_value(state.COMPARE_MANY, ()))
    return [one in picked for one in frame["run_id"]]


def _picked(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[_is_picked(frame)]


def _table_key(ids: Sequence[str]) -> str:
    """With other rows it is another table: a selection is by place."""
    return state.fresh_key(f"compare_many_{zlib.crc32(','.join(ids).encode()):08x}")


def _take_rows(key: str, ids: Sequence[str]) -> None:
    state.put_value(state.COMPARE_MANY, tuple(ids[row] for row in state.selection(key).get("rows", [])))


def _take_point(ids: Sequence[str]) -> None:
    points = state.selection(SCATTER).get("points", [])
    if points:
        state.put_value(state.COMPARE_MANY, tuple(str(one["customdata"][0]) for one in points))
        state.renew_key(f"compare_many_{zlib.crc32(','.join(ids).encode()):08x}")
