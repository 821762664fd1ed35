import math
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from superft_hf import schema
from superft_hf.errors import HomeError, SchemaVersionError
from superft_hf.records import HomeSettings
from superft_hf.store import RunStore

NOW = schema.VERSION


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
    monkeypatch.setattr(schema, "VERSION", NOW + 2)
    monkeypatch.setattr(schema, "MIGRATIONS", {NOW + 1: lambda connection: None})
    sentence = f"version {NOW}, which cannot be brought to version {NOW + 2}"
    with pytest.raises(SchemaVersionError, match=sentence):
        schema.open_database(path)
    assert version_of(path) == NOW


def test_an_older_database_is_migrated_step_by_step(tmp_path, monkeypatch):
    path = tmp_path / "superft.db"
    schema.open_database(path).dispose()

    def add_colour(connection: sa.Connection) -> None:
        connection.exec_driver_sql("ALTER TABLE runs ADD COLUMN colour TEXT")

    def rename_colour(connection: sa.Connection) -> None:
        connection.exec_driver_sql("ALTER TABLE runs RENAME COLUMN colour TO color")

    monkeypatch.setattr(schema, "VERSION", NOW + 2)
    monkeypatch.setattr(schema, "MIGRATIONS", {NOW: add_colour, NOW + 1: rename_colour})
    schema.open_database(path).dispose()
    assert version_of(path) == NOW + 2
    with sqlite3.connect(path) as connection:
        assert "color" in {row[1] for row in connection.execute("PRAGMA table_info(runs)")}


def test_a_migration_that_fails_leaves_the_database_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "superft.db"
    schema.open_database(path).dispose()

    def half(connection: sa.Connection) -> None:
        connection.exec_driver_sql("ALTER TABLE runs ADD COLUMN colour TEXT")
        connection.exec_driver_sql("ALTER TABLE nothing ADD COLUMN colour TEXT")

    monkeypatch.setattr(schema, "VERSION", NOW + 1)
    monkeypatch.setattr(schema, "MIGRATIONS", {NOW: half})
    with pytest.raises(HomeError):
        schema.open_database(path)
    assert version_of(path) == NOW
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


# From version 1, by the tables as version 1 made them

VERSION_1 = """
CREATE TABLE runs (
    rowid INTEGER NOT NULL, run_id TEXT NOT NULL, name TEXT NOT NULL, state TEXT NOT NULL, task TEXT NOT NULL,
    model TEXT NOT NULL, data TEXT NOT NULL, created_at TEXT NOT NULL, started_at TEXT, ended_at TEXT,
    request TEXT, is_held BOOLEAN DEFAULT 0 NOT NULL, failure TEXT, global_step INTEGER DEFAULT '0' NOT NULL,
    max_steps INTEGER DEFAULT '0' NOT NULL, epoch FLOAT DEFAULT '0' NOT NULL,
    num_train_epochs FLOAT DEFAULT '0' NOT NULL, best_metric TEXT, best_value FLOAT, best_step INTEGER,
    accuracy FLOAT, evaluation TEXT, facts TEXT, waiting_for TEXT, PRIMARY KEY (rowid), UNIQUE (run_id)
);
CREATE INDEX ix_runs_state ON runs (state);
CREATE TABLE metrics (
    "row" INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, run_id TEXT NOT NULL, step INTEGER NOT NULL,
    epoch FLOAT NOT NULL, "key" TEXT NOT NULL, value FLOAT, time TEXT NOT NULL, UNIQUE (run_id, "key", step)
);
CREATE INDEX metrics_tail ON metrics (run_id, "row");
CREATE TABLE events (
    "row" INTEGER NOT NULL, run_id TEXT NOT NULL, time TEXT NOT NULL, "by" TEXT NOT NULL, what TEXT NOT NULL,
    detail TEXT DEFAULT '' NOT NULL, PRIMARY KEY ("row")
);
CREATE INDEX ix_events_run_id ON events (run_id);
CREATE TABLE processes (
    run_id TEXT NOT NULL, pid INTEGER NOT NULL, started FLOAT NOT NULL, role TEXT NOT NULL,
    PRIMARY KEY (run_id, pid)
);
PRAGMA user_version = 1;
INSERT INTO runs (run_id, name, state, task, model, data, created_at, started_at, ended_at, failure,
    best_metric, best_value, best_step, facts) VALUES
    ('20260101-0000-aaaa', 'first', 'completed', 't', 'm', 'd', '2026-01-01T00:00:00.000+00:00',
     '2026-01-01T00:01:00.000+00:00', '2026-01-01T00:03:30.500+00:00', NULL, 'eval_loss', 0.25, 20,
     '{"skipped": 2}'),
    ('20260101-0000-bbbb', 'second', 'failed', 't', 'm', 'd', '2026-01-01T00:05:00.000+00:00', NULL,
     '2026-01-01T00:06:00.000+00:00', '{"kind": "DataError", "message": "No images.", "hint": "Look."}',
     'eval_loss', NULL, NULL, NULL),
    ('20260101-0000-cccc', 'third', 'queued', 't', 'm', 'd', '2026-01-01T00:07:00.000+00:00', NULL, NULL,
     NULL, 'eval_loss', NULL, NULL, NULL);
INSERT INTO metrics (run_id, step, epoch, "key", value, time) VALUES
    ('20260101-0000-aaaa', 20, 2.0, 'loss', 1.0, 'late'),
    ('20260101-0000-aaaa', 10, 1.0, 'loss', 2.0, 'early'),
    ('20260101-0000-bbbb', 5, 0.5, 'loss', NULL, 'x'),
    ('20260101-0000-aaaa', 20, 2.0, 'eval_loss', 0.25, 'y');
INSERT INTO events (run_id, time, "by", what) VALUES ('20260101-0000-aaaa', 't', 'page', 'created');
INSERT INTO processes VALUES ('20260101-0000-aaaa', 12, 3.5, 'rank 0');
"""


@pytest.fixture
def home_of_version_1(home: Path) -> Path:
    home.mkdir()
    with sqlite3.connect(home / "superft.db") as connection:
        connection.executescript(VERSION_1)
    connection.close()
    return home


def test_version_1__runs_points_and_history_are_all_there(home_of_version_1):
    store = RunStore(home_of_version_1)
    third, second, first = store.list_runs()
    assert version_of(home_of_version_1 / "superft.db") == schema.VERSION
    assert (first.name, first.state, first.best_value, first.facts) == (
        "first",
        "completed",
        0.25,
        {"skipped": 2},
    )
    assert first.worked_s == pytest.approx(150.5, abs=0.01)
    assert (first.queued_at, first.priority, first.pause_reason) == (first.created_at, 0, None)
    assert second.failure.message == "No images." and second.failure.remedies == () and second.worked_s == 0
    assert (third.queued_at, third.state) == ("2026-01-01T00:07:00.000+00:00", "queued")
    points = store.read_metrics(first.run_id)
    assert points[["key", "step", "epoch", "value", "time"]].values.tolist() == [
        ["loss", 20, 2.0, 1.0, "late"], ["loss", 10, 1.0, 2.0, "early"], ["eval_loss", 20, 2.0, 0.25, "y"],
    ]  # fmt: skip
    assert math.isnan(store.last_values(second.run_id)["loss"])
    assert store.read_events(first.run_id)[0].what == "created"
    assert store.read_processes(first.run_id)[0].pid == 12
    assert store.read_settings() == HomeSettings()
    store.close()


def test_version_1__a_run_goes_on_after_it(home_of_version_1):
    store = RunStore(home_of_version_1)
    run_id = "20260101-0000-aaaa"
    seen = store.metrics_version(run_id).last_row
    assert seen == store.read_metrics(run_id)["row"].max()
    store.log_metrics(run_id, 30, 3.0, {"loss": 0.5})
    assert store.read_metrics(run_id, after_row=seen)["value"].tolist() == [0.5]
    assert store.requeue("20260101-0000-bbbb", by="page").state == "queued"
    store.close()


def test_version_1__has_the_same_tables_afterwards_as_a_new_database(home_of_version_1, tmp_path):
    schema.open_database(home_of_version_1 / "superft.db").dispose()
    schema.open_database(tmp_path / "new.db").dispose()
    shapes = []
    for path in (home_of_version_1 / "superft.db", tmp_path / "new.db"):
        with sqlite3.connect(path) as connection:
            items = connection.execute(
                "SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite%' AND type != 'trigger'"
            ).fetchall()
            columns = {
                name: sorted(row[1:] for row in connection.execute(f"PRAGMA table_xinfo({name})"))
                if kind == "table" and name != "runs"
                else sorted(row[1] for row in connection.execute(f"PRAGMA table_xinfo({name})"))
                for kind, name in items
                if kind == "table"
            }
        connection.close()
        shapes.append((sorted(items), columns))
    assert shapes[0] == shapes[1]
