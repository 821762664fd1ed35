"""Which part of a picture an image processor shows to the network.

Processors stretch, crop the middle out or pad, each in its own way. What one does is read off its answer to a
picture whose colours are its coordinates.
"""

import numpy as np
import torch
from PIL import Image
from transformers import BaseImageProcessor

from superft_hf.training.image_classification.pixels import PixelMap, eval_pixels, read_pixel_map

Box = tuple[float, float, float, float]

_INSIDE = (0.15, 0.85)
"""Share of a coordinate's range that the fit looks at: resampling bends it near the edges."""

_MARKED = 200
"""From this blue on (0 to 255) a pixel is of the picture, not of what was padded."""


def seen_box(processor: BaseImageProcessor, size: tuple[int, int]) -> Box:
    """The part of a picture that becomes the network's input.

    Args:
        processor: Of the model.
        size: Width and height of the picture, in pixels.

    Returns:
        Left, top, right and bottom as fractions of the picture's width and height; below 0 or above 1 where
        the processor pads.

    Raises:
        ModelError: If the processor's arithmetic cannot be read, see `read_pixel_map`.
    """
    width, height = size
    coded = np.empty((height, width, 3), dtype=np.uint8)
    coded[..., 0] = np.rint(255 * _ramp(width))[None, :]
    coded[..., 1] = np.rint(255 * _ramp(height))[:, None]
    coded[..., 2] = 255
    answer = _colours(eval_pixels(processor, Image.fromarray(coded)), read_pixel_map(processor))
    is_picture = answer[2] > _MARKED
    left, right = _fit(answer[0], is_picture, axis=1, length=width)
    top, bottom = _fit(answer[1], is_picture, axis=0, length=height)
    return left, top, right, bottom


def _ramp(length: int) -> np.ndarray:
    return np.linspace(0, 1, length) if length > 1 else np.full(1, 0.5)


def _colours(pixel_values: torch.Tensor, pixel_map: PixelMap) -> np.ndarray:
    """RGB from 0 to 255 of normalised pixels, shape (3, H, W)."""
    plain = pixel_values.float() - pixel_map.offset.view(3, 1, 1)
    return torch.einsum("ij,jhw->ihw", torch.linalg.inv(pixel_map.matrix), plain).numpy()


def _fit(values: np.ndarray, is_picture: np.ndarray, *, axis: int, length: int) -> tuple[float, float]:
    """Where the first and the last edge of the network's input lie along an axis, as fractions."""
    places = np.indices(values.shape)[axis][is_picture]
    found = values[is_picture] / 255
    inner = (found > _INSIDE[0]) & (found < _INSIDE[1])
    if len(np.unique(places[inner])) < 2:  # pictures of a few pixels
        inner[:] = True
    if length < 2 or len(np.unique(places[inner])) < 2:
        return 0.0, 1.0
    slope, offset = np.polyfit(places[inner], found[inner], 1)
    # A ramp over the centres of pixels: value v stands for the place (v (length - 1) + 0.5) / length.
    first, last = ((offset + slope * edge) for edge in (-0.5, values.shape[axis] - 0.5))
    return float((first * (length - 1) + 0.5) / length), float((last * (length - 1) + 0.5) / length)
