"""Looking at an image in several ways and averaging what the network says (test-time augmentation).

The views are made of `pixel_values`, so that they are those of the model's own image processor. The image as
it is comes first, in a forward pass of its own: whoever listens to the network then, such as the catcher of
features, hears that pass first and without the others in it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

CENTRE = 0.875
"""Share of height and width that the enlarged centre keeps: 224 of 256 pixels, the usual centre crop."""

AT_ONCE = 16
"""Further views of few images share a forward pass up to this number."""


@dataclass(frozen=True)
class ImageViews:
    """The views that `augmentation.test_time` names.

    Attributes:
        mode: `none`: each image as it is; `mirror`: its mirror image as well; `crops`: both, and the enlarged
            centre of both.
    """

    mode: str

    def __call__(self, model: nn.Module, pixel_values: torch.Tensor) -> torch.Tensor:
        """Logits (B, C) of `pixel_values` (B, 3, H, W), averaged over the views with equal weight.

        No forward pass is larger than B or AT_ONCE images, so a batch that fits for one view fits for all.
        """
        plain = model(pixel_values=pixel_values).logits
        if self.mode == "none":
            return plain
        size = max(len(pixel_values), AT_ONCE)
        further = [model(pixel_values=part).logits for part in _parts(self._further(pixel_values), size)]
        views = [plain, *torch.cat(further).split(len(pixel_values))]
        return torch.stack(views).float().mean(dim=0)

    def _further(self, pixel_values: torch.Tensor) -> Iterator[torch.Tensor]:
        """The views besides the image as it is, one (B, 3, H, W) after the other."""
        yield mirrored(pixel_values)
        if self.mode == "crops":
            centre = enlarged_centre(pixel_values)
            yield centre
            yield mirrored(centre)


def mirrored(pixel_values: torch.Tensor) -> torch.Tensor:
    """Images (B, 3, H, W) with left and right swapped."""
    return pixel_values.flip(-1)


def enlarged_centre(pixel_values: torch.Tensor) -> torch.Tensor:
    """The middle of images (B, 3, H, W), CENTRE of their sides, enlarged to their size."""
    height, width = pixel_values.shape[-2:]
    kept = (round(CENTRE * height), round(CENTRE * width))
    top, left = (height - kept[0]) // 2, (width - kept[1]) // 2
    middle = pixel_values[..., top : top + kept[0], left : left + kept[1]]
    return nn.functional.interpolate(middle, size=(height, width), mode="bilinear", align_corners=False)


def _parts(views: Iterator[torch.Tensor], size: int) -> Iterator[torch.Tensor]:
    """Views in parts of at most `size` images: several of few images together, of many one at a time."""
    waiting: list[torch.Tensor] = []
    for view in views:
        if waiting and sum(map(len, waiting)) + len(view) > size:
            yield torch.cat(waiting)
            waiting = []
        waiting.append(view)
    yield torch.cat(waiting) if len(waiting) > 1 else waiting[0]
