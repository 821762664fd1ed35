"""The random crop of a training image, on the CPU, before images of different sizes become a batch."""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional

from superft_hf.training.image_classification.draws import Draw

LARGEST_RATIO = 4 / 3
"""Width of a crop to its height, and the other way round, at most; see crop_box."""


class Box(NamedTuple):
    """A rectangle of an image, in whole pixels."""

    top: int
    left: int
    height: int
    width: int


def crop_box(draws: np.ndarray, height: int, width: int, crop_scale: float) -> Box:
    """The part of an image that is trained on in an epoch.

    As in Inception's random crops (Szegedy et al. 2015), the share of the area is uniform in [crop_scale, 1]
    and the logarithm of width to height uniform between those of 3/4 and 4/3. Where the image is too narrow
    for that, the ratio gives way and not the area: no crop keeps less than `crop_scale`, up to rounding.

    Args:
        draws: The image's row, shape (K,).
        height: Of the image, in pixels.
        width: Likewise.
        crop_scale: Smallest share of the area; 1 takes the whole image.
    """
    if crop_scale >= 1:
        return Box(0, 0, height, width)
    draws = draws.astype(np.float64)
    area = height * width * (1 - draws[Draw.CROP_AREA] * (1 - crop_scale))
    narrowest, widest = area / height**2, width**2 / area  # with full height, with full width
    low, high = (min(max(limit, narrowest), widest) for limit in (1 / LARGEST_RATIO, LARGEST_RATIO))
    ratio = low * (high / low) ** draws[Draw.CROP_RATIO]
    crop_height = min(height, max(1, round(math.sqrt(area / ratio))))
    crop_width = min(width, max(1, round(math.sqrt(area * ratio))))
    top = int(draws[Draw.CROP_TOP] * (height - crop_height + 1))
    left = int(draws[Draw.CROP_LEFT] * (width - crop_width + 1))
    return Box(top, left, crop_height, crop_width)


def crop_and_resize(image: torch.Tensor, box: Box, size: tuple[int, int]) -> torch.Tensor:
    """Cuts a box out of an image and resizes it, bilinear and antialiased.

    Args:
        image: Shape (3, h, w), uint8. Fastest when its memory is (h, w, 3), as decoders give it.
        box: Lies within the image.
        size: Height and width of the result, H and W.

    Returns:
        Shape (3, H, W), uint8; a view of the image where there is nothing to do.
    """
    cut = image[:, box.top : box.top + box.height, box.left : box.left + box.width]
    if (box.height, box.width) == size:
        return cut
    cut = cut[None].contiguous(memory_format=torch.channels_last)  # the kernel's own order: a third faster
    return functional.interpolate(cut, size=size, mode="bilinear", antialias=True)[0]
