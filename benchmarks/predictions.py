"""How fast the Errors page is with many classes and many images, and how much memory it takes.

    python -m benchmarks.predictions [--rows 50000] [--classes 1000] [--epochs 10] [--many 1000000]

Makes two runs in a temporary folder: a wide one with many classes and a file for each epoch, and a long one
with many images of 101 classes, of which the 20 highest logits are kept. Measures what the pages ask of the
files, then draws the Errors page itself and presses on it; each part in a process of its own, whose highest
memory is told. Beside each time stands what it is of the time that `pandas.read_parquet` takes to read the
whole file of that run, in the same run of this program: that figure moves little from machine to machine.
The pictures are those of sample:digits.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.predictions_figures import Figure, as_row, made_of, timed
from benchmarks.predictions_page import (
    IMAGES_TAB,
    STEP,
    drawn,
    is_waiting,
    open_tab,
    press_on_images,
    press_on_matrix,
    press_on_thresholds,
    save_and_reset,
    wait_as_the_page,
)
from superft_hf.config_file import make_config
from superft_hf.engine.devices import cpu_cores
from superft_hf.evaluation import history, prediction_query
from superft_hf.evaluation.classification import classification_metrics, confusion_matrix
from superft_hf.evaluation.prediction_files import read_numbers, read_texts, write_predictions
from superft_hf.evaluation.prediction_filter import Filter
from superft_hf.evaluation.prediction_query import Order
from superft_hf.paths import HOME_VARIABLE, cache_dir
from superft_hf.records import RunRecord, RunState
from superft_hf.sources.load import load_images
from superft_hf.store import RunStore

WIDE, LONG = "wide", "long"
LONG_CLASSES = 101
PAGE = 24
FIRST_VIEW_S = 1.5
ROOT = Path(__file__).parents[1]
CALIBRATION_TAB = ":material/balance: Calibration"
THRESHOLDS_TAB = ":material/tune: Thresholds"


def main() -> None:
    """Makes the runs, measures in processes of their own, prints a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mode", nargs="?", choices=list(MODES))
    parser.add_argument("home", nargs="?")
    parser.add_argument("which", nargs="?", choices=[WIDE, LONG])
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--many", type=int, default=1_000_000)
    asked = parser.parse_args()
    if asked.mode:
        os.environ[HOME_VARIABLE] = asked.home
        print(json.dumps(MODES[asked.mode](asked)))
        return
    with tempfile.TemporaryDirectory() as aside:
        asked.home = str(Path(aside) / "runs")
        print(f"on {cpu_cores()} CPU cores:", flush=True)
        for which in (WIDE, LONG):
            print_part(which, asked)


def print_part(which: str, asked: argparse.Namespace) -> None:
    """Makes and measures one run."""
    made = _child("make", which, asked)
    plain = _child("plain", which, asked)
    print(f"\n{made['words']}; the largest file is {made['size_bytes'] / 2**20:,.0f} MiB.\n")
    print("| what | time | computing | of a plain read | limit | highest memory |")
    print("|---|---:|---:|---:|---:|---:|")
    for mode in ("plain", "ask", "draw"):
        found = plain if mode == "plain" else _child(mode, which, asked)
        for figure in (Figure(**values) for values in found):
            print(as_row(figure, Figure(**plain[0])), flush=True)


def make(asked: argparse.Namespace) -> dict[str, Any]:
    """Writes a completed run with its prediction files."""
    is_wide = asked.which == WIDE
    num_rows = asked.rows if is_wide else asked.many
    num_classes = asked.classes if is_wide else LONG_CLASSES
    num_epochs = asked.epochs if is_wide else 1
    images = load_images(make_config(_values(asked.which)).data, cache_dir()).splits["train"]
    names = [f"class number {index:04d}" for index in range(num_classes)]
    labels = np.random.default_rng(0).integers(0, num_classes, num_rows)
    store = RunStore(Path(asked.home))
    run = store.create_run(make_config(_values(asked.which)), by="page", state=RunState.STARTING)
    store.change_state(run.run_id, [RunState.STARTING], RunState.RUNNING, by="worker")
    path = store.run_paths(run.run_id).prediction_file("eval", STEP)
    figures: dict[str, float] = {}
    for epoch, logits in enumerate(_logits(labels, num_classes, num_epochs), start=1):
        path = store.run_paths(run.run_id).prediction_file("eval", epoch * STEP)
        write_predictions(
            path,
            example_ids=[f"{index:016x}" for index in range(num_rows)],
            images=[images.reference(index % len(images)) for index in range(num_rows)],
            labels=labels,
            logits=logits,
            is_full=is_wide and epoch == num_epochs,
            class_names=names,
        )
        figures = classification_metrics(logits[:10_000], labels[:10_000])
        shown = {f"eval_{key}": value for key, value in figures.items()}
        store.log_metrics(run.run_id, epoch * STEP, float(epoch), shown)
    counts = {"train": 4 * num_rows, "eval": num_rows, "test": num_rows}
    store.update_run(
        run.run_id, facts={"class_names": names, "counts": counts}, evaluation={"eval": figures},
        global_step=num_epochs * STEP, max_steps=num_epochs * STEP, epoch=float(num_epochs),
        num_train_epochs=float(num_epochs), best_step=num_epochs * STEP, best_value=figures["loss"],
        accuracy=figures["accuracy"],
    )  # fmt: skip
    store.run_paths(run.run_id).model.mkdir()  # a threshold can be chosen for a model only
    store.change_state(run.run_id, [RunState.RUNNING], RunState.COMPLETED, by="worker")
    words = f"**{num_rows:,} images, {num_classes:,} classes, {num_epochs} epochs**"
    return {"words": words, "size_bytes": path.stat().st_size}


def plain(asked: argparse.Namespace) -> list[dict[str, Any]]:
    """Reads the largest file whole, as one would without this package."""
    import pandas as pd

    path = _paths(asked)[-1]
    return [
        asdict(timed("`pandas.read_parquet` of the largest file", lambda: pd.read_parquet(path), 3, None))
    ]


def ask(asked: argparse.Namespace) -> list[dict[str, Any]]:
    """Asks of the files what the pages ask."""
    paths = _paths(asked)
    path = paths[-1]
    rows = read_numbers(path)
    labels, predictions = rows["label"].to_numpy(), rows["prediction"].to_numpy()
    num_classes = int(labels.max()) + 1
    everything = prediction_query.find(path)
    generator = np.random.default_rng(0)
    text = read_texts(path, [len(rows) // 2])["image"].iloc[0]
    wrong, margin = Filter(outcome="wrong", confidence=(0.2, 0.9)), Order("margin")
    figures = [
        timed("numbers of all images", lambda: read_numbers(path)),
        timed("confusion matrix", lambda: confusion_matrix(labels, predictions, num_classes)),
        timed("all images by loss", lambda: prediction_query.find(path)),
        timed("wrong and within a range, by margin", lambda: prediction_query.find(path, wrong, margin)),
        timed("by a text in the file name", lambda: prediction_query.find(path, Filter(text=text))),
        timed("a page deep in all images by loss", lambda: _read_page(path, everything, generator)),
    ]  # fmt: skip
    if len(paths) > 1:
        figures += [
            timed("answers of all epochs", lambda: history.read_answers(paths)),
            timed("disagreement", lambda: history.disagreement(history.read_answers(paths))),
        ]
    return [asdict(figure) for figure in figures]


def draw(asked: argparse.Namespace) -> list[dict[str, Any]]:
    """Draws the Errors page and presses on it; nothing that is measured was drawn before."""
    from streamlit.testing.v1 import AppTest

    run = _run(asked)
    app = ROOT / "dashboard" / "app.py"
    warm = AppTest.from_file(str(app), default_timeout=300)
    warm.switch_page("app_pages/runs.py")
    drawn(warm)  # a server that has shown a page has its modules
    shown = AppTest.from_file(str(app), default_timeout=300)
    shown.query_params["run"] = run.run_id
    shown.switch_page("app_pages/errors.py")
    figures = [made_of("**page: first view**", [drawn(shown)], FIRST_VIEW_S)]
    titles = [tab.label for tab in shown.tabs]
    figures += press_on_matrix(shown, run, _paths(asked)[-1])
    figures += press_on_images(shown)
    for title in titles:
        if title in (titles[0], IMAGES_TAB):
            continue
        begun, begun_cpu = time.perf_counter(), time.process_time()
        figures.append(made_of(f"page: open {title.split(': ')[-1]}", [open_tab(shown, title)]))
        if title == CALIBRATION_TAB and is_waiting(shown):
            wait_as_the_page(shown)
            took = time.perf_counter() - begun, time.process_time() - begun_cpu
            figures.append(made_of("page: open Calibration, to its last figure", [took], None))
        if title == CALIBRATION_TAB:
            figures += save_and_reset(shown, "calibration", "temperature")
        if title == THRESHOLDS_TAB:
            figures += press_on_thresholds(shown)
    return [asdict(figure) for figure in figures]


MODES: dict[str, Callable[[argparse.Namespace], Any]] = {
    "make": make, "plain": plain, "ask": ask, "draw": draw,
}  # fmt: skip


def _logits(labels: np.ndarray, num_classes: int, num_epochs: int) -> Iterator[np.ndarray]:
    """Logits of an evaluation an epoch, shape (N, C), dtype float32: the later, the more are right."""
    generator = np.random.default_rng(1)
    steady = 2 * generator.random((len(labels), num_classes), dtype=np.float32)
    rows = np.arange(len(labels))
    for epoch in range(1, num_epochs + 1):
        logits = steady + 4 * generator.random(steady.shape, dtype=np.float32)
        logits[rows, labels] += 1 + 3 * epoch / num_epochs
        yield logits


def _read_page(path: Path, positions: np.ndarray, generator: np.random.Generator) -> None:
    start = int(generator.integers(0, max(1, len(positions) - PAGE)))
    read_texts(path, positions[start : start + PAGE].tolist())


def _values(which: str) -> dict[str, Any]:
    return {
        "name": which,
        "model": {"name_or_path": "sample:efficientnet-lite0"},
        "data": {"name_or_path": "sample:digits"},
    }


def _run(asked: argparse.Namespace) -> RunRecord:
    return next(one for one in RunStore(Path(asked.home)).list_runs() if one.name == asked.which)


def _paths(asked: argparse.Namespace) -> list[Path]:
    store, run = RunStore(Path(asked.home)), _run(asked)
    paths = store.run_paths(run.run_id)
    return [paths.prediction_file("eval", step) for step in paths.prediction_steps("eval")]


def _child(mode: str, which: str, asked: argparse.Namespace) -> Any:
    sizes = [f"--rows={asked.rows}", f"--classes={asked.classes}", f"--epochs={asked.epochs}"]
    command = [
        sys.executable,
        "-m",
        "benchmarks.predictions",
        mode,
        asked.home,
        which,
        *sizes,
        f"--many={asked.many}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    lines = [line for line in done.stderr.splitlines() if "ScriptRunContext" not in line]
    if done.returncode:
        raise SystemExit("\n".join(lines))
    for line in lines:
        if line.startswith("  "):
            print(line, file=sys.stderr)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
