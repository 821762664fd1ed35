"""From a `data:` group to the train, eval and test images of a run.

The same function serves the worker, the pre-flight check and the pages, so what is shown before the start
is what is trained on. Class changes come first, then the splits, then the size of train, then its folds;
single images are left out when they are opened, see `superft_hf.sources.scan`, so that leaving one out moves
no other.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from superft_hf.config import DataConfig
from superft_hf.errors import ClassMismatchError, DataError
from superft_hf.sources.class_changes import LEFT_OUT, change_classes
from superft_hf.sources.folder import EVAL_NAMES
from superft_hf.sources.folds import take_fold
from superft_hf.sources.hub_data import read_hub
from superft_hf.sources.image_set import ImageSet, ImageSplit, join
from superft_hf.sources.local import LocalSplits, read_local
from superft_hf.sources.places import (
    local_path,
    local_place,
    looks_like_path,
    open_reference,
    shown_reference,
)
from superft_hf.sources.rows import SourceSplit
from superft_hf.sources.splits import cut_groups, cut_splits, stratified_part

__all__ = [
    "ImageSet", "ImageSplit", "check_classes", "load_images", "local_path", "local_place", "looks_like_path",
    "open_reference", "shown_reference",
]  # fmt: skip


def load_images(data: DataConfig, home: Path) -> ImageSet:
    """Finds the images, gives or cuts the splits, and checks the classes.

    Args:
        data: The `data:` group of a run.
        home: Where a zip is unpacked to.

    Raises:
        DataNotFoundError: If the source does not exist.
        HubError: If the Hub does not give it.
        ArchiveError: If a zip is refused.
        DataError: If there are no images, one class only, an empty split, or no such column or class.
        ClassMismatchError: If eval or test has classes that train lacks.
    """
    place = local_place(data, home)
    found = LocalSplits(read_hub(data)) if place is None else read_local(place, data)
    class_names, given = _with_classes(found.splits, data)
    if data.split_by == "cut":
        pooled = join([split for split in given.values() if len(split)] or list(given.values())[:1])
        splits = _cut(pooled, ("eval", "test"), data)
        is_cut: tuple[str, ...] = ("train", "eval", "test")
    else:
        splits = _name_splits(given, data)
        is_cut = tuple(name for name in ("eval", "test") if name not in splits)
        splits |= _cut(splits["train"], is_cut, data) if is_cut else {}
    if data.max_train_samples is not None:
        # By image even where there are groups: part of each group tells more than all of a few.
        part = stratified_part(splits["train"].labels, data.max_train_samples, data.split_seed)
        splits["train"] = splits["train"].select(part)
    if data.num_folds is not None:
        splits |= take_fold(splits["train"], data, tuple(class_names))
        is_cut = tuple(name for name in ("train", "eval", "test") if name == "eval" or name in is_cut)
    source = next(iter(found.splits.values()))
    images = ImageSet(
        class_names=tuple(class_names),
        splits={name: splits[name] for name in ("train", "eval", "test")},
        is_cut=is_cut,
        columns=tuple(source.columns),
        num_unlabelled=sum(int((split.labels == -1).sum()) for split in found.splits.values()),
        num_missing=found.num_missing,
        has_folds=data.num_folds is not None,
    )
    return check_classes(images, data)


def check_classes(found: ImageSet, data: DataConfig) -> ImageSet:
    """Returns the set when a classifier can be trained on it.

    Raises:
        DataError: If a split is empty, or all training images are of one class.
        ClassMismatchError: If eval or test has classes that train lacks.
    """
    name = data.name_or_path
    present = set(np.unique(found.splits["train"].labels).tolist())
    for split, images in found.splits.items():
        unknown = sorted(set(np.unique(images.labels).tolist()) - present) if present else []
        if unknown:
            raise ClassMismatchError(split, [found.class_names[index] for index in unknown])
    if len(present) == 1:
        raise DataError(
            f"All training images of {name} are of one class, {found.class_names[next(iter(present))]!r}.",
            hint="A classifier needs at least two classes: one folder each.",
        )
    for split, images in found.splits.items():
        if not len(images):
            raise _empty(split, found, data)
    return found


def _empty(split: str, found: ImageSet, data: DataConfig) -> DataError:
    if split in found.is_cut and data.group_column is not None:
        return DataError(
            f"The {split} split of {data.name_or_path} is empty: there are too few groups of "
            f"{data.group_column!r} to cut it.",
            hint="Each part needs a group of its own; change data.group_column.",
        )
    setting = f"{split}_fraction" if split in found.is_cut and split != "train" else f"{split}_split"
    return DataError(
        f"The {split} split of {data.name_or_path} is empty.", hint=f"Add images, or change data.{setting}."
    )


def _with_classes(
    found: Mapping[str, SourceSplit], data: DataConfig
) -> tuple[list[str], dict[str, ImageSplit]]:
    """The class names and the labelled rows of each split, classes merged and left out as asked for."""
    names, new_ids = change_classes(next(iter(found.values())).class_names, data)
    odd = next((name for name in names if not name.strip() or "\n" in name), None)
    if odd is not None:
        raise DataError(
            f"The class name {odd!r} of {data.name_or_path} is empty or has a line break.", hint="Rename it."
        )
    splits = {}
    for name, split in found.items():
        labels = np.append(new_ids, LEFT_OUT)[split.labels]  # a row without a label has -1: the last
        rows = np.flatnonzero(labels >= 0)
        groups = None if split.groups is None else split.groups[rows]
        splits[name] = ImageSplit(split.images, rows, labels[rows], groups)
    return names, splits


def _cut(split: ImageSplit, parts: tuple[str, ...], data: DataConfig) -> dict[str, ImageSplit]:
    """Cuts parts off a split; what stays is train."""
    fractions = {name: getattr(data, f"{name}_fraction") for name in parts}
    if split.groups is None:
        found = cut_splits(split.labels, fractions, data.split_seed)
    else:
        found = cut_groups(split.labels, split.groups, fractions, data.split_seed)
    return {name: split.select(indices) for name, indices in found.items()}


def _name_splits(given: Mapping[str, ImageSplit], data: DataConfig) -> dict[str, ImageSplit]:
    """Chooses among the given splits; eval and test are left out when there are none to choose."""
    filled = {name: split for name, split in given.items() if len(split)}
    train = _pick(filled, data.train_split, ("training",) if data.train_split == "train" else ())
    if train is None:
        raise _no_split(filled, data.train_split, "Change data.train_split.")
    eval_split = _pick(filled, data.eval_split, () if data.eval_split else EVAL_NAMES)
    if eval_split is None and data.eval_split is not None:
        hint = "Change data.eval_split, or set it to null to cut eval from train."
        raise _no_split(filled, data.eval_split, hint)
    others = ("testing",) if data.test_split == "test" else ()
    test_split = _pick(filled, data.test_split, others) if data.test_split else None
    for name, split in (("eval", eval_split), ("test", test_split)):
        if split is train:
            raise DataError(
                f"data.{name}_split names the split to train on, {data.train_split!r}.",
                hint=f"Set data.{name}_split to another split, or to null to cut {name} from train.",
            )
    chosen = {"train": train}
    if eval_split is not None:
        chosen["eval"] = eval_split
    if test_split is not None and test_split is not eval_split:
        chosen["test"] = test_split
    return chosen


def _no_split(filled: Mapping[str, ImageSplit], asked: str, hint: str) -> DataError:
    given = ", ".join(filled) or "none"
    return DataError(f"There is no split {asked!r} with labelled images; there is {given}.", hint=hint)


def _pick(given: Mapping[str, ImageSplit], asked: str | None, others: tuple[str, ...]) -> ImageSplit | None:
    lowered = {name.lower(): split for name, split in given.items()}
    for name in (asked.lower(), *others) if asked else others:
        if name in lowered:
            return lowered[name]
    return None
