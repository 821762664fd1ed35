"""Models and data sets that this machine already has: samples, and repositories in the Hub's cache.

Only folder names and times are read, so that this is quick whatever the size of the cache.
"""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from superft_hf.hub.records import HubEntry
from superft_hf.samples import IMAGE_SAMPLES, MODEL_SAMPLES


def find_local(kind: str, text: str = "", author: str = "") -> list[HubEntry]:
    """What can be used without the Hub.

    Args:
        kind: `model` or `dataset`.
        text: Every word of it must be part of the name.
        author: The owner; samples have none.

    Returns:
        The newest of the cache first, then the samples.
    """
    cached = _cached_models() if kind == "model" else _cached_data_sets()
    newest_first = sorted(
        (_entry(name, kind, path) for name, path in cached), key=lambda one: one.last_modified, reverse=True
    )
    samples = MODEL_SAMPLES if kind == "model" else IMAGE_SAMPLES
    found = [
        *newest_first,
        *(
            HubEntry(name, kind, licence=one.licence, task="image-classification", is_local=True)
            for name, one in samples.items()
        ),
    ]
    words = text.lower().split()
    return [
        one
        for one in found
        if all(word in one.repo_id.lower() for word in words)
        and (not author or one.author.lower() == author.lower())
    ]


def _cached_models() -> Iterator[tuple[str, Path]]:
    """Models whose weights are there; a configuration alone trains nothing."""
    from huggingface_hub import constants

    for folder in Path(constants.HF_HUB_CACHE).glob("models--*"):
        snapshots = [one for one in folder.glob("snapshots/*/") if (one / "config.json").exists()]
        if any(next(one.glob("*.safetensors"), None) for one in snapshots):
            yield folder.name.removeprefix("models--").replace("--", "/", 1), folder


def _cached_data_sets() -> Iterator[tuple[str, Path]]:
    """Data sets that were loaded once: their tables are what a run reads."""
    from huggingface_hub import constants

    root = Path(os.environ.get("HF_DATASETS_CACHE") or Path(constants.HF_HOME) / "datasets")
    for folder in root.glob("*___*/"):
        yield folder.name.replace("___", "/", 1), folder


def _entry(name: str, kind: str, folder: Path) -> HubEntry:
    changed = datetime.fromtimestamp(folder.stat().st_mtime, UTC)
    return HubEntry(
        name, kind, author=name.rpartition("/")[0], last_modified=changed.isoformat(timespec="seconds"),
        is_local=True,
    )  # fmt: skip
