"""Ours with default settings against three peers: test accuracy at equal training time, same base model.

    python -m benchmarks.recipe [--seconds 100] [--seeds 3] [--sets solar-cells-400 fashion-100 digits]
                                [--work DIR] [--fashion DIR] [--peers-python PYTHON] [--only ours plain …]
    python -m benchmarks.recipe --published [--epochs N]     # ELPV by its published protocol, ours alone

The base model is EfficientNet-Lite0 (ImageNet). Ours is a real run of `superft train` with a time budget and
nothing else set; it chooses its own image size. The peers are given the same one, and as many seconds of
training as ours took, which are fewer than its budget: that covers its start and test as well. fastai is not
among our requirements: --peers-python names a Python that has it. Every finished run is a line of
DIR/results.jsonl, so that a benchmark that was cut off goes on. The recipe was fitted on eval, and on other
pictures that are in none of the sets of the table; test is reported and chose nothing.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.recipe_peers import PEERS
from benchmarks.recipe_sets import FASHION_PLACE, SETS, prepare
from superft_hf.config_file import dump_config, make_config, read_config
from superft_hf.engine.devices import cpu_cores
from superft_hf.hub.models import model_folder
from superft_hf.records import RunState
from superft_hf.store import RunStore
from superft_hf.words import percent

MODEL = "sample:efficientnet-lite0"
PUBLISHED = "solar-cells-published"
PUBLISHED_ACCURACY = 0.8842
"""Of a fine-tuned VGG-19 on ELPV, Deitsch et al. 2019, table 3."""


def main() -> None:
    """Runs what is missing and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=100.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--sets", nargs="+", default=["solar-cells-400", "fashion-100", "digits"], choices=SETS
    )
    parser.add_argument("--only", nargs="+", default=["ours", *PEERS], choices=["ours", *PEERS])
    parser.add_argument("--work", type=Path, default=Path("recipe-benchmark"))
    parser.add_argument("--fashion", type=Path, default=FASHION_PLACE)
    parser.add_argument("--peers-python", default=sys.executable)
    parser.add_argument("--published", action="store_true")
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings of ours, for fitting"
    )
    asked = parser.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    results = asked.work / "results.jsonl"
    if asked.published:
        asked.sets, asked.only = [PUBLISHED], ["ours"]
    for seed in range(asked.seeds):
        for name in asked.sets:
            folder = prepare(name, asked.work, asked.fashion)
            for peer in asked.only:
                key = _key(asked, name, peer, seed)
                if any(one["key"] == key for one in _read(results)):
                    continue
                ours = _found(results, _key(asked, name, "ours", seed))
                found = (
                    _ours(asked, folder, seed) if peer == "ours" else _peer(asked, peer, folder, seed, ours)
                )
                line = {"key": key, "set": name, "peer": peer, "seed": seed, **found}
                with results.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
                print(f"{name} {peer} seed {seed}: {found}", flush=True)
    _table(_read(results), asked)


def _key(asked: argparse.Namespace, name: str, peer: str, seed: int) -> str:
    extra = " ".join(asked.set) if peer == "ours" else ""
    return f"{name} {peer} {seed} {asked.seconds:g} s {extra}".strip()


def _read(results: Path) -> list[dict[str, Any]]:
    if not results.exists():
        return []
    return [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]


def _found(results: Path, key: str) -> dict[str, Any] | None:
    return next((one for one in _read(results) if one["key"] == key), None)


def _ours(asked: argparse.Namespace, folder: Path, seed: int) -> dict[str, Any]:
    """One run of `superft train` with the defaults and a time budget."""
    home = asked.work / "home"
    values: dict[str, Any] = {
        "model": {"name_or_path": MODEL}, "data": {"name_or_path": str(folder.absolute())},
        "training": {"time_budget_s": asked.seconds, "seed": seed}, "hardware": {"devices": "cpu"},
    }  # fmt: skip
    for text in asked.set:
        key, _, value = text.partition("=")
        group, _, one = key.partition(".")
        values.setdefault(group, {})[one] = json.loads(value)
    path = asked.work / "run.yaml"
    path.write_text(dump_config(make_config(values)), encoding="utf-8")
    begun = time.perf_counter()
    command = [sys.executable, "-m", "superft_hf.cli", "--home", str(home), "train", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wall = time.perf_counter() - begun
    store = RunStore(home)
    record = store.list_runs()[0]
    if record.state is not RunState.COMPLETED:
        sys.exit(done.stderr[-3000:])
    resolved = read_config(store.run_paths(record.run_id).resolved)
    evaluation = record.evaluation
    return {
        "accuracy": evaluation["test"]["accuracy"], "eval_accuracy": evaluation["eval"]["accuracy"],
        "eval_loss": evaluation["eval"]["loss"], "epochs": record.epoch,
        "seconds": _training_s(store, record.run_id), "wall_s": wall,
        "size": resolved.model.image_size, "run_id": record.run_id,
    }  # fmt: skip


def _training_s(store: RunStore, run_id: str) -> float:
    """Seconds from the first step to the last one, with the evaluations and checkpoints between them."""
    return float(store.get_run(run_id).facts["train_runtime"])


def _peer(
    asked: argparse.Namespace, peer: str, folder: Path, seed: int, ours: dict[str, Any] | None
) -> dict[str, Any]:
    if ours is None:
        sys.exit("Ours has to run first: it chooses the image size, and how long training may take.")
    command = [asked.peers_python, "-m", "benchmarks.recipe_peers", peer, str(folder.absolute())]
    command += ["--size", str(ours["size"]), "--seconds", str(ours["seconds"]), "--seed", str(seed)]
    command += ["--model", str(model_folder(MODEL))]
    begun = time.perf_counter()
    done = subprocess.run(
        command, capture_output=True, text=True, check=False,
        env={**os.environ, "OMP_NUM_THREADS": str(cpu_cores())},
    )  # fmt: skip
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return {**found, "wall_s": time.perf_counter() - begun, "size": ours["size"]}


def _table(lines: list[dict[str, Any]], asked: argparse.Namespace) -> None:
    print(f"{MODEL}, {asked.seconds:g} s for all of ours, {asked.seeds} seeds, {cpu_cores()} CPU cores")
    print(f"{'set':24s} {'':13s} {'test':>8s} {'deviation':>10s} {'eval':>8s} {'epochs':>7s} {'seconds':>8s}")
    for name in asked.sets:
        for peer in asked.only:
            keys = {_key(asked, name, peer, seed) for seed in range(asked.seeds)}
            found = [one for one in lines if one["key"] in keys]
            if not found:
                continue
            test = [one["accuracy"] for one in found]
            deviation = statistics.stdev(test) if len(test) > 1 else 0.0
            means = {
                key: statistics.fmean(one[key] for one in found)
                for key in ("eval_accuracy", "epochs", "seconds")
            }
            print(
                f"{name:24s} {peer:13s} {percent(statistics.fmean(test)):>8s} {percent(deviation):>10s} "
                f"{percent(means['eval_accuracy']):>8s} {means['epochs']:7.1f} {means['seconds']:8.1f}"
            )
    if asked.published:
        print(f"published: {percent(PUBLISHED_ACCURACY)} (a fine-tuned CNN, Deitsch et al. 2019)")


if __name__ == "__main__":
    main()
