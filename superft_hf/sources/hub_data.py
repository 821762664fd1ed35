"""Images of a data set on the Hugging Face Hub, through the datasets library and its cache."""

from typing import TYPE_CHECKING, Any

import numpy as np

from superft_hf.config import DataConfig
from superft_hf.errors import DataError, DataNotFoundError

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
        from superft_hf.sources.folder import read_file

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


def _load(data: DataConfig) -> "datasets.DatasetDict":
    import datasets
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return datasets.load_dataset(data.name_or_path, data.config_name, revision=data.revision)
    except (datasets.exceptions.DatasetNotFoundError, ConnectionError, HfHubHTTPError, OSError) as error:
        raise DataNotFoundError(
            f"The data set {data.name_or_path} is neither a local folder or .zip nor to be had from the Hub: "
            f"{_first_line(error)}.",
            hint="Check the name and the connection; a gated one needs `hf auth login` first.",
        ) from error
    except (ValueError, RuntimeError) as error:
        raise DataError(
            f"The data set {data.name_or_path} cannot be loaded: {_first_line(error)}.",
            hint="Set data.config_name, or for a data set that runs a script try data.revision refs/convert/parquet.",
        ) from error


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
