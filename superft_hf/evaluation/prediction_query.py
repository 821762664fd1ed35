"""Questions to a prediction file: which rows fit a filter, in which order, on which page.

What stays true: only the columns that a question is about are read, never the logits, and texts pass by in
portions; so a million rows answer in a fraction of a second and in little memory. Rows are named by their
positions in the order of the split, as everywhere.

N is the number of rows of the file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
from polars.exceptions import PolarsError

from superft_hf.errors import DataNotFoundError
from superft_hf.evaluation.prediction_files import read_class_names
from superft_hf.evaluation.prediction_filter import ANY as ANY
from superft_hf.evaluation.prediction_filter import Filter as Filter
from superft_hf.evaluation.prediction_filter import Outcome as Outcome

ORDERS = ("loss", "confidence", "margin", "disagreement", "file")
"""What rows can be ordered by; file is the order of the split."""

METADATA = "meta:"
"""What the names of metadata columns begin with in an examples file."""

_ROW = "row"
_EXPORTED = ("example_id", "image", "label", "prediction", "confidence", "loss", "margin")


@dataclass(frozen=True)
class Order:
    """In which order rows are found: rows that are equal stay as in the file, NaN comes last.

    Attributes:
        by: One of ORDERS.
        is_descending: Highest first.
    """

    by: str = "loss"
    is_descending: bool = True

    def to_text(self) -> str:
        """For links.

        Example:
            >>> Order().to_text(), Order("margin", is_descending=False).to_text()
            ('-loss', 'margin')
        """
        return f"-{self.by}" if self.is_descending else self.by

    @classmethod
    def from_text(cls, text: str) -> "Order":
        """The order of a link; the usual one for text that is none.

        Example:
            >>> Order.from_text("margin")
            Order(by='margin', is_descending=False)
        """
        by = text.removeprefix("-")
        return cls(by, text.startswith("-")) if by in ORDERS else cls()


def find(
    path: Path,
    chosen: Filter = ANY,
    order: Order | None = None,
    examples_path: Path | None = None,
    *,
    start: int = 0,
    size: int | None = None,
    disagreement: np.ndarray | None = None,
) -> np.ndarray:
    """The positions of the rows that fit a filter, in order.

    Args:
        path: The prediction file.
        chosen: The filter.
        order: By default highest loss first. By margin, a file of an earlier version, which has none, stays
            in its order.
        examples_path: The examples file of the same split; needed for a filter on metadata.
        start: How many of those found are skipped.
        size: How many are returned at most; None for all.
        disagreement: How little the epochs agree on each row, shape (N,), see
            `superft_hf.evaluation.history`; needed for that order.

    Returns:
        Positions, dtype int64, shape (M,).

    Raises:
        DataNotFoundError: If a file is gone or damaged, or has not what the filter asks for.
    """
    order = order or Order()
    by = order.by if order.by in ("loss", "confidence", "margin") else None
    rows = _collect(path, _fitting(path, chosen, examples_path).select(_ROW, *_column(path, by)))
    positions = rows[_ROW].to_numpy().astype(np.int64)
    end = None if size is None else start + size
    if order.by == "file":
        return (positions[::-1] if order.is_descending else positions)[start:end]
    if order.by == "disagreement":
        if disagreement is None:
            raise ValueError("the order by disagreement needs the disagreement of the rows")
        values = np.asarray(disagreement, dtype=np.float64)[positions]
    else:
        values = rows[by].to_numpy() if by in rows.columns else np.zeros(len(positions))
    ranked = np.argsort(-values if order.is_descending else values, kind="stable")  # NaN is last in both
    return positions[ranked[start:end]]


def count(path: Path, chosen: Filter = ANY, examples_path: Path | None = None) -> int:
    """How many rows fit a filter. Raises DataNotFoundError as find does."""
    return int(_collect(path, _fitting(path, chosen, examples_path).select(pl.len())).item())


def table(path: Path, positions: np.ndarray, marks: Mapping[str, str] | None = None) -> pl.DataFrame:
    """Rows for people: names in place of ids, and what was marked.

    Args:
        path: The prediction file.
        positions: The rows, in the order wanted.
        marks: What was marked, by example id.

    Returns:
        Columns example_id, image, label, prediction (text), confidence, loss, margin (float; null in files
        of earlier versions), mark (text; empty for none).

    Raises:
        DataNotFoundError: If the file is gone or damaged.
    """
    names = pl.Series("name", read_class_names(path), dtype=pl.String)
    wanted = pl.LazyFrame({_ROW: np.asarray(positions, dtype=np.uint32), "place": np.arange(len(positions))})
    there = _names(path)
    scanned = _scan(path).select(_ROW, *(one for one in _EXPORTED if one in there))
    found = _collect(path, wanted.join(scanned, on=_ROW, how="inner").sort("place"))
    if len(found) != len(positions):
        raise DataNotFoundError(
            f"The prediction file {path.name} lacks rows that were asked for.", hint="Load the page again."
        )
    marked = dict(marks or {})
    return found.select(
        "example_id",
        "image",
        *(names.gather(found[one]).alias(one) for one in ("label", "prediction")),
        "confidence",
        "loss",
        found["margin"] if "margin" in there else pl.lit(None, pl.Float64).alias("margin"),
        pl.Series("mark", [marked.get(one, "") for one in found["example_id"]], dtype=pl.String),
    )


def has_margin(path: Path) -> bool:
    """Whether a prediction file has margins; those of earlier versions have none."""
    return "margin" in _names(path)


def metadata_values(examples_path: Path, limit: int = 1000) -> dict[str, list[str]]:
    """The metadata columns of an examples file with their values, commonest first.

    Args:
        examples_path: The file; there may be none.
        limit: Values of a column at most.

    Returns:
        Values as text by the column's name; nothing when there is no metadata. An empty text stands for a
        value that is missing.

    Raises:
        DataNotFoundError: If the file is damaged.
    """
    if not examples_path.exists():
        return {}
    found = {}
    for column in [one for one in _names(examples_path) if one.startswith(METADATA)]:
        counted = (
            pl.scan_parquet(examples_path)
            .select(_as_text(column).alias("value"))
            .group_by("value")
            .len()
            .sort("len", "value", descending=[True, False])
            .head(limit)
        )
        found[column.removeprefix(METADATA)] = _collect(examples_path, counted)["value"].to_list()
    return found


def _fitting(path: Path, chosen: Filter, examples_path: Path | None) -> pl.LazyFrame:
    scanned = _scan(path)
    if chosen.metadata:
        scanned = pl.concat([scanned, _metadata(path, chosen, examples_path)], how="horizontal")
    for condition in _conditions(chosen):
        scanned = scanned.filter(condition)
    return scanned


def _conditions(chosen: Filter) -> list[pl.Expr]:
    """What a row has to fulfil; numbers first, since texts cost more."""
    found: list[pl.Expr] = []
    for column, ids in (("label", chosen.labels), ("prediction", chosen.predictions)):
        if ids:
            found.append(pl.col(column).is_in(list(ids)))
    if chosen.outcome != Outcome.ALL:
        is_right = pl.col("label") == pl.col("prediction")
        found.append(is_right if chosen.outcome == Outcome.RIGHT else ~is_right)
    for column, limits in (("confidence", chosen.confidence), ("loss", chosen.loss)):
        if limits is not None:  # polars counts NaN as the highest number; a range holds none
            found.append(pl.col(column).is_between(*limits) & pl.col(column).is_not_nan())
    for column, values in chosen.metadata:
        found.append(_as_text(METADATA + column).is_in(list(values)))
    if chosen.example_ids is not None:
        found.append(pl.col("example_id").is_in(sorted(chosen.example_ids)))
    if chosen.text:
        found.append(pl.col("image").str.contains(f"(?i){pl.escape_regex(chosen.text)}"))
    return found


def _metadata(path: Path, chosen: Filter, examples_path: Path | None) -> pl.LazyFrame:
    """The metadata columns of a filter, row for row beside the prediction file."""
    wanted = [METADATA + column for column, _ in chosen.metadata]
    there = _names(examples_path) if examples_path is not None and examples_path.exists() else []
    missing = [one.removeprefix(METADATA) for one in wanted if one not in there]
    if missing:
        raise DataNotFoundError(
            f"The images of this run have no metadata {', '.join(missing)}.",
            hint="Clear that part of the filter.",
        )
    if _num_rows(examples_path) != _num_rows(path):
        raise DataNotFoundError(
            f"The file {examples_path.name} does not fit the predictions: "
            f"{_num_rows(examples_path):,} rows for {_num_rows(path):,}.",
            hint="Clear the filter on metadata; a new run writes the file again.",
        )
    return pl.scan_parquet(examples_path).select(wanted)


def _as_text(column: str) -> pl.Expr:
    return pl.col(column).cast(pl.String).fill_null("")


def _column(path: Path, name: str | None) -> Sequence[str]:
    """The column, if the file has it: those of earlier versions have no margin."""
    if name is None or (name == "margin" and not has_margin(path)):
        return ()
    return (name,)


def _scan(path: Path) -> pl.LazyFrame:
    return pl.scan_parquet(path, row_index_name=_ROW)


def _names(path: Path) -> list[str]:
    try:
        return pq.read_schema(path).names
    except (OSError, ValueError) as error:  # pyarrow's own errors are ValueErrors
        raise _unreadable(path, error) from error


def _num_rows(path: Path) -> int:
    try:
        return pq.read_metadata(path).num_rows
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _collect(path: Path, lazy: pl.LazyFrame) -> pl.DataFrame:
    try:
        return lazy.collect(engine="streaming")
    except (OSError, PolarsError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: BaseException) -> DataNotFoundError:
    return DataNotFoundError(
        f"The file {path.name} cannot be read: {str(error).splitlines()[0]}",
        hint="Choose another epoch or split; the file is written again by a new run.",
    )
