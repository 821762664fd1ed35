"""The tables of a home's database, and how a database is opened.

`PRAGMA user_version` holds the version of the schema. A database of an older version is migrated step by
step; one of a newer version, or one that is not ours, is refused with a sentence.
"""

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError

from superft_hf.errors import HomeError, SchemaVersionError

VERSION = 1
BUSY_S = 30
"""How long a connection waits for another that writes."""

MIGRATIONS: dict[int, Callable[[sa.Connection], None]] = {}
"""`{n: function}`: the function brings a database from version n to n + 1."""

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
)

metrics = sa.Table(
    "metrics",
    _metadata,
    sa.Column("row", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("step", sa.Integer, nullable=False),
    sa.Column("epoch", sa.Float, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("value", sa.Float),
    sa.Column("time", sa.Text, nullable=False),
    sa.UniqueConstraint("run_id", "key", "step"),
    sa.Index("metrics_tail", "run_id", "row"),
    sqlite_autoincrement=True,  # rows never come again, so "after this row" misses nothing
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


def open_database(path: Path) -> sa.Engine:
    """Opens a home's database, creating or migrating it where needed.

    Raises:
        HomeError: If the file is no database.
        SchemaVersionError: If another version of the program wrote it and it cannot be migrated.
    """
    options = {"isolation_level": "AUTOCOMMIT", "connect_args": {"timeout": BUSY_S}}
    engine = sa.create_engine(f"sqlite:///{path}", **options)
    sa.event.listen(engine, "connect", _configure)
    try:
        with engine.connect() as connection:
            _bring_up_to_date(connection, path)
    except DatabaseError as error:
        raise HomeError(
            f"The file {path} cannot be used as a database: {error.orig}.",
            hint="Move it aside, or choose another home with --home.",
        ) from error
    return engine


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
