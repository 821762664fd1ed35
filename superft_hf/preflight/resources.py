"""What a run takes of the machine and of others: disk, downloads, licences."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from superft_hf import words
from superft_hf.config import RunConfig
from superft_hf.evaluation.prediction_files import FULL_LOGITS_CLASSES, KEPT_LOGITS
from superft_hf.hub.local_copies import is_model_here
from superft_hf.optimizer_states import values_per_weight
from superft_hf.recipe.decided import roughly
from superft_hf.records import DataInfo, Finding, ModelInfo

CHECKPOINTS = 3
"""The best, the last, and the one that is being written: the oldest goes only when that one is complete."""

ROW_BYTES = 150
"""Of a prediction besides its logits: id, reference, label, figures."""

TIGHT = 0.8
"""Of the free space: the estimate is off by some, and other runs write as well."""

_CLOSED = re.compile(r"\b(nc|noncommercial|non-commercial|research|academic)\b", re.IGNORECASE)


def find(config: RunConfig, home: Path, model: ModelInfo | None, data: DataInfo | None) -> Iterator[Finding]:
    """What can be told of them without opening an image."""
    config = roughly(config, model, data)
    yield from _disk(config, home, model, data)
    yield from _download(config, model)
    yield from _licences(model, data)


@dataclass(frozen=True)
class DiskNeed:
    """What a run will take of the disk at most, in bytes. Images are no part of it: they are there already.

    Attributes:
        checkpoints: Three of them.
        model: The best model, in the end.
        predictions: A row for each eval image and epoch, and for each test image.
    """

    checkpoints: int
    model: int
    predictions: int

    @property
    def total(self) -> int:
        """All of it, at the moment when the last checkpoint is written."""
        return self.checkpoints + self.model + self.predictions


def disk_need(config: RunConfig, model: ModelInfo, data: DataInfo | None = None) -> DiskNeed | None:
    """Estimates what a run will take of the disk; None when the size of the model is not known.

    Args:
        config: With every setting decided, if only roughly.
        model: What is known of the model.
        data: What is known of the images; None: predictions are not counted.
    """
    if model.size_bytes is None:
        return None
    training = config.training
    states = values_per_weight(training.optim, training.momentum, model.architecture)
    if config.model.strategy == "head":  # the optimizer never sees the rest
        states = 0
    average = bool(training.ema_decay)  # the averaged weights stand beside those that train
    checkpoint = round(model.size_bytes * (1 + states + average))
    return DiskNeed(CHECKPOINTS * checkpoint, model.size_bytes, _prediction_bytes(config, data))


def _prediction_bytes(config: RunConfig, data: DataInfo | None) -> int:
    if data is None:
        return 0
    num_classes = len(data.class_names)
    eval_images, test_images = (sum(data.counts.get(split, {}).values()) for split in ("eval", "test"))
    full = ROW_BYTES + 4 * num_classes
    # A logit is 4 bytes; of many classes only the highest are kept, each with its id of 8.
    usual = full if num_classes <= FULL_LOGITS_CLASSES else ROW_BYTES + 12 * KEPT_LOGITS
    evaluations = config.training.num_train_epochs
    return eval_images * (usual * (evaluations - 1) + full) + test_images * full


def _disk(config: RunConfig, home: Path, model: ModelInfo | None, data: DataInfo | None) -> Iterator[Finding]:
    need = disk_need(config, model, data) if model else None
    if need is None:
        return
    free = _free(home)
    parts = (
        f"{CHECKPOINTS} checkpoints while one is written, {words.size(need.checkpoints)}; the model, "
        f"{words.size(need.model)}; predictions, {words.size(need.predictions)}."
    )
    if free < need.total:
        yield Finding(
            "blocks", f"The disk of {home} has {words.size(free)} left.",
            f"The run needs about {words.size(need.total)}: {parts}",
            "Delete old runs, or choose another home.", "HomeError", code="disk",
        )  # fmt: skip
    elif need.total > TIGHT * free:
        yield Finding(
            "know", f"Disk space is tight: {words.size(need.total)} of the {words.size(free)} that are free.",
            f"{parts} A run whose disk becomes full is paused, and goes on when there is room.",
            "Delete old runs before the start.", code="disk",
        )  # fmt: skip
    else:
        title = f"Disk: the run takes about {words.size(need.total)} of {words.size(free)} free"
        yield Finding("fine", title, code="disk")


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
