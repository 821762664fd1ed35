"""The order of the training images as a function of (seed, epoch), never of a generator's state.

A sampler hands out keys rather than indices: the key says which image, in which epoch, so that augmentation
can be computed from (seed, epoch, index) as well. Loader processes, prefetching and resuming cannot change
it.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler


class ExampleKey(NamedTuple):
    """Which training image, in which pass over it.

    Attributes:
        index: Its position in the train split.
        epoch: How often it was seen before at most: the epoch, unless classes are balanced. What is drawn
            for an image goes by it, so no two keys of a run are equal.
    """

    index: int
    epoch: int


class EpochSampler(Sampler[ExampleKey]):
    """Every index once an epoch, in an order made of seed and epoch.

    Args:
        size: Number of training images.
        seed: `training.seed`.
    """

    def __init__(self, size: int, seed: int) -> None:
        self._size = size
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the order; Trainer calls this before each epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        """Number of training images."""
        return self._size

    def __iter__(self) -> Iterator[ExampleKey]:
        """Keys in this epoch's order."""
        order = np.random.default_rng([self._seed, self._epoch]).permutation(self._size)
        return (ExampleKey(int(index), self._epoch) for index in order)


class BalancedSampler(EpochSampler):
    """Each class equally often in an epoch of as many keys as there are images.

    The images of each class stand in an endless row of passes over them, each in an order of its own, and an
    epoch takes the next ones from it: of a rare class an epoch holds several passes, of a frequent one a
    part of a pass. So no image is drawn twice before all others of its class were drawn as often. What does
    not divide by the number of classes goes to them in turn.

    Args:
        labels: Class ids of the training images, shape (N,); a class without images takes no part.
        seed: `training.seed`.
    """

    def __init__(self, labels: np.ndarray, seed: int) -> None:
        super().__init__(len(labels), seed)
        self._members = [np.flatnonzero(labels == label) for label in np.unique(labels)]

    def __iter__(self) -> Iterator[ExampleKey]:
        """Keys in this epoch's order."""
        keys = [key for number in range(len(self._members)) for key in self._keys(number)]
        order = np.random.default_rng([self._seed, self._epoch]).permutation(len(keys))
        return (keys[place] for place in order)

    def _keys(self, number: int) -> Iterator[ExampleKey]:
        """Those of one class."""
        members = self._members[number]
        first, end = (self._taken(number, epoch) for epoch in (self._epoch, self._epoch + 1))
        for turn in range(first // len(members), -(-end // len(members))):
            row = np.random.default_rng([self._seed, turn, 1 + number]).permutation(members)
            begin = turn * len(members)
            for index in row[max(first - begin, 0) : end - begin]:
                yield ExampleKey(int(index), turn)

    def _taken(self, number: int, epoch: int) -> int:
        """Keys of a class before an epoch."""
        num_classes = len(self._members)
        share, rest = divmod(self._size, num_classes)
        return epoch * share + (epoch * rest + num_classes - 1 - number) // num_classes


def make_sampler(size: int, seed: int, labels: np.ndarray | None = None) -> EpochSampler:
    """The order of training.

    Args:
        size: Number of training images.
        seed: `training.seed`.
        labels: Their class ids, shape (N,), where classes are balanced; None: each image once an epoch.
    """
    return EpochSampler(size, seed) if labels is None else BalancedSampler(labels, seed)
