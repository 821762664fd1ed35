"""Whether a model and the images of a run lie on this machine already; nobody is asked.

Only what is complete counts: every shard of a model, and rows that were prepared to the end.
"""

import json
from pathlib import Path

from superft_hf.config import DataConfig, ModelConfig
from superft_hf.samples import SAMPLE_PREFIX
from superft_hf.sources.hub_cache import cached_commit, cached_ref, is_commit, prepared_folder
from superft_hf.sources.load import local_path, looks_like_path

SMALL_FILES = ("config.json", "preprocessor_config.json", "processor_config.json")
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


def is_model_here(model: ModelConfig) -> bool:
    """Whether every file that training needs of a model is on this machine."""
    if is_local(model.name_or_path):
        return True
    folder = snapshot_folder(model)
    if folder is None or not (folder / SMALL_FILES[0]).is_file():
        return False
    if (folder / WEIGHTS).is_file():
        return True
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        return all((folder / name).is_file() for name in set(index["weight_map"].values()))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return False


def is_data_here(data: DataConfig) -> bool:
    """Whether the rows of a data set lie ready on this machine; a local source always is."""
    if is_local(data.name_or_path):
        return True
    commit = cached_commit(data)
    return commit is not None and prepared_folder(data, commit) is not None


def is_local(name: str) -> bool:
    """Whether a name means a file, a folder or a sample rather than a repository of the Hub."""
    is_file = name.lower().endswith((".zip", ".csv", ".jsonl"))
    return name.startswith(SAMPLE_PREFIX) or is_file or looks_like_path(name) or local_path(name) is not None


def snapshot_folder(model: ModelConfig) -> Path | None:
    """Where the cache keeps the files of a model's revision, complete or not."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    name, revision = model.name_or_path, model.revision
    commit = revision if is_commit(revision) else cached_ref(name, revision, "model")
    if commit is None:
        return None
    return (
        Path(constants.HF_HUB_CACHE)
        / repo_folder_name(repo_id=name, repo_type="model")
        / "snapshots"
        / commit
    )


def pin_copy(data: DataConfig) -> DataConfig:
    """The same images pinned to the commit that lies on this machine, so that looking at them asks nobody."""
    commit = None if is_local(data.name_or_path) else cached_commit(data)
    return data.model_copy(update={"revision": commit}) if commit else data
