"""The tables of a home's database, and how a database is opened.

`PRAGMA user_version` holds the version of the schema. A database of an older version is migrated step by
step; one of a newer version, or one that is not ours, is refused with a sentence.
"""

import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError

from superft_hf.errors import DiskFullError, SchemaVersionError, StoreError, is_disk_full

VERSION = 3
BUSY_S = 30
"""How long a connection waits for another that writes."""
_SMALLEST_ROOM = 1_000_000

_metadata = sa.MetaData()

runs = sa.Table(
    "runs",
    _metadata,
    sa.Column("rowid", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("run_id", sa.Text, nullable=False, unique=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False, index=True),
    sa.Column("task", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("data", sa.Text, nullable=False),
    sa.Column("created_at", sa.Text, nullable=False),
    sa.Column("started_at", sa.Text),
    sa.Column("ended_at", sa.Text),
    sa.Column("request", sa.Text),
    sa.Column("is_held", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("failure", sa.Text),
    sa.Column("global_step", sa.Integer, nullable=False, server_default="0"),
    sa.Column("max_steps", sa.Integer, nullable=False, server_default="0"),
    sa.Column("epoch", sa.Float, nullable=False, server_default="0"),
    sa.Column("num_train_epochs", sa.Float, nullable=False, server_default="0"),
    sa.Column("best_metric", sa.Text),
    sa.Column("best_value", sa.Float),
    sa.Column("best_step", sa.Integer),
    sa.Column("accuracy", sa.Float),
    sa.Column("evaluation", sa.Text),
    sa.Column("facts", sa.Text),
    sa.Column("waiting_for", sa.Text),
    sa.Column("priority", sa.Integer, nullable=False, server_default="0"),
    sa.Column("queued_at", sa.Text),
    sa.Column("pause_reason", sa.Text),
    sa.Column("progress_at", sa.Text),
    sa.Column("worked_s", sa.Float, nullable=False, server_default="0"),
    sa.Column("config", sa.Text),  # JSON, as config.yaml; null in runs made before version 3
)

metrics = sa.Table(
    "metrics",
    _metadata,
    sa.Column("run_id", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("step", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("row", sa.Integer, nullable=False),
    sa.Column("value", sa.Float),
    sa.Column("epoch", sa.Float, nullable=False),
    sa.Column("time", sa.Text, nullable=False),
    sa.Index("metrics_tail", "run_id", "row"),
    sqlite_with_rowid=False,  # the points of a curve lie side by side: a million are read in a blink
)
sa.Index(
    "metrics_nan", metrics.c.run_id, metrics.c.key, metrics.c.step, sqlite_where=metrics.c.value.is_(None)
)

metric_rows = sa.Table(
    "metric_rows",
    _metadata,
    sa.Column("run_id", sa.Text, primary_key=True),
    sa.Column("last_row", sa.Integer, nullable=False),  # never given twice: "after this row" misses nothing
    sa.Column("num_drops", sa.Integer, nullable=False, server_default="0"),
)

events = sa.Table(
    "events",
    _metadata,
    sa.Column("row", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("run_id", sa.Text, nullable=False, index=True),
    sa.Column("time", sa.Text, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("what", sa.Text, nullable=False),
    sa.Column("detail", sa.Text, nullable=False, server_default=""),
)

processes = sa.Table(
    "processes",
    _metadata,
    sa.Column("run_id", sa.Text, primary_key=True),
    sa.Column("pid", sa.Integer, primary_key=True),
    sa.Column("started", sa.Float, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
)

settings = sa.Table(
    "settings",
    _metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),  # JSON
)

marks = sa.Table(
    "marks",
    _metadata,
    sa.Column("data", sa.Text, primary_key=True),
    sa.Column("example_id", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("corrected", sa.Text),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("split", sa.Text, nullable=False),
    sa.Column("image", sa.Text, nullable=False),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("note", sa.Text, nullable=False, server_default=""),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("time", sa.Text, nullable=False),
)


def _to_version_2(connection: sa.Connection) -> None:
    """Version 2: the order of the queue, pauses, progress, settings of the home, curves read fast."""
    for column in (
        "priority INTEGER DEFAULT 0 NOT NULL", "queued_at TEXT", "pause_reason TEXT", "progress_at TEXT",
        "worked_s FLOAT DEFAULT 0 NOT NULL",
    ):  # fmt: skip
        connection.exec_driver_sql(f"ALTER TABLE runs ADD COLUMN {column}")
    connection.exec_driver_sql(
        "UPDATE runs SET queued_at = created_at, worked_s = "
        "coalesce(86400.0 * (julianday(ended_at) - julianday(started_at)), 0)"
    )
    settings.create(connection)
    connection.exec_driver_sql("DROP INDEX metrics_tail")
    connection.exec_driver_sql("ALTER TABLE metrics RENAME TO metrics_before")
    metrics.create(connection)
    metric_rows.create(connection)
    columns = "run_id, key, step, row, value, epoch, time"
    connection.exec_driver_sql(
        f"INSERT INTO metrics ({columns}) SELECT {columns} FROM metrics_before ORDER BY run_id, key, step"
    )
    connection.exec_driver_sql(
        "INSERT INTO metric_rows (run_id, last_row) "
        "SELECT run_id, max(row) FROM metrics_before GROUP BY run_id"
    )
    connection.exec_driver_sql("DROP TABLE metrics_before")


def _to_version_3(connection: sa.Connection) -> None:
    """Version 3: marks on images, and the configuration beside each run."""
    connection.exec_driver_sql("ALTER TABLE runs ADD COLUMN config TEXT")
    marks.create(connection)


MIGRATIONS: dict[int, Callable[[sa.Connection], None]] = {1: _to_version_2, 2: _to_version_3}
"""`{n: function}`: the function brings a database from version n to n + 1."""


def open_database(path: Path) -> sa.Engine:
    """Opens a home's database, creating or migrating it where needed.

    Raises:
        StoreError: If the file is no database, or there is no room for it.
        SchemaVersionError: If another version of the program wrote it and it cannot be migrated.
    """
    address = sa.URL.create("sqlite", database=str(path))
    options = {"isolation_level": "AUTOCOMMIT", "connect_args": {"timeout": BUSY_S}}
    engine = sa.create_engine(address, **options)
    sa.event.listen(engine, "connect", _configure)
    try:
        with engine.connect() as connection:
            _bring_up_to_date(connection, path)
    except DatabaseError as error:
        engine.dispose()
        raise store_error(path, error) from error
    return engine


def open_read_only(path: Path) -> sa.Engine:
    """Opens the database of a home that cannot be written to; each reading sees its present state.

    Raises:
        StoreError: If the file cannot be read as a database.
        SchemaVersionError: If it is of another version.
    """
    engine = sa.create_engine(
        "sqlite://", isolation_level="AUTOCOMMIT", creator=lambda: _connect_read_only(path),
        poolclass=sa.NullPool,
    )  # fmt: skip
    try:
        with engine.connect() as connection:
            found = _version(connection)
    except DatabaseError as error:
        raise store_error(path, error) from error
    if found > VERSION:
        raise _version_error(path, found)
    if found < VERSION:
        raise SchemaVersionError(
            f"The database {path} is of version {found}, and the folder is read-only, so it cannot be "
            f"brought to version {VERSION}.",
            hint="Make the folder writable once, or read a copy of it with --home.",
        )
    return engine


def store_error(path: Path, error: DatabaseError) -> StoreError:
    """What an error of the database means for a person."""
    words = str(error.orig)
    if is_disk_full(error) or ("disk I/O error" in words and _is_no_room(path)):
        return DiskFullError(path.parent)
    if "readonly" in words:
        return StoreError(
            f"The folder {path.parent} can only be read.",
            hint="Change its permissions, or choose another with --home.",
        )
    if "locked" in words:
        return StoreError(
            f"The database {path} has been in use by another process for {BUSY_S} s.",
            hint="Try again; if it stays so, `fuser` on the file says which process it is.",
        )
    return StoreError(
        f"The file {path} cannot be used as a database: {words}.",
        hint="Move it aside, or choose another home with --home. The folders of the runs are not touched.",
    )


def _is_no_room(path: Path) -> bool:
    try:
        return shutil.disk_usage(path.parent).free < _SMALLEST_ROOM
    except OSError:
        return False


def _connect_read_only(path: Path) -> sqlite3.Connection:
    """A connection that writes nothing, not even the shared memory that SQLite keeps beside the file.

    Where that memory is missing and cannot be made, no process writes; then the file may be read as it is,
    unless points in the write-ahead log would be missed.
    """
    address = f"file:{quote(str(path))}?mode=ro"
    options: dict[str, Any] = {"uri": True, "timeout": BUSY_S, "check_same_thread": False}
    connection = sqlite3.connect(address, **options)
    try:
        connection.execute("PRAGMA schema_version")
        return connection
    except sqlite3.OperationalError:
        connection.close()
        log = path.with_name(f"{path.name}-wal")
        if not path.is_file():
            raise
        if log.exists() and log.stat().st_size:
            raise StoreError(
                f"The database {path} was not closed, and the folder can only be read.",
                hint="Make the folder writable once, or read a copy of it with --home.",
            ) from None
    return sqlite3.connect(f"{address}&immutable=1", **options)


def _configure(connection: Any, _: Any) -> None:
    connection.execute(f"PRAGMA busy_timeout={1000 * BUSY_S}")
    connection.execute("PRAGMA synchronous=NORMAL")
    until = time.monotonic() + BUSY_S
    while True:  # the change to WAL obeys no time limit: when others make it too, it may fail at once
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.05)


def _bring_up_to_date(connection: sa.Connection, path: Path) -> None:
    if _version(connection) == VERSION:
        return
    connection.exec_driver_sql("BEGIN IMMEDIATE")  # two processes may open a new home at once
    try:
        found = _version(connection)
        tables = sa.inspect(connection).get_table_names()
        if found == 0 and not tables:
            _metadata.create_all(connection)
            found = VERSION
        while found in MIGRATIONS:
            MIGRATIONS[found](connection)
            found += 1
        if found != VERSION:
            raise _version_error(path, found)
        connection.exec_driver_sql(f"PRAGMA user_version={VERSION}")
    except BaseException:
        connection.exec_driver_sql("ROLLBACK")
        raise
    connection.exec_driver_sql("COMMIT")


def _version(connection: sa.Connection) -> int:
    return connection.exec_driver_sql("PRAGMA user_version").scalar_one()


def _version_error(path: Path, found: int) -> SchemaVersionError:
    if found > VERSION:
        return SchemaVersionError(
            f"The database {path} is of version {found}; this program knows version {VERSION}.",
            hint="Update superft, or choose another home with --home.",
        )
    return SchemaVersionError(
        f"The database {path} is of version {found}, which cannot be brought to version {VERSION}.",
        hint="Move it aside, or choose another home with --home.",
    )
