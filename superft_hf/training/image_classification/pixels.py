"""From an RGB image to `pixel_values`.

Eval pixels are what the model's own image processor makes, the one that is saved in `model/`. Training pixels
are cropped, mirrored and so on at the processor's output size, and then normalised exactly as the processor
does: its arithmetic is read off its answers to images of one colour, whatever its class.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from PIL import Image
from torchvision.transforms import v2
from transformers import BaseImageProcessor

from superft_hf.config import AugmentationConfig
from superft_hf.errors import ModelError
from superft_hf.recipe.presets import Steps, augmentation_steps

ERASED = 127
"""Grey value of erased rectangles."""


@dataclass(frozen=True)
class PixelMap:
    """A processor's normalisation: `pixel_values = matrix @ rgb + offset`.

    Attributes:
        height: Of the processor's output, in pixels.
        width: Likewise.
        matrix: Shape (3, 3); diagonal unless the processor reorders channels.
        offset: Shape (3,).
    """

    height: int
    width: int
    matrix: torch.Tensor
    offset: torch.Tensor

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Turns uint8 RGB of shape (B, 3, H, W) into float32 `pixel_values` of the same shape."""
        values = pixels.float()
        if torch.equal(self.matrix, torch.diag(self.matrix.diagonal())):
            return values * self.matrix.diagonal().view(3, 1, 1) + self.offset.view(3, 1, 1)
        return torch.einsum("ij,bjhw->bihw", self.matrix, values) + self.offset.view(3, 1, 1)


def eval_pixels(processor: BaseImageProcessor, image: Image.Image) -> torch.Tensor:
    """What the processor makes of an RGB image: float32 of shape (3, H, W)."""
    with one_thread():
        return processor(images=image, return_tensors="pt")["pixel_values"][0]


def read_pixel_map(processor: BaseImageProcessor) -> PixelMap:
    """Reads a processor's output size and normalisation off its answers.

    Raises:
        ModelError: If its output depends on the image's shape, or its normalisation is not linear.
    """

    def answer(colour: tuple[int, int, int], size: tuple[int, int] = (320, 320)) -> torch.Tensor:
        return eval_pixels(processor, Image.new("RGB", size, colour))

    black = answer((0, 0, 0))
    height, width = black.shape[1:]
    if answer((0, 0, 0), (400, 250)).shape != black.shape:
        raise ModelError(
            "The image processor of this model keeps the aspect ratio: its images do not fit into batches.",
            hint="Set model.image_size.",
        )
    offset = black[:, height // 2, width // 2]
    columns = []
    for channel in range(3):
        colour = [0, 0, 0]
        colour[channel] = 255
        middle = answer((colour[0], colour[1], colour[2]))[:, height // 2, width // 2]
        columns.append((middle - offset) / 255)
    found = PixelMap(height, width, torch.stack(columns, dim=1), offset)
    probe = torch.tensor([10, 100, 200], dtype=torch.uint8).view(1, 3, 1, 1)
    if not torch.allclose(
        found(probe)[0, :, 0, 0], answer((10, 100, 200))[:, height // 2, width // 2], atol=1e-3
    ):
        raise ModelError(
            "The image processor of this model is not linear in the colours.", hint="Choose another model."
        )
    return found


def make_augmentation(
    config: AugmentationConfig, pixel_map: PixelMap
) -> Callable[[Image.Image], torch.Tensor] | None:
    """The random transform of training images.

    Returns:
        A function from an RGB image to uint8 of shape (3, H, W) that draws from torch's global generator, or
        None when every step is off: then training images are eval images.
    """
    steps = augmentation_steps(config)
    if steps == Steps():
        return None
    size = (pixel_map.height, pixel_map.width)
    parts: list[torch.nn.Module] = []
    if steps.rotation:
        parts.append(
            v2.RandomRotation(steps.rotation, interpolation=v2.InterpolationMode.BILINEAR, fill=ERASED)
        )
    if steps.crop_scale < 1:
        parts.append(v2.RandomResizedCrop(size, scale=(steps.crop_scale, 1.0), antialias=True))
    else:
        parts.append(v2.Resize(size, antialias=True))
    if steps.horizontal_flip:
        parts.append(v2.RandomHorizontalFlip(steps.horizontal_flip))
    if steps.vertical_flip:
        parts.append(v2.RandomVerticalFlip(steps.vertical_flip))
    if steps.color_jitter:
        parts.append(v2.ColorJitter(steps.color_jitter, steps.color_jitter, steps.color_jitter))
    parts.append(v2.PILToTensor())
    if steps.random_erasing:
        parts.append(v2.RandomErasing(steps.random_erasing, value=ERASED))
    return v2.Compose(parts)


@contextmanager
def one_thread() -> Iterator[None]:
    """Runs its body with one torch thread: on small images many threads mostly wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
