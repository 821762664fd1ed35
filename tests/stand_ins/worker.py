"""Stands in for the worker: does at once what the name of its run says.

It writes to the database by itself, since importing the store would take longer than all it does.
"""

import json
import os
import signal
import sqlite3
import sys
import time
from pathlib import Path

import psutil

FOLDER = Path(sys.argv[-1])  # pytest imports this file too, to look for doctests
CHECKPOINT = FOLDER / "checkpoints" / "checkpoint-4"
NOW = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
COMPLETE = {
    "global_step": 10, "epoch": 1.0, "best_value": 0.6, "best_step": 10, "accuracy": 0.75,
    "evaluation": json.dumps({"eval": {"accuracy": 0.75}, "test": {"accuracy": 0.5}}),
    "facts": json.dumps({"counts": {"train": 20, "eval": 8, "test": 8}}), "ended_at": NOW,
}  # fmt: skip
FAILURE = {"kind": "OutOfMemoryError", "message": "Out of memory with 32 images a step.", "hint": "Take 16."}


def main() -> int:
    own, rank = psutil.Process(), int(os.environ.get("RANK", "0"))
    values = (FOLDER.name, own.pid, own.create_time(), f"rank {rank}")
    write("INSERT OR REPLACE INTO processes (run_id, pid, started, role) VALUES (?, ?, ?, ?)", *values)
    (name,) = write("SELECT name FROM runs WHERE run_id = ?", FOLDER.name)
    what, _, how = name.partition(" ")
    if what == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if what == "complete":
        hold()
    change("running", max_steps=10, global_step=4, epoch=0.4, num_train_epochs=1.0)
    sys.stdout.write(f"rank {rank} of {os.environ.get('WORLD_SIZE', '1')} says {what}\n")
    sys.stdout.flush()
    if what in ("sleep", "stubborn"):
        time.sleep(float(how))
    elif what == "pausable":
        if not CHECKPOINT.exists() and wait_for_pause(float(how), rank):
            return 0
    elif what == "die":
        os.kill(os.getpid(), int(how))
    elif what == "exit":
        hold()
        sys.stderr.write("it was the weather\n-----\n")
        return int(how)
    elif what == "fail":
        change("failed", failure=json.dumps(FAILURE), ended_at=NOW)
        return 1
    change("completed", **COMPLETE)
    return 0


def hold() -> None:
    """Waits while a test keeps a file named `hold` in the run's folder."""
    while (FOLDER / "hold").exists():
        time.sleep(0.05)


def wait_for_pause(seconds: float, rank: int) -> bool:
    """Works for so long, unless a person or SIGTERM wants a pause; returns whether it is paused."""
    heard: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    sys.stdout.write("listens\n")
    sys.stdout.flush()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        state, request = write("SELECT state, request FROM runs WHERE run_id = ?", FOLDER.name)
        if state == "paused":
            return True
        if rank == 0 and (heard or request == "pause"):
            CHECKPOINT.mkdir(parents=True)
            reason = "the machine was shut down" if heard else "a person paused it"
            change("paused", pause_reason=reason, request=None)
            return True
        time.sleep(0.05)
    return False


def change(state: str, **columns: object) -> None:
    """Moves the run on, if it is still live."""
    names = "".join(f", {name} = ?" for name in columns)
    where = "run_id = ? AND state IN ('starting', 'running')"
    write(f"UPDATE runs SET state = ?{names} WHERE {where}", state, *columns.values(), FOLDER.name)


def write(statement: str, *values: object) -> tuple[object, ...] | None:
    connection = sqlite3.connect(FOLDER.parent / "superft.db", timeout=30, isolation_level=None)
    try:
        return connection.execute(statement, values).fetchone()
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
