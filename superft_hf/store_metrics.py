"""The metrics of runs: points of curves, one a key and step.

Each point of a run has a `row`, counted up for every point logged and never given twice, so that a reader
who asks for what came after a row misses nothing. What removes points is counted too (`num_drops`): a reader
who has read them begins anew then.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
import sqlalchemy as sa

from superft_hf import schema
from superft_hf.store_base import StoreBase, now

MAX_POINTS = 2000
"""Of a curve that is read to be drawn."""

_COLUMNS = ("row", "step", "epoch", "key", "value", "time")
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM metrics WHERE run_id = :run_id AND key = :key"
_KEYS = """
    WITH RECURSIVE found(key) AS (
        SELECT min(key) FROM metrics WHERE run_id = :run_id
        UNION ALL
        SELECT (SELECT min(key) FROM metrics WHERE run_id = :run_id AND key > found.key)
        FROM found WHERE found.key IS NOT NULL
    )
    SELECT key FROM found WHERE key IS NOT NULL
"""
_LAST_VALUE = f"{_SELECT} ORDER BY step DESC LIMIT 1"
_ENDS = """
    SELECT
        (SELECT count(*) FROM
            (SELECT 1 FROM metrics WHERE run_id = :run_id AND key = :key LIMIT :max_points + 1)),
        (SELECT min(step) FROM metrics WHERE run_id = :run_id AND key = :key),
        (SELECT max(step) FROM metrics WHERE run_id = :run_id AND key = :key)
"""
_IN_BUCKET = """
    FROM metrics WHERE run_id = :run_id AND key = :key AND step >= low AND step < low + :width
"""
# SQLite takes the other columns beside a min or a max from the row that holds it.
_THINNED = f"""
    WITH RECURSIVE
    bucket(low) AS (
        SELECT :first UNION ALL SELECT low + :width FROM bucket WHERE low + :width <= :last
    ),
    chosen(step) AS (
        SELECT (SELECT step FROM (SELECT step, min(value) {_IN_BUCKET})) FROM bucket
        UNION SELECT (SELECT step FROM (SELECT step, max(value) {_IN_BUCKET})) FROM bucket
        UNION SELECT (SELECT step {_IN_BUCKET} AND value IS NULL LIMIT 1) FROM bucket
        UNION SELECT :first
        UNION SELECT :last
        UNION SELECT best_step FROM runs WHERE run_id = :run_id
    )
    {_SELECT} AND step IN (SELECT step FROM chosen) ORDER BY step
"""
_TAKE_ROWS = """
    INSERT INTO metric_rows (run_id, last_row) VALUES (?, ?)
    ON CONFLICT (run_id) DO UPDATE SET last_row = last_row + excluded.last_row
    RETURNING last_row
"""
_ADD_POINT = (
    "INSERT OR REPLACE INTO metrics (run_id, key, step, row, value, epoch, time) VALUES (?, ?, ?, ?, ?, ?, ?)"
)


class MetricsVersion(NamedTuple):
    """Changes with every change of a run's points.

    Attributes:
        last_row: The largest row given so far; 0 when there are no points.
        num_drops: How often points were removed.
    """

    last_row: int = 0
    num_drops: int = 0


class MetricTable(StoreBase):
    """Writes and reads points."""

    def log_metrics(self, run_id: str, step: int, epoch: float, values: Mapping[str, float]) -> None:
        """Adds one point a key; a point that is there already is replaced, and counts as new for readers."""
        if not values:
            return
        moment = now()
        with self._write() as connection:  # plain SQL: a training step waits for it
            last = connection.exec_driver_sql(_TAKE_ROWS, (run_id, len(values))).scalar_one()
            rows = enumerate(values.items(), last - len(values) + 1)
            points = [(run_id, key, step, row, float(value), epoch, moment) for row, (key, value) in rows]
            connection.exec_driver_sql(_ADD_POINT, points)

    def read_metrics(
        self, run_id: str, after_row: int = 0, keys: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """The points of a run that came after a row, in the order in which they were logged.

        Args:
            run_id: The run.
            after_row: The largest `row` seen so far; 0 reads all.
            keys: Only these keys; None reads all.

        Returns:
            Columns row (int), step (int), epoch (float), key (str), value (float), time (str).
        """
        table = schema.metrics
        query = sa.select(*(table.c[name] for name in _COLUMNS)).where(table.c.run_id == run_id)
        if keys is not None:
            query = query.where(table.c.key.in_(list(keys)))
        if after_row:
            query = query.where(table.c.row > after_row).order_by(table.c.row)
        with self._read() as connection:
            points = _frame(connection.execute(query).fetchall())
        return points if after_row else points.sort_values("row", ignore_index=True)

    def read_curve(self, run_id: str, key: str, max_points: int = MAX_POINTS) -> pd.DataFrame:
        """One key's points in the order of the steps, as many as a picture shows.

        A longer curve is cut into equal ranges of steps. Of each its least and its greatest value are kept,
        so that a spike stays, and a value that is not a number; also the first point, the last, and the one
        of the run's best step.

        Returns:
            The columns of read_metrics; about `max_points` rows at most.
        """
        with self._read() as connection:
            return _frame(_curve_rows(connection, run_id, key, max_points))

    def read_curves(self, run_id: str, max_points: int = MAX_POINTS) -> pd.DataFrame:
        """The curves of all keys of a run as read_curve has them, in the order in which they were logged."""
        with self._read() as connection:
            keys = _keys(connection, run_id)
            rows = [row for key in keys for row in _curve_rows(connection, run_id, key, max_points)]
        return _frame(sorted(rows, key=lambda row: row[0]))

    def metrics_version(self, run_id: str) -> MetricsVersion:
        """Says at once whether a run's points changed: a cache key for its curves."""
        table = schema.metric_rows
        found = self._select(sa.select(table.c.last_row, table.c.num_drops).where(table.c.run_id == run_id))
        return MetricsVersion(**found[0]) if found else MetricsVersion()

    def metrics_versions(self, run_ids: Sequence[str]) -> dict[str, MetricsVersion]:
        """The same of several runs; those without points are left out."""
        table = schema.metric_rows
        found = self._select(sa.select(table).where(table.c.run_id.in_(run_ids)))
        return {row["run_id"]: MetricsVersion(row["last_row"], row["num_drops"]) for row in found}

    def last_values(self, run_id: str) -> dict[str, float]:
        """The last value of each key; NaN where it was not a number."""
        with self._read() as connection:
            values = {}
            for key in _keys(connection, run_id):
                row = connection.execute(sa.text(_LAST_VALUE), {"run_id": run_id, "key": key}).one()
                values[key] = _number(row.value)
            return values

    def sparklines(
        self, run_ids: Sequence[str], key: str, max_points: int = MAX_POINTS
    ) -> dict[str, list[float]]:
        """One key's values in the order of the steps, by run, thinned as read_curve does."""
        table = schema.metrics
        which = (table.c.run_id.in_(run_ids), table.c.key == key)
        lengths = sa.select(table.c.run_id, sa.func.count().label("length")).where(*which)
        lines: dict[str, list[float]] = {}
        with self._read() as connection:
            found = connection.execute(lengths.group_by(table.c.run_id)).fetchall()
            short = [row.run_id for row in found if row.length <= max_points]
            values = sa.select(table.c.run_id, table.c.value).where(table.c.run_id.in_(short))
            ordered = values.where(table.c.key == key).order_by(table.c.run_id, table.c.step)
            for run_id, value in connection.execute(ordered):
                lines.setdefault(run_id, []).append(_number(value))
            for row in found:
                if row.length > max_points:
                    points = _curve_rows(connection, row.run_id, key, max_points)
                    lines[row.run_id] = [_number(point.value) for point in points]
        return lines

    def drop_metrics_after(self, run_id: str, step: int) -> None:
        """Removes the points later than a step, before a run goes on from there."""
        table, counts = schema.metrics, schema.metric_rows
        dropped = sa.update(counts).where(counts.c.run_id == run_id)
        with self._write() as connection:
            gone = sa.delete(table).where(table.c.run_id == run_id, table.c.step > step)
            if connection.execute(gone).rowcount:
                connection.execute(dropped.values(num_drops=counts.c.num_drops + 1))


def _keys(connection: sa.Connection, run_id: str) -> list[str]:
    """The keys of a run, by leaps from one to the next: its points are not read."""
    return list(connection.execute(sa.text(_KEYS), {"run_id": run_id}).scalars())


def _curve_rows(connection: sa.Connection, run_id: str, key: str, max_points: int) -> Sequence[sa.Row[Any]]:
    which = {"run_id": run_id, "key": key}
    count, first, last = connection.execute(sa.text(_ENDS), {**which, "max_points": max_points}).one()
    if count <= max_points:
        return connection.execute(sa.text(f"{_SELECT} ORDER BY step"), which).fetchall()
    width = (last - first) // max(1, (max_points - 3) // 3) + 1
    buckets = {**which, "first": first, "last": last, "width": width}
    return connection.execute(sa.text(_THINNED), buckets).fetchall()


def _frame(rows: Iterable[Sequence[Any]]) -> pd.DataFrame:
    points = pd.DataFrame([tuple(row) for row in rows], columns=list(_COLUMNS))  # of rows as such it is slow
    return points.astype({"row": "int64", "step": "int64", "epoch": "float64", "value": "float64"})


def _number(value: float | None) -> float:
    """SQLite keeps a NaN as null."""
    return math.nan if value is None else value
