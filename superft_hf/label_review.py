"""Doubtful labels of a run, ready to be looked at: of one evaluation, or of train by folds.

The ranking is made by `superft_hf.evaluation.label_errors`; here the images get their names.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from superft_hf import folds
from superft_hf.evaluation import prediction_files
from superft_hf.evaluation.label_errors import (
    Probabilities,
    Suspects,
    knows_enough,
    require_room,
    suspects,
    suspects_of_answers,
)
from superft_hf.paths import RunPaths
from superft_hf.store import RunStore

MAX_LISTED = 2000
"""Doubtful labels that are listed: nobody looks at more, and a poor model doubts most."""


@dataclass(frozen=True)
class Review:
    """What came of looking for label errors.

    Attributes:
        found: The ranking of all images.
        listed: The images that were taken for another class, most doubtful first, at most MAX_LISTED:
            example_id, image, label and suggested (names), is_issue (whether it is among those estimated to
            be wrong), quality, label_probability, suggested_probability, reason, and run_id, split, step,
            row: where the prediction lies.
        class_names: Names by class id.
        num_images: How many labels were looked at.
        accuracy: Share of them on which label and prediction agree; NaN where there is none.
        num_folds: k, 0 where it is not by folds.
        num_done: Folds that are in it.
    """

    found: Suspects
    listed: pd.DataFrame
    class_names: tuple[str, ...]
    num_images: int
    accuracy: float
    num_folds: int = 0
    num_done: int = 0


def of_evaluation(paths: RunPaths, run_id: str, split: str, step: int) -> Review:
    """Doubtful labels of a split that the run did not train on, by one evaluation.

    Raises:
        DataNotFoundError: If the prediction file is gone or damaged.
        DataError: If it is of an earlier version, and there are too many images and classes to be looked at
            at once.
    """
    path = paths.prediction_file(split, step)
    numbers, names = prediction_files.read_numbers(path), tuple(prediction_files.read_class_names(path))
    found = _suspects(numbers, len(names), lambda: Probabilities(prediction_files.read_logits(path)))
    positions = _doubtful(found)
    places = pd.DataFrame({"run_id": run_id, "split": split, "step": step, "row": positions})
    texts = prediction_files.read_texts(path, positions.tolist())
    accuracy = float((numbers["label"] == numbers["prediction"]).mean())
    return Review(found, _listed(found, names, texts, places), names, len(numbers), accuracy)


def of_folds(store: RunStore, found_folds: folds.FoldRuns) -> Review:
    """Doubtful labels of train, by those folds that have completed.

    Raises:
        StateError: If no fold has completed.
        DataNotFoundError: If a prediction file is gone or damaged.
        DataError: If it is of an earlier version, and there are too many images and classes to be looked at
            at once.
    """
    whole = folds.out_of_sample(store, found_folds)
    found = _suspects(whole.answers, len(whole.class_names), whole.read_probabilities)
    positions = _doubtful(found)
    places = whole.origins(positions)
    places.insert(1, "split", "eval")
    listed = _listed(found, whole.class_names, whole.texts(store, positions), places)
    accuracy = float((whole.labels == whole.predictions).mean())
    return Review(
        found, listed, whole.class_names, len(whole.labels), accuracy, whole.num_folds, len(whole.run_ids)
    )


def _suspects(answers: pd.DataFrame, num_classes: int, read: Callable[[], Probabilities]) -> Suspects:
    """By what the files say of each image; the logits of every class are read of earlier versions only."""
    if knows_enough(answers):
        return suspects_of_answers(answers, num_classes)
    require_room(len(answers), num_classes)
    return suspects(answers["label"].to_numpy(), read())


def _doubtful(found: Suspects) -> np.ndarray:
    """Positions of the images that are listed, most doubtful first."""
    is_doubtful = found.table["is_issue"] | (found.table["quality"] < 0.5)
    return found.table["position"].to_numpy()[: min(int(is_doubtful.sum()), MAX_LISTED)]


def _listed(
    found: Suspects, class_names: tuple[str, ...], texts: pd.DataFrame, places: pd.DataFrame
) -> pd.DataFrame:
    top = found.table.head(len(places))
    return pd.DataFrame(
        {
            "example_id": texts["example_id"].to_numpy(dtype=object),
            "image": texts["image"].to_numpy(dtype=object),
            "label": [class_names[label] for label in top["label"]],
            "suggested": [class_names[label] for label in top["suggested"]],
            "is_issue": top["is_issue"].to_numpy(),
            "quality": top["quality"].to_numpy(),
            "label_probability": top["label_probability"].to_numpy(),
            "suggested_probability": top["suggested_probability"].to_numpy(),
            "reason": found.reasons(class_names, len(places)),
            **{name: places[name].to_numpy() for name in ("run_id", "split", "step", "row")},
        }
    )
