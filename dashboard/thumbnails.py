"""Square thumbnails of images, the same everywhere on the Start page."""

from PIL import Image, ImageOps

from superft_hf.sources.images import open_rgb

SIDE = 192
"""Height and width in pixels."""


def thumbnail(encoded: bytes) -> Image.Image | None:
    """The middle of an image as a square; None when it cannot be decoded."""
    try:
        image = open_rgb(encoded)
    except ValueError:
        return None
    is_small = max(image.size) < SIDE / 2
    method = Image.Resampling.NEAREST if is_small else Image.Resampling.LANCZOS
    return ImageOps.fit(image, (SIDE, SIDE), method)
