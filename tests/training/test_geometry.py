"""Random crops keep what they promise, and the resize is the usual one."""

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as v2

from superft_hf.training.image_classification.draws import NUM_DRAWS, Draw, EpochDraws
from superft_hf.training.image_classification.geometry import Box, crop_and_resize, crop_box


def row(**values: float) -> np.ndarray:
    """Draws of one half, except those named."""
    draws = np.full(NUM_DRAWS, 0.5, np.float32)
    for name, value in values.items():
        draws[Draw[name]] = value
    return draws


def test_crop_box__by_hand():
    # Half of 100 × 200: no higher than a square of 100 px, which is in the middle of the free 100 px.
    assert crop_box(row(CROP_AREA=1.0, CROP_RATIO=0.0), 100, 200, 0.5) == Box(0, 50, 100, 100)
    # A quarter of 120 × 120 with the widest ratio, 4/3: sides of 60·√(3/4) and 60·√(4/3), in a corner.
    box = crop_box(row(CROP_AREA=1.0, CROP_RATIO=1.0, CROP_TOP=0, CROP_LEFT=0), 120, 120, 0.25)
    assert box == Box(0, 0, 52, 69)


def test_crop_box__1_is_the_whole_image():
    assert crop_box(row(CROP_AREA=0.9), 31, 77, 1.0) == Box(0, 0, 31, 77)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (48, 100), (20, 300), (300, 20), (1, 1), (7, 5)])
@pytest.mark.parametrize("scale", [0.08, 0.7, 0.95])
def test_crop_box__lies_inside_and_keeps_its_share_of_any_shape(height, width, scale):
    boxes = [crop_box(draws, height, width, scale) for draws in EpochDraws(0).rows(0, np.arange(500))]
    for box in boxes:
        assert min(box.top, box.left) >= 0
        assert 1 <= box.height <= height - box.top
        assert 1 <= box.width <= width - box.left
        assert (box.height + 0.5) * (box.width + 0.5) >= scale * height * width - 1e-3


def test_crop_box__areas_ratios_and_places_are_spread_as_said():
    boxes = np.array([crop_box(one, 1000, 1000, 0.2) for one in EpochDraws(3).rows(1, np.arange(4000))])
    top, left, height, width = boxes.T
    share, ratio = height * width / 1e6, np.log(width / height)
    assert share.min() == pytest.approx(0.2, abs=0.005)
    assert np.mean(share) == pytest.approx(0.6, abs=0.02)
    assert np.mean(ratio) == pytest.approx(0, abs=0.02)
    assert np.abs(ratio).max() == pytest.approx(np.log(4 / 3), abs=0.01)
    assert np.mean(top / (1001 - height)) == pytest.approx(0.5, abs=0.02)
    assert np.mean(left / (1001 - width)) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("is_channels_last", [False, True])
def test_crop_and_resize__is_torchvisions_antialiased_resize_of_the_crop(is_channels_last):
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 60, 90), np.uint8))
    if is_channels_last:
        image = image.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    made = crop_and_resize(image, Box(5, 10, 40, 70), (32, 24))
    assert made.dtype == torch.uint8
    assert torch.equal(made, v2.resized_crop(image, 5, 10, 40, 70, [32, 24], antialias=True))


def test_crop_and_resize__leaves_what_fits_as_it_is():
    image = torch.arange(3 * 8 * 8, dtype=torch.uint8).view(3, 8, 8)
    assert torch.equal(crop_and_resize(image, Box(2, 1, 4, 5), (4, 5)), image[:, 2:6, 1:6])
