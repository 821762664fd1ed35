"""Images of a data set on the Hugging Face Hub, through the datasets library and its cache."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from superft_hf.config import DataConfig
from superft_hf.errors import DataError, DataNotFoundError
from superft_hf.hub_reach import is_hub_reachable, offline_words
from superft_hf.sources.folder import read_file

if TYPE_CHECKING:
    import datasets

LABEL_NAMES = ("label", "labels", "class", "category", "target", "fine_label", "coarse_label")


class HubImages:
    """Images in the rows of a data set; a reference is `hub:<split>:<row>`."""

    def __init__(self, dataset: "datasets.Dataset", split: str, column: str) -> None:
        self._dataset = dataset
        self._split = split
        self._column = column

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self._dataset)

    def encoded(self, row: int) -> bytes:
        """The bytes of the image file. Raises DataNotFoundError if its file is gone."""
        image = self._dataset[int(row)][self._column]
        if image is None:
            return b""
        if image["bytes"] is not None:
            return image["bytes"]
        return read_file(image["path"])

    def reference(self, row: int) -> str:
        """Where the row stands in the data set."""
        return f"hub:{self._split}:{row}"


def read_hub(data: DataConfig) -> dict[str, tuple[HubImages, np.ndarray, list[str]]]:
    """Loads every split of a data set.

    Args:
        data: Which data set, configuration, revision and columns.

    Returns:
        By split: the images, class ids of shape (N,) dtype int64, and class names. An id of -1 means
        that the row has no label.

    Raises:
        DataNotFoundError: If the data set does not exist, is gated, or cannot be reached.
        DataError: If it has no image or no label column.
    """
    loaded = _load(data)
    features = next(iter(loaded.values())).features
    image_column = _image_column(features, data.image_column, data.name_or_path)
    label_column = _label_column(features, data.label_column, data.name_or_path)
    import datasets

    names = _class_names(loaded, label_column)
    found = {}
    for split, dataset in loaded.items():
        rows = dataset.cast_column(image_column, datasets.Image(decode=False))
        found[split] = (HubImages(rows, split, image_column), _ids(dataset, label_column, names), names)
    return found


def hub_commit(data: DataConfig) -> str | None:
    """The commit hash that a data set's revision means at present; None when only a stale cache could tell.

    Raises:
        DataNotFoundError: If there is no such data set or revision.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        if not is_hub_reachable():
            return _cached_commit(data)
        return HfApi().dataset_info(data.name_or_path, revision=data.revision).sha
    except (HfHubHTTPError, HFValidationError, ValueError) as error:
        raise DataNotFoundError(
            f"The data set {data.name_or_path} has no revision {data.revision!r} that can be found: "
            f"{_first_line(error)}.",
            hint="Check data.name_or_path and data.revision.",
        ) from error


def _load(data: DataConfig) -> "datasets.DatasetDict":
    import datasets
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    if not is_hub_reachable():
        return _load_cached(data)
    try:
        return datasets.load_dataset(data.name_or_path, data.config_name, revision=data.revision)
    except (datasets.exceptions.DatasetNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
        raise DataNotFoundError(
            f"The data set {data.name_or_path} is neither a local folder or .zip nor to be had from the Hub: "
            f"{_first_line(error)}.",
            hint="Check the name and the connection; a gated one needs `hf auth login` first.",
        ) from error
    except (ValueError, RuntimeError) as error:
        hint = "Set data.config_name; for one that runs a script, try data.revision refs/convert/parquet."
        raise DataError(
            f"The data set {data.name_or_path} cannot be loaded: {_first_line(error)}.", hint=hint
        ) from error


def _load_cached(data: DataConfig) -> "datasets.DatasetDict":
    """What an earlier load left in the local cache, of the revision asked for and no other."""
    from datasets.packaged_modules.cache.cache import Cache

    name = data.name_or_path
    try:
        commit = _cached_commit(data)
        found = Cache(
            repo_id=name, dataset_name=name.split("/")[-1], config_name=data.config_name, version="auto",
            hash="auto",
        )  # fmt: skip
        if commit and found.hash != commit:  # auto takes the newest
            found = Cache(
                repo_id=name, dataset_name=name.split("/")[-1], config_name=found.config.name,
                version=str(found.config.version), hash=commit,
            )  # fmt: skip
        found.download_and_prepare()
        return found.as_dataset()
    except (ValueError, OSError) as error:
        raise DataNotFoundError(
            f"The data set {name} is neither a local folder or .zip nor in the cache of this machine, and "
            f"{offline_words()}.",
            hint="Connect, give a local folder, or use a sample such as sample:digits.",
        ) from error


def _cached_commit(data: DataConfig) -> str | None:
    """The commit that a revision meant when it was last loaded; None when the cache does not tell."""
    from huggingface_hub import try_to_load_from_cache

    if re.fullmatch("[0-9a-f]{40}", data.revision):
        return data.revision
    readme = try_to_load_from_cache(
        data.name_or_path, "README.md", revision=data.revision, repo_type="dataset"
    )
    if isinstance(readme, str):
        return Path(readme).parent.name
    if data.revision == "main":
        return None
    raise ValueError(f"the revision {data.revision} is not in the cache")


def _image_column(features: Any, asked: str | None, name: str) -> str:
    import datasets

    found = [key for key, feature in features.items() if isinstance(feature, datasets.Image)]
    if asked is not None and asked not in found:
        raise DataError(
            f"The data set {name} has no image column {asked!r}; it has {', '.join(found) or 'none'}.",
            hint="Change data.image_column.",
        )
    if not found:
        raise DataError(
            f"The data set {name} has no image column among {', '.join(features)}.",
            hint="Choose another data set.",
        )
    return asked or found[0]


def _label_column(features: Any, asked: str | None, name: str) -> str:
    import datasets

    if asked is not None:
        if asked in features:
            return asked
        raise DataError(f"The data set {name} has no column {asked!r}.", hint="Change data.label_column.")
    found = [key for key, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    found += [
        key for key, feature in features.items() if key.lower() in LABEL_NAMES and hasattr(feature, "dtype")
    ]
    if not found:
        raise DataError(
            f"The data set {name} has no label column among {', '.join(features)}.",
            hint="Set data.label_column.",
        )
    return found[0]


def _class_names(loaded: "datasets.DatasetDict", column: str) -> list[str]:
    import datasets

    feature = next(iter(loaded.values())).features[column]
    if isinstance(feature, datasets.ClassLabel):
        return list(feature.names)
    values = {value for dataset in loaded.values() for value in dataset.unique(column)} - {None}
    ordered = sorted(values) if all(isinstance(value, int) for value in values) else sorted(values, key=str)
    return [str(value) for value in ordered]


def _ids(dataset: "datasets.Dataset", column: str, names: list[str]) -> np.ndarray:
    import datasets

    values = dataset[column][:]
    if isinstance(dataset.features[column], datasets.ClassLabel):
        return np.array([-1 if value is None else value for value in values], dtype=np.int64)
    known = {name: index for index, name in enumerate(names)}
    return np.array([known.get(str(value), -1) for value in values], dtype=np.int64)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__).rstrip(".")[:300]
