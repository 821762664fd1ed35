"""Cutting train into folds, so that every training image gets a prediction of a run that never saw it.

The parts follow from `data.split_seed` alone, not from `data.fold`: the k runs of a set of folds share them.
"""

import numpy as np

from superft_hf.config import DataConfig
from superft_hf.errors import DataError
from superft_hf.sources.image_set import ImageSplit
from superft_hf.sources.splits import cut_groups

_NAMED = 5


def cut_folds(labels: np.ndarray, groups: np.ndarray | None, num_folds: int, seed: int) -> np.ndarray:
    """Puts each image into one of several stratified parts.

    Without groups the images are dealt out like cards, class by class and each class in a random order, so
    that neither the sizes of two parts nor their images of one class differ by more than one. With groups no
    group stands in two parts, and the parts are as like as the groups allow.

    Args:
        labels: Class ids of shape (N,), dtype int64.
        groups: Texts of shape (N,), an empty one belongs to no group; None: no groups.
        num_folds: How many parts.
        seed: Equal seeds give equal parts.

    Returns:
        The part of each image, shape (N,), dtype int64, in [0, num_folds).

    Example:
        >>> parts = cut_folds(np.array([0, 0, 0, 0, 1, 1]), None, num_folds=2, seed=1)
        >>> np.bincount(parts).tolist(), np.bincount(parts[:4]).tolist()
        ([3, 3], [2, 2])
    """
    if groups is not None:
        names = [str(number) for number in range(num_folds - 1)]
        found = cut_groups(labels, groups, dict.fromkeys(names, 1 / num_folds), seed)
        parts = np.full(len(labels), num_folds - 1, dtype=np.int64)
        for number, name in enumerate(names):
            parts[found[name]] = number
        return parts
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    parts = np.empty(len(labels), dtype=np.int64)
    parts[order] = np.arange(len(labels)) % num_folds
    return parts


def take_fold(train: ImageSplit, data: DataConfig, class_names: tuple[str, ...]) -> dict[str, ImageSplit]:
    """The splits `train` and `eval` of the run that evaluates on part `data.fold` of train.

    Args:
        train: The train split as it is without folds.
        data: With `num_folds` set.
        class_names: Names by class id, for errors.

    Raises:
        DataError: If a part is empty, or holds all images of a class: whichever fold is asked for, since the
            other runs of the set would fail.
    """
    if not len(train):
        return {"train": train, "eval": train}
    num_folds = data.num_folds or 1
    parts = cut_folds(train.labels, train.groups, num_folds, data.split_seed)
    _require_usable(train, parts, data, class_names)
    is_held_out = parts == data.fold
    return {
        "train": train.select(np.flatnonzero(~is_held_out)),
        "eval": train.select(np.flatnonzero(is_held_out)),
    }


def _require_usable(
    train: ImageSplit, parts: np.ndarray, data: DataConfig, class_names: tuple[str, ...]
) -> None:
    sizes = np.bincount(parts, minlength=data.num_folds or 1)
    unit = "image" if train.groups is None else "group"
    if not sizes.all():
        raise DataError(
            f"The train split of {data.name_or_path} has too few {unit}s for {data.num_folds} folds.",
            hint="Lower data.num_folds, or add training images.",
        )
    pairs = np.unique(train.labels * len(sizes) + parts) // len(sizes)
    labels, num_parts = np.unique(pairs, return_counts=True)
    lone = [class_names[label] for label in labels[num_parts < 2]]
    if lone:
        few = ", ".join(lone[:_NAMED]) + (", …" if len(lone) > _NAMED else "")
        which = "a class that stands" if len(lone) == 1 else f"{len(lone):,} classes that stand"
        raise DataError(
            f"The train split of {data.name_or_path} has {which} in one fold only: {few}. Trained without "
            "that fold, the network would not know it.",
            hint=f"Each class needs at least two {unit}s. Add some, leave the class out with "
            "data.exclude_classes, or count it as another with data.merge_classes.",
        )
