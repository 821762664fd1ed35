"""The headline of an evaluation of a run, with what the store knows to hold it against.

What stays true: the test figures of a baseline are used only where they were opened: a comparison on test is
a look at both.
"""

from pathlib import Path

import pandas as pd

from superft_hf import vault
from superft_hf.errors import DataNotFoundError
from superft_hf.evaluation import headline
from superft_hf.evaluation.baselines import Baseline, majority
from superft_hf.evaluation.class_counts import count_classes
from superft_hf.evaluation.headline import Headline
from superft_hf.evaluation.prediction_files import read_numbers, same_rows
from superft_hf.paths import RunPaths
from superft_hf.records import RunRecord
from superft_hf.store import RunStore

EVAL = "eval"
_TOP5 = "top5_accuracy"


def of_run(
    store: RunStore, record: RunRecord, split: str, step: int, rows: pd.DataFrame,
    class_names: tuple[str, ...], frozen: RunRecord | None,
) -> Headline:  # fmt: skip
    """Reckons the headline of one evaluation of a run.

    Args:
        store: Where the run is.
        record: The run.
        split: eval or test.
        step: The global step of the evaluation.
        rows: Its predictions: columns label, prediction, loss.
        class_names: Names by class id.
        frozen: Its frozen-backbone baseline, completed, see `superft_hf.frozen_baseline`; None without one,
            and where `may_hold_against` says no.
    """
    counts = record.facts.get("counts_by_class", {}).get("train", {})
    guess = majority(counts, rows["label"].to_numpy(), class_names)
    other, other_rows = None, None
    if frozen is not None:
        path = store.run_paths(record.run_id).prediction_file(split, step)
        other_rows = _same_images(path, store.run_paths(frozen.run_id), frozen, split)
        other = Baseline(frozen.name, _figures(frozen, split, other_rows, len(class_names)), frozen.run_id)
    return headline.of_evaluation(
        rows, class_names, split, guess=guess, frozen=other, frozen_rows=other_rows,
        top5_accuracy=_top5(store, record, split, step),
    )  # fmt: skip


def may_hold_against(store: RunStore, frozen: RunRecord, split: str) -> bool:
    """Whether the figures of a baseline on a split may be shown: on test only once they were opened."""
    return split != vault.TEST or vault.standing(store, frozen).is_open


def evaluation_step(record: RunRecord, paths: RunPaths, split: str) -> int | None:
    """The global step of the evaluation that counts: of the kept checkpoint, else the newest."""
    steps = paths.prediction_steps(split)
    if not steps:
        return None
    return record.best_step if record.best_step in steps else steps[-1]


def _figures(frozen: RunRecord, split: str, rows: pd.DataFrame | None, num_classes: int) -> dict[str, float]:
    """As it reported them; those that it did not, from its predictions."""
    reported = dict(frozen.evaluation.get(split, {}))
    if rows is None:
        return reported
    found = count_classes(rows["label"].to_numpy(), rows["prediction"].to_numpy(), num_classes).figures()
    return {key: float(value) for key, value in found.items()} | reported


def _same_images(path: Path, paths: RunPaths, frozen: RunRecord, split: str) -> pd.DataFrame | None:
    """The baseline's predictions, if they are for the same images in the same order."""
    step = evaluation_step(frozen, paths, split)
    if step is None:
        return None
    other = paths.prediction_file(split, step)
    try:
        return read_numbers(other) if same_rows([path, other]) else None
    except DataNotFoundError:
        return None


def _top5(store: RunStore, record: RunRecord, split: str, step: int) -> float | None:
    if split == vault.TEST or step == record.best_step:
        known = record.evaluation.get(split, {}).get(_TOP5)
        if known is not None:
            return known
    key = f"{split}_{_TOP5}"
    points = store.read_metrics(record.run_id, keys=(key,))
    found = points[points["step"] == step]["value"]
    return float(found.iloc[-1]) if len(found) else None
