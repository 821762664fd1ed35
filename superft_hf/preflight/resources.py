"""What a run takes of the machine and of others: disk, downloads, licences."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from superft_hf import words
from superft_hf.config import RunConfig
from superft_hf.hub.local_copies import is_model_here
from superft_hf.records import DataInfo, Finding, ModelInfo

STATE_SIZES = 3
"""A checkpoint holds the weights and, with adamw, two values of the optimizer for each."""

CHECKPOINTS = 2
"""The best and the last."""

_CLOSED = re.compile(r"\b(nc|noncommercial|non-commercial|research|academic)\b", re.IGNORECASE)


def find(config: RunConfig, home: Path, model: ModelInfo | None, data: DataInfo | None) -> Iterator[Finding]:
    """What can be told of them without opening an image."""
    yield from _disk(home, model)
    yield from _download(config, model)
    yield from _licences(model, data)


def run_bytes(model: ModelInfo) -> int | None:
    """Expected size of a run's folder: two checkpoints and the model; None when unknown."""
    return None if model.size_bytes is None else model.size_bytes * (CHECKPOINTS * STATE_SIZES + 1)


def _disk(home: Path, model: ModelInfo | None) -> Iterator[Finding]:
    needed = run_bytes(model) if model else None
    if needed is None:
        return
    free = _free(home)
    if free < needed:
        yield Finding(
            "blocks", f"The disk of {home} has {words.size(free)} left.",
            f"The run needs about {words.size(needed)}: two checkpoints, and the model.",
            "Delete old runs, or choose another home.", "HomeError", code="disk",
        )  # fmt: skip
    else:
        yield Finding(
            "fine", f"Disk: the run takes about {words.size(needed)} of {words.size(free)} free", code="disk"
        )


def _download(config: RunConfig, model: ModelInfo | None) -> Iterator[Finding]:
    if model is None or model.source != "hub" or model.size_bytes is None or is_model_here(config.model):
        return
    from huggingface_hub.constants import HF_HUB_CACHE

    cache = Path(HF_HUB_CACHE)
    free = _free(cache)
    if free < model.size_bytes:
        yield Finding(
            "blocks", f"The disk of {cache} has {words.size(free)} left.",
            f"The model, {words.size(model.size_bytes)}, is downloaded there before the start.",
            "Make room, or set HF_HOME to another disk.", "DownloadError", code="download",
        )  # fmt: skip
    else:
        title = f"The model is downloaded before the start: {words.size(model.size_bytes)}"
        yield Finding("fine", title, code="download")


def _licences(model: ModelInfo | None, data: DataInfo | None) -> Iterator[Finding]:
    """Both licences side by side, as their authors name them; what they allow is for a person to read."""
    parts = [(kind, info) for kind, info in (("model", model), ("images", data)) if info is not None]
    if not parts:
        return
    own = {kind: "your own" if info.source == "local" else "not said" for kind, info in parts}
    named = [f"{kind} {info.licence or own[kind]}" for kind, info in parts]
    unknown = [kind for kind, info in parts if not info.licence and info.source != "local"]
    closed = [kind for kind, info in parts if _CLOSED.search(info.licence)]
    title = f"Licences: {', '.join(named)}"
    if not unknown and not closed:
        yield Finding("fine", title, code="licences")
        return
    text = [f"That of the {' and the '.join(closed)} speaks of non-commercial use."] if closed else []
    text += [f"The authors of the {' and the '.join(unknown)} name none."] if unknown else []
    hint = "Read the terms before you use the result."
    yield Finding("know", f"{title}.", " ".join(text), hint, code="licences")


def _free(folder: Path) -> int:
    """Free bytes where a folder lies, or would lie."""
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    return shutil.disk_usage(there).free
