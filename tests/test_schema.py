import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from superft_hf import schema
from superft_hf.errors import HomeError, SchemaVersionError


def version_of(path: Path) -> int:
    with sqlite3.connect(path) as connection:
        return connection.execute("PRAGMA user_version").fetchone()[0]


def test_a_new_database_has_the_present_version_and_the_wal(tmp_path):
    path = tmp_path / "superft.db"
    schema.open_database(path).dispose()
    assert version_of(path) == schema.VERSION
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert {"runs", "metrics", "events", "processes"} <= tables


def test_opening_twice_changes_nothing(tmp_path):
    path = tmp_path / "superft.db"
    schema.open_database(path).dispose()
    schema.open_database(path).dispose()
    assert version_of(path) == schema.VERSION


def test_eight_at_once_open_a_new_home(tmp_path):
    path = tmp_path / "superft.db"
    with ThreadPoolExecutor(8) as pool:
        engines = list(pool.map(lambda _: schema.open_database(path), range(8)))
    for engine in engines:
        with engine.connect() as connection:
            assert connection.execute(sa.select(sa.func.count()).select_from(schema.runs)).scalar_one() == 0
        engine.dispose()


def test_a_newer_database_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "superft.db"
    schema.open_database(path).dispose()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(SchemaVersionError) as caught:
        schema.open_database(path)
    assert f"is of version 99; this program knows version {schema.VERSION}" in caught.value.message
    assert "Update superft" in caught.value.hint
    assert version_of(path) == 99


def test_an_older_database_that_nobody_can_migrate_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "superft.db"
    schema.open_database(path).dispose()
    monkeypatch.setattr(schema, "VERSION", 3)
    monkeypatch.setattr(schema, "MIGRATIONS", {2: lambda connection: None})
    with pytest.raises(SchemaVersionError, match="version 1, which cannot be brought to version 3"):
        schema.open_database(path)
    assert version_of(path) == 1


def test_an_older_database_is_migrated_step_by_step(tmp_path, monkeypatch):
    path = tmp_path / "superft.db"
    schema.open_database(path).dispose()

    def add_colour(connection: sa.Connection) -> None:
        connection.exec_driver_sql("ALTER TABLE runs ADD COLUMN colour TEXT")

    def rename_colour(connection: sa.Connection) -> None:
        connection.exec_driver_sql("ALTER TABLE runs RENAME COLUMN colour TO color")

    monkeypatch.setattr(schema, "VERSION", 3)
    monkeypatch.setattr(schema, "MIGRATIONS", {1: add_colour, 2: rename_colour})
    schema.open_database(path).dispose()
    assert version_of(path) == 3
    with sqlite3.connect(path) as connection:
        assert "color" in {row[1] for row in connection.execute("PRAGMA table_info(runs)")}


def test_a_migration_that_fails_leaves_the_database_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "superft.db"
    schema.open_database(path).dispose()

    def half(connection: sa.Connection) -> None:
        connection.exec_driver_sql("ALTER TABLE runs ADD COLUMN colour TEXT")
        connection.exec_driver_sql("ALTER TABLE nothing ADD COLUMN colour TEXT")

    monkeypatch.setattr(schema, "VERSION", 2)
    monkeypatch.setattr(schema, "MIGRATIONS", {1: half})
    with pytest.raises(HomeError):
        schema.open_database(path)
    assert version_of(path) == 1
    with sqlite3.connect(path) as connection:
        assert "colour" not in {row[1] for row in connection.execute("PRAGMA table_info(runs)")}


def test_a_file_that_is_no_database(tmp_path):
    path = tmp_path / "superft.db"
    path.write_bytes(b"this is not a database, and long enough to be seen as none" * 40)
    with pytest.raises(HomeError, match="cannot be used as a database"):
        schema.open_database(path)


def test_a_folder_in_the_place_of_the_database(tmp_path):
    (tmp_path / "superft.db").mkdir()
    with pytest.raises(HomeError, match="cannot be used as a database"):
        schema.open_database(tmp_path / "superft.db")


def test_a_database_of_another_program(tmp_path):
    path = tmp_path / "superft.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE songs (name TEXT)")
    with pytest.raises(SchemaVersionError, match="version 0"):
        schema.open_database(path)
