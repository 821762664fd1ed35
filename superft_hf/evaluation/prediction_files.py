"""Prediction files: one row an example for every evaluation of a run.

They are what the confusion matrix, the galleries and the comparisons are queries over.
Columns: example_id (text), image (reference), label, prediction (int64), confidence, loss (float64), logits
(list of float32), and logit_ids (list of int64, only in files that keep the 20 highest logits).
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.special import softmax

from superft_hf.errors import DataNotFoundError
from superft_hf.evaluation.classification import example_losses

FULL_LOGITS_CLASSES = 100
KEPT_LOGITS = 20
_LIGHT = ["example_id", "image", "label", "prediction", "confidence", "loss"]


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
    rows = np.arange(len(labels))
    predictions = logits.argmax(axis=1).astype(np.int64)
    columns = {
        "example_id": pa.array(list(example_ids), pa.string()),
        "image": pa.array(list(images), pa.string()),
        "label": pa.array(labels, pa.int64()),
        "prediction": pa.array(predictions, pa.int64()),
        "confidence": pa.array(softmax(logits.astype(np.float64), axis=1)[rows, predictions], pa.float64()),
        "loss": pa.array(example_losses(logits, labels), pa.float64()),
    }
    if is_full or logits.shape[1] <= FULL_LOGITS_CLASSES:
        columns["logits"] = pa.array(list(logits.astype(np.float32)), pa.list_(pa.float32()))
    else:
        highest = np.argsort(-logits, axis=1, kind="stable")[:, :KEPT_LOGITS].astype(np.int64)
        columns["logits"] = pa.array(
            list(np.take_along_axis(logits, highest, 1).astype(np.float32)), pa.list_(pa.float32())
        )
        columns["logit_ids"] = pa.array(list(highest), pa.list_(pa.int64()))
    table = pa.table(columns).replace_schema_metadata({"class_names": "\n".join(class_names)})
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".writing")
    pq.write_table(table, aside)
    with aside.open("rb+") as opened:
        os.fsync(opened.fileno())
    aside.replace(path)


def read_predictions(path: Path, *, with_logits: bool = False) -> pd.DataFrame:
    """Reads a prediction file.

    Args:
        path: The file.
        with_logits: Whether to read the logits as well, which are most of the file.

    Returns:
        One row an example, in the order of the split; see the module for the columns.

    Raises:
        DataNotFoundError: If there is no such file, or it is damaged.
    """
    try:
        return pq.read_table(path, columns=None if with_logits else _LIGHT).to_pandas()
    except (OSError, pa.ArrowInvalid, KeyError) as error:
        raise _unreadable(path, error) from error


def read_class_names(path: Path) -> list[str]:
    """The class names that a prediction file carries. Raises DataNotFoundError as read_predictions."""
    try:
        metadata = pq.read_schema(path).metadata or {}
        return metadata[b"class_names"].decode().split("\n")
    except (OSError, pa.ArrowInvalid, KeyError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: BaseException) -> DataNotFoundError:
    return DataNotFoundError(
        f"The prediction file {path.name} cannot be read: {str(error).splitlines()[0]}",
        hint="Choose another epoch or split; the file is written again by a new run.",
    )
