"""Sets of images as the pickers see them: from the Hub, a local path or a sample, one kind of record.

`preview_data` looks at a data set of the Hub from afar: names, counts, columns and a few pictures, without
downloading a split. `describe_data` counts the images that a run would use, once they are on this machine.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from superft_hf.config import DataConfig
from superft_hf.errors import DataError, GatedError, HubError, TokenRefusedError
from superft_hf.hub.models import licence_words
from superft_hf.hub.remote_rows import RemoteRows, cached_rows, remote_rows
from superft_hf.hub_failures import HUB_FAILURES
from superft_hf.records import DataInfo
from superft_hf.samples import IMAGE_SAMPLES
from superft_hf.sources.hub_cache import cached_commit, cached_licence, prepared_folder
from superft_hf.sources.hub_columns import (
    choose_image_column,
    choose_label_column,
    group_columns,
    image_columns,
    label_columns,
    type_words,
)
from superft_hf.sources.hub_data import PARQUET_BRANCH, hub_info, refuse_script
from superft_hf.sources.load import ImageSet, load_images, local_path

if TYPE_CHECKING:
    from huggingface_hub.hf_api import DatasetInfo

MANY_FILES = 500
"""From so many files on, the requests take longer than the bytes."""


@dataclass(frozen=True)
class HubDataPreview:
    """What can be seen of a data set of the Hub before it is downloaded.

    Attributes:
        repo_id: `owner/name`.
        commit: What the revision means at present.
        configs: Names of its configurations.
        config_name: The one that was looked at; None when there is nothing to choose.
        splits: Rows by split; None where only a download would tell.
        columns: Types in words by column.
        image_columns: Columns that hold pictures.
        label_columns: Columns that may hold the classes, the likeliest first.
        group_columns: Columns that may tell which pictures belong together.
        image_column: The one asked for, or guessed.
        label_column: Likewise; None when the folders name the classes.
        class_names: As far as they are known without a download.
        rows: A few pictures as encoded bytes, each with its label as text.
        download_bytes: Size of the files of this configuration; None when unknown.
        num_files: How many these are; None when unknown.
        licence: As its card says; empty when it says nothing.
        is_gated: Whether its terms have to be accepted first.
        is_downloaded: Whether these rows lie on this machine, ready for a run.
        is_cached_view: Whether the Hub could not be asked, and this comes from the cache of this machine.
        problem: Why it cannot be used as it is, or None.
        hint: What to do about the problem.
        other_revision: A revision of it that can be used where this one cannot, or None.
    """

    repo_id: str
    commit: str = ""
    configs: tuple[str, ...] = ()
    config_name: str | None = None
    splits: Mapping[str, int | None] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    image_columns: tuple[str, ...] = ()
    label_columns: tuple[str, ...] = ()
    group_columns: tuple[str, ...] = ()
    image_column: str | None = None
    label_column: str | None = None
    class_names: tuple[str, ...] = ()
    rows: tuple[tuple[bytes, str], ...] = ()
    download_bytes: int | None = None
    num_files: int | None = None
    licence: str = ""
    is_gated: bool = False
    is_downloaded: bool = False
    is_cached_view: bool = False
    problem: str | None = None
    hint: str = ""
    other_revision: str | None = None

    @property
    def num_rows(self) -> int | None:
        """Rows of all splits; None when one is unknown."""
        counts = list(self.splits.values())
        return None if not counts or None in counts else sum(count or 0 for count in counts)

    @property
    def is_many_files(self) -> bool:
        """Whether its files are so many that the requests for them decide how long a download takes."""
        return (self.num_files or 0) >= MANY_FILES


def preview_data(data: DataConfig, token: str | None = None) -> HubDataPreview:
    """Looks at a data set of the Hub without downloading a split of it.

    Args:
        data: Which one; configuration and columns that are null are guessed.
        token: What to show to the Hub; None: what the environment or a login gives.

    Returns:
        What can be seen; `problem` is set when it cannot be used as it is.

    Raises:
        DataNotFoundError: If there is no such data set or revision.
        HubError: If the Hub does not tell, and the cache of this machine holds nothing of it.
    """
    try:
        info = hub_info(data, token, has_sizes=True)
    except HubError:
        commit = cached_commit(data)
        if commit is None or prepared_folder(data, commit) is None:
            raise
        found = HubDataPreview(data.name_or_path, commit, is_downloaded=True, is_cached_view=True)
        return _with_rows(found, data, cached_rows(data, commit))
    found = HubDataPreview(
        data.name_or_path, str(info.sha), licence=_licence(info), is_gated=bool(info.gated),
    )  # fmt: skip
    try:
        refuse_script(data, info)
    except DataError as error:
        return replace(found, problem=error.message, hint=error.hint, other_revision=_converted(data, token))
    sizes = {one.rfilename: one.size or 0 for one in info.siblings or []}
    try:
        return _with_rows(found, data, remote_rows(data, str(info.sha), sizes, token))
    except (DataError, GatedError, TokenRefusedError) as error:  # what is known stays worth showing
        found = replace(found, download_bytes=sum(sizes.values()), num_files=len(sizes))
        return replace(found, problem=error.message, hint=error.hint)


def _with_rows(found: HubDataPreview, data: DataConfig, rows: RemoteRows) -> HubDataPreview:
    """Adds what the rows tell; a column that is not there becomes the problem."""
    features = rows.features
    pinned = data.model_copy(update={"config_name": rows.config_name, "revision": found.commit})
    found = replace(
        found, configs=rows.configs, config_name=rows.config_name, splits=rows.counts,
        columns={name: type_words(feature) for name, feature in features.items()},
        image_columns=tuple(image_columns(features)), label_columns=tuple(label_columns(features)),
        download_bytes=rows.download_bytes, num_files=rows.num_files,
        is_downloaded=prepared_folder(pinned, found.commit) is not None,
    )  # fmt: skip
    what = f"The data set {found.repo_id}"
    try:
        image = choose_image_column(features, data.image_column, what)
        label = choose_label_column(features, data.label_column, what)
        pictures, names = rows.examples(image, label)
    except DataError as error:
        return replace(found, problem=error.message, hint=error.hint)
    found = replace(
        found, image_column=image, label_column=label, class_names=names, rows=pictures,
        group_columns=group_columns(features, [image, label]),
    )  # fmt: skip
    if label is None and not names:
        return replace(
            found,
            problem=f"{what} has no label column among {', '.join(features)}.",
            hint="Choose the column that holds the classes."
            if found.label_columns
            else "Choose another data set.",
        )
    return found


def _converted(data: DataConfig, token: str | None) -> str | None:
    """The branch with the same rows as plain files, if the Hub keeps one."""
    from huggingface_hub import HfApi

    try:
        refs = HfApi(token=token).list_repo_refs(data.name_or_path, repo_type="dataset")
    except HUB_FAILURES:
        return None
    return PARQUET_BRANCH if any(one.ref == PARQUET_BRANCH for one in refs.converts) else None


def _licence(info: "DatasetInfo") -> str:
    card: Any = info.card_data or {}
    return licence_words(card.get("license"))


def describe_data(data: DataConfig, home: Path) -> tuple[DataInfo, ImageSet]:
    """Finds the images of a run and counts them, without opening them.

    Raises:
        DataError: As `superft_hf.sources.load.load_images`.
        HubError: Likewise.
    """
    images = load_images(data, home)
    name = data.name_or_path
    sample = IMAGE_SAMPLES.get(name)
    source = "sample" if sample else "local" if local_path(name) else "hub"
    size = len(images.class_names)
    info = DataInfo(
        name_or_path=name,
        title=sample.title if sample else Path(name).name,
        description=sample.description if sample else f"{size} classes",
        source=source, class_names=images.class_names, counts=images.counts(), is_cut=images.is_cut,
        licence=sample.licence if sample else licence_words(cached_licence(data)) if source == "hub" else "",
        licence_note=sample.note if sample else "", columns=images.columns,
        num_groups=images.num_groups(), num_unlabelled=images.num_unlabelled,
    )  # fmt: skip
    return info, images
