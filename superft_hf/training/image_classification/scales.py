"""The size of a step's images: progressive resizing and training at several scales.

It is a function of (seed, step, number of steps), so that a resumed run sees the same sizes.
"""

import inspect
import math
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel

from superft_hf.config import AugmentationConfig
from superft_hf.errors import ModelError

GROWING_SHARE = 2 / 3
"""Share of the steps in which progressive resizing grows; the rest train at the whole size."""

COARSE, FINE = 32, 8
"""Sizes are multiples of COARSE px, the stride of most networks, or of FINE px for images of few pixels."""

POSITIONS = "interpolate_pos_encoding"
"""What transformers calls the argument of `forward` that lets position embeddings fit other sizes."""

SMALL_SIDE = 128
"""Images whose shorter side is below this have few pixels."""


class StepSizes:
    """Height and width of the images of each step.

    The full size is always one of them; the others are multiples of `multiple`.

    Args:
        config: With progressive resizing decided.
        seed: `training.seed`.
        size: The full height and width.
        multiple: See size_multiple.

    Example:
        >>> sizes = StepSizes(AugmentationConfig(progressive_resizing=0.5), 42, (224, 224), 32)
        >>> [sizes(step, 9)[0] for step in range(9)]
        [128, 128, 160, 160, 192, 192, 224, 224, 224]
    """

    def __init__(self, config: AugmentationConfig, seed: int, size: tuple[int, int], multiple: int) -> None:
        self._start = 1.0 if config.progressive_resizing is None else config.progressive_resizing
        self._change = config.multi_scale
        self._seed = seed
        self._size = size
        self._multiple = multiple

    @property
    def varies(self) -> bool:
        """Whether any step has another size than the full one."""
        return self._start < 1 or self._change > 0

    @property
    def extremes(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """The smallest and the largest size that a step can have."""
        return self._rounded(self._start * (1 - self._change)), self._rounded(1 + self._change)

    def __call__(self, step: int, max_steps: int) -> tuple[int, int]:
        """Height and width in update `step`, counted from 0, of `max_steps`."""
        progress = min(1.0, step / max(1, max_steps) / GROWING_SHARE)
        scale = self._start + (1 - self._start) * progress
        if self._change:
            draw = np.random.default_rng([self._seed, step]).random()
            scale *= 1 + self._change * (2 * draw - 1)
        return self._rounded(scale)

    def _rounded(self, scale: float) -> tuple[int, int]:
        height, width = (self._nearest(side, scale * side) for side in self._size)
        return height, width

    def _nearest(self, full: int, wanted: float) -> int:
        below = max(1, math.floor(wanted / self._multiple)) * self._multiple
        return min((full, below + self._multiple, below), key=lambda side: abs(side - wanted))


def resize(pixels: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Resizes a batch of uint8 pixels (B, 3, H, W), bilinear and antialiased."""
    if tuple(pixels.shape[2:]) == size:
        return pixels
    if pixels.device.type == "cpu":  # only there is there a kernel for uint8
        return functional.interpolate(pixels, size=size, mode="bilinear", antialias=True)
    resized = functional.interpolate(pixels.float(), size=size, mode="bilinear", antialias=True)
    return resized.round_().clamp_(0, 255).to(torch.uint8)


def size_multiple(model: nn.Module, size: tuple[int, int]) -> int:
    """What the sides of a step's images are multiples of, in pixels; of the patches if the model has such.

    Example:
        >>> size_multiple(nn.Identity(), (224, 224)), size_multiple(nn.Identity(), (32, 32))
        (32, 8)
    """
    multiple = FINE if min(size) < SMALL_SIDE else COARSE
    patch = _patch_size(model)
    return multiple if multiple % patch == 0 else patch


def allow_other_sizes(model: PreTrainedModel, sizes: StepSizes, name: str) -> None:
    """Lets a model take images of every size that a step can have.

    Position embeddings are interpolated where the network's code offers to. Nothing changes at its own size,
    and nothing of it is saved.

    Raises:
        ModelError: If the model takes its own size only.
    """
    takes = (one for one in model.modules() if POSITIONS in inspect.signature(one.forward).parameters)
    outermost = next(takes, None)
    if outermost is not None:
        outermost.register_forward_pre_hook(_interpolate_positions, with_kwargs=True)
    if hasattr(model, "timm_model"):
        _make_dynamic(model.timm_model)
    for size in sizes.extremes:
        if not can_take(model, size):
            raise ModelError(
                f"The model {name} takes images of its own size only, not of {size[0]} × {size[1]} px.",
                hint="Set augmentation.multi_scale to 0 and augmentation.progressive_resizing to 1.",
            )


def can_take(model: nn.Module, size: tuple[int, int]) -> bool:
    """Whether a model makes logits of images of height and width `size`: it is tried out."""
    parameter = next(model.parameters())
    was_training = [one for one in model.modules() if one.training]
    model.eval()
    try:
        with torch.no_grad():
            model(pixel_values=torch.zeros(1, 3, *size, device=parameter.device, dtype=parameter.dtype))
    except (ValueError, RuntimeError, AssertionError, IndexError):
        return False
    finally:
        for one in was_training:
            one.training = True
    return True


def _interpolate_positions(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Asks a transformers model for it, unless the images have the size of its embeddings."""
    pixel_values = kwargs.get("pixel_values", args[0] if args else None)
    config = getattr(module.config, "vision_config", module.config)
    side = getattr(config, "image_size", None)
    own = side if isinstance(side, (list, tuple)) else [side] * 2
    if pixel_values is None or list(pixel_values.shape[2:]) == list(own):
        return args, kwargs
    return args, {**kwargs, POSITIONS: True}


def _make_dynamic(network: nn.Module) -> None:
    """What timm's vision transformers do with `dynamic_img_size=True`, on one that is made already."""
    from timm.layers import Format, PatchEmbed  # here, where it is imported anyway: it takes a second

    if getattr(network, "dynamic_img_size", None) is False and isinstance(network.patch_embed, PatchEmbed):
        network.dynamic_img_size = True
        network.patch_embed.strict_img_size = False
        network.patch_embed.flatten = False
        network.patch_embed.output_fmt = Format.NHWC


def _patch_size(model: nn.Module) -> int:
    """Side of the patches that a model cuts images into; 1 when it does not."""
    network = getattr(model, "timm_model", None)
    if network is not None:
        found = getattr(getattr(network, "patch_embed", None), "patch_size", 1)
    else:
        found = getattr(getattr(model, "config", None), "patch_size", 1)
    if isinstance(found, int):
        return found
    sides = [side for side in found if isinstance(side, int)] if isinstance(found, (tuple, list)) else []
    return math.lcm(*sides) if sides else 1
