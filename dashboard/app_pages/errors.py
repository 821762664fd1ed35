"""Errors: where a run is wrong, from the matrix down to the pictures, for any epoch and while it trains."""

from typing import Literal

import numpy as np
import pandas as pd
import streamlit as st

from dashboard import (
    charts,
    choice,
    dialogs,
    examples,
    formats,
    gallery,
    headlines,
    messages,
    readers,
    state,
)
from dashboard.confusion_chart import confusion_figure
from dashboard.look import card_head
from superft_hf.errors import DataNotFoundError
from superft_hf.evaluation.classification import confused_pairs, confusion_matrix, per_class_table
from superft_hf.records import RunRecord

PANEL_HEIGHT = 660
PER_PAGE = 12
SHORT_NAME = 9  # a name of so many letters fits under a small picture
FEW, FEWEST = 8, 4  # so many images in a cell leave room for one, and for two rows to compare them with
TABLE_ROWS, TABLE_HEIGHT = 12, 420
MATRIX, PAIRS, CLASSES = "errors_matrix", "errors_pairs", "errors_classes"


def draw_page() -> None:
    """Draws the page from top to bottom."""
    record = choice.chosen_run()
    steps = examples.steps(record.run_id, "eval")
    if not steps:
        _draw_nothing_yet(record)
        return
    is_test_open = headlines.has_looked_at_test(readers.events(record.run_id))
    head = st.container()
    split, is_shares, step = _draw_controls(record, steps, is_test_open)
    if record.is_unfinished:
        dialogs.poll(_follow, "2s", record.run_id, len(steps))
    if split == "test" and not _may_show_test(record, head, is_test_open):
        return
    try:
        evaluation = examples.evaluation(record.run_id, split, step)
    except DataNotFoundError as error:
        with head:
            choice.show_head(record, f"{formats.plain(record.name)}: this evaluation cannot be shown.", "")
        messages.show(error)
        return
    with head:
        sentence = headlines.of_errors(record, split, evaluation.rows, evaluation.class_names)
        choice.show_head(record, sentence, _context(record, split, step, is_test_open))
    _draw_evaluation(record.run_id, evaluation, is_shares)


def _draw_nothing_yet(record: RunRecord) -> None:
    if record.is_unfinished:
        choice.show_head(record, f"{formats.plain(record.name)} has not been evaluated yet.", "")
        messages.empty(
            "The first errors appear here at the end of the first epoch.",
            "This page shows them by itself; nothing has to be pressed.",
            ":material/hourglass_top:",
        )
        dialogs.poll(_follow, "2s", record.run_id, 0)
    else:
        choice.show_head(record, f"{formats.plain(record.name)} ended before its first evaluation.", "")
        messages.empty("There are no predictions to look at.", "The Run page says why, and repeats the run.")
    if st.button("Open the run", type="primary", icon=":material/show_chart:", key="errors_open_run"):
        state.open_page(state.RUN_PAGE, record.run_id)


def _follow(run_id: str, num_drawn: int) -> None:
    """Draws the page anew when an evaluation was added or the run ended, and only then."""
    if len(examples.steps(run_id, "eval")) != num_drawn or not readers.run(run_id).is_unfinished:
        st.rerun()


def _draw_controls(record: RunRecord, steps: list[int], is_test_open: bool) -> tuple[str, bool, int]:
    lock = "" if is_test_open else ":material/lock: "
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium", key="errors_controls"):
        split = st.segmented_control(
            "Split", ["eval", "test"], default="eval", required=True, key="errors_split",
            format_func=lambda one: f":violet[{one}]" if one == "eval" else f"{lock}{one}",
            persist_state="session",
        )  # fmt: skip
        cells = st.segmented_control(
            "Cells", ["Counts", "Row shares"], default="Counts", required=True, key="errors_cells",
            help="Row shares: how a class is spread over the predictions, in %.", persist_state="session",
        )  # fmt: skip
        step = _choose_step(record, steps) if split == "eval" else _test_step(record)
    return split or "eval", cells == "Row shares", step


def _choose_step(record: RunRecord, steps: list[int]) -> int:
    """The slider over the evaluations; it stands at the best one until it is moved."""
    key, moved = "errors_epoch", f"errors_epoch_of_{record.run_id}"
    step = state.get_value(moved)
    if step not in steps:
        step = record.best_step if record.best_step in steps else steps[-1]
    if len(steps) == 1:
        return step
    epochs = {one: f"{index} of {len(steps)}" for index, one in enumerate(steps, start=1)}
    state.put_value(key, step)
    return st.select_slider(
        "Evaluation", steps, format_func=lambda one: epochs.get(one, str(one)), key=key,
        on_change=lambda: state.put_value(moved, state.get_value(key)),
        help="Each epoch ends with an evaluation. At first, the best one is shown.",
    )  # fmt: skip


def _test_step(record: RunRecord) -> int:
    steps = examples.steps(record.run_id, "test")
    return steps[-1] if steps else 0


def _may_show_test(record: RunRecord, head: st.delta_generator.DeltaGenerator, is_open: bool) -> bool:
    """Whether the test results may be shown; otherwise says why not and offers to open them."""
    if not examples.steps(record.run_id, "test"):
        with head:
            choice.show_head(record, f"{formats.plain(record.name)} has no test results.", "")
        when = "at the end of the run" if record.is_unfinished else "at the end of a run that completes"
        messages.empty("Test is evaluated once.", f"That happens {when}.", ":material/lock:")
        return False
    if is_open:
        return True
    with head:
        choice.show_head(record, f"{formats.plain(record.name)}: test is sealed.", "test not looked at")
    with st.container(border=True):
        st.markdown(":green[:material/lock:] **Look at test when you have finished choosing.**")
        st.markdown(
            "Its images had no part in training or in choosing the checkpoint, so its accuracy is what to "
            "expect of new images. Whoever looks and then changes settings spoils that. "
            "The first look is noted in the run."
        )
        if st.button("Open test results", icon=":material/lock_open:", key="errors_open_test"):
            readers.store().look_at_test(record.run_id, by="page")
            st.rerun()
    return False


def _context(record: RunRecord, split: str, step: int, is_test_open: bool) -> str:
    points = readers.metrics(record.run_id, ("eval_accuracy", "eval_loss"))
    epochs = points[points["step"] == step]["epoch"]
    parts = []
    if split == "test":
        parts.append("evaluated once, with the best checkpoint")
    elif len(epochs):
        best = ", the best" if step == record.best_step else ""
        parts.append(f"epoch {formats.epochs(epochs.iloc[0])} of {record.num_train_epochs:g}{best}")
    parts.append(formats.plain(record.data))
    if record.evaluation.get("test"):
        parts.append("test opened" if is_test_open else "test not looked at")
    return " · ".join(parts)


@st.fragment
def _draw_evaluation(run_id: str, evaluation: examples.Evaluation, is_shares: bool) -> None:
    rows, names = evaluation.rows, evaluation.class_names
    matrix = confusion_matrix(rows["label"].to_numpy(), rows["prediction"].to_numpy(), len(names))
    cell = _open_cell(run_id, matrix)
    left, right = st.columns([1.18, 1], gap="small")
    with left, st.container(border=True, height=PANEL_HEIGHT):
        _draw_matrix(run_id, matrix, names, cell, is_shares)
    with right, st.container(border=True, height=PANEL_HEIGHT):
        _draw_cell(run_id, evaluation, matrix, cell)
    with st.container(border=True):
        _draw_worst(run_id, evaluation)
    left, right = st.columns([1.18, 1], gap="small")
    with left, st.container(border=True):
        _draw_classes(run_id, evaluation, matrix)
    with right, st.container(border=True):
        _draw_pairs(run_id, evaluation)


def _open_cell(run_id: str, matrix: np.ndarray) -> tuple[int, int]:
    """The chosen cell, else the most confused one, else the fullest."""
    chosen = state.chosen_cell(run_id)
    if chosen is not None and max(chosen) < len(matrix):
        return chosen
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    found = wrong if wrong.any() else matrix
    label, prediction = np.unravel_index(int(found.argmax()), found.shape)
    return int(label), int(prediction)


def _draw_matrix(
    run_id: str, matrix: np.ndarray, names: tuple[str, ...], cell: tuple[int, int], is_shares: bool
) -> None:
    note = "in % of the row; " if is_shares else ""
    card_head(
        "Confusion matrix",
        f":blue[:material/check: right] :orange[:material/close: wrong] {note}click a cell to see its images",
    )
    figure = confusion_figure(
        matrix, names, is_dark=st.context.theme.type == "dark", chosen=cell, is_shares=is_shares,
        height=PANEL_HEIGHT - 78,
    )  # fmt: skip
    st.plotly_chart(
        figure, theme="streamlit", config=charts.CONFIG, key=MATRIX, selection_mode="points",
        on_select=lambda: _take_point(run_id), alt="Confusion matrix; the tables below hold the same.",
    )  # fmt: skip


def _take_point(run_id: str) -> None:
    for table in (PAIRS, CLASSES):
        state.renew_key(table)  # the row that was selected there is no longer the cell that is open
    points = state.selection(MATRIX).get("points", [])
    if points:
        label, prediction, _ = points[0]["customdata"]
        state.choose_cell(run_id, int(label), int(prediction))


def _draw_cell(
    run_id: str, evaluation: examples.Evaluation, matrix: np.ndarray, cell: tuple[int, int]
) -> None:
    label, prediction = cell
    names, rows = evaluation.class_names, evaluation.rows
    found = rows[(rows["label"] == label) & (rows["prediction"] == prediction)].sort_values(
        "loss", ascending=False, kind="stable"
    )
    is_right = label == prediction
    true, taken = _short(names[label]), _short(names[prediction])
    title = f"{true} recognised" if is_right else f"{true} taken for {taken}"
    share = len(found) / max(int(matrix[label].sum()), 1)
    order = "least sure first" if is_right else "worst first"
    card_head(
        f"{title}: {formats.counted(len(found), 'image')}",
        f"{formats.percent(share)} of {true} · {order}",
    )
    if found.empty:
        st.markdown(f":gray[No image of {true} was taken for {taken} in this evaluation.]")
    else:
        gallery.show_pages(run_id, found, names, f"errors_cell_{label}_{prediction}", size=PER_PAGE)
    shown = (
        () if is_right or len(found) > FEW else (prediction, label) if len(found) <= FEWEST else (prediction,)
    )
    for one in (prediction, label):
        best = rows[(rows["label"] == one) & rows["is_right"]].nlargest(FEWEST, "confidence")
        if one not in shown or best.empty:
            for _ in range(2):  # takes the places of heading and pictures, see gallery.show
                st.empty()
        else:
            st.markdown(
                f":small[:gray[For comparison, {_short(names[one])} recognised with most confidence]]"
            )
            tiles = gallery.prediction_tiles(best, names, has_caption=False)
            gallery.show(run_id, tiles, f"errors_like_{'prediction' if one == prediction else 'label'}")


def _draw_worst(run_id: str, evaluation: examples.Evaluation) -> None:
    wrong = evaluation.rows[~evaluation.rows["is_right"]].sort_values("loss", ascending=False, kind="stable")
    card_head("Worst mistakes", "highest loss first: surest where wrong")
    if wrong.empty:
        st.markdown(":gray[None: every image of this evaluation was recognised.]")
        return
    key = f"errors_worst_{evaluation.split}_{evaluation.step}"
    columns = 10 if max(len(name) for name in evaluation.class_names) <= SHORT_NAME else 7
    gallery.show_pages(run_id, wrong, evaluation.class_names, key, size=2 * columns, columns=columns)


def _draw_classes(run_id: str, evaluation: examples.Evaluation, matrix: np.ndarray) -> None:
    card_head("By class", "worst recall first · select one to open its mistakes")
    rows = evaluation.rows
    table = per_class_table(
        rows["label"].to_numpy(), rows["prediction"].to_numpy(), evaluation.class_names
    ).sort_values("recall", kind="stable", ignore_index=True)
    shown = pd.DataFrame(
        {
            "Class": table["class_name"],
            "Recall": 100 * table["recall"],
            "95 % interval": [
                formats.interval(low, high) if size else None
                for low, high, size in zip(
                    table["recall_low"], table["recall_high"], table["support"], strict=True
                )
            ],
            "Precision": [_percent_or_none(value) for value in table["precision"]],
            "F1": [_percent_or_none(value) for value in table["f1"]],
            "Images": [formats.count(value) for value in table["support"]],
        }
    )
    column, key = st.column_config, state.fresh_key(CLASSES)
    st.dataframe(
        shown, hide_index=True, height=_table_height(len(shown)), placeholder=formats.NOTHING, key=key,
        selection_mode="single-row",
        on_select=lambda: _take_class(run_id, key, table["class_id"].tolist(), matrix),
        column_config={
            "Recall": column.ProgressColumn(
                format="%.1f %%", min_value=0, max_value=100, color="blue", width=128
            ),
            "95 % interval": column.TextColumn(alignment="right", width=112),
            "Precision": column.TextColumn(alignment="right", width=72),
            "F1": column.TextColumn(alignment="right", width=64),
            "Images": column.TextColumn(alignment="right", width=60),
        },
    )  # fmt: skip


def _take_class(run_id: str, key: str, class_ids: list[int], matrix: np.ndarray) -> None:
    state.renew_key(PAIRS)
    for row in state.selection(key).get("rows", []):
        label = class_ids[row]
        wrong = matrix[label].copy()
        wrong[label] = 0
        state.choose_cell(run_id, label, int(wrong.argmax()) if wrong.any() else label)


def _draw_pairs(run_id: str, evaluation: examples.Evaluation) -> None:
    card_head("Most confused pairs", "select one to open its images")
    rows = evaluation.rows
    pairs = confused_pairs(rows["label"].to_numpy(), rows["prediction"].to_numpy(), evaluation.class_names)
    if pairs.empty:
        st.markdown(":gray[None: no class was taken for another.]")
        return
    shown = pd.DataFrame(
        {
            "True": pairs["label_name"],
            "Predicted": pairs["prediction_name"],
            "Times": pairs["times"],
            "Share of class": [formats.percent(share) for share in pairs["share"]],
        }
    )
    column, key = st.column_config, state.fresh_key(PAIRS)
    top = int(pairs["times"].max())
    st.dataframe(
        shown, hide_index=True, height=_table_height(len(shown)), key=key, selection_mode="single-row",
        on_select=lambda: _take_pair(run_id, key, pairs), column_config={
            "Times": column.ProgressColumn(
                format="%d", min_value=0, max_value=top, color="orange", width=120
            ),
            "Share of class": column.TextColumn(alignment="right", width=100),
        },
    )  # fmt: skip


def _take_pair(run_id: str, key: str, pairs: pd.DataFrame) -> None:
    state.renew_key(CLASSES)
    for row in state.selection(key).get("rows", []):
        state.choose_cell(run_id, int(pairs["label"].iloc[row]), int(pairs["prediction"].iloc[row]))


def _table_height(num_rows: int) -> int | Literal["content"]:
    return "content" if num_rows <= TABLE_ROWS else TABLE_HEIGHT


def _percent_or_none(share: float) -> str | None:
    return None if np.isnan(share) else formats.percent(share)


def _short(name: str) -> str:
    return formats.plain(charts.shortened(name, 24))


draw_page()
