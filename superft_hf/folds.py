"""Folds: runs that together give every training image a prediction of a network that never saw it.

A run's train split is cut into k parts, and k runs with its settings each hold one of them out. Nothing notes
that they belong together: it is read from what they were asked to do, see `superft_hf.kinship`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from superft_hf.config import RunConfig
from superft_hf.config_file import make_config
from superft_hf.engine import control
from superft_hf.errors import DataNotFoundError, StateError
from superft_hf.evaluation.label_errors import Probabilities, require_room
from superft_hf.evaluation.prediction_files import read_class_names, read_logits, read_numbers, read_texts
from superft_hf.kinship import relatives
from superft_hf.preflight.report import Progress
from superft_hf.records import RunRecord, RunState
from superft_hf.store import RunStore
from superft_hf.words import run_duration_s

DEFAULT_FOLDS = 5
MAX_FOLDS = 20
_SETTINGS = ("data.num_folds", "data.fold")
_NAME_LENGTH = 120
_GIVEN_UP = (RunState.FAILED, RunState.DISCARDED)
_USEFUL = (
    RunState.COMPLETED, RunState.RUNNING, RunState.STARTING, RunState.PAUSED, RunState.QUEUED,
    RunState.FAILED, RunState.DISCARDED,
)  # fmt: skip
"""States of the runs of one fold, the one to go by first."""


@dataclass(frozen=True)
class FoldRuns:
    """The folds of a run, as far as there are runs of them.

    Attributes:
        num_folds: k; 0 when no fold was ever asked for.
        by_fold: The run of each fold, None where there is none.
    """

    num_folds: int
    by_fold: tuple[RunRecord | None, ...]

    @property
    def done(self) -> list[RunRecord]:
        """The runs that have completed."""
        return [run for run in self.by_fold if run is not None and run.state is RunState.COMPLETED]

    @property
    def unfinished(self) -> list[RunRecord]:
        """The runs that wait or are at work."""
        return [run for run in self.by_fold if run is not None and run.is_unfinished]

    @property
    def missing(self) -> list[int]:
        """The folds that no run will ever finish: there is none, or it failed or was discarded."""
        return [fold for fold, run in enumerate(self.by_fold) if run is None or run.state in _GIVEN_UP]

    @property
    def is_complete(self) -> bool:
        """Whether every training image has its prediction."""
        return bool(self.by_fold) and len(self.done) == len(self.by_fold)

    def states(self) -> list[str]:
        """What is with each fold, in words."""
        return [str(run.state) if run is not None else "not asked for" for run in self.by_fold]


@dataclass(frozen=True)
class OutOfSample:
    """Predictions of training images by runs that did not train on them; N images, C classes.

    Attributes:
        class_names: C names.
        answers: One row an image, as `read_numbers` gives them.
        files: The prediction files, by run.
        run_ids: The runs of the folds that are in it.
        run_numbers: For each image its run, as a position in `run_ids`, shape (N,).
        steps: By run, the global step of its best evaluation.
        rows: For each image its row in the prediction file of that evaluation, shape (N,).
        num_folds: k.
    """

    class_names: tuple[str, ...]
    answers: pd.DataFrame
    files: tuple[Path, ...]
    run_ids: tuple[str, ...]
    run_numbers: np.ndarray
    steps: tuple[int, ...]
    rows: np.ndarray
    num_folds: int

    @property
    def labels(self) -> np.ndarray:
        """Shape (N,), dtype int64."""
        return self.answers["label"].to_numpy(dtype=np.int64)

    @property
    def predictions(self) -> np.ndarray:
        """Shape (N,), dtype int64."""
        return self.answers["prediction"].to_numpy(dtype=np.int64)

    def read_probabilities(self) -> Probabilities:
        """Of every class, shape (N, C), float32; 0 for those whose logit was not kept. As large as the files.

        Raises:
            DataNotFoundError: If a file is gone or damaged.
            DataError: If there are too many images and classes to be looked at at once.
        """
        require_room(len(self.answers), len(self.class_names))
        return Probabilities(*(read_logits(path) for path in self.files))

    @property
    def is_complete(self) -> bool:
        """Whether all folds are in it."""
        return len(self.run_ids) == self.num_folds

    def origins(self, positions: np.ndarray) -> pd.DataFrame:
        """Where the predictions of some images lie: run_id, step and row of an eval file, in this order."""
        numbers = self.run_numbers[positions]
        return pd.DataFrame(
            {
                "run_id": [self.run_ids[number] for number in numbers],
                "step": np.array(self.steps, dtype=np.int64)[numbers],
                "row": self.rows[positions],
            }
        )

    def texts(self, store: RunStore, positions: np.ndarray) -> pd.DataFrame:
        """example_id and image of some images, in this order. Raises DataNotFoundError."""
        made: dict[str, np.ndarray] = {}
        for number, (run_id, step) in enumerate(zip(self.run_ids, self.steps, strict=True)):
            places = np.flatnonzero(self.run_numbers[positions] == number)
            path = store.run_paths(run_id).prediction_file("eval", step)
            found = read_texts(path, self.rows[positions[places]].tolist())
            for name in found.columns:
                column = made.setdefault(name, np.empty(len(positions), dtype=object))
                column[places] = found[name].to_numpy(dtype=object)
        return pd.DataFrame(made)


def start(
    store: RunStore,
    run_id: str,
    num_folds: int,
    by: str = "page",
    progress: Progress | None = None,
    token: str | None = None,
) -> list[RunRecord]:
    """Queues a run for each fold that has none yet, or whose run failed or was discarded.

    Args:
        store: Where the runs are.
        run_id: The run whose train split is cut; its settings are those of the folds.
        num_folds: k, at least 2.
        by: Who asks, for the runs' events.
        progress: Hears how many images are open, and of how many.
        token: A person's token for the Hub, which no run ever sees.

    Returns:
        The new runs; none when every fold has one.

    Raises:
        ConfigError: If there cannot be so many folds.
        SuperFTError: If something blocks the start, such as a class of too few images; then no run is made.
    """
    config = store.read_config(run_id)
    name = _base_name(store.get_run(run_id).name, config)
    _with_fold(config, name, num_folds, 0)  # refuses a number that there cannot be
    missing = fold_runs(store, run_id, num_folds).missing
    configs = [_with_fold(config, name, num_folds, fold) for fold in missing]
    return control.submit_many(store, configs, by, progress, token) if configs else []


def fold_runs(
    store: RunStore, run_id: str, num_folds: int | None = None, records: Sequence[RunRecord] | None = None
) -> FoldRuns:
    """The runs that are folds of a run, found by their settings.

    Args:
        store: Where the runs are.
        run_id: A run without folds, or one of the folds.
        num_folds: k; None: the number of folds of which most runs have completed, else most are there.
        records: All runs, newest first, when they are at hand.
    """
    records = store.list_runs() if records is None else records
    one = next((run for run in records if run.run_id == run_id), None) or store.get_run(run_id)
    alike = [run.run_id for run in records if (run.model, run.data) == (one.model, one.data)]
    values = store.read_config_values({*alike, run_id})
    found: dict[int, dict[int, list[RunRecord]]] = {}
    family = set(relatives(run_id, values, _SETTINGS)) & values.keys()
    for run in (run for run in records if run.run_id in family):
        data = values[run.run_id]["data"]
        if data["num_folds"]:
            found.setdefault(data["num_folds"], {}).setdefault(data["fold"], []).append(run)
    chosen = {number: _choose(number, by_fold) for number, by_fold in found.items()}
    if num_folds is not None:
        return chosen.get(num_folds) or FoldRuns(num_folds, (None,) * num_folds)
    return max(chosen.values(), key=_progress_of, default=FoldRuns(0, ()))


def out_of_sample(store: RunStore, folds: FoldRuns) -> OutOfSample:
    """Joins the predictions of the best model of each fold that has completed.

    Raises:
        StateError: If no fold has completed.
        DataNotFoundError: If a prediction file is gone or damaged, or the folds are of different classes.
    """
    if not folds.done:
        raise StateError("No fold has completed yet.", hint="Start the folds, or wait for the first one.")
    steps = [_best_step(store, run) for run in folds.done]
    files = [
        store.run_paths(run.run_id).prediction_file("eval", step)
        for run, step in zip(folds.done, steps, strict=True)
    ]
    names = {tuple(read_class_names(path)) for path in files}
    if len(names) != 1:
        raise DataNotFoundError(
            "The folds are of different classes, so their predictions do not fit together.",
            hint="The images have changed between them: repeat the folds.",
        )
    numbers = [read_numbers(path) for path in files]
    sizes = [len(one) for one in numbers]
    return OutOfSample(
        class_names=names.pop(),
        answers=pd.concat(numbers, ignore_index=True),
        files=tuple(files),
        run_ids=tuple(run.run_id for run in folds.done),
        run_numbers=np.repeat(np.arange(len(sizes)), sizes),
        steps=tuple(steps),
        rows=np.concatenate([np.arange(size) for size in sizes]),
        num_folds=folds.num_folds,
    )


def expected_seconds(record: RunRecord, num_folds: int) -> float | None:
    """How long the folds of a run will be at work, from how long it was itself; None when it has not ended.

    Each of k folds trains on k - 1 of k parts, and is otherwise the same run; early stopping may come sooner
    or later.
    """
    seconds = run_duration_s(record)
    if seconds is None or record.state is not RunState.COMPLETED:
        return None
    return seconds * (num_folds - 1)


def _with_fold(config: RunConfig, name: str, num_folds: int, fold: int) -> RunConfig:
    end = f", fold {fold + 1} of {num_folds}"
    values = config.model_dump(mode="json")
    values["name"] = name[: _NAME_LENGTH - len(end)] + end
    values["data"] |= {"num_folds": num_folds, "fold": fold}
    return make_config(values)


def _base_name(name: str, config: RunConfig) -> str:
    """The name of the run without folds, of which a run may itself be a fold."""
    data = config.data
    return name.removesuffix(f", fold {data.fold + 1} of {data.num_folds}") if data.num_folds else name


def _choose(num_folds: int, by_fold: Mapping[int, Sequence[RunRecord]]) -> FoldRuns:
    """Of several runs of one fold the one that got furthest, of those the newest."""
    best = {fold: min(runs, key=lambda run: _USEFUL.index(run.state)) for fold, runs in by_fold.items()}
    return FoldRuns(num_folds, tuple(best.get(fold) for fold in range(num_folds)))


def _progress_of(folds: FoldRuns) -> tuple[Any, ...]:
    """What makes one number of folds the one to go by."""
    return folds.is_complete, len(folds.done) / folds.num_folds, -len(folds.missing), folds.num_folds


def _best_step(store: RunStore, run: RunRecord) -> int:
    steps = store.run_paths(run.run_id).prediction_steps("eval")
    if not steps:
        raise DataNotFoundError(
            f"The prediction files of {run.name} are gone.", hint="Delete this run and start its fold again."
        )
    return run.best_step if run.best_step in steps else steps[-1]
