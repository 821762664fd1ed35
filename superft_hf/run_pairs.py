"""Runs of a home side by side: which of their predictions are compared, and which are seeds of one another.

What stays true: pages and commands compare the same predictions: those of the checkpoint that is kept.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from superft_hf.config import RunConfig
from superft_hf.config_file import make_config
from superft_hf.errors import StateError
from superft_hf.evaluation.comparison import Side
from superft_hf.evaluation.prediction_files import read_class_names, read_numbers, read_texts
from superft_hf.evaluation.seeds import next_seeds
from superft_hf.kinship import family_key
from superft_hf.paths import RunPaths
from superft_hf.records import RunRecord
from superft_hf.store import RunStore
from superft_hf.words import duration, run_duration_s

SEED = "training.seed"
MAX_NEW_SEEDS = 20
_MAX_NAME = 120


def kept_step(record: RunRecord, paths: RunPaths, split: str) -> int | None:
    """The evaluation that stands for a run: of the best checkpoint, else the newest; None without any."""
    steps = paths.prediction_steps(split)
    if not steps:
        return None
    return record.best_step if split == "eval" and record.best_step in steps else steps[-1]


def read_side(path: Path) -> Side:
    """What a prediction file has to be compared by. Raises DataNotFoundError."""
    rows = read_numbers(path)
    ids = read_texts(path)["example_id"].to_numpy()
    return Side(ids, rows["label"].to_numpy(), rows["prediction"].to_numpy(), read_class_names(path))


def seed_groups(all_values: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    """For every run, those that differ from it in nothing but name and seed, itself among them.

    Args:
        all_values: Configurations by run id, as `RunStore.read_config_values` gives them.
    """
    groups: dict[str, list[str]] = {}
    for run_id, values in all_values.items():
        groups.setdefault(family_key(values, [SEED]), []).append(run_id)
    return {run_id: tuple(group) for group in groups.values() for run_id in group}


def group_name(names: Sequence[str]) -> str:
    """The name of a group of seeds: of its first run, without the seed that was added to it.

    Example:
        >>> group_name(["cells, seed 3", "cells"])
        'cells'
    """
    return re.sub(r",? seed \d+$", "", names[0])


def more_seeds(
    store: RunStore, run_id: str, number: int, values: Mapping[str, Mapping[str, Any]] | None = None
) -> list[RunConfig]:
    """Configurations that repeat a run with seeds which no run of its group has.

    Args:
        store: The home.
        run_id: The run.
        number: How many.
        values: The configurations of all runs, where they are known already.

    Raises:
        StateError: If the number is none that makes sense, or the run's configuration is gone.
    """
    if not 1 <= number <= MAX_NEW_SEEDS:
        raise StateError(
            f"{number} more seeds cannot be queued at once.", hint=f"Ask for 1 to {MAX_NEW_SEEDS}."
        )
    known = store.read_config_values() if values is None else values
    if run_id not in known:
        raise StateError(
            f"The configuration of the run {run_id} is gone.", hint="Start the runs from a YAML file instead."
        )
    own, group = known[run_id], seed_groups(known)[run_id]
    used = {int(known[one]["training"]["seed"]) for one in group}
    base = group_name([own["name"] or run_id])
    made = []
    for seed in next_seeds(used, number, after=int(own["training"]["seed"])):
        ending = f", seed {seed}"
        name = base[: _MAX_NAME - len(ending)] + ending
        training = {**own["training"], "seed": seed}
        made.append(make_config({**own, "name": name, "training": training}))
    return made


def cost_in_words(records: Collection[RunRecord], number: int) -> str:
    """What so many more runs like these cost, as far as it is known from those that ended."""
    spent = [seconds for one in records if one.accuracy is not None and not one.is_unfinished
             and (seconds := run_duration_s(one))]  # fmt: skip
    runs = "one run" if number == 1 else f"{number} runs"
    if not spent:
        return f"{runs} more, as long as this one takes"
    mean_s = sum(spent) / len(spent)
    return f"{runs} of about {duration(mean_s)} each, {duration(number * mean_s)} in all on one device"
