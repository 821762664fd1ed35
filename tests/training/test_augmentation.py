"""Each step seen in a batch: which pixels moved, and to what."""

import math

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as v2

from superft_hf.training.image_classification import augmentation
from superft_hf.training.image_classification.augmentation import (
    GREY,
    change_some,
    erase,
    jitter_colours,
    mirror,
    quarter_turns,
    rectangle,
    rotate,
    turn_over,
)
from superft_hf.training.image_classification.draws import NUM_DRAWS, Draw, EpochDraws


@pytest.fixture(params=[True, False], ids=["chosen images only", "all images, as on a GPU"])
def _both_ways(request, monkeypatch):
    monkeypatch.setattr(augmentation, "is_looking_free", lambda device: request.param)


def noise(count: int, height: int = 12, width: int = 12) -> torch.Tensor:
    made = np.random.default_rng(0).integers(0, 256, (count, 3, height, width), np.uint8)
    return torch.from_numpy(made)


def draws(count: int, **columns: list[float]) -> torch.Tensor:
    """Draws of one half, except the columns named."""
    made = torch.full((count, NUM_DRAWS), 0.5)
    for name, values in columns.items():
        made[:, Draw[name]] = torch.tensor(values)
    return made


@pytest.mark.usefixtures("_both_ways")
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
class TestWhichImagesChange:
    def test_mirror(self, layout):
        pixels = noise(4).contiguous(memory_format=layout)
        made = mirror(pixels, draws(4, MIRROR=[0.1, 0.6, 0.5, 0.49]), 0.5)
        assert torch.equal(made, torch.stack([pixels[0].flip(2), pixels[1], pixels[2], pixels[3].flip(2)]))

    def test_turn_over(self, layout):
        pixels = noise(3).contiguous(memory_format=layout)
        made = turn_over(pixels, draws(3, TURN_OVER=[0.1, 0.6, 0.29]), 0.3)
        assert torch.equal(made, torch.stack([pixels[0].flip(1), pixels[1], pixels[2].flip(1)]))

    def test_quarter_turns(self, layout):
        pixels = noise(4).contiguous(memory_format=layout)
        made = quarter_turns(pixels, draws(4, QUARTER=[0.1, 0.3, 0.5, 0.6]), 0.6)
        expected = [torch.rot90(pixels[place], place + 1, (1, 2)) for place in range(3)] + [pixels[3]]
        assert torch.equal(made, torch.stack(expected))

    def test_quarter_turns__of_images_that_are_not_square(self, layout):
        pixels = noise(2, 8, 12).contiguous(memory_format=layout)
        made = quarter_turns(pixels, draws(2, QUARTER=[0.1, 0.7]), 0.6)
        assert torch.equal(made, torch.stack([pixels[0].rot90(2, (1, 2)), pixels[1]]))

    def test_none_and_all(self, layout):
        pixels = noise(3).contiguous(memory_format=layout)
        chosen = torch.zeros(3, dtype=torch.bool)
        assert torch.equal(change_some(pixels, chosen, lambda some: 255 - some), pixels)
        assert torch.equal(change_some(pixels, ~chosen, lambda some: 255 - some), 255 - pixels)

    def test_values_go_with_their_images(self, layout):
        pixels = noise(3).contiguous(memory_format=layout)
        chosen, values = torch.tensor([True, False, True]), torch.tensor([1, 2, 3], dtype=torch.uint8)
        made = change_some(pixels, chosen, lambda some, add: some // 2 + add.view(-1, 1, 1, 1), values)
        assert torch.equal(made, torch.stack([pixels[0] // 2 + 1, pixels[1], pixels[2] // 2 + 3]))


def test_mirror__in_half_of_many():
    pixels = torch.tensor([0, 1], dtype=torch.uint8).expand(4000, 3, 1, 2)
    rows = torch.from_numpy(EpochDraws(5).rows(0, np.arange(4000)))
    share = mirror(pixels, rows, 0.5)[:, 0, 0, 0].float().mean().item()
    assert share == pytest.approx(0.5, abs=5 * 0.5 / math.sqrt(4000))


def test_quarter_turns__each_as_often_as_the_others():
    pixels = torch.tensor([[0, 1], [3, 2]], dtype=torch.uint8).expand(4000, 3, 2, 2)
    rows = torch.from_numpy(EpochDraws(5).rows(0, np.arange(4000)))
    first = quarter_turns(pixels, rows, 0.75)[:, 0, 0, 0]
    assert torch.bincount(first, minlength=4).tolist() == pytest.approx([1000] * 4, abs=5 * math.sqrt(1000))


@pytest.mark.parametrize("angle", [-30.0, 0.0, 11.5, 30.0])
def test_rotate__is_torchvisions_within_the_image(angle):
    smooth = v2.gaussian_blur(noise(1, 41, 33), [7, 7])
    made = rotate(smooth, draws(1, ROTATION=[(angle / 30 + 1) / 2]), 30.0)
    kept = v2.rotate(torch.full((1, 1, 41, 33), 255, dtype=torch.uint8), -angle, "bilinear")[0, 0] == 255
    inside = ~torch.nn.functional.max_pool2d((~kept)[None, None].float(), 3, 1, 1)[0, 0].bool()
    expected = v2.rotate(smooth, -angle, v2.InterpolationMode.BILINEAR)
    assert inside.float().mean() > 0.5
    assert (made.int() - expected.int())[..., inside].abs().max() <= 1


def test_rotate__continues_the_edge_outwards():
    page = torch.full((2, 3, 20, 20), 250, dtype=torch.uint8)
    page[..., 8:12, 8:12] = 0
    made = rotate(page, draws(2, ROTATION=[0.0, 1.0]), 45.0)
    assert (made[..., 0, :] == 250).all()
    assert (made[..., :, 0] == 250).all()
    assert (made[..., 10, 10] == 0).all()


def test_rotate__angles_are_spread_to_both_sides():
    # A dot right of the centre moves down when turned clockwise.
    pixels = torch.zeros(2000, 3, 21, 21, dtype=torch.uint8)
    pixels[:, :, 9:12, 18:21] = 255
    rows = torch.from_numpy(EpochDraws(0).rows(0, np.arange(2000)))
    mass = rotate(pixels, rows, 40.0)[:, 0].float()
    height = (mass.sum(2) * (torch.arange(21) - 10)).sum(1) / mass.sum((1, 2))
    assert height.mean().item() == pytest.approx(0, abs=0.5)
    assert torch.corrcoef(torch.stack([height, rows[:, Draw.ROTATION]]))[0, 1] > 0.99


def test_jitter_colours__is_torchvisions_colour_jitter_in_its_order():
    pixels = noise(3, 16, 16) // 3 + 60  # far from black and white, so that nothing is cut between
    columns = {"BRIGHTNESS": [0.0, 1.0, 0.7], "CONTRAST": [1.0, 0.2, 0.1], "SATURATION": [0.3, 0.0, 0.9]}
    made = jitter_colours(pixels, draws(3, **columns), 0.4)
    for place in range(3):
        factors = [1 + (2 * columns[name][place] - 1) * 0.4 for name in columns]
        expected = v2.adjust_brightness(pixels[place].float() / 255, factors[0])
        expected = v2.adjust_contrast(expected, factors[1])
        expected = v2.adjust_saturation(expected, factors[2]) * 255
        assert torch.allclose(made[place], expected, atol=0.1)


def test_jitter_colours__stays_within_the_colours():
    made = jitter_colours(noise(8), torch.from_numpy(EpochDraws(0).rows(0, np.arange(8))), 0.9)
    assert made.min() >= 0
    assert made.max() <= 255
    assert made.dtype == torch.float32


def test_erase__blanks_one_rectangle_of_the_images_drawn():
    pixels = torch.full((3, 3, 100, 100), 7, dtype=torch.uint8)
    columns = {
        "ERASE": [0.1, 0.3, 0.1], "ERASE_AREA": [0.0, 0.5, 1.0], "ERASE_RATIO": [0.5, 0.5, 1.0],
        "ERASE_TOP": [0.0, 0.5, 0.0], "ERASE_LEFT": [0.999, 0.5, 0.5],
    }  # fmt: skip
    made = erase(pixels, draws(3, **columns), 0.25)
    expected = pixels.clone()
    expected[0, :, :14, 86:] = GREY  # √(0.02 · 100²) = 14.1, in the upper right corner
    expected[2, :, :, 34:66] = GREY  # 105 × 32 is cut to the height of the image
    assert torch.equal(made, expected)


def test_erase__areas_are_as_in_the_paper():
    pixels = torch.zeros(2000, 3, 64, 64, dtype=torch.uint8)
    rows = torch.from_numpy(EpochDraws(0).rows(0, np.arange(2000)))
    share = (erase(pixels, rows, 0.4)[:, 0] == GREY).float().mean((1, 2))
    assert (share > 0).float().mean().item() == pytest.approx(0.4, abs=5 * 0.5 / math.sqrt(2000))
    erased = share[share > 0]
    assert 0.015 < erased.min() < 0.03
    assert 0.31 < erased.max() < 0.345
    assert erased.mean().item() == pytest.approx((0.02 + 1 / 3) / 2, abs=0.015)


def test_rectangle__by_hand():
    edges = [torch.tensor([value]) for value in (1, 0, 3, 2)]
    assert rectangle((3, 4), *edges)[0].tolist() == [
        [False, False, False, False],
        [True, True, False, False],
        [True, True, False, False],
    ]
