"""Cutting eval and test from a set of images: stratified, seeded, never overlapping; by group on request."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np


def cut_splits(labels: np.ndarray, fractions: Mapping[str, float], seed: int) -> dict[str, np.ndarray]:
    """Cuts named parts off a set and leaves the rest as `train`.

    Within each class the images are put into a random order, and each part gets its share of them. Shares
    are rounded so that a part's total comes as near as possible to its fraction (largest remainders), and
    every class keeps at least one image in `train`.

    Args:
        labels: Class ids of shape (N,), dtype int64.
        fractions: Share of the whole by part, such as `{"eval": 0.15, "test": 0.15}`; their sum is below 1.
        seed: Equal seeds give equal parts.

    Returns:
        Indices into `labels` by part, ascending, each index in exactly one part.

    Example:
        >>> parts = cut_splits(np.array([0, 0, 0, 0, 1, 1, 1, 1]), {"eval": 0.25}, seed=1)
        >>> len(parts["eval"]), len(parts["train"]), np.bincount(np.repeat([0, 1], 4)[parts["eval"]]).tolist()
        (2, 6, [1, 1])
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    classes = [order[labels[order] == one] for one in np.unique(labels)]
    taken = np.zeros(len(classes), dtype=np.int64)
    parts: dict[str, np.ndarray] = {}
    for name, fraction in fractions.items():
        free = np.array([len(members) for members in classes]) - taken - 1  # one stays in train
        counts = _share(np.array([len(members) for members in classes]), fraction, free)
        chosen = [
            members[start : start + count]
            for members, start, count in zip(classes, taken, counts, strict=True)
        ]
        parts[name] = np.sort(np.concatenate(chosen)) if chosen else np.array([], dtype=np.int64)
        taken += counts
    rest = [members[start:] for members, start in zip(classes, taken, strict=True)]
    parts["train"] = np.sort(np.concatenate(rest)) if rest else np.array([], dtype=np.int64)
    return parts


def stratified_part(labels: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Indices of a stratified part of about `size` of the (N,) labels, at least one a class; ascending."""
    if size >= len(labels):
        return np.arange(len(labels))
    return cut_splits(labels, {"rest": 1 - size / len(labels)}, seed)["train"]


def cut_groups(
    labels: np.ndarray, groups: np.ndarray, fractions: Mapping[str, float], seed: int
) -> dict[str, np.ndarray]:
    """Cuts named parts off a set so that no group stands in two parts.

    Groups are placed from the largest to the smallest, those of like size in a random order, each where it
    brings the counts of its classes, and of all images, nearest to their share. Compared with scikit-learn's
    StratifiedGroupKFold this takes any fraction, and keeps every class in `train`, and every part filled,
    where the groups allow it.

    Args:
        labels: Class ids of shape (N,), dtype int64.
        groups: Texts of shape (N,); an image with an empty one belongs to no other image.
        fractions: As for cut_splits.
        seed: Equal seeds give equal parts.

    Returns:
        Indices into `labels` by part, ascending, each index in exactly one part. A part may be empty when
        there are too few groups.

    Example:
        >>> labels, groups = np.array([0, 1] * 4), np.repeat(["a", "b", "c", "d"], 2)
        >>> parts = cut_groups(labels, groups, {"eval": 0.25}, seed=1)
        >>> len(parts["eval"]), len(parts["train"]), np.bincount(labels[parts["eval"]]).tolist()
        (2, 6, [1, 1])
    """
    ids = _group_ids(groups)
    _, classes = np.unique(labels, return_inverse=True)
    shares = {**fractions, "train": 1 - sum(fractions.values())}
    placed = _Placement(classes, ids, list(shares.values()))
    octaves = np.floor(np.log2(np.maximum(placed.sizes, 1)))
    random = np.random.default_rng(seed).permutation(len(placed.sizes))
    for group in random[np.argsort(-octaves[random], kind="stable")]:
        placed.put(group, placed.best_part(group))
    placed.mend()
    return {name: np.flatnonzero(placed.part_of[ids] == number) for number, name in enumerate(shares)}


class _Placement:
    """Which group is in which part; the last part is train.

    G is the number of groups, P of parts, C of classes; the last of the C + 1 columns counts all images.
    """

    def __init__(self, classes: np.ndarray, ids: np.ndarray, shares: Sequence[float]) -> None:
        num_classes = int(classes.max(initial=-1)) + 1
        self.sizes = np.bincount(ids)
        self.part_of = np.full(len(self.sizes), -1)
        keys, counts = np.unique(ids * num_classes + classes, return_counts=True)
        ends = np.searchsorted(keys // max(num_classes, 1), np.arange(len(self.sizes) + 1))
        self._columns = [
            np.append(keys[start:end] % num_classes, num_classes) for start, end in pairwise(ends)
        ]
        self._counts = [
            np.append(counts[start:end], size)
            for (start, end), size in zip(pairwise(ends), self.sizes, strict=True)
        ]
        totals = np.append(np.bincount(classes, minlength=num_classes), len(classes))
        self._wanted = np.outer(shares, totals)
        self._have = np.zeros_like(self._wanted)

    def best_part(self, group: int) -> int:
        """The part whose counts come nearest to what is wanted, relative to it, when the group joins."""
        columns, counts = self._columns[group], self._counts[group]
        wanted, have = self._wanted[:, columns], self._have[:, columns]
        return int(np.argmin((counts * (2 * (have - wanted) + counts) / wanted).sum(axis=1)))

    def put(self, group: int, part: int) -> None:
        """Places a group, or moves it."""
        columns, counts = self._columns[group], self._counts[group]
        if self.part_of[group] >= 0:
            self._have[self.part_of[group], columns] -= counts
        self._have[part, columns] += counts
        self.part_of[group] = part

    def mend(self) -> None:
        """Gives train every class, then every part a group, as far as there are enough groups."""
        train = len(self._have) - 1
        for column in np.flatnonzero(self._have[train, :-1] == 0):
            holders = [group for group, columns in enumerate(self._columns) if column in columns[:-1]]
            self.put(min(holders, key=lambda group: self.sizes[group]), train)
        for part in np.flatnonzero(self._have[:-1, -1] == 0):
            spare = [group for group in np.flatnonzero(self.part_of == train) if self._is_spare(group)]
            if spare:
                self.put(min(spare, key=lambda group: self.sizes[group]), int(part))

    def _is_spare(self, group: int) -> bool:
        """Whether train keeps all its classes without this group."""
        return bool((self._have[-1, self._columns[group]] > self._counts[group]).all())


def _group_ids(groups: np.ndarray) -> np.ndarray:
    """Numbers of the groups, shape (N,); each image without a group is one of its own."""
    names, ids = np.unique(groups.astype(str), return_inverse=True)
    alone = np.flatnonzero(groups == "")
    ids[alone] = len(names) + np.arange(len(alone))
    return np.unique(ids, return_inverse=True)[1]


def _share(sizes: np.ndarray, fraction: float, free: np.ndarray) -> np.ndarray:
    """How many of each class go into a part of this fraction; never more than is free."""
    exact = sizes * fraction
    counts = np.minimum(np.floor(exact).astype(np.int64), np.maximum(free, 0))
    missing = round(sizes.sum() * fraction) - counts.sum()
    # Among equal remainders the class with most left gives, so that two parts do not favour the same class.
    for index in np.lexsort((-free, np.floor(exact) - exact)):
        if missing > 0 and counts[index] < free[index]:
            counts[index] += 1
            missing -= 1
    return counts
