"""What the parts of RunStore share: the database file, reading, and one way of writing.

Writes begin with BEGIN IMMEDIATE: a transaction that reads first and writes later fails at once with
"database is locked" when another writer came between, whatever the timeout. What goes wrong with the file
is a StoreError, in words, for whoever asked.
"""

import json
import random
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError, IntegrityError, OperationalError, ProgrammingError

from superft_hf import schema
from superft_hf.errors import DiskFullError, HomeError, RunNotFoundError, SchemaVersionError, StoreError
from superft_hf.paths import HomePaths, RunPaths, make_home
from superft_hf.records import Failure, RunRecord, RunState

RECORD_COLUMNS = [one for one in schema.runs.c if one.name not in ("rowid", "config")]
"""What a RunRecord holds of a row; the configuration is read on its own."""

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.0002, 0.002


class StoreBase:
    """The open database of one home.

    A home that cannot be written to (another's, a read-only or a full disk) can be read if it is there; what
    would write raises HomeError as long as it is so.

    Args:
        home: The folder; created when missing.

    Attributes:
        is_read_only: Whether the home can only be read.

    Raises:
        HomeError: If the folder cannot be written to, and there is nothing to read in it.
        SchemaVersionError: If another version of the program wrote the database.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.paths = HomePaths(home)
        self.is_read_only = False
        self._lock = threading.Lock()
        try:
            self._open_to_write()
        except SchemaVersionError:
            raise
        except HomeError:
            if not self.paths.database.is_file() or not self.paths.database.stat().st_size:
                raise
            self._open_to_read()

    def run_paths(self, run_id: str) -> RunPaths:
        """The files of a run. Raises RunNotFoundError for an id that is not of our making."""
        return self.paths.run(run_id)

    def get_run(self, run_id: str) -> RunRecord:
        """One run. Raises RunNotFoundError."""
        found = self._select(sa.select(*RECORD_COLUMNS).where(schema.runs.c.run_id == run_id))
        if not found:
            raise RunNotFoundError(run_id)
        return to_record(found[0])

    def close(self) -> None:
        """Closes the connections."""
        self._engine.dispose()

    def _select(self, query: sa.Select[Any]) -> list[dict[str, Any]]:
        with self._read() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    @contextmanager
    def _read(self) -> Iterator[sa.Connection]:
        """Raises StoreError when the database cannot be read."""
        try:
            with self._connect_to_read() as connection:
                yield connection
        except (IntegrityError, ProgrammingError):  # faults of ours
            raise
        except DatabaseError as error:
            raise schema.store_error(self.paths.database, error) from error

    @contextmanager
    def _write(self) -> Iterator[sa.Connection]:
        """One transaction: all or nothing. Raises HomeError when it cannot be written."""
        try:
            with self._writing_engine().connect() as connection:
                _begin(connection)
                try:
                    yield connection
                    connection.exec_driver_sql("COMMIT")
                except BaseException:
                    if connection.connection.dbapi_connection.in_transaction:  # a full disk may have ended it
                        connection.exec_driver_sql("ROLLBACK")
                    raise
        except (IntegrityError, ProgrammingError):  # faults of ours
            raise
        except DatabaseError as error:
            raise schema.store_error(self.paths.database, error) from error

    def _connect_to_read(self) -> sa.Connection:
        try:
            return self._present_engine().connect()
        except (
            DatabaseError
        ) as error:  # a first connection needs some room beside the file; reading needs none
            if not isinstance(schema.store_error(self.paths.database, error), DiskFullError):
                raise
        with self._lock:
            self._engine.dispose()
            self._open_to_read()
            return self._engine.connect()

    def _open_to_write(self) -> None:
        make_home(self.home)
        self._engine = schema.open_database(self.paths.database)
        self._identity = _identity(self.paths.database)
        self.is_read_only = False

    def _open_to_read(self) -> None:
        self._engine = schema.open_read_only(self.paths.database)
        self._identity = _identity(self.paths.database)
        self.is_read_only = True

    def _present_engine(self) -> sa.Engine:
        """The engine of the file that lies there now: SQLite goes on with a removed one, for nobody."""
        if _identity(self.paths.database) == self._identity:
            return self._engine
        with self._lock:
            found = _identity(self.paths.database)
            if found is None:
                raise StoreError(
                    f"The database {self.paths.database} was removed while it was in use.",
                    hint="Put it back, or start again in this home or another: see --home.",
                )
            if found != self._identity:
                self._engine.dispose()
                self._open_to_write()
            return self._engine

    def _writing_engine(self) -> sa.Engine:
        """The same, to write: a home that could only be read may be writable by now."""
        if self.is_read_only:
            with self._lock:
                self._open_to_write()
        return self._present_engine()


def _begin(connection: sa.Connection) -> None:
    """Begins to write, as soon as no other connection writes.

    SQLite's own waiting sleeps in steps of up to 100 ms, while a writer is done in a fraction of one: beside
    others that log all the time, one of them then stands still for half a second.
    """
    plain = connection.connection.dbapi_connection
    until = time.monotonic() + schema.BUSY_S
    pause = _FIRST_PAUSE_S
    plain.execute("PRAGMA busy_timeout=0")
    try:
        while True:
            try:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                return
            except OperationalError as error:
                if "locked" not in str(error.orig) or time.monotonic() > until:
                    raise
            time.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(1.5 * pause, _LONGEST_PAUSE_S)
    finally:
        plain.execute(f"PRAGMA busy_timeout={1000 * schema.BUSY_S}")


def _identity(path: Path) -> tuple[int, int] | None:
    """Tells a file from another of the same name; None when there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def now() -> str:
    """This moment in UTC, ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def to_record(row: Mapping[str, Any]) -> RunRecord:
    """The record of a row of the table of runs."""
    failure = json.loads(row["failure"]) if row["failure"] else None
    return RunRecord(
        **{
            **row,
            "state": RunState(row["state"]),
            "is_held": bool(row["is_held"]),
            "failure": Failure.from_dict(failure) if failure else None,
            "evaluation": json.loads(row["evaluation"] or "{}"),
            "facts": json.loads(row["facts"] or "{}"),
        }
    )
