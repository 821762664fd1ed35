"""From an RGB image to `pixel_values`.

Eval pixels are what the model's own image processor makes, the one that is saved in `model/`. Training pixels
are cropped, mirrored and so on at the processor's output size, and then normalised exactly as the processor
does: its arithmetic is read off its answers to images of one colour, whatever its class.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from PIL import Image
from transformers import BaseImageProcessor

from superft_hf.errors import ModelError


@dataclass(frozen=True)
class PixelMap:
    """A processor's normalisation: `pixel_values = matrix @ rgb + offset`.

    Attributes:
        height: Of the processor's output, in pixels.
        width: Likewise.
        matrix: Shape (3, 3); diagonal unless the processor reorders channels.
        offset: Shape (3,).
        is_diagonal: Whether the matrix is.
    """

    height: int
    width: int
    matrix: torch.Tensor
    offset: torch.Tensor
    is_diagonal: bool

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Turns RGB in [0, 255] of shape (B, 3, H, W) into float32 `pixel_values` of the same shape."""
        values = pixels.float()
        if self.is_diagonal:
            return values * self.matrix.diagonal().view(3, 1, 1) + self.offset.view(3, 1, 1)
        return torch.einsum("ij,bjhw->bihw", self.matrix, values) + self.offset.view(3, 1, 1)

    def on(self, device: torch.device) -> "PixelMap":
        """The same map for pixels on a device."""
        return replace(self, matrix=self.matrix.to(device), offset=self.offset.to(device))


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
    matrix = torch.stack(columns, dim=1)
    is_diagonal = torch.equal(matrix, torch.diag(matrix.diagonal()))
    found = PixelMap(height, width, matrix, offset, is_diagonal)
    probe = torch.tensor([10, 100, 200], dtype=torch.uint8).view(1, 3, 1, 1)
    if not torch.allclose(
        found(probe)[0, :, 0, 0], answer((10, 100, 200))[:, height // 2, width // 2], atol=1e-3
    ):
        raise ModelError(
            "The image processor of this model is not linear in the colours.", hint="Choose another model."
        )
    return found


@contextmanager
def one_thread() -> Iterator[None]:
    """Runs its body with one torch thread: on small images many threads mostly wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
