"""Example files: what is known of each image of a split beside its pixels.

One row an image, in the order of the split's prediction files. Columns:

- example_id (text), width, height (int32) of the upright picture in pixels;
- brightness and contrast (float32): mean and standard deviation of the grey levels, as fractions of white;
- sharpness (float32): how much fine detail there is, see `superft_hf.sources.measures`;
- `meta:<name>` (text, null for nothing) for each column of few values that the source has.

Runs of earlier versions have none, and a file that does not fit the predictions is not used.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

METADATA = "meta:"
MEASURES = ("brightness", "contrast", "sharpness")


def write_examples(
    path: Path,
    *,
    example_ids: Sequence[str],
    sizes: np.ndarray,
    measures: np.ndarray,
    metadata: Mapping[str, Sequence[str | None]],
) -> None:
    """Writes the examples of a split, aside and then renamed, so that a file that exists is complete.

    Args:
        path: The file.
        example_ids: N ids.
        sizes: Widths and heights in pixels, shape (N, 2).
        measures: Brightness, contrast and sharpness, shape (N, 3).
        metadata: Texts by column name, N each.
    """
    columns: dict[str, pa.Array] = {
        "example_id": pa.array(list(example_ids), pa.string()),
        "width": pa.array(sizes[:, 0], pa.int32()),
        "height": pa.array(sizes[:, 1], pa.int32()),
        **{name: pa.array(measures[:, index], pa.float32()) for index, name in enumerate(MEASURES)},
        **{f"{METADATA}{name}": pa.array(texts, pa.string()) for name, texts in metadata.items()},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".writing")
    pq.write_table(pa.table(columns), aside)
    with aside.open("rb+") as opened:
        os.fsync(opened.fileno())
    aside.replace(path)


def read_examples(path: Path, example_ids: Sequence[str] | None = None) -> pd.DataFrame | None:
    """Reads the examples of a split.

    Args:
        path: The file.
        example_ids: Those of the predictions that the rows shall fit; None: whatever is there.

    Returns:
        One row an image; None when there is no such file, or it is damaged, or of other images.
    """
    try:
        found = pq.read_table(path).to_pandas()
    except (OSError, pa.ArrowException):
        return None
    if example_ids is not None and found["example_id"].tolist() != list(example_ids):
        return None
    return found


def metadata_columns(examples: pd.DataFrame) -> dict[str, str]:
    """The metadata columns of examples, by the name that the source gives them.

    Example:
        >>> metadata_columns(pd.DataFrame({"example_id": ["a"], "meta:site": ["Ulm"]}))
        {'site': 'meta:site'}
    """
    return {one.removeprefix(METADATA): one for one in examples.columns if one.startswith(METADATA)}
