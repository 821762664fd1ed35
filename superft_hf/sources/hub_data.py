"""Images of a data set on the Hugging Face Hub, through the datasets library and its cache.

A revision is turned into a commit first, and what the cache holds of that commit is used without asking the
Hub for anything: a worker needs no token. The library itself falls back to any version that it finds in its
cache when a download fails; such rows are refused here.
"""

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from superft_hf.config import DataConfig
from superft_hf.errors import DataError, HubError, HubUnreachableError, SuperFTError
from superft_hf.hub_failures import HUB_FAILURES, explain
from superft_hf.hub_reach import is_hub_reachable, offline_words
from superft_hf.sources.hub_cache import cached_commit, is_commit, load_prepared
from superft_hf.sources.hub_columns import (
    choose_image_column,
    choose_label_column,
    class_texts,
    folder_names,
    group_columns,
    label_columns,
    plain_columns,
)
from superft_hf.sources.hub_images import HubImages
from superft_hf.sources.rows import SourceSplit

if TYPE_CHECKING:
    import datasets
    from huggingface_hub.hf_api import DatasetInfo

PARQUET_BRANCH = "refs/convert/parquet"
"""Where the Hub keeps a converted copy of most data sets."""

TIMEOUT_S = 20.0


def read_hub(data: DataConfig) -> dict[str, SourceSplit]:
    """Loads every split of a data set.

    Args:
        data: Which data set, configuration, revision and columns.

    Returns:
        The rows by split.

    Raises:
        DataNotFoundError: If the data set or its revision does not exist.
        DataError: If it cannot be loaded, or has no image or no label column.
        HubError: If the Hub does not give it, and the cache does not hold it; see its kinds.
    """
    import datasets

    loaded = load_rows(data)
    what = _what(data)
    features = next(iter(loaded.values())).features
    image_column = choose_image_column(features, data.image_column, what)
    label_column = choose_label_column(features, data.label_column, what)
    rows = {name: one.cast_column(image_column, datasets.Image(decode=False)) for name, one in loaded.items()}
    names, ids = _labels(loaded, rows, image_column, label_column, data)
    used = [image_column, label_column]
    columns = group_columns(features, used)
    if data.group_column is not None and data.group_column not in columns:
        raise DataError(
            f"{what} has no column {data.group_column!r} to group by; it has {', '.join(columns) or 'none'}.",
            hint="Change data.group_column.",
        )
    return {
        split: SourceSplit(
            images=HubImages(rows[split], split, image_column, plain_columns(features, used)),
            labels=ids[split], class_names=names, groups=_groups(dataset, data.group_column), columns=columns,
        )
        for split, dataset in loaded.items()
    }  # fmt: skip


def hub_commit(data: DataConfig) -> str:
    """The commit hash that a data set's revision means at present, or meant when it was last loaded.

    Raises:
        DataNotFoundError: If there is no such data set or revision.
        HubError: If neither the Hub nor the cache tells.
    """
    commit, failure, _ = _current_commit(data)
    if commit is None:
        raise failure or _unreachable(data)
    return commit


def load_rows(data: DataConfig) -> "datasets.DatasetDict":
    """All splits as the datasets library has them, from its cache when it holds them; raises as read_hub."""
    commit, failure, info = _current_commit(data)
    prepared = load_prepared(data, commit) if commit else None
    if prepared is not None:
        return prepared
    if failure is not None:
        raise failure
    if info is None:  # a pinned revision
        info = hub_info(data)
    refuse_script(data, info)
    return _download(data, str(info.sha))


def hub_info(data: DataConfig, token: str | None = None, *, has_sizes: bool = False) -> "DatasetInfo":
    """What the Hub says of a data set at its revision: commit, file names, card.

    Args:
        data: Which.
        token: What to show to the Hub; None: what the environment or a login gives.
        has_sizes: Whether the sizes of the files are wanted as well.

    Raises:
        DataNotFoundError: If there is no such data set or revision.
        HubError: If the Hub cannot be reached or does not tell.
    """
    from huggingface_hub import HfApi

    if not is_hub_reachable():
        raise _unreachable(data)
    try:
        return HfApi(token=token).dataset_info(
            data.name_or_path, revision=data.revision, files_metadata=has_sizes, timeout=TIMEOUT_S
        )
    except HUB_FAILURES as error:
        raise explain(error, f"the data set {data.name_or_path}", data.name_or_path, "dataset") from error


def refuse_script(data: DataConfig, info: "DatasetInfo") -> None:
    """Raises DataError for a data set that is a program: its code is never run."""
    script = f"{data.name_or_path.split('/')[-1]}.py"
    if any(one.rfilename == script for one in info.siblings or []):
        raise DataError(
            f"{_what(data)} is a program, {script}, which is not run.",
            hint=f"Set data.revision to {PARQUET_BRANCH}: there the Hub keeps the same rows as plain files, "
            "for most data sets.",
        )


def row_failures() -> tuple[type[Exception], ...]:
    """What the datasets library raises, besides HUB_FAILURES, when it cannot make rows of a data set."""
    import datasets
    import pyarrow

    return (datasets.exceptions.DatasetsError, pyarrow.ArrowException, ValueError, RuntimeError)


def refuse_rows(data: DataConfig, error: Exception) -> SuperFTError:
    """What to raise when the datasets library refuses a data set whose files could be had."""
    import datasets

    if isinstance(error, SuperFTError):
        return error
    empty = (datasets.exceptions.DataFilesNotFoundError, datasets.data_files.EmptyDatasetError)
    if isinstance(error, empty):
        return DataError(
            f"{_what(data)} holds no files that can be read as rows of images.",
            hint="Choose another data set, or download it and give the folder.",
        )
    if isinstance(error, HUB_FAILURES) or _is_caused_by_hub(error):
        return explain(error, f"the data set {data.name_or_path}", data.name_or_path, "dataset")
    words = _first_line(error)
    hint = f"Choose another data set, or try data.revision {PARQUET_BRANCH}."
    if "config" in words.lower():
        hint = "Set data.config_name to one of them." if "[" in str(error) else "Set data.config_name."
        words = " ".join(str(error).split("\nExample")[0].split()).rstrip(".")[:300]
    return DataError(f"{_what(data)} cannot be loaded: {words}.", hint=hint)


def note_revision(data: DataConfig) -> None:
    """Notes in the cache which commit the revision means, so that it is known without the Hub.

    Raises:
        HubError: If the files cannot be had, such as those of a gated data set.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import RemoteEntryNotFoundError

    name, readme = data.name_or_path, "README.md"
    try:
        with contextlib.suppress(RemoteEntryNotFoundError):  # the answer tells the commit nevertheless
            hf_hub_download(name, readme, repo_type="dataset", revision=data.revision)
    except HUB_FAILURES as error:
        raise explain(error, f"the data set {name}", name, "dataset") from error


def open_builder(data: DataConfig, commit: str, token: str | None = None) -> "datasets.DatasetBuilder":
    """What the datasets library knows of a data set before its rows are downloaded.

    Args:
        data: Which data set and configuration.
        commit: Of its repository.
        token: What to show to the Hub; None: what the environment or a login gives.

    Raises:
        HubUnreachableError: If the library fell back to another version.
        Exception: Whatever the library raises; see `refuse_rows`.
    """
    import datasets

    builder = datasets.load_dataset_builder(data.name_or_path, data.config_name, revision=commit, token=token)
    if builder.hash != commit:
        raise _stale(data)
    return builder


def _current_commit(data: DataConfig) -> tuple[str | None, SuperFTError | None, "DatasetInfo | None"]:
    """(commit, why the Hub did not tell, what the Hub said); a pinned revision asks nobody."""
    if is_commit(data.revision):
        return data.revision, None, None
    try:
        info = hub_info(data)
    except (HubError, DataError) as error:  # a private one without a token does not exist either
        return cached_commit(data), error, None
    return info.sha, None, info


def _download(data: DataConfig, commit: str) -> "datasets.DatasetDict":

    import datasets

    note_revision(data)
    try:
        builder = open_builder(data, commit)
        builder.download_and_prepare()
        loaded = builder.as_dataset()
    except (*HUB_FAILURES, *row_failures()) as error:
        raise refuse_rows(data, error) from error
    return datasets.DatasetDict({str(split): rows for split, rows in loaded.items()})


def _labels(
    loaded: "datasets.DatasetDict", rows: "datasets.DatasetDict", image_column: str, label_column: str | None,
    data: DataConfig,
) -> tuple[list[str], dict[str, np.ndarray]]:  # fmt: skip
    """Class names, and class ids by split."""
    import datasets

    features = next(iter(loaded.values())).features
    if label_column is not None and isinstance(features[label_column], datasets.ClassLabel):
        ids = {split: _class_ids(one[label_column][:]) for split, one in loaded.items()}
        return list(features[label_column].names), ids
    if label_column is None:
        values = {split: folder_names(_paths(one, image_column)) for split, one in rows.items()}
        if any(one is None for one in values.values()):
            others = ", ".join(label_columns(features)) or "none"
            raise DataError(
                f"{_what(data)} has no label column among {', '.join(features)}.",
                hint=f"Set data.label_column; columns that may hold the classes: {others}.",
            )
    else:
        values = {split: _plain(one[label_column][:], label_column, data) for split, one in loaded.items()}
    known = {value for one in values.values() for value in one or [] if value is not None}
    names = [str(value) for value in sorted(known, key=lambda value: (isinstance(value, str), value))]
    number = {name: index for index, name in enumerate(names)}
    return names, {
        split: np.array([-1 if one is None else number[str(one)] for one in found or []], dtype=np.int64)
        for split, found in values.items()
    }


def _class_ids(values: Sequence[int | None]) -> np.ndarray:
    return np.array([-1 if value is None else value for value in values], dtype=np.int64)


def _plain(values: Sequence[Any], column: str, data: DataConfig) -> list[Any]:
    """Labels as whole numbers or texts; None where a row has none, be it null, empty, or not a number."""
    made: list[Any] = []
    for value in values:
        if isinstance(value, float):
            if value == value and not value.is_integer():
                raise DataError(
                    f"The column {column} of the data set {data.name_or_path} holds measurements such as "
                    f"{value:g}, no classes.",
                    hint="Change data.label_column.",
                )
            # A column of numbers with gaps is often stored as decimals.
            made.append(int(value) if value == value else None)
        elif isinstance(value, str):
            made.append(value if value.strip() else None)
        else:
            made.append(value)
    return made


def _paths(dataset: "datasets.Dataset", image_column: str) -> list[str | None]:
    """The path of each image file, without reading the images."""
    import pyarrow.compute

    column = dataset.with_format("arrow").data.column(image_column)
    return pyarrow.compute.struct_field(column, "path").to_pylist()


def _groups(dataset: "datasets.Dataset", column: str | None) -> np.ndarray | None:
    if column is None:
        return None
    values = class_texts(dataset.features[column], dataset[column][:])
    return np.array(["" if value is None else str(value) for value in values], dtype=object)


def _what(data: DataConfig) -> str:
    return f"The data set {data.name_or_path}"


def _unreachable(data: DataConfig) -> HubUnreachableError:
    return HubUnreachableError(
        f"{_what(data)} is neither a local folder or .zip nor in the cache of this machine, and "
        f"{offline_words()}.",
        hint="Connect, give a local folder, or use a sample such as sample:digits.",
    )


def _stale(data: DataConfig) -> HubUnreachableError:
    """The library has fallen back to whatever version its cache holds, and keeps the reason to itself."""
    return HubUnreachableError(
        f"The Hub stopped answering while the data set {data.name_or_path} was asked for; the cache holds "
        "another version only, which is not used.",
        hint="Try again in a moment.",
    )


def _is_caused_by_hub(error: BaseException) -> bool:
    cause = error.__cause__ or error.__context__
    return cause is not None and (isinstance(cause, HUB_FAILURES) or _is_caused_by_hub(cause))


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__).rstrip(".")[:300]
