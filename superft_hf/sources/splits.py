"""Cutting eval and test from a set of images: stratified, seeded, never overlapping."""

from collections.abc import Mapping

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
