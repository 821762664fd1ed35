"""How fast a home with many runs is read and written, and whether the pages' memory stays flat.

    python benchmarks/store.py [--runs 1000] [--points 5000000] [--refreshes 1800] [--page-refreshes 200]

Makes a home in a temporary folder; one of its runs has a fifth of all points and is live. Reads it as the
pages do, refreshes what they read as often as an hour has ticks of two seconds while the live run gains
points, draws the pages themselves, and logs from four processes at once. Each figure is the median of several
in a process of its own; beside a curve stands the time that reading all its points takes, and beside a
written point a bare transaction of sqlite3 in the same folder.
"""

import argparse
import fcntl
import gc
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from superft_hf.config_file import dump_config, make_config
from superft_hf.engine.devices import cpu_cores
from superft_hf.paths import HOME_VARIABLE
from superft_hf.records import RunState
from superft_hf.store import RunStore

KEYS = ("loss", "learning_rate", "grad_norm", "train_samples_per_second")
EVAL_KEYS = ("eval_loss", "eval_accuracy")
EPOCHS = 100
BIG = "20260101-0000-00000"
REPEATS = 5
WRITERS, CALLS = 4, 2000
LIVE_POINTS = {key: 0.5 for key in KEYS}


def main() -> None:
    """Makes the home, measures in processes of their own, prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mode", nargs="?", choices=list(MODES))
    parser.add_argument("home", nargs="?")
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--points", type=int, default=5_000_000)
    parser.add_argument("--refreshes", type=int, default=1800)
    parser.add_argument("--page-refreshes", type=int, default=200)
    asked = parser.parse_args()
    if asked.mode:
        print(json.dumps(MODES[asked.mode](Path(asked.home), asked)))
        return
    with tempfile.TemporaryDirectory() as aside:
        home = Path(aside) / "runs"
        begun = time.perf_counter()
        make_home(home, asked.runs, asked.points)
        size = (home / "superft.db").stat().st_size / 2**20
        took = time.perf_counter() - begun
        print(f"{asked.runs:,} runs with {asked.points:,} points, {size:,.0f} MiB, made in {took:.0f} s")
        print(f"on {cpu_cores()} CPU cores:")
        print_reading(_child("read", home, asked))
        print_memory("what the pages read", asked.refreshes, _child("refresh", home, asked))
        pages = _child("pages", home, asked)
        for page, (first, again) in pages["seconds"].items():
            print(f"{page:<36} {1000 * first:8.0f} ms first, {1000 * again:.0f} ms again")
        print_memory("the Run page drawn", asked.page_refreshes, pages)
        print_writing(home, asked)


def make_home(home: Path, num_runs: int, num_points: int) -> None:
    """Writes runs and points straight into the tables."""
    config = make_config({"model": {"name_or_path": "m"}, "data": {"name_or_path": "d"}})
    text = dump_config(config)
    store = RunStore(home)
    facts = json.dumps({"counts": {"train": 1257, "eval": 270, "test": 270}, "device": "GPU 0"})
    rows = []
    for index in range(num_runs):
        run_id = f"20260101-0000-{index:05d}"
        paths = store.run_paths(run_id)
        paths.folder.mkdir()
        paths.config.write_text(text, encoding="utf-8")
        state = RunState.RUNNING if run_id == BIG else RunState.COMPLETED
        rows.append(
            (
                run_id,
                f"run {index}",
                state,
                f"2026-01-01T{index // 60 % 24:02d}:{index % 60:02d}:00.000+00:00",
                facts,
            )
        )
    store.close()
    big = num_points // 5
    others = (num_points - big) // max(1, num_runs - 1)
    with sqlite3.connect(home / "superft.db") as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.executemany(
            "INSERT INTO runs (run_id, name, state, task, model, data, created_at, started_at, queued_at, "
            "facts, best_metric, best_value, best_step, accuracy, global_step, max_steps, epoch, "
            "num_train_epochs) SELECT ?1, ?2, ?3, 'image-classification', 'm', 'd', ?4, ?4, ?4, ?5, "
            "'eval_loss', 0.2, 990, 0.9, 1000, 1000, 100, 100",
            rows,
        )
        for row in rows:
            write_points(connection, row[0], big if row[0] == BIG else others)
    connection.close()


def write_points(connection: sqlite3.Connection, run_id: str, count: int) -> None:
    """A run's points: of each key equally many, save that an epoch has one evaluation."""
    steps = (count - EPOCHS * len(EVAL_KEYS)) // len(KEYS)
    for number, key in enumerate((*KEYS, *EVAL_KEYS)):
        each = 1 if key in KEYS else max(1, steps // EPOCHS)
        connection.execute(
            "WITH RECURSIVE steps(step) AS (SELECT ?4 UNION ALL SELECT step + ?4 FROM steps "
            "WHERE step + ?4 <= ?3) "
            "INSERT INTO metrics (run_id, key, step, row, value, epoch, time) SELECT ?1, ?2, step, "
            "step * 6 + ?5, 0.2 + 1.0 / step + (step * 7919 % 1009) / 5045.0, 100.0 * step / ?3, "
            "'2026-01-01T00:00:00.000+00:00' FROM steps",
            (run_id, key, steps, each, number),
        )
    connection.execute("INSERT INTO metric_rows VALUES (?, ?, 0)", (run_id, steps * 6 + 5))


def read(home: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """Reads lists and curves."""
    store = RunStore(home)
    some = [f"20260101-0000-{index:05d}" for index in range(1, 11)]
    every = [record.run_id for record in store.list_runs()]
    return {
        "the run list": _median(store.list_runs),
        "small curves of all runs": _median(lambda: store.sparklines(every, "eval_loss", 200)),
        "last values of the largest run": _median(lambda: store.last_values(BIG)),
        "its longest curve": _median(lambda: store.read_curve(BIG, "loss")),
        "the same, every point": _median(lambda: store.read_metrics(BIG, keys=["loss"])),
        "all its curves": _median(lambda: store.read_curves(BIG)),
        "the same, each point of them": _median(lambda: store.read_metrics(BIG), 2),
        "ten curves of ten runs": _median(lambda: [store.read_curve(one, "loss") for one in some]),
    }


def refresh(home: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """Reads again and again what the pages read, while the live run gains points."""
    os.environ[HOME_VARIABLE] = str(home)
    from dashboard import readers

    worker = RunStore(home)
    others = [record.run_id for record in worker.list_runs() if record.run_id != BIG]

    def once(number: int) -> None:
        _gain(worker, number)
        readers.run_list()
        readers.state_counts()
        readers.sparklines((BIG, *others))
        readers.sparklines((BIG,))
        readers.run(BIG)
        readers.config(BIG)
        readers.events(BIG)
        readers.last_values(BIG)
        for run_id in (BIG, others[number % len(others)]):  # a person looks at another run now and then
            readers.metrics(run_id)

    return _memory_over(once, asked.refreshes)


def pages(home: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """Draws pages, then one of them again and again while its run gains points."""
    os.environ[HOME_VARIABLE] = str(home)
    from streamlit.testing.v1 import AppTest

    worker = RunStore(home)
    app = Path(__file__).parents[1] / "dashboard" / "app.py"
    addresses = {
        "the Runs page": ("runs", {}),
        "the Run page of the largest run": ("run", {"run": BIG}),
        "the Compare page of eight runs": (
            "compare", {"runs": [f"20260101-0000-{index:05d}" for index in range(8)]},
        ),
    }  # fmt: skip
    seconds = {}
    with (home / "supervisor.lock").open("w") as lock:  # a supervisor would find the live run dead
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        for title, (page, query) in addresses.items():
            shown = AppTest.from_file(str(app), default_timeout=120)
            shown.query_params.update(query)
            shown.switch_page(f"app_pages/{page}.py")
            times = [_drawn(shown) for _ in range(REPEATS)]
            seconds[title] = (times[0], statistics.median(times[1:]))
        shown = AppTest.from_file(str(app), default_timeout=120)
        shown.query_params["run"] = BIG
        shown.switch_page("app_pages/run.py")

        def once(number: int) -> None:
            _gain(worker, number)
            _drawn(shown)

        return {"seconds": seconds, **_memory_over(once, asked.page_refreshes)}


def write(home: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """Logs points of a run of its own, one call after another."""
    store = RunStore(home)
    run_id = f"20260102-0000-{os.getpid():08d}"
    times = []
    for step in range(CALLS):
        begun = time.perf_counter()
        store.log_metrics(run_id, step, step / CALLS, LIVE_POINTS)
        times.append(time.perf_counter() - begun)
    return {"times": times}


def bare(home: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """The least that a transaction of as many rows costs."""
    connection = sqlite3.connect(home / "bare.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("CREATE TABLE points (key TEXT, step INTEGER, value FLOAT)")
    times = []
    for step in range(CALLS):
        begun = time.perf_counter()
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO points VALUES (?, ?, ?)", [(key, step, 0.5) for key in KEYS])
        connection.execute("COMMIT")
        times.append(time.perf_counter() - begun)
    return {"times": times}


MODES: dict[str, Callable[[Path, argparse.Namespace], dict[str, Any]]] = {
    "read": read, "refresh": refresh, "pages": pages, "write": write, "bare": bare,
}  # fmt: skip


def print_reading(found: dict[str, float]) -> None:
    """The times of reading, and how much less a thinned curve costs."""
    for what, seconds in found.items():
        print(f"{what:<36} {1000 * seconds:8.1f} ms")
    one = found["its longest curve"] / found["the same, every point"]
    whole = found["all its curves"] / found["the same, each point of them"]
    print(f"a curve takes {one:.2f} × the time of reading all its points, all curves {whole:.2f} ×")


def print_memory(what: str, count: int, found: dict[str, Any]) -> None:
    """Memory after a tenth of the refreshes and after all."""
    early, late = found["early_bytes"] / 2**20, found["late_bytes"] / 2**20
    print(
        f"{what} {count:,} times, {1000 * found['refresh_s']:.1f} ms each: {early:.1f} MiB after a tenth, "
        f"{late:.1f} MiB at the end ({late - early:+.1f} MiB)"
    )


def print_writing(home: Path, asked: argparse.Namespace) -> None:
    """What a call and a point cost, alone and beside others."""
    plain = statistics.mean(_child("bare", home, asked)["times"])
    for writers in (1, WRITERS):
        children = [_start("write", home, asked) for _ in range(writers)]
        times = sorted(time for child in children for time in _answer(child)["times"])
        mean, median, high, longest = (
            1000 * one
            for one in (
                statistics.mean(times), statistics.median(times), times[int(0.99 * len(times))], times[-1],
            )
        )  # fmt: skip
        print(
            f"{writers} writing: {mean / len(KEYS):.2f} ms a point, {mean:.2f} ms a call of {len(KEYS)} "
            f"(median {median:.2f}, 99 % under {high:.1f}, longest {longest:.0f}), "
            f"{mean / 1000 / plain:.1f} × a bare transaction"
        )


def _gain(worker: RunStore, number: int) -> None:
    worker.log_metrics(BIG, 10_000_000 + number, 100 + number / 1000, LIVE_POINTS)
    worker.update_run(BIG, global_step=10_000_000 + number)


def _drawn(shown: Any) -> float:
    begun = time.perf_counter()
    shown.run()
    if shown.exception:
        raise SystemExit(str(shown.exception[0].value))
    return time.perf_counter() - begun


def _memory_over(once: Callable[[int], None], count: int) -> dict[str, float]:
    early = 0
    begun = time.perf_counter()
    for number in range(count):
        once(number)
        if number + 1 == max(1, count // 10):
            early = _resident_bytes()
    took = time.perf_counter() - begun
    return {"early_bytes": early, "late_bytes": _resident_bytes(), "refresh_s": took / count}


def _resident_bytes() -> int:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _median(read: Callable[[], Any], repeats: int = REPEATS) -> float:
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        read()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def _start(mode: str, home: Path, asked: argparse.Namespace) -> "subprocess.Popen[str]":
    numbers = [f"--refreshes={asked.refreshes}", f"--page-refreshes={asked.page_refreshes}"]
    command = [sys.executable, __file__, mode, str(home), *numbers]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _answer(child: "subprocess.Popen[str]") -> dict[str, Any]:
    said, errors = child.communicate()
    if child.returncode:
        raise SystemExit(errors)
    return json.loads(said.splitlines()[-1])


def _child(mode: str, home: Path, asked: argparse.Namespace) -> dict[str, Any]:
    return _answer(_start(mode, home, asked))


if __name__ == "__main__":
    main()
