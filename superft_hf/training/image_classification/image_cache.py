"""The images of a run as small uint8 pictures, each decoded once in the life of a home.

There are two ways of preparing an image:

- whole (WholeImages), for training with random crops: reduced no further than the smallest crop allows, so
  that a crop has as many pixels of its own as the network's input. Where the model's processor squashes
  images to its input, crops are taken of the squashed picture, so that training shows things in the shapes
  that evaluation shows; where it keeps their shape, so does training.
- as the processor shows it (SeenImages), for evaluation, and for training without crops.

What is prepared is a function of the file alone, so a cache changes nothing but time; without one, an image
is prepared each time it is asked for.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL
import torch
from PIL import Image
from transformers import BaseImageProcessor

from superft_hf.paths import HomePaths
from superft_hf.sources.cache_room import open_cache
from superft_hf.sources.catalogue import Catalogue
from superft_hf.sources.image_set import ImageSplit
from superft_hf.sources.images import open_rgb
from superft_hf.sources.pixel_cache import Contents, PixelCache
from superft_hf.training.image_classification.draws import Draw
from superft_hf.training.image_classification.geometry import LARGEST_RATIO, Box, crop_and_resize, crop_box
from superft_hf.training.image_classification.pixels import PixelMap, eval_pixels
from superft_hf.training.image_classification.seen_box import seen_box

PREPARED_VERSION = 1
"""Goes up whenever the same file and settings give other pixels."""

SIDE_STEP = 16
"""Sides of reduced images are multiples of this, so that runs with nearly equal settings share a cache."""

_LANDSCAPE = (400, 250)
_SQUASH_TOLERANCE = 0.02


class ImageCaches:
    """Where the prepared images of a run are kept.

    Args:
        home: Of the run; None: nothing is kept.
        limit_gb: What all caches of the home may take, in units of 10⁹ bytes.
        title: Of the data set.
        catalogue: Its images; None: they were not opened, and nothing is kept.
    """

    def __init__(self, home: Path | None, limit_gb: float, title: str, catalogue: Catalogue | None) -> None:
        self._home = home
        self._limit_bytes = int(limit_gb * 1e9)
        self._title = title
        self._catalogue = catalogue

    def open(self, way: "WholeWay | SeenWay", example_ids: Sequence[str]) -> "Kept":
        """The place of the images of a split that are prepared in one way."""
        if self._home is None or self._catalogue is None:
            return Kept()
        images = self._catalogue
        shapes = way.stored(images.sizes[:, 1], images.sizes[:, 0])
        parts = [PREPARED_VERSION, PIL.__version__, torch.__version__, way.fingerprint, images.fingerprint]
        key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
        contents = Contents(key, self._title, way.words, 3 * shapes.prod(axis=1))
        rows = images.rows(example_ids)
        cache = open_cache(HomePaths(self._home).image_caches, contents, rows, self._limit_bytes)
        return Kept(cache, rows, shapes[rows])


@dataclass(frozen=True)
class Kept:
    """The place of a split's images; by default there is none.

    Attributes:
        cache: Where they are kept.
        rows: Their positions there, shape (N,), dtype int64.
        shapes: Heights and widths, shape (N, 2), dtype int64.
    """

    cache: PixelCache | None = None
    rows: np.ndarray | None = None
    shapes: np.ndarray | None = None

    def read(self, index: int) -> tuple[torch.Tensor, bool] | None:
        """The image at a position in the split: its bytes, and whether they are exact; None: prepare it."""
        found = None if self.cache is None else self.cache.read(int(self.rows[index]))
        return found and (torch.from_numpy(found[0]), found[1])

    def write(self, index: int, pixels: torch.Tensor, *, is_exact: bool = True) -> None:
        """Keeps what was prepared, if there is room for it."""
        if self.cache is not None:
            self.cache.write(int(self.rows[index]), pixels.numpy(), is_exact=is_exact)


@dataclass(frozen=True)
class WholeWay:
    """How whole images are reduced for random crops.

    Attributes:
        height: What an image's height is reduced to, at least, in pixels; a smaller one stays.
        width: Likewise.
        is_squashed: Whether each side is reduced on its own, and crops have their shapes in a picture of
            height × width; otherwise the image keeps its shape, and both sides are at least so long.
    """

    height: int
    width: int
    is_squashed: bool

    @property
    def words(self) -> str:
        """For people."""
        shape = "squashed" if self.is_squashed else "in their own shapes"
        return f"whole, {shape}, for crops from {self.height} × {self.width} px"

    @property
    def fingerprint(self) -> str:
        """Equal for equal ways."""
        return self.words

    def stored(self, height: np.ndarray, width: np.ndarray) -> np.ndarray:
        """Height and width to which images are reduced.

        Args:
            height: Of N images in pixels, shape (N,).
            width: Likewise.

        Returns:
            Shape (N, 2), dtype int64.
        """
        if self.is_squashed:
            return np.stack([np.minimum(height, self.height), np.minimum(width, self.width)], axis=-1)
        scale = np.minimum(1, np.maximum(self.height / height, self.width / width))
        return np.rint(np.stack([height * scale, width * scale], axis=-1)).astype(np.int64)

    def crop(self, draws: np.ndarray, height: int, width: int, crop_scale: float) -> Box:
        """The part of a reduced image that is trained on, see crop_box.

        In an image that keeps its shape and is longer than 4 : 3, `crop_scale` is a share of its largest
        part that is not: a crop of nearly all of it would have to be squashed, which evaluation never shows.
        """
        if not self.is_squashed:
            shortened = min(height, round(LARGEST_RATIO * width)), min(width, round(LARGEST_RATIO * height))
            box = crop_box(draws, *shortened, crop_scale)
            top = int(float(draws[Draw.CROP_TOP]) * (height - box.height + 1))
            left = int(float(draws[Draw.CROP_LEFT]) * (width - box.width + 1))
            return Box(top, left, box.height, box.width)
        box = crop_box(draws, self.height, self.width, crop_scale)
        top, tall = _scaled(box.top, box.height, height, self.height)
        left, wide = _scaled(box.left, box.width, width, self.width)
        return Box(top, left, tall, wide)


@dataclass(frozen=True)
class SeenWay:
    """What a processor shows of images.

    Attributes:
        height: In pixels.
        width: Likewise.
        fingerprint: Equal for processors that show the same.
    """

    height: int
    width: int
    fingerprint: str

    @property
    def words(self) -> str:
        """For people."""
        return f"as the network sees them, {self.height} × {self.width} px"

    def stored(self, height: np.ndarray, width: np.ndarray) -> np.ndarray:
        """Height and width of each picture, shape (N, 2)."""
        return np.tile(np.array([self.height, self.width], dtype=np.int64), (len(height), 1))


def whole_way(processor: BaseImageProcessor, crop_scale: float, size: tuple[int, int]) -> WholeWay:
    """How to reduce images for random crops.

    Args:
        processor: Of the model.
        crop_scale: Smallest share of the area that a crop keeps.
        size: Height and width of crops once they are resized.
    """
    left, top, right, bottom = seen_box(processor, _LANDSCAPE)
    is_squashed = abs((right - left) - (bottom - top)) < _SQUASH_TOLERANCE
    height, width = (SIDE_STEP * math.ceil(side / math.sqrt(crop_scale) / SIDE_STEP) for side in size)
    return WholeWay(height, width, is_squashed)


class WholeImages:
    """The images of a split, reduced for random crops.

    Args:
        split: N images.
        way: How they are reduced.
        kept: Where they are kept.
        crop_scale: Smallest share of the area that a crop keeps.
        size: Height and width of crops once they are resized, H and W.
    """

    def __init__(
        self, split: ImageSplit, way: WholeWay, kept: Kept, crop_scale: float, size: tuple[int, int]
    ) -> None:
        self._split = split
        self._way = way
        self._kept = kept
        self._crop_scale = crop_scale
        self._size = size

    def pixels(self, index: int, draws: np.ndarray) -> torch.Tensor:
        """The crop that a row of draws asks for, uint8 of shape (3, H, W)."""
        image = self.whole(index)
        box = self._way.crop(draws, image.shape[1], image.shape[2], self._crop_scale)
        return crop_and_resize(image, box, self._size)

    def whole(self, index: int) -> torch.Tensor:
        """The reduced image, uint8 of shape (3, h, w), its memory as (h, w, 3)."""
        found = self._kept.read(index)
        if found is not None:
            return found[0].view(*self._kept.shapes[index].tolist(), 3).permute(2, 0, 1)
        made = self._prepare(index)
        self._kept.write(index, made)
        return made.permute(2, 0, 1)

    def _prepare(self, index: int) -> torch.Tensor:
        """Decodes and reduces an image: uint8 of shape (h, w, 3), contiguous."""
        sizes: list[tuple[int, int]] = []

        def needed(height: int, width: int) -> tuple[int, int]:
            sizes.append(tuple(self._way.stored(np.array(height), np.array(width)).tolist()))
            return sizes[0]

        opened = open_rgb(self._split.encoded(index), needed)
        size = sizes[0] if sizes else needed(opened.height, opened.width)
        image = torch.from_numpy(np.array(opened)).permute(2, 0, 1)
        return crop_and_resize(image, Box(0, 0, *image.shape[1:]), size).permute(1, 2, 0).contiguous()


class SeenImages:
    """The images of a split as a processor shows them.

    They are kept as uint8, which is exact where the processor itself resizes in uint8 before it normalises.
    Whether it did is checked for each image when it is kept.

    Args:
        split: N images.
        processor: Of the model.
        pixel_map: Its arithmetic.
    """

    def __init__(self, split: ImageSplit, processor: BaseImageProcessor, pixel_map: PixelMap) -> None:
        self._split = split
        self._processor = processor
        self._pixel_map = pixel_map
        self._kept = Kept()
        self._levels: np.ndarray | None = None
        self._channels = _channel_order(pixel_map)

    @property
    def shape(self) -> tuple[int, int, int]:
        """3, H and W."""
        return 3, self._pixel_map.height, self._pixel_map.width

    def keep(self, caches: ImageCaches, example_ids: Sequence[str]) -> "SeenImages":
        """Itself, from now on with a place to keep its images."""
        way = SeenWay(*self.shape[1:], _processor_fingerprint(self._processor))
        self._kept = caches.open(way, example_ids)
        if self._kept.cache is not None and self._channels is not None:
            self._levels = self._kept.cache.array("levels", (3, 256), lambda: _levels(self._processor))
        return self

    def fill_values(self, index: int, out: np.ndarray) -> None:
        """Writes what the processor makes of an image, to the bit, into float32 of shape (3, H, W)."""
        found = self._kept.read(index)
        if found is None or not found[1] or self._levels is None:
            out[...] = self._prepare(index)[0].numpy()
            return
        pixels = found[0].view(self.shape).numpy()
        for channel, source in enumerate(self._channels):
            np.take(self._levels[channel], pixels[source], out=out[channel], mode="clip")

    def pixels(self, index: int, draws: np.ndarray) -> torch.Tensor:
        """The same as colours, uint8 of shape (3, H, W); the draws do not matter."""
        found = self._kept.read(index)
        return self._prepare(index)[1] if found is None else found[0].view(self.shape)

    def _prepare(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """`pixel_values` and the colours they were made of."""
        values = eval_pixels(self._processor, open_rgb(self._split.encoded(index)))
        pixels = _colours(values, self._pixel_map)
        is_exact = self._levels is not None and all(
            np.array_equal(self._levels[channel][pixels[source].numpy()], values[channel].numpy())
            for channel, source in enumerate(self._channels)
        )
        self._kept.write(index, pixels, is_exact=is_exact)
        return values, pixels


def _scaled(start: int, length: int, size: int, frame: int) -> tuple[int, int]:
    """Start and length, in an image of `size`, of what they are in a frame of another size."""
    first, last = round(start * size / frame), round((start + length) * size / frame)
    first = min(first, size - 1)
    return first, max(1, last - first)


def _colours(values: torch.Tensor, pixel_map: PixelMap) -> torch.Tensor:
    """The uint8 RGB whose normalisation comes nearest to `pixel_values` (3, H, W)."""
    plain = values - pixel_map.offset.view(3, 1, 1)
    if pixel_map.is_diagonal:
        colours = plain / pixel_map.matrix.diagonal().view(3, 1, 1)
    else:
        colours = torch.einsum("ij,jhw->ihw", torch.linalg.inv(pixel_map.matrix), plain)
    return colours.round_().clamp_(0, 255).to(torch.uint8)


def _channel_order(pixel_map: PixelMap) -> list[int] | None:
    """Which of red, green and blue each channel of `pixel_values` is made of; None: of several."""
    matrix = pixel_map.matrix
    order = matrix.abs().argmax(dim=1).tolist()
    is_plain = int(matrix.count_nonzero()) == 3 and sorted(order) == [0, 1, 2]
    return order if is_plain else None


def _levels(processor: BaseImageProcessor) -> np.ndarray:
    """What a processor makes of each of 256 greys, shape (3, 256), float32."""
    answers = [eval_pixels(processor, Image.new("RGB", (32, 32), (level,) * 3)) for level in range(256)]
    middle = [one[:, one.shape[1] // 2, one.shape[2] // 2] for one in answers]
    return torch.stack(middle, dim=1).numpy()


def _processor_fingerprint(processor: BaseImageProcessor) -> str:
    """Read off its answers, like all we know of a processor: to a wide and a small, tall picture of noise."""
    noise, found = np.random.default_rng(0), hashlib.sha256()
    for shape in ((250, 400, 3), (45, 30, 3)):
        picture = Image.fromarray(noise.integers(0, 256, shape, dtype=np.uint8))
        found.update(eval_pixels(processor, picture).numpy().tobytes())
    return found.hexdigest()
