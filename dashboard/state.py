"""What this browser tab chose, and nothing else: every session key and query parameter is declared here.

The store is the truth about runs. A chosen run stands in the link (`?run=…`); the link wins over the session.
"""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, Literal

import streamlit as st

START_PAGE = "app_pages/start.py"
RUNS_PAGE = "app_pages/runs.py"
RUN_PAGE = "app_pages/run.py"
ERRORS_PAGE = "app_pages/errors.py"
COMPARE_PAGE = "app_pages/compare.py"
TRY_PAGE = "app_pages/try_it.py"
PUBLISH_PAGE = "app_pages/publish.py"

RUN = "run"
"""Query parameter and session key of the chosen run."""

RUNS = "runs"
"""Query parameter and session key of the runs to compare, separated by commas."""

STEP = "step"
"""Query parameter of the Errors page: the global step of the evaluation it shows, or `newest` to follow."""

REPEAT = "repeat"
"""Query parameter of the Start page: the run whose settings to begin with."""

RUN_PICKER = "sidebar_run"
START_CHANGES = "start_changes"
START_DIALOG = "start_dialog"
START_DRAFT = "start_draft"
START_FINDING = "start_finding"
START_ORIGIN = "start_origin"
START_SHUFFLE = "start_shuffle"
HUB_TOKEN = "hub_token"
"""The Hub token that was typed into this tab: it is kept nowhere else, and shown nowhere."""

HUB_ASKED = "hub_asked"
"""Which search of the Hub this tab began last."""

HUB_DIALOG = "hub_dialog"
"""Whether the dialog about this tab's standing on the Hub is open."""

HUB_PAGES = "hub_pages"
"""By kind: the search, and the cursors of its pages so far."""

DATA_LOOK = "start_data_look"
"""The data set that the images dialog looks at, with what was corrected there, as settings of `data:`."""

MODEL_LOOK = "start_model_look"
"""The model and revision whose card the model dialog shows."""

RUNS_SELECTED = "runs_selected"
RUNS_ASKED = "runs_asked"
"""What is asked before it is done on the Runs page: the name of a verb, and the runs."""

QUEUE_ROWS = "queue_rows"
"""The most rows that this tab's queue panel had: it never becomes lower, so that nothing below it jumps."""

NOTICED = "noticed"
"""What this tab has seen of runs, so that it tells of each end once, see `dashboard.notices`."""

TAB_TITLE = "tab_title"
"""The title that the browser's tab has now."""

IMAGES_FILTER, IMAGES_MARKED, IMAGES_SORT = "filter", "marked", "sort"
"""Query parameters of the Errors page's Images, see `dashboard.error_views.images_choice`."""

IMAGES_CHOICE = "images_choice"
"""The texts of these parameters as this tab chose them."""

IMAGES_CLASSES = "images_classes"
"""The class names to which the numbers in the chosen filter belong."""

CLOSE_LOOK = "close_look"
"""The place of the image that the closer look shows, see `dashboard.close_look`."""

MARKS_NEWS = "marks_news"
"""What the last import or removal of marks came to: a sentence or an error, told once."""

JUDGED_RIGHT = "judged_right"
"""By set of images: the example ids whose doubted labels a person judged to be right."""

COMPARE_CELL = "compare_cell"
"""Begins the keys of the open cell of the delta matrix: (label, prediction), by pair of runs."""

COMPARE_CELLS = "compare_cells"
"""Name of the table of the delta matrix, see `fresh_key`."""

COMPARE_COMMON = "compare_on_common"
"""Pairs of runs with differing test sets that are compared all the same, on the images in common."""

COMPARE_MANY = "compare_many"
"""The runs that stand out in the charts over many runs."""

SUPERVISOR_MISSED_SINCE = "supervisor_missed_since"
"""Since when (seconds, monotonic) this tab finds no supervisor though one was started."""


def selected_run_id() -> str | None:
    """The run that this tab looks at; the link wins."""
    return st.query_params.get(RUN) or st.session_state.get(RUN)


def select_run(run_id: str) -> None:
    """Chooses a run, and puts it into the link."""
    st.session_state[RUN] = run_id
    if st.query_params.get(RUN) != run_id:
        st.query_params[RUN] = run_id
        st.query_params.pop(STEP, None)  # it was another run's


def take_picked_run() -> None:
    """Callback of the sidebar's picker."""
    if st.session_state.get(RUN_PICKER):
        select_run(st.session_state[RUN_PICKER])


def forget_run(run_id: str) -> None:
    """Forgets the choice of a run that is gone."""
    if st.session_state.get(RUN) == run_id:
        del st.session_state[RUN]
    if st.query_params.get(RUN) == run_id:
        del st.query_params[RUN]
    if run_id in compared_run_ids():
        select_compared([one for one in compared_run_ids() if one != run_id])


def compared_run_ids() -> list[str]:
    """The runs that this tab compares; the link wins."""
    text = st.query_params.get(RUNS) or st.session_state.get(RUNS, "")
    return [part for part in text.split(",") if part]


def select_compared(run_ids: Sequence[str]) -> None:
    """Chooses the runs to compare; the Compare page puts them into the link by `keep_compared_in_link`."""
    st.session_state[RUNS] = ",".join(run_ids)


def keep_compared_in_link(run_ids: Sequence[str]) -> None:
    """Chooses the runs to compare and puts them into the link; called on the Compare page only."""
    select_compared(run_ids)
    if run_ids:
        st.query_params[RUNS] = ",".join(run_ids)
    else:
        st.query_params.pop(RUNS, None)


def open_page(page: str, run_id: str | None = None) -> None:
    """Goes to a page, with a run chosen; ends the script run."""
    if run_id is not None:
        st.session_state[RUN] = run_id
    st.switch_page(page, query_params={RUN: run_id} if run_id else None)


def open_compare(run_ids: Sequence[str]) -> None:
    """Goes to the Compare page with these runs; ends the script run."""
    select_compared(run_ids)
    st.switch_page(COMPARE_PAGE, query_params={RUNS: ",".join(run_ids)})


def repeat_run(run_id: str, changes: Mapping[str, Any] | None = None) -> None:
    """Goes to the Start page filled in with a run's settings; ends the script run.

    Args:
        run_id: The run to begin with.
        changes: Settings to change at once, by dotted key, such as `training.learning_rate`.
    """
    st.session_state[START_CHANGES] = dict(changes or {})
    st.switch_page(START_PAGE, query_params={REPEAT: run_id})


def continue_run(run_id: str, model: Path) -> None:
    """Goes to the Start page for a new run that begins with the model of a finished one; ends the script run.

    Args:
        run_id: The finished run, whose settings and images stay.
        model: The folder of its model.
    """
    changes = {"name": None, "model.name_or_path": str(model.absolute()), "model.revision": "main"}
    repeat_run(run_id, changes)


def take_repeat() -> tuple[str, dict[str, Any]] | None:
    """The run to repeat and the changes to it, when the Start page was opened for that; once."""
    run_id = st.query_params.get(REPEAT)
    if run_id is None:
        return None
    del st.query_params[REPEAT]
    return run_id, st.session_state.pop(START_CHANGES, {})


def has_value(key: str) -> bool:
    """Whether a session key, such as that of a widget, is set."""
    return key in st.session_state


def get_value(key: str, default: Any = None) -> Any:
    """The value of a session key."""
    return st.session_state.get(key, default)


def put_value(key: str, value: Any) -> None:
    """Sets a session key; a widget's only before it is drawn."""
    st.session_state[key] = value


def drop_value(key: str) -> None:
    """Forgets a session key."""
    st.session_state.pop(key, None)


@dataclass(frozen=True)
class Selection:
    """What of a confusion matrix is open.

    Attributes:
        kind: cell, row (all images of a class) or column (all images predicted as a class).
        label: Class id of the row; of no meaning for a column.
        prediction: Class id of the column; of no meaning for a row.
        is_wrong_only: Whether a row or column is left without its images that were recognised.
    """

    kind: Literal["cell", "row", "column"]
    label: int = -1
    prediction: int = -1
    is_wrong_only: bool = False


def chosen_cell(run_id: str) -> Selection | None:
    """The cell, row or column of a run's confusion matrix that this tab opened."""
    found = st.session_state.get(f"errors_cell_{run_id}")
    return Selection(*found) if found else None


def choose_cell(run_id: str, chosen: Selection) -> None:
    """Opens a cell, row or column; it stays open across epochs and splits."""
    # Plain values: when the source changes under a running server, an old instance is of another class.
    st.session_state[f"errors_cell_{run_id}"] = astuple(chosen)


def chosen_step(run_id: str) -> str | None:
    """The evaluation of a run to look at: a step, `newest`, or None for the best; the link wins."""
    return st.query_params.get(STEP) or st.session_state.get(f"errors_step_{run_id}")


def choose_step(run_id: str, step: str | None) -> None:
    """Chooses an evaluation, and puts it into the link; None is the best, which needs no mention there."""
    st.session_state[f"errors_step_{run_id}"] = step
    if step is None:
        st.query_params.pop(STEP, None)
    elif st.query_params.get(STEP) != step:
        st.query_params[STEP] = step


def judged_right(data: str) -> frozenset[str]:
    """The example ids of a set of images whose doubted labels were judged to be right in this tab."""
    return st.session_state.get(JUDGED_RIGHT, {}).get(data, frozenset())


def judge_right(data: str, example_id: str) -> None:
    """Callback of a button: notes that a doubted label is right."""
    known = st.session_state.get(JUDGED_RIGHT, {})
    st.session_state[JUDGED_RIGHT] = {**known, data: judged_right(data) | {example_id}}


def forget_judged_right(data: str) -> None:
    """Callback of a button: doubts all labels of a set of images again."""
    known = st.session_state.get(JUDGED_RIGHT, {})
    st.session_state[JUDGED_RIGHT] = {name: ids for name, ids in known.items() if name != data}


def operating_point(run_id: str) -> Any:
    """The operating point of a run that this tab is choosing; None before anything was changed."""
    return st.session_state.get(f"operating_point_{run_id}")


def change_operating_point(run_id: str, decision: Any) -> None:
    """Keeps an operating point in the making; None forgets it, so that the saved one is shown."""
    st.session_state[f"operating_point_{run_id}"] = decision


def selection(key: str) -> Mapping[str, Any]:
    """What is selected in the chart or table of this key, as Streamlit reports it; for its callback."""
    return (st.session_state.get(key) or {}).get("selection", {})


def fresh_key(name: str) -> str:
    """The key of a widget that forgets its selection when `renew_key` is called."""
    return f"{name}_{st.session_state.get(f'{name}_renewed', 0)}"


def renew_key(name: str) -> None:
    """Makes the widget of this name begin anew at the next script run."""
    st.session_state[f"{name}_renewed"] = st.session_state.get(f"{name}_renewed", 0) + 1
