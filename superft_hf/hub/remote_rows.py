"""A few rows of a data set of the Hub, read where they lie.

Of Parquet files the footers and a page here and there are read, of folders of images a handful of files;
only other kinds are streamed by the datasets library. No split is downloaded.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from superft_hf.config import DataConfig
from superft_hf.errors import DataError
from superft_hf.hub_failures import HUB_FAILURES
from superft_hf.sources.hub_cache import load_prepared
from superft_hf.sources.hub_columns import folder_names
from superft_hf.sources.hub_data import open_builder, refuse_rows, row_failures

if TYPE_CHECKING:
    import datasets

NUM_EXAMPLES = 16
MAX_FOOTERS = 16
"""Files whose rows are counted one by one; of more, only what the card says is known."""

_MAX_PATHS = 20_000
_BLOCK_BYTES = 2**18
_SMALL_GROUP_BYTES = 4 * 2**20

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class RemoteRows:
    """What is known of the rows of one configuration.

    Attributes:
        configs: Names of all configurations.
        config_name: This one's; None when there is no choice.
        counts: Rows by split; None where unknown.
        features: Types by column, as the datasets library has them.
        download_bytes: Size of the files; None when unknown.
        num_files: How many there are; None when unknown.
        read: Gives a few rows with encoded pictures, for the names of an image and a label column.
        files: The image files, where each image is a file of its own.
    """

    configs: tuple[str, ...]
    config_name: str | None
    counts: Mapping[str, int | None]
    features: Mapping[str, Any]
    download_bytes: int | None
    num_files: int | None
    read: Callable[[str, str | None], Rows]
    files: Sequence[str] = ()

    def examples(
        self, image_column: str, label_column: str | None
    ) -> tuple[tuple[tuple[bytes, str], ...], tuple[str, ...]]:
        """A few pictures with their labels, and the class names as far as they are known.

        Raises:
            DataError: If the rows cannot be read.
            HubError: If the Hub does not give them.
        """
        import datasets

        rows = [
            row for row in self.read(image_column, label_column) if (row[image_column] or {}).get("bytes")
        ]
        pictures = [row[image_column]["bytes"] for row in rows]
        if label_column is None:
            paths = [row[image_column].get("path") for row in rows]
            names = folder_names(self.files or paths) or []
            labels = folder_names(paths) or [_folder(path) for path in paths]
            return tuple(zip(pictures, labels, strict=True)), tuple(sorted(set(names)))
        feature = self.features[label_column]
        known = list(feature.names) if isinstance(feature, datasets.ClassLabel) else []
        labels = [_label_text(row[label_column], known) for row in rows]
        return tuple(zip(pictures, labels, strict=True)), tuple(known)


def remote_rows(
    data: DataConfig, commit: str, sizes: Mapping[str, int], token: str | None = None
) -> RemoteRows:
    """Looks at the files of a data set.

    Args:
        data: Which data set and configuration; without one its default, else the first.
        commit: Of its repository.
        sizes: Bytes by file name, of the whole repository.
        token: What to show to the Hub; None: what the environment or a login gives.

    Raises:
        DataError: If its files cannot be read as rows.
        HubError: If the Hub does not give them.
    """
    try:
        builder = _builder(data, commit, token)
        files = {
            str(split): [str(one) for one in found] for split, found in builder.config.data_files.items()
        }
        source = _source(builder, files, token)
        counts = _counts(builder, files, source)
        names = tuple(builder.builder_configs)
        known = {
            _path_in_repo(one): sizes.get(_path_in_repo(one)) for found in files.values() for one in found
        }
        return RemoteRows(
            configs=names, config_name=builder.config.name if len(names) > 1 else None, counts=counts,
            features=builder.info.features or source.features(),
            download_bytes=None if None in known.values() else sum(size or 0 for size in known.values()),
            num_files=len(known), files=source.image_files,
            read=lambda image, label: _guarded(data, lambda: source.read(image, label)),
        )  # fmt: skip
    except (*HUB_FAILURES, *row_failures()) as error:
        raise refuse_rows(data, error) from error


def cached_rows(data: DataConfig, commit: str) -> RemoteRows:
    """The same from the cache of this machine, for a data set that was downloaded before."""
    import datasets

    loaded = load_prepared(data, commit)
    if loaded is None:
        raise DataError(f"The data set {data.name_or_path} is not in the cache.", hint="Connect to the Hub.")
    train = loaded[_first_split(list(loaded), data)]

    def read(image: str, label: str | None) -> Rows:
        columns = [image] + ([label] if label else [])
        few = train.select(_spread(len(train), NUM_EXAMPLES)).select_columns(columns)
        return [_with_bytes(row, image) for row in few.cast_column(image, datasets.Image(decode=False))]

    counts = {split: len(rows) for split, rows in loaded.items()}
    return RemoteRows((), data.config_name, counts, train.features, None, None, read)


class _Source:
    """Rows as the datasets library streams them."""

    image_files: Sequence[str] = ()

    def __init__(
        self, builder: "datasets.DatasetBuilder", files: Mapping[str, list[str]], data_split: str
    ) -> None:
        self.builder = builder
        self.files = files
        self.split = data_split

    def features(self) -> Mapping[str, Any]:
        """Types by column."""
        rows = self._stream()
        found = rows.features or rows._resolve_features().features
        return found or {}

    def num_rows(self, files: Sequence[str]) -> int | None:
        """Rows in these files of one split; None when only a download would tell."""
        return None

    def read(self, image: str, label: str | None) -> Rows:
        """The first rows."""
        return [_with_bytes(row, image) for row in islice(self._stream().decode(False), NUM_EXAMPLES)]

    def _stream(self) -> "datasets.IterableDataset":
        import datasets

        # By default the library would go on asking a Hub that refuses for 20 minutes.
        datasets.config.STREAMING_READ_MAX_RETRIES = datasets.config.STREAMING_OPEN_MAX_RETRIES = 1
        return self.builder.as_streaming_dataset(split=self.split)


class _ImageFiles(_Source):
    """Image files, maybe with a table beside them: listed without opening any, then a few are opened."""

    def __init__(self, *args: Any, token: str | None) -> None:
        super().__init__(*args)
        self.token = token
        extensions = tuple(self.builder.EXTENSIONS)
        self.image_files = [one for one in self.files[self.split] if one.lower().endswith(extensions)]

    def num_rows(self, files: Sequence[str]) -> int | None:
        """One a file, unless the files are archives or a table lists them."""
        extensions = tuple(self.builder.EXTENSIONS)
        names = [one.lower() for one in files]
        return len(names) if names and all(one.endswith(extensions) for one in names) else None

    def read(self, image: str, label: str | None) -> Rows:
        """A few rows from all over the split."""
        rows = list(islice(self._stream().decode(False), _MAX_PATHS))
        return [_with_bytes(rows[index], image, self.token) for index in _spread(len(rows), NUM_EXAMPLES)]


class _ParquetFiles(_Source):
    """Parquet: the footer tells types and counts, and single pages can be read."""

    def __init__(self, *args: Any, token: str | None) -> None:
        super().__init__(*args)
        self.token = token
        self._opened: dict[str, Any] = {}

    def features(self) -> Mapping[str, Any]:
        """Types by column, from the first footer."""
        import datasets

        return datasets.Features.from_arrow_schema(self._open(self.files[self.split][0]).schema_arrow)

    def num_rows(self, files: Sequence[str]) -> int | None:
        """Counted in the footers when the files are few."""
        if sum(len(found) for found in self.files.values()) > MAX_FOOTERS:
            return None
        return sum(self._open(one).metadata.num_rows for one in files)

    def read(self, image: str, label: str | None) -> Rows:
        """A few rows from the beginning, the middle and the end: rows are often sorted by class."""
        files = self.files[self.split]
        places = [(one, group) for one in dict.fromkeys([files[0], files[-1]]) for group in self._groups(one)]
        per_place = -(-NUM_EXAMPLES // len(places)) if places else 0
        rows = [row for place in places for row in self._rows(*place, per_place, image, label)]
        return rows[:NUM_EXAMPLES]

    def _groups(self, file: str) -> list[int]:
        return _spread(self._open(file).num_row_groups, 2)

    def _rows(self, file: str, group: int, count: int, image: str, label: str | None) -> Rows:
        columns = [image] + ([label] if label else [])
        opened = self._open(file)
        if opened.metadata.row_group(group).total_byte_size <= _SMALL_GROUP_BYTES:
            table = opened.read_row_group(group, columns=columns)
            return table.take(_spread(len(table), count)).to_pylist()
        batch = next(opened.iter_batches(batch_size=count, row_groups=[group], columns=columns), None)
        return batch.to_pylist() if batch is not None else []

    def _open(self, file: str) -> Any:
        import pyarrow.parquet
        from huggingface_hub import HfFileSystem

        if file not in self._opened:
            opened = HfFileSystem(token=self.token).open(file, "rb", block_size=_BLOCK_BYTES)
            self._opened[file] = pyarrow.parquet.ParquetFile(
                opened, buffer_size=_BLOCK_BYTES, pre_buffer=False
            )
        return self._opened[file]


def _builder(data: DataConfig, commit: str, token: str | None) -> "datasets.DatasetBuilder":
    """The builder of the configuration asked for, of the default, or of the first."""
    import datasets

    try:
        return open_builder(data, commit, token)
    except ValueError:
        if data.config_name is not None:
            raise
        names = datasets.get_dataset_config_names(data.name_or_path, revision=commit, token=token)
        if len(names) < 2:
            raise
        return open_builder(data.model_copy(update={"config_name": names[0]}), commit, token)


def _source(builder: "datasets.DatasetBuilder", files: Mapping[str, list[str]], token: str | None) -> _Source:
    from datasets.packaged_modules.imagefolder.imagefolder import ImageFolder
    from datasets.packaged_modules.parquet.parquet import Parquet

    split = next(iter(files)) if "train" not in files else "train"
    if isinstance(builder, Parquet):
        return _ParquetFiles(builder, files, split, token=token)
    if isinstance(builder, ImageFolder):
        return _ImageFiles(builder, files, split, token=token)
    return _Source(builder, files, split)


def _counts(
    builder: "datasets.DatasetBuilder", files: Mapping[str, list[str]], source: _Source
) -> dict[str, int | None]:
    told = builder.info.splits or {}
    return {
        split: told[split].num_examples if split in told else source.num_rows(found)
        for split, found in files.items()
    }


def _guarded(data: DataConfig, read: Callable[[], Rows]) -> Rows:
    try:
        return read()
    except (*HUB_FAILURES, *row_failures()) as error:
        raise refuse_rows(data, error) from error


def _with_bytes(row: dict[str, Any], image: str, token: str | None = None) -> dict[str, Any]:
    """The row with the encoded picture in it, read from its file where it is one."""
    found = row[image]
    if not found or found.get("bytes") or not found.get("path"):
        return row
    path = found["path"]
    if path.startswith("hf://"):
        from huggingface_hub import HfFileSystem

        encoded = HfFileSystem(token=token).cat_file(path)
    else:
        encoded = Path(path).read_bytes()
    return {**row, image: {"bytes": encoded, "path": path}}


def _spread(size: int, count: int) -> list[int]:
    """At most `count` positions in [0, size), evenly apart, the first and the last among them."""
    if size <= count:
        return list(range(size))
    return [round(index * (size - 1) / (count - 1)) for index in range(count)]


def _first_split(splits: Sequence[str], data: DataConfig) -> str:
    return data.train_split if data.train_split in splits else splits[0]


def _path_in_repo(file: str) -> str:
    """`hf://datasets/acme/cells@<commit>/data/train.parquet` as `data/train.parquet`."""
    return file.partition("@")[2].partition("/")[2] or file


def _folder(path: str | None) -> str:
    parts = (path or "").rsplit("/", 2)
    return parts[-2] if len(parts) > 1 else ""


def _label_text(value: Any, names: Sequence[str]) -> str:
    if value is None or (names and not 0 <= value < len(names)):
        return ""
    return names[value] if names else str(value)
