"""What one look at an image tells: whether it can be decoded, its size, and, on request, much more.

The look is bounded in time and memory: JPEGs are decoded at an eighth of their size where that is enough,
other images are reduced before they are converted, and large ones are opened one at a time.
"""

import contextlib
import hashlib
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageOps

from superft_hf.sources.images import opened_image, to_rgb

LARGE_PIXELS = 8_000_000
"""From here on, images are decoded one at a time: four threads would hold four of them."""

LOOK_VERSION = 1
"""Goes up whenever a look tells something else of the same bytes."""

MAX_SEEN = 200_000
"""Looks that are remembered: about 150 MiB."""

THUMBNAIL = 16
"""Height and width of the grey thumbnails by which two images are compared."""

THUMBNAIL_UNIT = 30.0
"""Steps of a thumbnail that are one standard deviation of its grey levels."""

GREY_SPREAD = 2
"""Levels of 255 by which the channels of a grey image may differ, after lossy compression."""

_HASHED = 32
_LOOKED_AT = 64
_REDUCIBLE = ("L", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LA")
_ALPHA_MODES = ("RGBA", "LA", "PA")
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
"""What makes an image of each EXIF orientation upright."""

_MOVING_FORMATS = ("GIF", "PNG", "WEBP", "TIFF", "AVIF")


@dataclass(frozen=True, slots=True)
class Looked:
    """One image.

    Attributes:
        digest: SHA-256 of the encoded bytes, hexadecimal.
        width: Of the upright picture, in pixels; 0 when it cannot be decoded. Likewise height.
        problem: Why it cannot be decoded, or None.
        traits: Only of a deep look at an image that can be decoded.
    """

    digest: str
    width: int = 0
    height: int = 0
    problem: str | None = None
    traits: "ImageTraits | None" = None


@dataclass(frozen=True, slots=True)
class ImageTraits:
    """What a deep look at one image tells; see Traits."""

    mode: str
    format: str
    has_alpha: bool
    is_grey: bool
    orientation: int
    num_frames: int
    hash: int
    thumbnail: bytes
    contrast: float
    mean: tuple[float, float, float]
    square: tuple[float, float, float]


@dataclass(frozen=True)
class Traits:
    """What a deep look at N images tells.

    Attributes:
        modes: Pillow's mode of the file, such as `RGB`, `L` or `CMYK`, shape (N,).
        formats: Pillow's name of the file's format, such as `JPEG`, shape (N,).
        has_alpha: Whether some of the picture is transparent, shape (N,), bool.
        is_grey: Whether its three channels are alike, shape (N,), bool.
        orientations: EXIF orientation, 1 to 8, where 1 is upright, shape (N,).
        num_frames: Frames or pages, shape (N,); the first is used.
        hashes: Perceptual hashes of 64 bits, shape (N,), dtype uint64.
        thumbnails: Grey, freed of brightness and contrast, shape (N, 256), dtype int8: THUMBNAIL_UNIT is one
            standard deviation.
        contrasts: Standard deviation of the grey thumbnail in levels of 255, shape (N,).
        means: Mean of each channel of the upright RGB picture as a fraction, shape (N, 3).
        squares: Mean of its square, shape (N, 3).
    """

    modes: np.ndarray
    formats: np.ndarray
    has_alpha: np.ndarray
    is_grey: np.ndarray
    orientations: np.ndarray
    num_frames: np.ndarray
    hashes: np.ndarray
    thumbnails: np.ndarray
    contrasts: np.ndarray
    means: np.ndarray
    squares: np.ndarray


class Looker:
    """Looks at images; safe to share among threads.

    Args:
        is_deep: Whether the traits are wanted.
        seen: What earlier looks of the same depth found, by digest: an image of the same bytes is not decoded
            again. New looks are added, up to MAX_SEEN.
    """

    def __init__(self, *, is_deep: bool, seen: dict[str, Looked] | None = None) -> None:
        self._is_deep = is_deep
        self._seen = seen
        self._large = threading.Lock()

    def look(self, encoded: bytes) -> Looked:
        """Decodes an image file, which may be none at all."""
        digest = hashlib.sha256(encoded).hexdigest()
        if self._seen is None:
            return self._look(encoded, digest)
        known = self._seen.get(digest)
        if known is None:
            known = self._look(encoded, digest)
            if len(self._seen) < MAX_SEEN:
                self._seen[digest] = known
        return known

    def _look(self, encoded: bytes, digest: str) -> Looked:
        try:
            with opened_image(encoded) as image:
                is_large = image.width * image.height >= LARGE_PIXELS
                with self._large if is_large else contextlib.nullcontext():
                    return self._decoded(image, digest)
        except ValueError as error:
            return Looked(digest, problem=str(error))

    def _decoded(self, image: Image.Image, digest: str) -> Looked:
        (width, height), mode = image.size, image.mode
        # Only JPEG has a draft mode. It reads all of the file, so damage shows as it does at full size.
        side = _LOOKED_AT if self._is_deep else 1
        image.draft(None, (side, side))
        image.load()
        turn = image.getexif().get(ExifTags.Base.Orientation, 1)
        turn = turn if turn in _TURNS else 1
        if turn != 1:
            ImageOps.exif_transpose(image)  # to see that training can do it
        size = (height, width) if turn > 4 else (width, height)
        if not self._is_deep:
            to_rgb(image.crop((0, 0, 1, 1)))  # whether it can be done depends on the mode alone
            return Looked(digest, *size)
        reduced = _reduced(image)
        small = to_rgb(reduced)
        scale = image.width / width if width > 1 else 1.0
        # A reduced image may end with a column that the whole one has only part of: left out, or it would
        # shift all others.
        ratio = 2 ** round(math.log2(scale)) * (1 if reduced is image else 1 / _factor(image))
        box = (0, 0, min(small.width, width * ratio), min(small.height, height * ratio))
        return Looked(digest, *size, traits=_traits(image, small, box, mode, turn, _is_transparent(reduced)))


def collect(found: Sequence[ImageTraits]) -> Traits:
    """The traits of several images as arrays."""
    return Traits(
        modes=np.array([one.mode for one in found], dtype=object),
        formats=np.array([one.format for one in found], dtype=object),
        has_alpha=np.array([one.has_alpha for one in found], dtype=bool),
        is_grey=np.array([one.is_grey for one in found], dtype=bool),
        orientations=np.array([one.orientation for one in found], dtype=np.int8),
        num_frames=np.array([one.num_frames for one in found], dtype=np.int32),
        hashes=np.array([one.hash for one in found], dtype=np.uint64),
        thumbnails=np.frombuffer(b"".join(one.thumbnail for one in found), np.int8).reshape(-1, THUMBNAIL**2),
        contrasts=np.array([one.contrast for one in found], dtype=np.float32),
        means=np.array([one.mean for one in found], dtype=np.float32).reshape(-1, 3),
        squares=np.array([one.square for one in found], dtype=np.float32).reshape(-1, 3),
    )


def _factor(image: Image.Image) -> int:
    return max(1, min(image.size) // _LOOKED_AT) if image.mode in _REDUCIBLE else 1


def _reduced(image: Image.Image) -> Image.Image:
    factor = _factor(image)
    return image.reduce(factor) if factor > 1 else image


def _is_transparent(image: Image.Image) -> bool:
    if "transparency" in image.info:
        image = image.convert("RGBA")
    return image.mode in _ALPHA_MODES and image.getchannel("A").getextrema()[0] < 255


def _traits(
    image: Image.Image,
    small: Image.Image,
    box: tuple[float, float, float, float],
    mode: str,
    turn: int,
    has_alpha: bool,
) -> ImageTraits:
    """The traits of a picture, of which `small` shows all within `box`, not turned yet."""
    size = (_HASHED, _HASHED)
    colours = np.asarray(small.resize(size, Image.Resampling.BOX, box, reducing_gap=2.0)).astype(np.int16)
    grey = small.convert("L").resize(size, Image.Resampling.LANCZOS, box, reducing_gap=3.0)
    if turn in _TURNS:
        grey = grey.transpose(_TURNS[turn])
    thumbnail, contrast = _thumbnail(grey)
    pixels = np.asarray(_reduced(small), dtype=np.float32).reshape(-1, 3) / 255
    return ImageTraits(
        mode=mode,
        format=image.format or "",
        has_alpha=has_alpha,
        is_grey=bool((colours.max(axis=2) - colours.min(axis=2)).max() <= GREY_SPREAD),
        orientation=turn,
        num_frames=_num_frames(image),
        hash=_perceptual_hash(grey),
        thumbnail=thumbnail,
        contrast=contrast,
        mean=tuple(pixels.mean(axis=0).tolist()),
        square=tuple((pixels**2).mean(axis=0).tolist()),
    )


def _thumbnail(grey: Image.Image) -> tuple[bytes, float]:
    """The thumbnail of a 32 × 32 picture as the bytes of int8, and its contrast."""
    half = _HASHED // THUMBNAIL
    levels = np.asarray(grey, np.float32).reshape(THUMBNAIL, half, THUMBNAIL, half).mean(axis=(1, 3))
    contrast = float(levels.std())
    steps = (levels - levels.mean()) * (THUMBNAIL_UNIT / max(contrast, 1e-6))
    return np.clip(np.rint(steps), -127, 127).astype(np.int8).tobytes(), contrast


def _num_frames(image: Image.Image) -> int:
    """Frames or pages; the second picture of a phone's JPEG (MPO) is a preview and does not count."""
    if image.format not in _MOVING_FORMATS or not getattr(image, "is_animated", False):
        return 1
    return int(getattr(image, "n_frames", 1))


def _perceptual_hash(grey: Image.Image) -> int:
    """ImageHash's phash; of a picture that has its size already, which is most of the work."""
    bits = _phash()(grey).hash
    return int(np.packbits(bits).view(">u8")[0])


@lru_cache(maxsize=1)
def _phash() -> Callable[[Image.Image], Any]:
    import imagehash  # the worker's look needs none

    return imagehash.phash
