"""Five images a class: full training with default settings against the head alone and against scratch.

    python -m benchmarks.few_images [--seeds 3] [--work DIR] [--fashion DIR]

The three are those of `superft trio`: equal images, split, seed and image size, everything else by rule. The
base model is EfficientNet-Lite0 (ImageNet). The table tells the accuracy on test, and what the report says of
the three on it. Every finished run is a line of DIR/few.jsonl, so that a benchmark that was cut off goes on.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.recipe_sets import FASHION_PLACE, SETS, prepare
from superft_hf import trio
from superft_hf.config_file import dump_config, make_config
from superft_hf.engine.devices import cpu_cores
from superft_hf.records import RunState
from superft_hf.store import RunStore
from superft_hf.trio import Part, Trio
from superft_hf.words import percent

MODEL = "sample:efficientnet-lite0"


def main() -> None:
    """Runs what is missing and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sets", nargs="+", default=["solar-cells-few", "fashion-few"], choices=SETS)
    parser.add_argument("--work", type=Path, default=Path("recipe-benchmark"))
    parser.add_argument("--fashion", type=Path, default=FASHION_PLACE)
    asked = parser.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    store, results = RunStore(asked.work / "few-home"), asked.work / "few.jsonl"
    for name in asked.sets:
        folder = prepare(name, asked.work, asked.fashion)
        for seed in range(asked.seeds):
            train_three(store, results, name, folder, seed)
    print_table(store, _read(results), asked)


def train_three(store: RunStore, results: Path, name: str, folder: Path, seed: int) -> None:
    """Trains those of the three that are missing."""
    config = make_config(
        {
            "name": f"{name} {seed}",
            "model": {"name_or_path": MODEL},
            "data": {"name_or_path": str(folder.absolute())},
            "training": {"seed": seed},
            "hardware": {"devices": "cpu"},
        }
    )
    for part, one in zip(Part, trio.configs(config), strict=True):
        key = {"set": name, "seed": seed, "part": str(part)}
        if any(key.items() <= line.items() for line in _read(results)):
            continue
        path = results.with_name("few.yaml")
        path.write_text(dump_config(one), encoding="utf-8")
        command = [sys.executable, "-m", "superft_hf.cli", "--home", str(store.home), "train", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        record = store.list_runs()[0]
        if record.state is not RunState.COMPLETED:
            sys.exit(done.stderr[-3000:])
        found = {**key, "run_id": record.run_id, "accuracy": record.evaluation["test"]["accuracy"]}
        found |= {"epochs": record.epoch, "seconds": record.worked_s}
        with results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(found) + "\n")
        print(found, flush=True)


def print_table(store: RunStore, lines: list[dict[str, Any]], asked: argparse.Namespace) -> None:
    """Accuracy on test by set and strategy, and the report's sentence for each seed."""
    print(f"{MODEL}, {asked.seeds} seeds, {cpu_cores()} CPU cores")
    print(f"{'set':18s} {'':13s} {'test':>8s} {'deviation':>10s} {'epochs':>7s} {'seconds':>8s}")
    for name in asked.sets:
        of_set = [one for one in lines if one["set"] == name and one["seed"] < asked.seeds]
        for part in Part:
            found = [one for one in of_set if one["part"] == part]
            test = [one["accuracy"] for one in found]
            deviation = statistics.stdev(test) if len(test) > 1 else 0.0
            epochs, seconds = (statistics.fmean(one[key] for one in found) for key in ("epochs", "seconds"))
            print(
                f"{name:18s} {part:13s} {percent(statistics.fmean(test)):>8s} {percent(deviation):>10s} "
                f"{epochs:7.1f} {seconds:8.1f}"
            )
        for seed in range(asked.seeds):
            three = Trio(
                {Part(one["part"]): store.get_run(one["run_id"]) for one in of_set if one["seed"] == seed}
            )
            gains = trio.gains(store, three, "test")
            if gains is not None:
                print(f"  seed {seed}: {trio.in_words(*gains, trio.images_a_class(three))}")


def _read(results: Path) -> list[dict[str, Any]]:
    if not results.exists():
        return []
    return [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    main()
