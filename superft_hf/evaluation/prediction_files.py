"""Prediction files: one row an example for every evaluation of a run.

They are what the confusion matrix, the galleries and the comparisons are queries over. Columns:

- example_id (text), image (reference, text), label, prediction (int64), confidence, loss (float64);
- margin (float64): confidence less the probability of the second likeliest class; not in files of earlier
  versions;
- logits (list of float32), and logit_ids (list of int64) only in files that keep the 20 highest logits.

N is the number of rows, C the number of classes. A file is written in groups of rows so small that the logits
of one image are read without those of a million others.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.special import softmax

from superft_hf.errors import DataNotFoundError
from superft_hf.evaluation.classification import example_losses
from superft_hf.evaluation.list_columns import read_blocks, read_lists

FULL_LOGITS_CLASSES = 100
KEPT_LOGITS = 20
_LIGHT = ["example_id", "image", "label", "prediction", "confidence", "loss"]
_NUMBERS = ["label", "prediction", "confidence", "loss", "margin"]
_REPEATED = ["label", "prediction"]
"""Columns kept with a dictionary. Logits neither repeat nor compress; without either they read faster."""
_VALUES_A_GROUP = 2**21
_ROWS_A_GROUP = (256, 2**16)


@dataclass(frozen=True)
class Logits:
    """The logits that a prediction file keeps.

    Attributes:
        values: Shape (N, K), dtype float32; K is C, or 20 where only the highest are kept.
        ids: Class ids of the values, shape (N, K), highest logit first; None when K is C.
        num_classes: C.
        confidence: Probability of the likeliest class, shape (N,).
    """

    values: np.ndarray
    ids: np.ndarray | None
    num_classes: int
    confidence: np.ndarray

    @property
    def is_complete(self) -> bool:
        """Whether every class has its logit; only then can they be scaled or averaged exactly."""
        return self.ids is None

    @cached_property
    def log_probabilities(self) -> np.ndarray:
        """Of the kept classes, shape (N, K), dtype float32: exact also where only the highest are kept."""
        return self.values - self._normalizer[:, None]

    def of_class(self, label: int) -> np.ndarray:
        """Probability of one class, shape (N,), dtype float32; 0 where it is not among those kept."""
        if self.ids is None:
            return np.exp(self.values[:, label] - self._normalizer)
        found = self.ids == label
        return np.where(found, np.exp(self.log_probabilities), 0).sum(axis=1, dtype=np.float32)

    def probabilities(self, rows: slice) -> np.ndarray:
        """Of all classes and some rows, shape (n, C), dtype float32; 0 for classes that are not kept."""
        kept = np.exp(self.values[rows] - self._normalizer[rows][:, None])
        if self.ids is None:
            return kept
        found = np.zeros((len(kept), self.num_classes), dtype=np.float32)
        np.put_along_axis(found, self.ids[rows], kept, axis=1)
        return found

    @cached_property
    def _normalizer(self) -> np.ndarray:
        """Logarithm of the sum of exp(logit) over all C classes, shape (N,).

        It is the highest logit less the logarithm of its probability, and so known where the others are not.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            return (self.values.max(axis=1, initial=-np.inf) - np.log(self.confidence)).astype(np.float32)


def write_predictions(
    path: Path,
    *,
    example_ids: Sequence[str],
    images: Sequence[str],
    labels: np.ndarray,
    logits: np.ndarray,
    is_full: bool,
    class_names: Sequence[str],
) -> None:
    """Writes one evaluation, aside and then renamed, so that a file that exists is complete.

    Args:
        path: The file.
        example_ids: N ids.
        images: N references.
        labels: Class ids of shape (N,).
        logits: Shape (N, C).
        is_full: Whether all logits are kept even above 100 classes.
        class_names: C names without line breaks, kept in the file's metadata.
    """
    keeps_all = is_full or logits.shape[1] <= FULL_LOGITS_CLASSES
    schema = _schema(class_names, example_ids, keeps_all=keeps_all)
    size = int(np.clip(_VALUES_A_GROUP // max(logits.shape[1], 1), *_ROWS_A_GROUP))
    compression = {name: "snappy" for name in schema.names if not name.startswith("logit")}
    compression |= {f"{name}.list.element": "none" for name in schema.names if name.startswith("logit")}
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".writing")
    with pq.ParquetWriter(aside, schema, use_dictionary=_REPEATED, compression=compression) as writer:
        for start in range(0, max(len(labels), 1), size):
            part = slice(start, start + size)
            columns = {
                "example_id": pa.array(list(example_ids[part]), pa.string()),
                "image": pa.array(list(images[part]), pa.string()),
                **_numbers(labels[part], logits[part], keeps_all=keeps_all),
            }
            writer.write_table(pa.table(columns, schema=schema))
    with aside.open("rb+") as opened:
        os.fsync(opened.fileno())
    aside.replace(path)


def read_predictions(path: Path, *, with_logits: bool = False) -> pd.DataFrame:
    """Reads a prediction file whole.

    Args:
        path: The file.
        with_logits: Whether to read margin and logits as well, which are most of the file.

    Returns:
        One row an example, in the order of the split; see the module for the columns.

    Raises:
        DataNotFoundError: If there is no such file, or it is damaged.
    """
    try:
        return pq.read_table(path, columns=None if with_logits else _LIGHT).to_pandas()
    except (OSError, pa.ArrowInvalid, KeyError) as error:
        raise _unreadable(path, error) from error


def read_numbers(path: Path) -> pd.DataFrame:
    """Reads what can be counted: of a million rows 28 MiB.

    Returns:
        In the order of the split: label, prediction (int32), confidence, loss, margin (float32; NaN in files
        of earlier versions).

    Raises:
        DataNotFoundError: If there is no such file, or it is damaged.
    """
    try:
        with pq.ParquetFile(path) as file:
            there = [one for one in _NUMBERS if one in file.schema_arrow.names or one != "margin"]
            table = file.read(columns=there)
        missing = set(there) - set(table.column_names)
        if missing:
            raise KeyError(f"it has no {', '.join(sorted(missing))}")
    except (OSError, pa.ArrowInvalid, KeyError) as error:
        raise _unreadable(path, error) from error
    columns = {
        one: table[one].to_numpy().astype(np.int32 if one in ("label", "prediction") else np.float32)
        if one in table.column_names
        else np.full(table.num_rows, np.nan, dtype=np.float32)
        for one in _NUMBERS
    }
    return pd.DataFrame(columns)


def read_texts(path: Path, rows: Sequence[int] | None = None) -> pd.DataFrame:
    """Reads example_id and image of some rows, by their positions and in this order, or of all.

    Raises:
        DataNotFoundError: If there is no such file, or it is damaged.
    """
    columns = ["example_id", "image"]
    try:
        with pq.ParquetFile(path) as file:
            if rows is None:
                return file.read(columns=columns).to_pandas()
            return _take(file, np.asarray(rows, dtype=np.int64), columns).to_pandas()
    except (OSError, pa.ArrowInvalid, KeyError) as error:
        raise _unreadable(path, error) from error


def read_row(path: Path, row: int) -> dict[str, Any]:
    """Everything about one row, by its position: the columns of the module, lists as numpy arrays.

    Raises:
        DataNotFoundError: If there is no such file or row, or it is damaged.
    """
    try:
        with pq.ParquetFile(path) as file:
            return _take(file, np.array([row]), None).to_pandas().iloc[0].to_dict()
    except (OSError, pa.ArrowInvalid, KeyError, IndexError) as error:
        raise _unreadable(path, error) from error


def read_logits(path: Path) -> Logits:
    """Reads the logits as arrays: 50,000 rows of 1,000 classes are 200 MB.

    Raises:
        DataNotFoundError: If there is no such file, or it is damaged.
    """
    try:
        with pq.ParquetFile(path) as file:
            num_classes = len(_class_names(file.schema_arrow.metadata))
            values = read_lists(path, file, "logits")
            ids = read_lists(path, file, "logit_ids") if "logit_ids" in file.schema_arrow.names else None
    except (OSError, pa.ArrowInvalid, KeyError) as error:
        raise _unreadable(path, error) from error
    return Logits(values, ids, num_classes, read_confidence(path))


def read_logit_blocks(path: Path, take: Callable[[slice, np.ndarray], None]) -> None:
    """Hands out the logits, some rows at a time, where nobody needs them all at once.

    Args:
        path: A file that keeps every class.
        take: Called with rows and their logits, shape (n, C), by several threads at once and in any order.

    Raises:
        DataNotFoundError: If there is no such file, or it is damaged.
    """
    try:
        with pq.ParquetFile(path) as file:
            read_blocks(path, file, "logits", take)
    except (OSError, pa.ArrowInvalid, KeyError) as error:
        raise _unreadable(path, error) from error


def read_confidence(path: Path) -> np.ndarray:
    """Probability of the likeliest class of each image, shape (N,), dtype float64: as it was written.

    Raises:
        DataNotFoundError: If there is no such file, or it is damaged.
    """
    try:
        with pq.ParquetFile(path) as file:
            return file.read(columns=["confidence"])["confidence"].to_numpy()
    except (OSError, pa.ArrowInvalid, KeyError) as error:
        raise _unreadable(path, error) from error


def keeps_every_class(path: Path) -> bool:
    """Whether every class has its logit in a prediction file; else it has the 20 highest.

    Raises:
        DataNotFoundError: If there is no such file, or it is damaged.
    """
    try:
        return "logit_ids" not in pq.read_schema(path).names
    except (OSError, pa.ArrowInvalid) as error:
        raise _unreadable(path, error) from error


def read_class_names(path: Path) -> list[str]:
    """The class names that a prediction file carries. Raises DataNotFoundError as read_predictions."""
    try:
        return _class_names(pq.read_schema(path).metadata)
    except (OSError, pa.ArrowInvalid, KeyError) as error:
        raise _unreadable(path, error) from error


def same_rows(paths: Sequence[Path]) -> bool:
    """Whether files hold the same examples in the same order, by what their metadata say; fast.

    Raises:
        DataNotFoundError: If a file is gone or damaged.
    """
    return len({_order_of(path) for path in paths}) <= 1


def _order_of(path: Path) -> bytes:
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (OSError, pa.ArrowInvalid) as error:
        raise _unreadable(path, error) from error
    return metadata.get(b"order") or _order(read_texts(path)["example_id"])


def _order(example_ids: Sequence[str]) -> bytes:
    return hashlib.sha256("\n".join(example_ids).encode()).hexdigest().encode()


def _schema(class_names: Sequence[str], example_ids: Sequence[str], *, keeps_all: bool) -> pa.Schema:
    fields = [
        ("example_id", pa.string()), ("image", pa.string()),
        ("label", pa.int64()), ("prediction", pa.int64()),
        ("confidence", pa.float64()), ("loss", pa.float64()), ("margin", pa.float64()),
        ("logits", _list_type(pa.float32())),
    ]  # fmt: skip
    if not keeps_all:
        fields.append(("logit_ids", _list_type(pa.int64())))
    return pa.schema(fields, {"class_names": "\n".join(class_names), "order": _order(example_ids)})


def _numbers(labels: np.ndarray, logits: np.ndarray, *, keeps_all: bool) -> dict[str, pa.Array]:
    rows = np.arange(len(labels))
    predictions = logits.argmax(axis=1).astype(np.int64)
    probabilities = softmax(logits.astype(np.float64), axis=1)
    confidence = probabilities[rows, predictions]
    probabilities[rows, predictions] = -1.0
    columns = {
        "label": pa.array(labels, pa.int64()),
        "prediction": pa.array(predictions, pa.int64()),
        "confidence": pa.array(confidence, pa.float64()),
        "loss": pa.array(example_losses(logits, labels), pa.float64()),
        "margin": pa.array(confidence - np.maximum(probabilities.max(axis=1, initial=0), 0), pa.float64()),
    }
    if keeps_all:
        return {**columns, "logits": _lists(logits.astype(np.float32))}
    highest = _highest(logits)
    kept = np.take_along_axis(logits, highest, 1).astype(np.float32)
    return {**columns, "logits": _lists(kept), "logit_ids": _lists(highest)}


def _highest(logits: np.ndarray) -> np.ndarray:
    """Ids of the KEPT_LOGITS highest of each row, highest first, of equal ones the smaller id first."""
    some = np.sort(np.argpartition(-logits, KEPT_LOGITS - 1, axis=1)[:, :KEPT_LOGITS], axis=1)
    order = np.argsort(-np.take_along_axis(logits, some, 1), axis=1, kind="stable")
    return np.take_along_axis(some, order, 1).astype(np.int64)


def _lists(values: np.ndarray) -> pa.ListArray:
    """A list of equal length for each row of (N, K)."""
    offsets = np.arange(0, values.size + 1, max(values.shape[1], 1), dtype=np.int32)
    inside = pa.array(values.ravel())
    return pa.ListArray.from_arrays(pa.array(offsets), inside, type=_list_type(inside.type))


def _list_type(inside: pa.DataType) -> pa.ListType:
    """None of the values is missing: a file that says so is read in two thirds of the time."""
    return pa.list_(pa.field("element", inside, nullable=False))


def _take(file: pq.ParquetFile, rows: np.ndarray, columns: list[str] | None) -> pa.Table:
    """Some rows in the order asked for; only the groups that hold them are read."""
    sizes = [file.metadata.row_group(one).num_rows for one in range(file.metadata.num_row_groups)]
    ends = np.cumsum(sizes)
    if len(rows) and (rows.min() < 0 or rows.max() >= (ends[-1] if len(ends) else 0)):
        raise IndexError(f"there is no row {int(rows.max())}")
    groups = np.searchsorted(ends, rows, side="right")
    needed = np.unique(groups)
    table = file.read_row_groups(needed.tolist(), columns=columns)
    begins = np.concatenate([[0], np.cumsum([sizes[one] for one in needed])])[:-1]
    offset = dict(zip(needed.tolist(), begins.tolist(), strict=True))
    inside = rows - (ends[groups] - np.array(sizes)[groups]) if len(rows) else rows
    places = np.array([offset[group] for group in groups.tolist()], dtype=np.int64)
    return table.take(pa.array(places + inside))


def _class_names(metadata: dict[bytes, bytes] | None) -> list[str]:
    return (metadata or {})[b"class_names"].decode().split("\n")


def _unreadable(path: Path, error: BaseException) -> DataNotFoundError:
    return DataNotFoundError(
        f"The prediction file {path.name} cannot be read: {str(error).splitlines()[0]}",
        hint="Choose another epoch or split; the file is written again by a new run.",
    )
