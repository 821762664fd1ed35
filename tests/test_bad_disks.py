"""Full, read-only and damaged disks, and processes killed while they write: real ones.

Full and read-only disks are small tmpfs mounts, which only root may make; elsewhere those tests are skipped.
"""

import itertools
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from superft_hf import cli, schema
from superft_hf.config_file import make_config
from superft_hf.errors import DiskFullError, HomeError, StateError, StoreError
from superft_hf.records import RunState
from superft_hf.store import RunStore

CONFIG = make_config({"model": {"name_or_path": "m"}, "data": {"name_or_path": "d"}})


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def disk_store(disk: Path) -> Iterator[RunStore]:
    """A store on that disk, with a completed run and one that is running."""
    opened = RunStore(disk / "runs")
    make_run(opened, "done", RunState.COMPLETED)
    make_run(opened, "live", RunState.RUNNING)
    yield opened
    opened.close()


def make_run(store: RunStore, name: str, state: RunState) -> str:
    named = CONFIG.model_copy(update={"name": name})
    run_id = store.create_run(named, by="page", state=RunState.RUNNING).run_id
    store.log_metrics(run_id, 1, 0.5, {"loss": 2.0})
    if state is not RunState.RUNNING:
        store.change_state(run_id, [RunState.RUNNING], state, by="worker")
    return run_id


def id_of(store: RunStore, name: str) -> str:
    return next(run.run_id for run in store.list_runs() if run.name == name)


def fill(disk: Path) -> Path:
    """Takes all the room there is, to the last byte."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as opened:
        for size in (65536, 4096, 1):
            try:
                while True:
                    opened.write(b"x" * size)
            except OSError:
                continue
    return filler


def remount(disk: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], check=True)


def folders(store: RunStore) -> set[str]:
    return {path.name for path in store.home.iterdir() if path.is_dir()}


def check_integrity(home: Path) -> None:
    with sqlite3.connect(home / "superft.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


# Full


def test_full__a_run_is_created_whole_or_not_at_all(disk, disk_store):
    before = {run.run_id for run in disk_store.list_runs()}
    filler = fill(disk)
    with pytest.raises(DiskFullError, match=f"The disk of {disk}/runs is full") as caught:
        disk_store.create_run(CONFIG, by="page")
    assert "superft delete" in caught.value.hint
    assert {run.run_id for run in disk_store.list_runs()} == folders(disk_store) == before

    filler.unlink()
    created = disk_store.create_run(CONFIG, by="page").run_id
    assert folders(disk_store) == {*before, created}


def test_full__what_is_written_there_stays_and_writing_goes_on_when_there_is_room(disk, disk_store):
    live = id_of(disk_store, "live")
    filler = fill(disk)
    written = 1
    with pytest.raises(DiskFullError):
        for step in range(2, 5000):  # the log has some room left from earlier
            disk_store.log_metrics(live, step, 1.0, {"loss": 1.0, "grad_norm": 3.0})
            written = step
    assert disk_store.read_metrics(live, keys=["loss"])["step"].tolist() == list(range(1, written + 1))

    filler.unlink()
    disk_store.log_metrics(live, written + 1, 1.0, {"loss": 0.5})
    assert disk_store.last_values(live)["loss"] == 0.5
    check_integrity(disk_store.home)


def test_full__a_state_that_cannot_be_written_stays_as_it_was(disk, disk_store):
    live = id_of(disk_store, "live")
    fill(disk)
    with pytest.raises(DiskFullError):
        for number in itertools.count():
            disk_store.update_run(live, facts={"note": "x" * 5000, "number": number})
    with pytest.raises(DiskFullError):
        disk_store.change_state(live, [RunState.RUNNING], RunState.FAILED, by="worker")
    assert disk_store.get_run(live).state is RunState.RUNNING


def test_full__a_store_can_be_opened_to_read_and_writes_again_when_there_is_room(disk, disk_store):
    disk_store.close()
    filler = fill(disk)
    opened = RunStore(disk / "runs")
    assert {run.name for run in opened.list_runs()} == {"done", "live"}
    assert opened.last_values(id_of(opened, "done")) == {"loss": 2.0}
    with pytest.raises(DiskFullError):
        opened.create_run(CONFIG, by="page")

    filler.unlink()
    opened.create_run(CONFIG, by="page")
    assert len(opened.list_runs()) == 3 and not opened.is_read_only
    opened.close()


def test_full__a_new_home_is_refused_with_a_sentence(disk):
    fill(disk)
    with pytest.raises(DiskFullError, match="is full"):
        RunStore(disk / "new")


def test_full__a_run_that_has_ended_can_be_deleted_to_make_room(disk, disk_store):
    done = id_of(disk_store, "done")
    checkpoints = disk_store.run_paths(done).checkpoints
    checkpoints.mkdir()
    (checkpoints / "weights").write_bytes(b"x" * 300_000)
    fill(disk)
    disk_store.delete_run(done)
    assert [run.name for run in disk_store.list_runs()] == ["live"]
    assert folders(disk_store) == {id_of(disk_store, "live")}


def test_full__commands_list_and_show_and_refuse_the_rest_in_a_sentence(disk, disk_store, capfd):
    disk_store.change_state(id_of(disk_store, "live"), [RunState.RUNNING], RunState.PAUSED, by="worker")
    done = id_of(disk_store, "done")
    disk_store.close()
    fill(disk)
    home = f"--home={disk / 'runs'}"
    assert cli.main([home, "runs"]) == 0
    assert "done" in capfd.readouterr().out
    assert cli.main([home, "show", done]) == 0
    assert "done is completed" in capfd.readouterr().out
    assert cli.main([home, "discard", id_of(disk_store, "live")]) == 1
    said = capfd.readouterr().err
    assert "is full" in said and "Hint: Free some space" in said and "Traceback" not in said


# Read-only


@pytest.mark.parametrize("is_closed", [True, False])
def test_read_only__a_home_is_read_and_refuses_to_be_written(disk, disk_store, is_closed):
    run_id = id_of(disk_store, "done")
    if not is_closed:  # as a killed process leaves it: with points in the write-ahead log, and nobody at work
        subprocess.run(["cp", "-r", str(disk / "runs"), str(disk / "left")], check=True)
    disk_store.close()
    remount(disk, "ro")
    opened = RunStore(disk / ("runs" if is_closed else "left"))
    assert opened.is_read_only
    assert {run.name for run in opened.list_runs()} == {"done", "live"}
    assert opened.read_metrics(run_id)["value"].tolist() == [2.0]
    for change in (
        lambda: opened.create_run(CONFIG, by="page"),
        lambda: opened.log_metrics(run_id, 2, 1.0, {"loss": 1.0}),
        lambda: opened.delete_run(run_id),
        lambda: opened.change_settings(cpu_slots=2),
    ):
        with pytest.raises(HomeError, match=r"cannot be written to.*[Rr]ead-only"):
            change()

    remount(disk, "rw")
    opened.create_run(CONFIG, by="page")
    assert len(opened.list_runs()) == 3
    opened.close()


def test_read_only__a_database_that_lacks_what_is_needed_to_read_its_log_is_told(disk, disk_store):
    subprocess.run(["cp", "-r", str(disk / "runs"), str(disk / "left")], check=True)
    (disk / "left" / "superft.db-shm").unlink()
    disk_store.close()
    remount(disk, "ro")
    with pytest.raises(StoreError, match="was not closed, and the folder can only be read") as caught:
        RunStore(disk / "left")
    assert "writable once" in caught.value.hint


def test_read_only__commands_list_and_show_and_refuse_the_rest_in_a_sentence(disk, disk_store, capfd):
    live = id_of(disk_store, "live")
    disk_store.close()
    remount(disk, "ro")
    home = f"--home={disk / 'runs'}"
    assert cli.main([home, "runs"]) == 0
    assert "live" in capfd.readouterr().out
    assert cli.main([home, "show", live]) == 0
    assert "live is running" in capfd.readouterr().out
    assert cli.main([home, "discard", live]) == 1
    said = capfd.readouterr().err
    assert "cannot be written to" in said and "Traceback" not in said


def test_read_only__where_there_is_nothing_to_read(disk):
    remount(disk, "ro")
    with pytest.raises(HomeError, match="cannot be written to"):
        RunStore(disk / "new")


def test_read_only__an_older_database_cannot_be_brought_up_to_date(disk, disk_store):
    disk_store.close()
    with sqlite3.connect(disk / "runs" / "superft.db") as connection:
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    remount(disk, "ro")
    with pytest.raises(HomeError, match="is of version 1, and the folder is read-only"):
        RunStore(disk / "runs")


# Removed, in use, damaged


def test_removed__a_database_that_is_gone_is_told_and_a_new_one_is_used(store, home):
    make_run(store, "old", RunState.COMPLETED)
    run_id = id_of(store, "old")
    for path in home.glob("superft.db*"):
        path.unlink()
    for use in (store.list_runs, lambda: store.log_metrics(run_id, 2, 1.0, {"loss": 1.0})):
        with pytest.raises(StoreError, match="was removed while it was in use"):
            use()
    other = RunStore(home)
    made = other.create_run(CONFIG, by="page").run_id
    assert [run.run_id for run in store.list_runs()] == [made]
    other.close()


def test_removed__no_run_is_created_in_a_home_that_is_gone(store, home):
    home.rename(home.with_name("elsewhere"))
    with pytest.raises(StoreError, match="cannot be written to: No such file or directory"):
        store.create_run(CONFIG, by="page")


def test_in_use__another_that_writes_without_end_is_told_and_nothing_is_left_behind(store, home, monkeypatch):
    monkeypatch.setattr(schema, "BUSY_S", 0.2)
    make_run(store, "a", RunState.COMPLETED)
    blocker = sqlite3.connect(home / "superft.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    begun = time.monotonic()
    with pytest.raises(StoreError, match="in use by another process"):
        store.create_run(CONFIG, by="page")
    assert 0.2 <= time.monotonic() - begun < 5
    assert folders(store) == {id_of(store, "a")}
    blocker.execute("ROLLBACK")
    blocker.close()
    store.create_run(CONFIG, by="page")


def test_a_row_that_is_refused_leaves_no_folder(store):
    with pytest.raises(StateError):
        make_run(store, "a", RunState.RUNNING)
        store.delete_run(id_of(store, "a"))
    other = store.list_runs()[0].run_id
    with sqlite3.connect(store.paths.database) as connection:
        connection.execute("CREATE TRIGGER no BEFORE INSERT ON runs BEGIN SELECT RAISE(ABORT, 'no'); END")
    connection.close()
    with pytest.raises(Exception, match="no"):
        store.create_run(CONFIG, by="page")
    assert folders(store) == {other}


def test_damaged__a_database_with_rubbish_in_it_is_told_and_left_alone(store, home, capfd):
    for number in range(30):
        make_run(store, f"run {number}", RunState.COMPLETED)
    store.close()
    path = home / "superft.db"
    size = path.stat().st_size
    with path.open("r+b") as opened:
        opened.seek(4096)
        opened.write(os.urandom(size - 8192))
    damaged = path.read_bytes()
    with pytest.raises(StoreError, match="cannot be used as a database: .*malformed") as caught:
        RunStore(home).list_runs()
    assert "The folders of the runs are not touched" in caught.value.hint
    assert cli.main([f"--home={home}", "runs"]) == 1
    assert "Traceback" not in capfd.readouterr().err
    assert path.read_bytes() == damaged


# Killed

WRITER = """
import sys
from pathlib import Path
from superft_hf.store import RunStore
store, run_id, first = RunStore(Path(sys.argv[1])), sys.argv[2], int(sys.argv[3])
"""
IN_A_TRANSACTION = """
with store._write() as connection:
    connection.exec_driver_sql("DELETE FROM metrics")
    print("deleted", flush=True)
    import time
    time.sleep(60)
"""
AND_CHECKPOINTS = """
import itertools
for step in itertools.count(first):
    store.log_metrics(run_id, step, 1.0, {"loss": 1.0, "grad_norm": 1.0})
    print(step, flush=True)
    if step % 3 == 0:
        with store._read() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
"""


def start_writer(home: Path, run_id: str, body: str, first: int = 0) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", WRITER + body, str(home), run_id, str(first)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def kill(writer: "subprocess.Popen[str]") -> list[str]:
    """Kills it and returns what it had said."""
    writer.send_signal(signal.SIGKILL)
    said, _ = writer.communicate(timeout=30)
    return said.splitlines()


def test_killed__in_a_transaction_nothing_of_it_stays_and_nobody_waits(store, home):
    run_id = make_run(store, "a", RunState.RUNNING)
    writer = start_writer(home, run_id, IN_A_TRANSACTION)
    assert writer.stdout.readline() == "deleted\n"
    kill(writer)
    begun = time.monotonic()
    store.log_metrics(run_id, 2, 1.0, {"loss": 1.0})
    assert time.monotonic() - begun < 2
    assert store.read_metrics(run_id)["step"].tolist() == [1, 2]


def test_killed__at_any_moment_every_committed_point_is_there_once(home):
    store = RunStore(home)
    run_id = store.create_run(CONFIG, by="page", state=RunState.RUNNING).run_id
    store.close()  # the writer is alone: what it leaves has to be recovered
    delay = random.Random(0)
    first = 0
    for _ in range(6):
        writer = start_writer(home, run_id, AND_CHECKPOINTS, first)
        writer.stdout.readline()
        time.sleep(delay.uniform(0.0, 0.15))
        said = kill(writer)
        opened = RunStore(home)
        steps = opened.read_metrics(run_id, keys=["loss"])["step"].tolist()
        assert steps == opened.read_metrics(run_id, keys=["grad_norm"])["step"].tolist()
        assert steps == list(range(len(steps)))
        assert len(steps) > (int(said[-1]) if said else first)
        opened.close()
        check_integrity(home)
        first = len(steps)


@pytest.mark.parametrize("harm", ["cut", "rubbish"])
def test_killed__of_a_torn_log_all_that_is_whole_is_kept(tmp_path, store, home, harm):
    run_id = store.create_run(CONFIG, by="page", state=RunState.RUNNING).run_id
    for step in range(50):
        store.log_metrics(run_id, step, 1.0, {"loss": 1.0})
    left = tmp_path / "left"
    left.mkdir()
    for name in ("superft.db", "superft.db-wal"):  # as a power cut leaves them
        (left / name).write_bytes((home / name).read_bytes())
    log = left / "superft.db-wal"
    whole = log.stat().st_size
    with log.open("r+b") as opened:
        if harm == "cut":
            opened.truncate(whole - 6000)
        else:
            opened.seek(whole - 6000)
            opened.write(os.urandom(6000))
    opened = RunStore(left)
    steps = opened.read_metrics(run_id)["step"].tolist()
    assert steps == list(range(len(steps))) and 45 <= len(steps) < 50
    opened.log_metrics(run_id, 100, 1.0, {"loss": 1.0})
    assert opened.read_metrics(run_id)["step"].tolist() == [*steps, 100]
    opened.close()
    check_integrity(left)
