"""RandAugment and TrivialAugment are torchvision's, for a batch and from draws."""

import numpy as np
import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from superft_hf.training.image_classification import augmentation
from superft_hf.training.image_classification.drawn_operations import (
    OPERATIONS,
    TRANSLATED_SIDE,
    DrawnOperations,
    apply_operations,
    value_table,
)
from superft_hf.training.image_classification.draws import NUM_DRAWS, Draw, EpochDraws

SPACES = {
    "rand_augment": v2.RandAugment._AUGMENTATION_SPACE,
    "trivial_augment": v2.TrivialAugmentWide._AUGMENTATION_SPACE,
}
NAMES = [operation.name for operation in OPERATIONS]


@pytest.fixture(scope="module")
def picture() -> torch.Tensor:
    """A smooth colourful picture in a grey frame, so that what comes from outside looks alike everywhere."""
    noise = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 40, 40), np.uint8))
    smooth = functional.autocontrast(functional.gaussian_blur(noise, [5, 5])) // 2 + 40
    return functional.pad(smooth, [4], fill=augmentation.GREY)


def test_the_operations_are_torchvisions():
    for space in SPACES.values():
        assert list(space) == NAMES
        assert [signed for _, signed in space.values()] == [one.is_signed for one in OPERATIONS]


@pytest.mark.parametrize("kind", SPACES)
def test_value_table__is_torchvisions_at_every_strength(kind):
    for row, (values, _) in zip(value_table(kind), SPACES[kind].values(), strict=True):
        expected = values(31, TRANSLATED_SIDE, TRANSLATED_SIDE)
        if expected is None:
            continue
        name = NAMES[list(SPACES[kind].values()).index((values, _))]
        unit = {"Solarize": 1 / 255, "TranslateX": TRANSLATED_SIDE, "TranslateY": TRANSLATED_SIDE}.get(
            name, 1
        )
        assert torch.allclose(row * unit, expected.float(), atol=1e-4), name


@pytest.mark.parametrize("kind", SPACES)
@pytest.mark.parametrize("name", NAMES)
def test_each_operation__is_torchvisions(kind, name, picture):
    number, reference = NAMES.index(name), v2.RandAugment()
    signs = (1, -1) if OPERATIONS[number].is_signed else (1,)
    for value in [value_table(kind)[number, strength] * sign for strength in (0, 9, 30) for sign in signs]:
        magnitude = float(value) / 255 if name == "Solarize" else float(value)
        if name.startswith("Translate"):
            magnitude *= picture.shape[1]

        def transformed(image: torch.Tensor, fill: int | None, magnitude: float = magnitude) -> torch.Tensor:
            return reference._apply_image_or_video_transform(
                image, name, magnitude, interpolation="bilinear", fill={torch.Tensor: fill}
            )

        made = apply_operations(picture[None], torch.tensor([number]), value[None])[0]
        assert made.dtype == torch.uint8
        different = (made.int() - transformed(picture, augmentation.GREY).int()).abs() > 1
        if name in ("ShearX", "ShearY", "Rotate"):  # torchvision fills by a mask, and counts its edge twice
            mask = transformed(torch.full_like(picture, 255), None)
            different &= (mask == 0) | (mask == 255)
        assert not different.any(), float(value)


def test_apply_operations__one_for_each_image_and_alike_on_a_gpu(picture, monkeypatch):
    batch = picture.expand(len(OPERATIONS), -1, -1, -1)
    numbers, values = torch.arange(len(OPERATIONS)), value_table("rand_augment")[:, 20]
    made = apply_operations(batch, numbers, values)
    for number in range(len(OPERATIONS)):
        alone = apply_operations(picture[None], numbers[number : number + 1], values[number : number + 1])
        assert torch.equal(made[number], alone[0]), NAMES[number]
    assert sum(torch.equal(one, picture) for one in made) == 1  # Identity
    monkeypatch.setattr(augmentation, "is_looking_free", lambda device: False)
    assert torch.equal(apply_operations(batch, numbers, values), made)


def test_rand_augment__does_two_operations_of_the_given_strength(picture):
    draws = torch.full((1, NUM_DRAWS), 0.9)
    first, second = NAMES.index("Posterize"), NAMES.index("Rotate")
    draws[0, Draw.OPERATION_1] = (first + 0.5) / len(OPERATIONS)
    draws[0, Draw.OPERATION_2] = (second + 0.5) / len(OPERATIONS)
    draws[0, Draw.SIGN_2] = 0.1
    made = DrawnOperations("rand_augment", 15)(picture[None], draws)
    expected = apply_operations(picture[None], torch.tensor([first]), torch.tensor([6.0]))
    expected = apply_operations(expected, torch.tensor([second]), torch.tensor([-15.0]))
    assert torch.equal(made, expected)


def test_trivial_augment__does_one_operation_of_a_drawn_strength(picture):
    draws = torch.full((1, NUM_DRAWS), 0.9)
    number = NAMES.index("Solarize")
    draws[0, Draw.OPERATION_1] = (number + 0.5) / len(OPERATIONS)
    draws[0, Draw.STRENGTH_1] = 15.5 / 31
    made = DrawnOperations("trivial_augment", 0)(picture[None], draws)
    assert torch.equal(made, apply_operations(picture[None], torch.tensor([number]), torch.tensor([127.5])))


def test_operations_and_strengths__are_drawn_equally_often():
    rows = torch.from_numpy(EpochDraws(0).rows(0, np.arange(14_000)))
    drawn = DrawnOperations("trivial_augment", 9)
    numbers, values = drawn._drawn(rows, Draw.OPERATION_1, Draw.STRENGTH_1, Draw.SIGN_1)
    assert torch.bincount(numbers, minlength=14).tolist() == pytest.approx([1000] * 14, abs=160)
    angles = values[numbers == NAMES.index("Rotate")]
    assert len(angles.abs().unique()) == 31
    assert (angles[angles != 0] < 0).float().mean().item() == pytest.approx(0.5, abs=0.08)
