"""The lists of images behind the Epochs view: which is open, what is in it, and the words about it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import streamlit as st

from dashboard import examples, formats, readers, state
from dashboard.history_charts import GAINED
from superft_hf.evaluation import history
from superft_hf.evaluation.history import Answers, Group
from superft_hf.records import RunRecord

_INTEREST = (Group.FORGOTTEN, Group.NEVER_LEARNED, Group.LEARNED_LATE, Group.LEARNED_EARLY)
"""Which list is open at first: the first of these that holds an image."""

_ORDER = {
    Group.FORGOTTEN: "right most often first · ",
    Group.LEARNED_LATE: "learned last first · ",
}


@dataclass(frozen=True)
class Listed:
    """What is listed: a group, or the images that changed sides in one epoch.

    Attributes:
        group: What became of them; None when `change` is set.
        change: `gained` or `lost`, and the step of the evaluation; None when `group` is set.
    """

    group: Group | None = None
    change: tuple[str, int] | None = None

    @property
    def key(self) -> str:
        """For the keys of widgets."""
        return str(self.group).replace(" ", "_") if self.group else "{}_{}".format(*self.change)


def answers(record: RunRecord, steps: Sequence[int], shown: int) -> Answers:
    """What was predicted at each evaluation of eval, read once; the best and the one shown among them.

    Raises:
        DataNotFoundError: If a file is gone or damaged.
    """
    paths = [readers.run_paths(record.run_id).prediction_file("eval", step) for step in steps]
    is_large = len(steps) > history.MAX_EPOCHS
    keep = tuple(one for one in (record.best_step, shown) if one is not None)
    files = tuple((str(path), _stamp(path)) for path in paths)
    return _answers(files, keep if is_large else ())


def choose(run_id: str, listed: Listed) -> None:
    """Opens a list."""
    state.put_value(_key(run_id), (listed.group and str(listed.group), listed.change))


def chosen(run_id: str, found: Answers, counted: Answers) -> Listed:
    """The list that is open, else the first of interest."""
    group, change = state.get_value(_key(run_id), (None, None))
    if group:
        return Listed(group=Group(group))
    if change and change[1] in found.steps:
        return Listed(change=change)
    there = sizes(counted)
    return Listed(group=next((one for one in _INTEREST if there[one]), Group.ALWAYS_RIGHT))


def sizes(counted: Answers) -> dict[Group, int]:
    """Images by group."""
    found = np.bincount(history.groups(counted), minlength=len(Group)).tolist()
    return dict(zip(Group, found, strict=True))


def images(found: Answers, counted: Answers, listed: Listed) -> np.ndarray:
    """The images (columns of the answers) in a list."""
    if listed.group:
        return history.members(counted, listed.group)
    kind, step = listed.change
    return history.changed_at(found, step, is_gained=kind == GAINED)


def sentence(counted: Answers, there: dict[Group, int]) -> str:
    """The answer in words, in Markdown."""
    epochs, total = len(counted.steps), len(counted.labels)
    if epochs < 2:
        return (
            "Up to the first epoch nothing can have changed: move the slider on, or count on to the newest."
        )
    verb = "was" if there[Group.ALWAYS_RIGHT] == 1 else "were"
    forgotten = there[Group.FORGOTTEN]
    return (
        f"Over {epochs} evaluations {formats.count(there[Group.ALWAYS_RIGHT])} of "
        f"{formats.counted(total, 'image')} {verb} always right. "
        f"**{formats.counted(forgotten, 'image')} {'was' if forgotten == 1 else 'were'} learned and then "
        f"forgotten**, {formats.count(there[Group.LEARNED_LATE])} learned late, "
        f"{formats.count(there[Group.NEVER_LEARNED])} never learned."
    )


def title(record: RunRecord, listed: Listed) -> str:
    """What a list is called."""
    if listed.group is Group.FORGOTTEN:
        return "Learned and then forgotten"
    if listed.group:
        return str(listed.group).capitalize()
    kind, step = listed.change
    number = examples.steps(record.run_id, "eval").index(step) + 1
    return f"Became {'right' if kind == GAINED else 'wrong'} in evaluation {number}"


def order_words(listed: Listed) -> str:
    """How a list is sorted, where that is not the order of the split."""
    return _ORDER.get(listed.group, "")


def nothing(listed: Listed, counted: Answers) -> str:
    """What an empty list says."""
    if listed.change:
        return "No image changed in this epoch."
    return {
        Group.ALWAYS_RIGHT: "No image was right in every epoch.",
        Group.LEARNED_EARLY: "No image was wrong at first and learned early.",
        Group.LEARNED_LATE: "No image was learned late.",
        Group.FORGOTTEN: "Nothing was forgotten: what was right once is right in the end.",
        Group.NEVER_LEARNED: "None: every image was right in at least one epoch.",
    }[listed.group]


@st.cache_resource(max_entries=3, show_spinner=False)
def _answers(files: tuple[tuple[str, int], ...], keep: tuple[int, ...]) -> Answers:
    return history.read_answers([Path(path) for path, _ in files], keep=keep)


def _stamp(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _key(run_id: str) -> str:
    return f"errors_history_{run_id}"
