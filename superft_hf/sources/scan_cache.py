"""What opening images showed, kept in a home, so that the next look at the same images opens none of them.

An image is known again by its place and stamp: a file's are its path, and its size and times of change; a
row's of a data set of the Hub are the file of that revision on this machine, and its number. An entry whose
stamp is another than now, or that was made by another version of the look or of Pillow, is never used.

SQLite keeps two writers apart. Nothing here fails a look: without a database it is merely slower.
"""

import json
import logging
import sqlite3
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import PIL

from superft_hf.sources.rows import Identity
from superft_hf.sources.traits import LOOK_VERSION, ImageTraits, Looked

logger = logging.getLogger(__name__)

MAX_ENTRIES = 1_000_000
"""Looks that are kept, the least recently used go first: about half a GB where they are deep."""

SETTLED_S = 2.0
"""A file that changed this shortly before it was opened is opened again: it may change once more without
another time of change, which some file systems keep in steps of two seconds."""

_TIMEOUT_S = 10.0
_MADE_BY = f"{LOOK_VERSION} {PIL.__version__}"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS looks (
    place TEXT PRIMARY KEY, stamp TEXT NOT NULL, used INTEGER NOT NULL, digest TEXT NOT NULL,
    width INTEGER NOT NULL, height INTEGER NOT NULL, traits TEXT, thumbnail BLOB
) WITHOUT ROWID
"""
_CHUNK = 500


class ScanCache:
    """The looks of a home.

    Args:
        path: Of the database, made when it is missing, and anew when it is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._today = int(time.time() // 86_400)
        self._database: sqlite3.Connection | None = None
        self._num_added = 0
        try:
            self._connect()
        except (sqlite3.Error, OSError) as error:
            self._mend(error)

    def __enter__(self) -> "ScanCache":
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Removes what is too much, and closes the database."""
        self.close()

    def find(self, identities: Sequence[Identity | None], *, is_deep: bool) -> list[Looked | None]:
        """What is known of some images, in their order.

        Args:
            identities: None of an image that is not known again by anything.
            is_deep: Whether looks without traits are of no use.
        """
        places = {one.place: one.stamp for one in identities if one is not None}
        known: dict[str, Looked] = {}
        try:
            for chunk in _chunks(list(places)) if self._database is not None else ():
                known |= self._find(self._database, places, chunk, is_deep=is_deep)
        except (sqlite3.Error, ValueError, TypeError, LookupError) as error:
            self._mend(error)
            known = {}
        return [None if one is None else known.get(one.place) for one in identities]

    def add(self, found: Iterable[tuple[Identity | None, Looked]], begun_at: float) -> None:
        """Keeps looks at images that could be opened, in the place of earlier ones.

        One that could not is opened again each time: the reason may lie in this machine, such as its memory.

        Args:
            found: What each image was known by before it was opened, and the look.
            begun_at: When that was, in seconds since 1970.
        """
        rows = [
            (one.place, one.stamp, self._today, *_packed(looked))
            for one, looked in found
            if one is not None and looked.problem is None and one.changed_at < begun_at - SETTLED_S
        ]
        if self._database is None or not rows:
            return
        try:
            with self._database:
                self._database.executemany(
                    "INSERT OR REPLACE INTO looks VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows
                )
            self._num_added += len(rows)
        except sqlite3.Error as error:
            self._mend(error)

    def close(self) -> None:
        """Removes what is too much, and closes the database."""
        if self._database is None:
            return
        try:
            if self._num_added:
                with self._database:
                    self._database.execute(
                        "DELETE FROM looks WHERE place IN (SELECT place FROM looks ORDER BY used "
                        "LIMIT max(0, (SELECT count(*) FROM looks) - ?))", (MAX_ENTRIES,),
                    )  # fmt: skip
        except sqlite3.Error as error:
            self._mend(error)
        self._disconnect()

    def _connect(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(self._path, timeout=_TIMEOUT_S)
        self._database = database
        with suppress(sqlite3.OperationalError):  # another process has it open in the other mode
            database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        with database:
            database.execute("BEGIN IMMEDIATE")
            database.execute("CREATE TABLE IF NOT EXISTS made_by (version TEXT NOT NULL)")
            if database.execute("SELECT version FROM made_by").fetchall() != [(_MADE_BY,)]:
                database.execute("DELETE FROM made_by")
                database.execute("INSERT INTO made_by VALUES (?)", (_MADE_BY,))
                database.execute("DROP TABLE IF EXISTS looks")
            database.execute(_SCHEMA)

    def _find(
        self, database: sqlite3.Connection, places: dict[str, str], chunk: Sequence[str], *, is_deep: bool
    ) -> dict[str, Looked]:
        marks = ", ".join("?" * len(chunk))
        rows = database.execute(f"SELECT * FROM looks WHERE place IN ({marks})", chunk).fetchall()  # noqa: S608
        known, old = {}, []
        for place, stamp, used, *packed in rows:
            if stamp != places[place]:
                continue
            looked = _unpacked(packed)
            if is_deep and looked.traits is None:
                continue
            known[place] = looked
            if used != self._today:
                old.append((self._today, place))
        if old:
            with database:
                database.executemany("UPDATE looks SET used = ? WHERE place = ?", old)
        return known

    def _mend(self, error: Exception) -> None:
        """Begins anew where the database is damaged; goes on without it where it cannot be had."""
        self._disconnect()
        if isinstance(error, (sqlite3.OperationalError, OSError)):  # locked, read-only, a full disk
            self._give_up(error)
            return
        try:
            for suffix in ("", "-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
            self._connect()
        except (sqlite3.Error, OSError) as again:
            self._give_up(again)
        else:
            logger.warning(
                "the cache of opened images %s was damaged and is made anew: %s", self._path, error
            )

    def _give_up(self, error: Exception) -> None:
        self._disconnect()
        logger.warning("images are opened without the cache %s: %s", self._path, error)

    def _disconnect(self) -> None:
        if self._database is not None:
            with suppress(sqlite3.Error):
                self._database.close()
        self._database = None


def _chunks(values: Sequence[str]) -> Iterable[Sequence[str]]:
    return (values[start : start + _CHUNK] for start in range(0, len(values), _CHUNK))


def _packed(looked: Looked) -> tuple[str, int, int, str | None, bytes | None]:
    traits = looked.traits
    if traits is None:
        return looked.digest, looked.width, looked.height, None, None
    values = {name: getattr(traits, name) for name in ImageTraits.__slots__ if name != "thumbnail"}
    return looked.digest, looked.width, looked.height, json.dumps(values), traits.thumbnail


def _unpacked(packed: Sequence[Any]) -> Looked:
    """Raises ValueError or TypeError when it is no look."""
    digest, width, height, traits, thumbnail = packed
    if traits is None:
        return Looked(digest, width, height)
    values = json.loads(traits)
    values |= {name: tuple(values[name]) for name in ("mean", "square")}
    return Looked(digest, width, height, traits=ImageTraits(**values, thumbnail=thumbnail))
