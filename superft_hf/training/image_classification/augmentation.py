"""The steps of augmentation that change one image, each for a whole batch at once and on its device.

B is the number of images, K that of their draws, see draws. A step takes `pixels`, shape (B, 3, H, W), and
`draws`, shape (B, K), float32 in [0, 1), and returns pixels of the same shape; one that cannot be done in
uint8 returns float32 in [0, 255]. None draws itself, and none makes the host wait for a GPU: what an image
gets is decided by tensors, not by `if`.
"""

import math
from collections.abc import Callable

import torch
from torch.nn import functional

from superft_hf.training.image_classification.draws import Draw

GREY = 127
"""Colour of erased rectangles, and of what drawn operations move in from outside."""

GREY_WEIGHTS = (0.299, 0.587, 0.114)
"""Of red, green and blue in the grey value (ITU-R BT.601)."""

ERASED_AREA, ERASED_RATIO = (0.02, 1 / 3), (0.3, 10 / 3)
"""Share of the image, and height to width, of an erased rectangle (Zhong et al. 2020)."""


def is_looking_free(device: torch.device) -> bool:
    """Whether the values of tensors can be looked at without waiting for a device."""
    return device.type == "cpu"


def change_some(
    pixels: torch.Tensor, chosen: torch.Tensor, change: Callable[..., torch.Tensor], *values: torch.Tensor
) -> torch.Tensor:
    """Changes some images of a batch.

    Where looking is free, only the chosen images are worked on. Elsewhere all of them are, and the others
    thrown away: that takes a GPU less time than to tell the host which ones they are.

    Args:
        pixels: The batch.
        chosen: Which images, shape (B,), bool.
        change: Takes pixels of n images and n of each of the values; keeps shape and dtype.
        values: Each of shape (B, ...).
    """
    if not is_looking_free(pixels.device):
        return torch.where(chosen.view(-1, 1, 1, 1), change(pixels, *values), pixels)
    rows = chosen.nonzero()[:, 0]
    if len(rows) == 0:
        return pixels
    changed = pixels.clone()
    changed[rows] = change(pixels[rows], *(value[rows] for value in values))
    return changed


def mirror(pixels: torch.Tensor, draws: torch.Tensor, probability: float) -> torch.Tensor:
    """Swaps left and right of some images."""
    return change_some(pixels, draws[:, Draw.MIRROR] < probability, lambda some: some.flip(3))


def turn_over(pixels: torch.Tensor, draws: torch.Tensor, probability: float) -> torch.Tensor:
    """Swaps top and bottom of some images."""
    return change_some(pixels, draws[:, Draw.TURN_OVER] < probability, lambda some: some.flip(2))


def quarter_turns(pixels: torch.Tensor, draws: torch.Tensor, probability: float) -> torch.Tensor:
    """Turns some images by 90, 180 or 270 degrees alike, or by 180 where they are not square."""
    draw = draws[:, Draw.QUARTER]
    if pixels.shape[2] != pixels.shape[3]:
        return change_some(pixels, draw < probability, lambda some: some.flip(2, 3))
    third = probability / 3
    turned = change_some(pixels, draw < third, lambda some: some.rot90(1, (2, 3)))
    turned = change_some(turned, (draw >= third) & (draw < 2 * third), lambda some: some.flip(2, 3))
    last = (draw >= 2 * third) & (draw < probability)
    return change_some(turned, last, lambda some: some.rot90(3, (2, 3)))


def rotate(pixels: torch.Tensor, draws: torch.Tensor, largest: float) -> torch.Tensor:
    """Turns each image about its centre by an angle that is uniform within `largest` degrees to either side.

    The pixels at the edge go on outwards, so that a page or a scan keeps its own background.
    """
    angle = (2 * draws[:, Draw.ROTATION] - 1) * math.radians(largest)
    return resample(pixels, rotation_matrix(angle), padding="border")


def rotation_matrix(angle: torch.Tensor) -> torch.Tensor:
    """What `resample` takes to turn images clockwise by angles in radians, shape (B,)."""
    sine, cosine, zero = angle.sin(), angle.cos(), torch.zeros_like(angle)
    return torch.stack([cosine, sine, zero, -sine, cosine, zero], dim=1).view(-1, 2, 3)


def resample(pixels: torch.Tensor, matrix: torch.Tensor, padding: str) -> torch.Tensor:
    """Moves the pixels of each image by an affine map, bilinear.

    Args:
        pixels: The batch, uint8.
        matrix: Shape (B, 2, 3). With x to the right and y down from the centre, in pixels, the place
            `matrix @ (x, y, 1)` of the image comes to the place (x, y).
        padding: `border` continues the edge outwards, `grey` fills with GREY.
    """
    (height, width), shift = pixels.shape[2:], 0
    x = torch.arange(width, device=pixels.device) - (width - 1) / 2
    y = (torch.arange(height, device=pixels.device) - (height - 1) / 2).unsqueeze(1)
    to_x, to_y = (
        row[:, 0].view(-1, 1, 1) * x + row[:, 1].view(-1, 1, 1) * y + row[:, 2].view(-1, 1, 1)
        for row in matrix.unbind(1)
    )
    if padding == "border":
        to_x = to_x.clamp((1 - width) / 2, (width - 1) / 2)
        to_y = to_y.clamp((1 - height) / 2, (height - 1) / 2)
    else:
        shift = GREY  # grid_sample fills with 0
    grid = torch.stack([to_x * (2 / width), to_y * (2 / height)], dim=3)
    moved = functional.grid_sample(pixels.float() - shift, grid, align_corners=False)
    return (moved + shift).round_().clamp_(0, 255).to(torch.uint8)


def jitter_colours(pixels: torch.Tensor, draws: torch.Tensor, strength: float) -> torch.Tensor:
    """Changes brightness, then contrast, then saturation by factors uniform in 1 ± strength.

    As torchvision's ColorJitter in this order, in one pass: values are cut to [0, 255] once, at the end.
    """

    def factor(column: Draw) -> torch.Tensor:
        return (1 + (2 * draws[:, column] - 1) * strength).view(-1, 1, 1, 1)

    brightness, contrast, saturation = map(factor, (Draw.BRIGHTNESS, Draw.CONTRAST, Draw.SATURATION))
    grey = to_grey(pixels)
    gain = brightness * contrast
    offset = (1 - contrast) * brightness * grey.mean((2, 3), keepdim=True)
    base = grey.mul_((1 - saturation) * gain).add_(offset)
    return torch.addcmul(base, pixels.float(), saturation * gain).clamp_(0, 255)


def to_grey(pixels: torch.Tensor) -> torch.Tensor:
    """Grey values of shape (B, 1, H, W), float32."""
    red, green, blue = pixels.split(1, dim=1)
    grey = red * GREY_WEIGHTS[0]
    return grey.add_(green, alpha=GREY_WEIGHTS[1]).add_(blue, alpha=GREY_WEIGHTS[2])


def erase(pixels: torch.Tensor, draws: torch.Tensor, probability: float) -> torch.Tensor:
    """Blanks a rectangle of some images (Zhong et al. 2020), in GREY; a side that is too long is cut."""
    height, width = pixels.shape[2:]
    low, high = ERASED_AREA
    area = (low + draws[:, Draw.ERASE_AREA] * (high - low)) * height * width
    low, high = map(math.log, ERASED_RATIO)
    ratio = (low + draws[:, Draw.ERASE_RATIO] * (high - low)).exp()
    tall = (area * ratio).sqrt().round().clamp(1, height)
    wide = (area / ratio).sqrt().round().clamp(1, width)
    top = (draws[:, Draw.ERASE_TOP] * (height - tall + 1)).floor()
    left = (draws[:, Draw.ERASE_LEFT] * (width - wide + 1)).floor()
    inside = rectangle((height, width), top, left, top + tall, left + wide)
    chosen = (draws[:, Draw.ERASE] < probability).view(-1, 1, 1)
    return pixels.masked_fill((inside & chosen).unsqueeze(1), GREY)


def rectangle(
    size: tuple[int, int], top: torch.Tensor, left: torch.Tensor, bottom: torch.Tensor, right: torch.Tensor
) -> torch.Tensor:
    """Which places lie in rectangles, shape (B, H, W), bool.

    Args:
        size: H and W.
        top: First row of each rectangle, shape (B,).
        left: First column.
        bottom: The row after the last.
        right: The column after the last.
    """
    rows, columns = (torch.arange(length, device=top.device) for length in size)
    is_row = (rows >= top.unsqueeze(1)) & (rows < bottom.unsqueeze(1))
    is_column = (columns >= left.unsqueeze(1)) & (columns < right.unsqueeze(1))
    return is_row.unsqueeze(2) & is_column.unsqueeze(1)
