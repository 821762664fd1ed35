"""What the pixels of an image file are: the one definition that training, evaluation and pages share.

An image is turned as its EXIF tag says, then made RGB: grey, palette, CMYK and transparent images by
Pillow's conversion (transparency is dropped), and images with more than 8 bits by scaling, since Pillow's
conversion would clip them to white.
"""

import hashlib
import io
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

WIDE_MODES = ("I;16", "I;16B", "I;16L", "I;16N", "I", "F")
"""Pillow's modes with more than 8 bits a channel; they are scaled."""

_SCALABLE_FORMATS = ("JPEG", "MPO")
_UNSAFE_FORMATS = {"EPS", "PDF", "WMF"}  # Pillow hands them to another program, or cannot decode them
# What Pillow's decoders were seen to raise, or may raise, on damaged bytes.
_DECODER_ERRORS = (
    OSError, SyntaxError, ValueError, EOFError, LookupError, RuntimeError, TypeError, OverflowError,
    struct.error, MemoryError,
)  # fmt: skip


def open_rgb(encoded: bytes, needed: Callable[[int, int], tuple[int, int]] | None = None) -> Image.Image:
    """Decodes an image file.

    Args:
        encoded: The bytes of the file.
        needed: From height and width of the upright image to those at which it will be looked at; asked of
            JPEGs alone. One that is four times as large or more is decoded at a half, a quarter or an eighth
            of its size, in a fraction of the time, but never below twice of what is needed: what is reduced
            further looks the same then (Pillow's thumbnails do likewise). None: every pixel counts.

    Returns:
        The whole image, turned upright, mode RGB.

    Raises:
        ValueError: If the bytes are not a complete image that Pillow can read; the message says why.
    """
    with opened_image(encoded) as image:
        if needed is not None and image.format in _SCALABLE_FORMATS:
            is_turned = image.getexif().get(ExifTags.Base.Orientation, 1) > 4
            height, width = needed(*(image.size if is_turned else image.size[::-1]))
            image.draft(None, (2 * height, 2 * width) if is_turned else (2 * width, 2 * height))
        image.load()
        return to_rgb(ImageOps.exif_transpose(image))


@contextmanager
def opened_image(encoded: bytes) -> Iterator[Image.Image]:
    """Opens an image file, whose pixels are not decoded yet.

    Args:
        encoded: The bytes of the file.

    Raises:
        ValueError: If the bytes are no image that Pillow can read, or what is done with it shows that they
            are damaged; the message says why.
    """
    if not encoded:
        raise ValueError("the file is empty")
    try:
        with Image.open(io.BytesIO(encoded), formats=_formats()) as image:
            # Pillow only warns above its limit, and filters of warnings are shared by all threads.
            if image.width * image.height > (Image.MAX_IMAGE_PIXELS or float("inf")):
                raise Image.DecompressionBombError
            yield image
    except UnidentifiedImageError as error:
        raise ValueError("no known image format") from error
    except Image.DecompressionBombError as error:
        raise ValueError(f"too many pixels to be safe (more than {Image.MAX_IMAGE_PIXELS:,})") from error
    except _DECODER_ERRORS as error:
        raise ValueError(_reason(error)) from error


def to_rgb(image: Image.Image) -> Image.Image:
    """An image of any mode as RGB; more than 8 bits are scaled."""
    if image.mode not in WIDE_MODES:
        return image.convert("RGB")
    values = np.nan_to_num(np.asarray(image).astype(np.float64))
    top = values.max(initial=0.0)
    if image.mode == "F" and top <= 1:
        scale = 255.0
    elif image.mode in ("I", "F") and top <= 255:
        scale = 1.0
    else:
        scale = 255 / 65535
    return Image.fromarray(np.clip(np.rint(values * scale), 0, 255).astype(np.uint8)).convert("RGB")


def example_ids(digests: Sequence[str]) -> list[str]:
    """Turns digests of the encoded bytes into ids that are unique within a split.

    Args:
        digests: One hexadecimal SHA-256 an image, in the order of the split.

    Returns:
        The first 16 digits each; the second copy of an image gets `-2`, the third `-3`.

    Example:
        >>> example_ids(["ab" * 32, "cd" * 32, "ab" * 32])
        ['abababababababab', 'cdcdcdcdcdcdcdcd', 'abababababababab-2']
    """
    seen: dict[str, int] = {}
    ids = []
    for digest in digests:
        short = digest[:16]
        seen[short] = seen.get(short, 0) + 1
        ids.append(short if seen[short] == 1 else f"{short}-{seen[short]}")
    return ids


def digest(encoded: bytes) -> str:
    """The SHA-256 of an encoded image, hexadecimal."""
    return hashlib.sha256(encoded).hexdigest()


@lru_cache(maxsize=1)
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in Image.ID if name not in _UNSAFE_FORMATS)


def _reason(error: BaseException) -> str:
    """The first line of what a decoder says, without its own punctuation."""
    lines = str(error).strip().splitlines()
    return (lines[0].rstrip(".:") if lines else "") or type(error).__name__
