"""Columns of lists of equal length in Parquet files, read by several threads at once.

Unpacking the lists is most of the time, and Arrow itself takes one thread for a column. What stays true: a
file is read in small blocks, so that nothing is in memory twice. N is the number of rows, K the length of the
lists.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

_MAX_READERS = 4
_VALUES_A_BLOCK = 2**17
"""Few: a block that the processor's cache holds is unpacked and used before it reaches the memory."""


def read_lists(path: Path, file: pq.ParquetFile, column: str) -> np.ndarray:
    """A column as an array of shape (N, K).

    Args:
        path: The file.
        file: The same, opened.
        column: Its name.
    """
    about = file.metadata
    dtype = file.schema_arrow.field(column).type.value_type.to_pandas_dtype()
    found = np.empty((about.num_rows, _length(about, column)), dtype=dtype)

    def keep(rows: slice, values: np.ndarray) -> None:
        found[rows] = values

    read_blocks(path, file, column, keep)
    return found


def read_blocks(
    path: Path, file: pq.ParquetFile, column: str, take: Callable[[slice, np.ndarray], None]
) -> None:
    """Calls `take` with some rows and their values, shape (n, K), until all were; in any order.

    Args:
        path: The file.
        file: The same, opened.
        column: Its name.
        take: Called by several threads at once.
    """
    about = file.metadata
    sizes = [about.row_group(group).num_rows for group in range(about.num_row_groups)]
    starts = np.cumsum([0, *sizes]).tolist()
    rows = max(1, _VALUES_A_BLOCK // max(_length(about, column), 1))
    workers = max(1, min(_MAX_READERS, pa.cpu_count(), len(sizes)))

    def read_some(first: int) -> None:
        with pq.ParquetFile(path, metadata=about) as file:
            for group in range(first, len(sizes), workers):
                start, options = starts[group], {"columns": [column], "use_threads": False}
                for batch in file.iter_batches(rows, row_groups=[group], **options):
                    lists = batch.column(0)
                    values = lists.flatten().to_numpy(zero_copy_only=False)
                    take(slice(start, start + len(lists)), values.reshape(len(lists), -1))
                    start += len(lists)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(read_some, range(workers)))


def _length(about: pq.FileMetaData, column: str) -> int:
    """Of the lists of a column, by what the metadata of the first rows say; 0 without rows."""
    for group in map(about.row_group, range(about.num_row_groups)):
        for one in map(group.column, range(group.num_columns)):
            if group.num_rows and one.path_in_schema.startswith(f"{column}."):
                return one.num_values // group.num_rows
    return 0
