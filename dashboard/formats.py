"""How states, metrics, settings and names are worded, the same on every page.

Numbers are worded by `superft_hf.words`, which the command line shares; pages find both here. Text that a
person typed goes through `plain` before it stands in Markdown, so that a run called `*a*` keeps its name.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from superft_hf.records import RunRecord, RunState
from superft_hf.words import METRIC_TITLES as METRIC_TITLES
from superft_hf.words import NOTHING as NOTHING
from superft_hf.words import accuracy_interval as accuracy_interval
from superft_hf.words import count as count
from superft_hf.words import counted as counted
from superft_hf.words import duration as duration
from superft_hf.words import epochs as epochs
from superft_hf.words import interval as interval
from superft_hf.words import loss as loss
from superft_hf.words import percent as percent
from superft_hf.words import points as points
from superft_hf.words import run_duration_s as run_duration_s
from superft_hf.words import significant as significant
from superft_hf.words import size as size


@dataclass(frozen=True)
class StateLook:
    """How a run's state is shown.

    Attributes:
        word: The state in a word; colour is never the only cue.
        icon: A Material icon, as Streamlit writes it.
        color: Streamlit's name of the colour: grey but for failed and paused.
    """

    word: str
    icon: str
    color: str


STATE_LOOKS = {
    RunState.QUEUED: StateLook("queued", ":material/schedule:", "gray"),
    RunState.STARTING: StateLook("starting", ":material/hourglass_top:", "gray"),
    RunState.RUNNING: StateLook("running", ":material/progress_activity:", "gray"),
    RunState.PAUSED: StateLook("paused", ":material/pause:", "yellow"),
    RunState.COMPLETED: StateLook("completed", ":material/check:", "gray"),
    RunState.FAILED: StateLook("failed", ":material/error:", "red"),
    RunState.DISCARDED: StateLook("discarded", ":material/block:", "gray"),
}

SPLIT_COLORS = {"train": "gray", "eval": "violet", "test": "green"}

_UNBOUNDED_METRICS = ("loss", "log_loss")


def state_badge(state: RunState) -> dict[str, str]:
    """The arguments of `st.badge` for a state."""
    look = STATE_LOOKS[state]
    return {"label": look.word, "icon": look.icon, "color": look.color}


def moment(iso: str | None) -> str:
    """A moment in the time zone of this machine, such as `24 Nov, 02:33`."""
    if iso is None:
        return NOTHING
    local = datetime.fromisoformat(iso).astimezone()
    return f"{local.day} {local:%b, %H:%M}"


def moment_s(iso: str) -> str:
    """A moment to the second in the time zone of this machine, such as `24 Nov, 02:33:07`."""
    local = datetime.fromisoformat(iso).astimezone()
    return f"{local.day} {local:%b, %H:%M:%S}"


def metric_title(key: str) -> str:
    """A metric's key in words.

    Example:
        >>> metric_title("eval_f1_macro"), metric_title("accuracy")
        ('Eval F1, macro', 'Accuracy')
    """
    split, _, rest = key.partition("_")
    if split in SPLIT_COLORS:
        return f"{split.capitalize()} {METRIC_TITLES.get(rest, rest.replace('_', ' '))}"
    words = METRIC_TITLES.get(key, key.replace("_", " "))
    return words[:1].upper() + words[1:]


def metric_value(key: str, value: float | None) -> str:
    """A metric's value: losses with three decimals, shares in percent."""
    name = key.removeprefix("eval_").removeprefix("test_")
    return loss(value) if name in _UNBOUNDED_METRICS else percent(value)


def setting_value(value: Any) -> str:
    """A setting's value for a person.

    Example:
        >>> setting_value(None), setting_value(0.00005), setting_value([]), setting_value("full")
        ('–', '0.00005', 'none', 'full')
        >>> setting_value(["a", "b", "c", "d", "e"]), setting_value({"cat": "animal"})
        ('5 values', 'cat → animal')
    """
    if isinstance(value, Mapping):
        value = [f"{name} → {other}" for name, other in value.items()]
    if isinstance(value, list | tuple):
        return f"{len(value):,} values" if len(value) > 4 else ", ".join(map(str, value)) or "none"
    if isinstance(value, float):
        return significant(value)
    return NOTHING if value is None else str(value)


def source_title(name_or_path: str) -> str:
    """A model or a set of images in few words.

    Example:
        >>> source_title("sample:digits"), source_title("microsoft/resnet-18"), source_title("/data/cells/")
        ('digits', 'microsoft/resnet-18', 'cells')
    """
    name = name_or_path.removeprefix("sample:").rstrip("/")
    return name if name.count("/") < 2 and not name.startswith(("/", "~", ".")) else name.rsplit("/", 1)[-1]


def eval_size(record: RunRecord) -> int:
    """Images in the eval split; 0 until the worker has counted them."""
    return int(record.facts.get("counts", {}).get("eval", 0))


def plain(text: str) -> str:
    r"""Text that a person typed, for use within Markdown: nothing in it formats, and it stays on one line.

    Example:
        >>> print(plain("a_b *c*"))
        a\_b \*c\*
    """
    return _escaped(" ".join(text.split()))


def worded(text: str) -> str:
    r"""Like `plain`, but text in backticks stays code: for our sentences with typed values in them.

    Example:
        >>> print(worded("see `superft init` for a_b"))
        see `superft init` for a\_b
    """
    parts = re.split(r"(`[^`]+`)", " ".join(text.split()))
    return "".join(part if part.startswith("`") else _escaped(part) for part in parts)


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>()#+\-.!|~$:])", r"\\\1", text)
