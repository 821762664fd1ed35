"""What chance decides for a training image, as a function of (seed, epoch, index).

Each image has a row of numbers in an epoch, one column for each decision. A row does not depend on the batch
that the image is in, on loader processes or on what was drawn before, so that resuming changes nothing; and a
batch of rows is a tensor that travels with the pixels, so that the augmentation on the device needs no
generator.
"""

from enum import IntEnum, auto

import numpy as np


class Draw(IntEnum):
    """The columns of a row of draws."""

    CROP_AREA = 0
    CROP_RATIO = auto()
    CROP_TOP = auto()
    CROP_LEFT = auto()
    MIRROR = auto()
    TURN_OVER = auto()
    QUARTER = auto()
    ROTATION = auto()
    BRIGHTNESS = auto()
    CONTRAST = auto()
    SATURATION = auto()
    ERASE = auto()
    ERASE_AREA = auto()
    ERASE_RATIO = auto()
    ERASE_TOP = auto()
    ERASE_LEFT = auto()
    OPERATION_1 = auto()
    STRENGTH_1 = auto()
    SIGN_1 = auto()
    OPERATION_2 = auto()
    STRENGTH_2 = auto()
    SIGN_2 = auto()
    MIX_KIND = auto()
    MIX_SHARE = auto()
    MIX_TOP = auto()
    MIX_LEFT = auto()


NUM_DRAWS = len(Draw)
"""K, the number of columns."""

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_FACTORS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


class EpochDraws:
    """Rows of uniform numbers for training images.

    Element k of the row of an image is number `index · K + k` of the SplitMix64 stream (Steele, Lea and Flood
    2014) that begins at a state made of (seed, epoch). Any place of such a stream can be computed alone, so
    no table of an epoch is kept.

    Args:
        seed: `training.seed`.

    Example:
        >>> draws = EpochDraws(seed=42)
        >>> both, one = draws.rows(0, np.array([7, 8])), draws.rows(0, np.array([8]))
        >>> both.shape == (2, NUM_DRAWS), bool((both[1] == one[0]).all())
        (True, True)
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._states: dict[int, np.uint64] = {}

    def rows(self, epochs: np.ndarray | int, indices: np.ndarray) -> np.ndarray:
        """Draws of B images.

        Args:
            epochs: Counted from 0, shape (B,), integers; or one for all.
            indices: Positions in the train split, shape (B,), integers.

        Returns:
            Shape (B, K), float32, uniform in [0, 1).
        """
        indices = np.asarray(indices, np.uint64)
        begins = [self._state(int(epoch)) for epoch in np.broadcast_to(epochs, indices.shape)]
        places = indices[:, None] * np.uint64(NUM_DRAWS) + np.arange(1, NUM_DRAWS + 1, dtype=np.uint64)
        bits = np.array(begins, np.uint64)[:, None] + places * _GAMMA  # modulo 2⁶⁴, as all that follows
        bits = (bits ^ (bits >> np.uint64(30))) * _FACTORS[0]
        bits = (bits ^ (bits >> np.uint64(27))) * _FACTORS[1]
        bits ^= bits >> np.uint64(31)
        return (bits >> np.uint64(40)).astype(np.float32) * np.float32(2**-24)

    def _state(self, epoch: int) -> np.uint64:
        if epoch not in self._states:
            sequence = np.random.SeedSequence([self._seed, epoch])
            self._states[epoch] = sequence.generate_state(1, np.uint64)[0]
        return self._states[epoch]
