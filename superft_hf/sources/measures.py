"""Brightness, contrast and sharpness of pictures, at the scale at which a network sees them.

A picture is reduced to SIDE pixels before it is measured: detail beyond that reaches no network that is
trained here by default, and pictures of different sizes can be compared. Smaller ones are measured as they
are.
"""

import math
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
from PIL import Image

from superft_hf.evaluation.example_files import MEASURES, write_examples
from superft_hf.sources.image_set import ImageSplit
from superft_hf.sources.images import opened_image, to_rgb
from superft_hf.sources.metadata import few_valued
from superft_hf.sources.traits import LARGE_PIXELS

SIDE = 256
"""Longer side of a picture that is measured, in pixels."""

THREADS = 4
_BLOCK = 1024
_REDUCIBLE = ("L", "RGB", "CMYK", "YCbCr")


def measure_image(
    encoded: bytes, large: AbstractContextManager[object] | None = None
) -> tuple[float, float, float]:
    """Brightness, contrast and sharpness of an image file.

    Brightness and contrast are the mean and the standard deviation of the grey levels as fractions of white;
    sharpness is the variance of their Laplacian (the four neighbours less four times the pixel; Pech-Pacheco
    et al. 2000, "Diatom autofocusing in brightfield microscopy"), 0 where a picture has no inner pixel.

    Args:
        encoded: The bytes of the file.
        large: Held while a picture of LARGE_PIXELS is decoded, so that only one is at a time.

    Returns:
        The three; NaN each when it cannot be decoded.

    Example:
        >>> import io
        >>> Image.new("L", (40, 30), 51).save(out := io.BytesIO(), "PNG")
        >>> [round(one, 3) for one in measure_image(out.getvalue())]
        [0.2, 0.0, 0.0]
    """
    try:
        with opened_image(encoded) as image:
            if large is None or image.width * image.height < LARGE_PIXELS:
                return _measures(image)
            with large:
                return _measures(image)
    except ValueError:
        return (math.nan, math.nan, math.nan)


def measure_split(split: ImageSplit, progress: Callable[[int, int], None] | None = None) -> np.ndarray:
    """Measures N images, several at once.

    Args:
        split: The images.
        progress: Called now and then with the number of images measured and of all.

    Returns:
        Brightness, contrast and sharpness, shape (N, 3), dtype float32.

    Raises:
        DataNotFoundError: If a file is gone.
    """
    large, found = threading.Lock(), np.empty((len(split), len(MEASURES)), dtype=np.float32)
    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(split), _BLOCK):
            block = range(start, min(start + _BLOCK, len(split)))
            for index, one in zip(
                block, pool.map(lambda index: measure_image(split.encoded(index), large), block), strict=True
            ):
                found[index] = one
                if progress and index % 50 == 0:
                    progress(index, len(split))
    return found


def describe_split(
    path: Path,
    split: ImageSplit,
    example_ids: list[str],
    sizes: np.ndarray,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Writes the example file of a split.

    Args:
        path: The file.
        split: N images.
        example_ids: Their ids.
        sizes: Widths and heights, shape (N, 2).
        progress: As for measure_split.

    Raises:
        DataNotFoundError: If an image is gone.
    """
    everything = np.arange(len(split))
    metadata = few_valued(split.metadata())
    write_examples(
        path, example_ids=example_ids, sizes=sizes, measures=measure_split(split, progress),
        metadata={name: column.texts(everything) for name, column in metadata.items()},
    )  # fmt: skip


def _measures(image: Image.Image) -> tuple[float, float, float]:
    image.draft("L", (SIDE, SIDE))  # JPEG only: decodes the grey channel alone, at the scale that is needed
    factor = max(image.size) // (2 * SIDE)
    if factor > 1 and image.mode in _REDUCIBLE:
        image = image.reduce(factor)
    grey = image if image.mode == "L" else to_rgb(image).convert("L")
    if max(grey.size) > SIDE:
        grey.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
    levels = np.asarray(grey, dtype=np.float32) / 255
    inner = levels[1:-1, 1:-1]
    laplacian = levels[:-2, 1:-1] + levels[2:, 1:-1] + levels[1:-1, :-2] + levels[1:-1, 2:] - 4 * inner
    sharpness = float(laplacian.var()) if laplacian.size else 0.0
    return float(levels.mean()), float(levels.std()), sharpness
