"""RandAugment (Cubuk et al. 2020) and TrivialAugment (Müller and Hutter 2021) for a whole batch at once.

Operations and strengths are torchvision's, of `v2.RandAugment` and `v2.TrivialAugmentWide`. Which operation
an image gets is read off its draws. Operations of one kind are one computation, whatever their parameters:
five are affine maps, four are blends of an image with a plainer one.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn
from torchvision.transforms.v2 import functional as v2

from superft_hf.training.image_classification.augmentation import (
    change_some,
    resample,
    rotation_matrix,
    to_grey,
)
from superft_hf.training.image_classification.draws import Draw

NUM_STRENGTHS = 31
"""Strengths are numbered from 0 to 30."""

TRANSLATED_SIDE = 224
"""TrivialAugment's 32 px are those of an image of so many px; smaller ones are moved less."""

_SLOTS = (
    (Draw.OPERATION_1, Draw.STRENGTH_1, Draw.SIGN_1),
    (Draw.OPERATION_2, Draw.STRENGTH_2, Draw.SIGN_2),
)


class Operation(NamedTuple):
    """One of the operations that are drawn from.

    Attributes:
        name: As torchvision spells it.
        rand: Value of RandAugment at the greatest strength; at strength 0 it is `weakest`.
        trivial: Likewise of TrivialAugment.
        weakest: Value at strength 0.
        is_signed: Whether the value is negated in half of the images.
    """

    name: str
    rand: float = 0.0
    trivial: float = 0.0
    weakest: float = 0.0
    is_signed: bool = False


OPERATIONS = (
    Operation("Identity"),
    Operation("ShearX", 0.3, 0.99, is_signed=True),
    Operation("ShearY", 0.3, 0.99, is_signed=True),
    Operation("TranslateX", 150 / 331, 32 / TRANSLATED_SIDE, is_signed=True),
    Operation("TranslateY", 150 / 331, 32 / TRANSLATED_SIDE, is_signed=True),
    Operation("Rotate", 30.0, 135.0, is_signed=True),
    Operation("Brightness", 0.9, 0.99, is_signed=True),
    Operation("Color", 0.9, 0.99, is_signed=True),
    Operation("Contrast", 0.9, 0.99, is_signed=True),
    Operation("Sharpness", 0.9, 0.99, is_signed=True),
    Operation("Posterize", 4.0, 2.0, weakest=8.0),
    Operation("Solarize", 0.0, 0.0, weakest=255.0),
    Operation("AutoContrast"),
    Operation("Equalize"),
)
"""Units: shear as a ratio, translation as a share of the side, rotation in degrees, blends as the factor less
1, Posterize in bits that are kept, Solarize the value from which on colours are inverted."""

_NUMBERS = {operation.name: number for number, operation in enumerate(OPERATIONS)}


class DrawnOperations(nn.Module):
    """Does to each image what its draws say.

    Args:
        kind: `rand_augment`, two operations of one strength, or `trivial_augment`, one of a drawn strength.
        strength: That of rand_augment, from 0 to 30.
    """

    def __init__(self, kind: str, strength: int) -> None:
        super().__init__()
        self._is_trivial = kind == "trivial_augment"
        self._strength = strength
        self.register_buffer("_values", value_table(kind))
        self.register_buffer("_signs", torch.tensor([-1.0 if one.is_signed else 1.0 for one in OPERATIONS]))

    def forward(self, pixels: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
        """Changed pixels of a batch, uint8 (B, 3, H, W); `draws` (B, K)."""
        for slot in _SLOTS[: 1 if self._is_trivial else 2]:
            pixels = apply_operations(pixels, *self._drawn(draws, *slot))
        return pixels

    def _drawn(
        self, draws: torch.Tensor, operation: Draw, strength: Draw, sign: Draw
    ) -> tuple[torch.Tensor, torch.Tensor]:
        numbers = (draws[:, operation] * len(OPERATIONS)).long()
        drawn = (draws[:, strength] * NUM_STRENGTHS).long()
        strengths = drawn if self._is_trivial else torch.full_like(drawn, self._strength)
        signs = torch.where(draws[:, sign] < 0.5, self._signs[numbers], 1.0)
        return numbers, self._values[numbers, strengths] * signs


def value_table(kind: str) -> torch.Tensor:
    """Value of each operation at each strength, before its sign, float32 (operations, NUM_STRENGTHS)."""
    share = torch.linspace(0, 1, NUM_STRENGTHS)
    ends = [one.trivial if kind == "trivial_augment" else one.rand for one in OPERATIONS]
    table = torch.stack(
        [one.weakest + share * (end - one.weakest) for one, end in zip(OPERATIONS, ends, strict=True)]
    )
    table[_NUMBERS["Posterize"]].round_()
    return table


def apply_operations(pixels: torch.Tensor, numbers: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """One operation for each image.

    Args:
        pixels: Shape (B, 3, H, W), uint8.
        numbers: Places in OPERATIONS, shape (B,), int64.
        values: Their values, shape (B,).
    """

    def between(first: str, last: str) -> torch.Tensor:
        return (numbers >= _NUMBERS[first]) & (numbers <= _NUMBERS[last])

    changes: tuple[tuple[torch.Tensor, Callable[..., torch.Tensor]], ...] = (
        (between("ShearX", "Rotate"), _move),
        (between("Brightness", "Sharpness"), _blend),
        (between("Posterize", "Posterize"), _posterize),
        (between("Solarize", "Solarize"), _solarize),
        (between("AutoContrast", "AutoContrast"), lambda some, *_: v2.autocontrast(some)),
        (between("Equalize", "Equalize"), lambda some, *_: v2.equalize(some)),
    )
    for chosen, change in changes:
        pixels = change_some(pixels, chosen, change, numbers, values)
    return pixels


def _move(pixels: torch.Tensor, numbers: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """The affine maps; shears begin at the upper left corner, as torchvision's do."""
    height, width = pixels.shape[2:]
    zero, one = torch.zeros_like(values), torch.ones_like(values)
    matrices = {
        "ShearX": [one, values, values * (height / 2), zero, one, zero],
        "ShearY": [one, zero, zero, values, one, values * (width / 2)],
        "TranslateX": [one, zero, -(values * width).trunc(), zero, one, zero],
        "TranslateY": [one, zero, zero, zero, one, -(values * height).trunc()],
    }
    matrix = rotation_matrix(-values * (math.pi / 180))
    for name, entries in matrices.items():
        is_this = (numbers == _NUMBERS[name]).view(-1, 1, 1)
        matrix = torch.where(is_this, torch.stack(entries, dim=1).view(-1, 2, 3), matrix)
    return resample(pixels, matrix, padding="grey")


def _blend(pixels: torch.Tensor, numbers: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """The blends with, or away from, a plainer image: black, its grey values, their mean, or blurred."""
    full = pixels.float()
    plain = torch.zeros_like(full)
    for name, make in (("Color", _grey), ("Contrast", _mean_grey), ("Sharpness", _blurred)):
        plain = change_some(plain, numbers == _NUMBERS[name], lambda _, some, make=make: make(some), full)
    factor = (1 + values).view(-1, 1, 1, 1)
    return full.mul_(factor).add_(plain.mul_(1 - factor)).clamp_(0, 255).to(torch.uint8)


def _grey(full: torch.Tensor) -> torch.Tensor:
    return to_grey(full).floor_().expand_as(full)


def _mean_grey(full: torch.Tensor) -> torch.Tensor:
    return to_grey(full).floor_().mean((2, 3), keepdim=True).expand_as(full)


def _blurred(full: torch.Tensor) -> torch.Tensor:
    """Means of 3 × 3 places of which the middle one counts five times; the outermost places stay."""
    blurred = full.clone()
    rows = full[:, :, :-2] + full[:, :, 1:-1] + full[:, :, 2:]
    sums = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    blurred[..., 1:-1, 1:-1] = sums.add_(full[..., 1:-1, 1:-1], alpha=4).div_(13).round_()
    return blurred


def _posterize(pixels: torch.Tensor, _numbers: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    lost = (8 - values).to(torch.int32).view(-1, 1, 1, 1)
    return ((pixels.to(torch.int32) >> lost) << lost).to(torch.uint8)


def _solarize(pixels: torch.Tensor, _numbers: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    return torch.where(pixels >= values.view(-1, 1, 1, 1), 255 - pixels, pixels)
