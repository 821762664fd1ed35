"""What the caches of this machine hold of a data set of the Hub, found without asking anybody.

Only rows that were prepared to the end are found: the datasets library writes aside and renames.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from superft_hf.config import DataConfig

if TYPE_CHECKING:
    import datasets


def is_commit(revision: str) -> bool:
    """Whether a revision is a commit hash rather than a branch or tag."""
    return re.fullmatch("[0-9a-f]{40}", revision) is not None


def cached_commit(data: DataConfig) -> str | None:
    """The commit that a revision meant when it was last downloaded; None when the cache does not tell."""
    return (
        data.revision if is_commit(data.revision) else cached_ref(data.name_or_path, data.revision, "dataset")
    )


def cached_ref(repo_id: str, revision: str, kind: str) -> str | None:
    """The commit that a branch or tag of a repository meant when it was last downloaded, or None.

    Args:
        repo_id: `owner/name`.
        revision: A branch or tag.
        kind: `model` or `dataset`.
    """
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    try:  # ValueError: a name that no repository can have
        folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo_id, repo_type=kind)
        commit = (folder / "refs" / revision).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
    return commit if is_commit(commit) else None


def load_prepared(data: DataConfig, commit: str) -> "datasets.DatasetDict | None":
    """The rows of a commit that lie ready in the cache, or None."""
    import datasets
    from datasets.packaged_modules.cache.cache import Cache

    folder = prepared_folder(data, commit)
    if folder is None:
        return None
    config_name, version, _ = folder.parts[-3:]
    name = data.name_or_path
    found = Cache(
        repo_id=name, dataset_name=name.split("/")[-1], config_name=config_name, version=version, hash=commit
    )
    found.download_and_prepare()  # only looks whether the folder is there
    return datasets.DatasetDict({str(split): rows for split, rows in found.as_dataset().items()})


def prepared_folder(data: DataConfig, commit: str) -> Path | None:
    """Where the datasets library keeps the rows of a commit, or None when they are not here."""
    from datasets import config
    from datasets.naming import camelcase_to_snakecase

    *owner, base = data.name_or_path.split("/")
    root = Path(config.HF_DATASETS_CACHE).expanduser() / "___".join([*owner, camelcase_to_snakecase(base)])
    found = {path.parts[-3]: path for path in root.glob(f"*/*/{commit}") if _is_plain(path)}
    if data.config_name is not None:
        return found.get(data.config_name)
    default, is_choice = _default_config(_card(data.name_or_path, commit))
    if is_choice:
        return found.get(default)
    return next(iter(found.values())) if len(found) == 1 else None


def _default_config(card: Mapping[str, Any]) -> tuple[str, bool]:
    """The configuration that is meant when none is named, and whether there are several."""
    configs = [one for one in card.get("configs") or [] if isinstance(one, dict)]
    infos = card.get("dataset_info") or []
    others = configs or (infos if isinstance(infos, list) else [infos])
    marked = next((str(one.get("config_name")) for one in configs if one.get("default")), "default")
    return marked, len(others) > 1


def cached_licence(data: DataConfig) -> Any:
    """What the card in the cache says of the licence: a text, a list of texts, or None."""
    commit = cached_commit(data)
    return _card(data.name_or_path, commit).get("license") if commit else None


def _is_plain(folder: Path) -> bool:
    """Whether a folder of the cache holds a configuration as it is, not one with a caller's own options."""
    try:
        info = json.loads((folder / "dataset_info.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return info.get("config_name") == folder.parts[-3]


def _card(repo_id: str, commit: str) -> dict[str, Any]:
    """The metadata of a data set's card as it lies in the cache; empty when it does not."""
    from huggingface_hub import DatasetCard, try_to_load_from_cache

    path = try_to_load_from_cache(repo_id, "README.md", revision=commit, repo_type="dataset")
    if not isinstance(path, str):
        return {}
    try:
        return DatasetCard.load(path).data.to_dict()
    except (OSError, ValueError):
        return {}
