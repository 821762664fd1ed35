"""Large pictures, and heat maps laid over them where the network really looked."""

import io
from dataclasses import dataclass

import numpy as np
import streamlit as st
from PIL import Image

from dashboard import readers
from dashboard.examples import SMALL_SIDE
from superft_hf.errors import SuperFTError
from superft_hf.sources.images import open_rgb
from superft_hf.sources.load import open_reference

MAX_SIDE = 1024
SMALL_SHOWN_SIDE = 768
"""About the longer side of a small picture, whose pixels are shown as squares."""

Box = tuple[float, float, float, float]

# Black over violet and orange to yellow: equal steps look equal, also to the colour-blind (matplotlib's
# inferno, CC0). Grey stands for what the network was not shown.
_COLOURS = np.array(
    [(0, 0, 4), (51, 10, 95), (120, 28, 109), (187, 55, 84), (237, 105, 37), (252, 181, 25), (252, 255, 164)],
    dtype=np.float32,
)
_UNSEEN, _UNSEEN_SHARE = 128.0, 0.65


@dataclass(frozen=True)
class LargePicture:
    """A picture as large as it is shown.

    Attributes:
        image: RGB, upright.
        size: Width and height of the source.
        is_small: Whether the source is so small that its pixels are shown as squares.
    """

    image: Image.Image
    size: tuple[int, int]
    is_small: bool


def large_picture(run_id: str, reference: str) -> LargePicture | None:
    """An image that a prediction file names; None when it is gone or cannot be read."""
    try:
        return _large(str(readers.home_paths().home), run_id, reference)
    except (SuperFTError, ValueError):  # outside the cache: a file that comes back is shown again
        return None


def make_large(encoded: bytes) -> LargePicture:
    """A large picture of an image file. Raises ValueError if it is not an image."""
    image = open_rgb(encoded)
    is_small = max(image.size) <= SMALL_SIDE
    if is_small:
        factor = SMALL_SHOWN_SIDE // max(image.size)
        shown = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    else:
        shown = image.copy()
        shown.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    return LargePicture(shown, image.size, is_small)


def with_heat(image: Image.Image, values: np.ndarray, box: Box, opacity: float) -> Image.Image:
    """A picture with a heat map over it.

    Args:
        image: RGB.
        values: Heat from 0 to 1 over what the network saw, shape (H, W).
        box: What that shows of the picture: left, top, right and bottom as fractions of it.
        opacity: From 0 (the picture alone) to 1 (the hottest place hides it).

    Returns:
        The picture; what the network was not shown is greyed.
    """
    heat, is_seen = placed(values, box, image.size)
    pixels = np.asarray(image, dtype=np.float32)
    share = (opacity * np.sqrt(heat))[..., None]
    scale = heat * (len(_COLOURS) - 1)
    lower = np.minimum(scale.astype(int), len(_COLOURS) - 2)
    part = (scale - lower)[..., None]
    colours = _COLOURS[lower] * (1 - part) + _COLOURS[lower + 1] * part
    mixed = pixels * (1 - share) + colours * share
    unseen = pixels * (1 - _UNSEEN_SHARE) + _UNSEEN * _UNSEEN_SHARE
    return Image.fromarray(np.rint(np.where(is_seen[..., None], mixed, unseen)).astype(np.uint8))


def placed(values: np.ndarray, box: Box, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A heat map in the frame of the picture, and what of that the network saw.

    Args:
        values: Shape (H, W) over what the network saw.
        box: What that shows of the picture, as fractions: left, top, right, bottom.
        size: Width and height of the picture.

    Returns:
        Heat of shape (height, width), 0 outside, and whether each pixel was seen.
    """
    width, height = size
    left, top, right, bottom = box
    rows = ((np.arange(height) + 0.5) / height - top) / (bottom - top)
    columns = ((np.arange(width) + 0.5) / width - left) / (right - left)
    # Half a pixel of tolerance: what is stretched whole must not get a grey rim from rounding.
    is_row = (rows > -0.5 / height) & (rows < 1 + 0.5 / height)
    is_column = (columns > -0.5 / width) & (columns < 1 + 0.5 / width)
    across = _between(values.T, columns).T
    heat = _between(across, rows)
    is_seen = is_row[:, None] & is_column[None, :]
    return np.where(is_seen, heat, 0.0).astype(np.float32), is_seen


def encoded(image: Image.Image, *, is_small: bool) -> bytes:
    """A picture for the browser: photographs as JPEG, small ones to the pixel."""
    out = io.BytesIO()
    if is_small:
        image.save(out, "PNG", compress_level=1)
    else:
        image.save(out, "JPEG", quality=92)
    return out.getvalue()


def _between(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Rows of values (N, M) at places from 0 to 1, linear between the centres of the rows."""
    exact = np.clip(places * len(values) - 0.5, 0, len(values) - 1)
    lower = np.minimum(exact.astype(int), max(len(values) - 2, 0))
    upper = np.minimum(lower + 1, len(values) - 1)
    part = (exact - lower)[:, None]
    return values[lower] * (1 - part) + values[upper] * part


@st.cache_resource(max_entries=24, show_spinner=False)
def _large(home: str, run_id: str, reference: str) -> LargePicture:
    return make_large(open_reference(readers.config(run_id).data, reference))
