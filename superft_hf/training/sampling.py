"""The order of the training images as a function of (seed, epoch), never of a generator's state.

A sampler hands out keys rather than indices: the key says which image, in which epoch, so that augmentation
can be computed from (seed, epoch, index) as well. Loader processes, prefetching and resuming cannot change
it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Sampler


class ExampleKey(NamedTuple):
    """Which training image, in which epoch."""

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


@contextmanager
def seeded(*parts: int) -> Iterator[None]:
    """Runs its body with torch's global CPU generator seeded by the parts, and puts it back afterwards.

    torchvision's transforms draw from that generator only, so their result becomes a function of the parts.
    """
    generator = torch.default_generator
    before = generator.get_state()
    generator.manual_seed(int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1))
    try:
        yield
    finally:
        generator.set_state(before)
