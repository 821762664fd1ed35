"""Mixup and CutMix against their papers' formulas."""

import numpy as np
import pytest
import torch
from scipy.stats import beta

from superft_hf.training.image_classification.draws import NUM_DRAWS, Draw, EpochDraws
from superft_hf.training.image_classification.mixing import Mixing, beta_quantiles, cutmix_mask, quantile


def draws(count: int, **columns: float) -> torch.Tensor:
    """Draws of one half, and in the first row what is named; other rows do not count."""
    made = torch.full((count, NUM_DRAWS), 0.5)
    for name, value in columns.items():
        made[0, Draw[name]] = value
        made[1:, Draw[name]] = 0.123
    return made


def noise(count: int = 4, side: int = 8) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, 3, side, side), np.uint8))


def test_mixup__blends_images_and_labels_by_the_same_share():
    pixels, labels = noise(), torch.tensor([2, 0, 1, 1])
    share = beta.ppf(0.7, 0.4, 0.4)
    mixed, shares = Mixing(0.4, 0.0, 3)(pixels, labels, draws(4, MIX_SHARE=0.7))
    following = pixels[[1, 2, 3, 0]].float()
    assert torch.allclose(mixed, share * pixels.float() + (1 - share) * following, atol=0.1)
    one_hot = torch.eye(3)[labels]
    assert torch.allclose(shares, share * one_hot + (1 - share) * one_hot[[1, 2, 3, 0]], atol=1e-3)
    assert torch.allclose(shares.sum(1), torch.ones(4))
    assert torch.equal(shares[2], torch.tensor([0.0, 1.0, 0.0]))  # blended with its own class


def test_cutmix__by_hand():
    # λ = 0.75 of Beta(1, 1) cuts half of each side: 4 of 8 px, about row 4 and column 2.
    pixels, labels = noise(), torch.tensor([0, 1, 0, 1])
    row = draws(4, MIX_SHARE=0.75, MIX_TOP=0.5, MIX_LEFT=0.25)
    mixed, shares = Mixing(0.0, 1.0, 2)(pixels, labels, row)
    expected = pixels.float()
    expected[:, :, 2:6, 0:4] = pixels[[1, 2, 3, 0]].float()[:, :, 2:6, 0:4]
    assert torch.equal(mixed, expected)
    assert torch.allclose(shares[0], torch.tensor([0.75, 0.25]))


def test_cutmix__the_labels_go_by_the_area_inside_the_image():
    # The same rectangle about the upper left corner: only 2 × 2 px of it lie inside.
    pixels, labels = noise(), torch.tensor([0, 1, 0, 1])
    row = draws(4, MIX_SHARE=0.75, MIX_TOP=0.0, MIX_LEFT=0.0)
    mixed, shares = Mixing(0.0, 1.0, 2)(pixels, labels, row)
    assert (mixed[0] != pixels[0]).any(0).nonzero().max(0).values.tolist() == [1, 1]
    assert torch.allclose(shares[0], torch.tensor([60 / 64, 4 / 64]))


@pytest.mark.parametrize("size", [(224, 224), (33, 60)])
def test_cutmix_mask__is_the_papers_algorithm(size):
    rng = np.random.default_rng(0)
    for share, top, left in rng.random((50, 3)).astype(np.float32):
        height, width = size
        # https://github.com/clovaai/CutMix-PyTorch, train.py, rand_bbox
        cut = np.sqrt(np.float32(1) - share)
        cut_h, cut_w, cy, cx = (int(v) for v in (height * cut, width * cut, top * height, left * width))
        expected = np.ones(size)
        rows = slice(max(cy - cut_h // 2, 0), min(cy + cut_h // 2, height))
        expected[rows, max(cx - cut_w // 2, 0) : min(cx + cut_w // 2, width)] = 0
        assert np.array_equal(cutmix_mask(size, *map(torch.tensor, (share, top, left))).numpy(), expected)


@pytest.mark.parametrize(("kind", "is_blended"), [(0.49, True), (0.5, False)])
def test_both__each_batch_gets_one_of_them(kind, is_blended):
    pixels = torch.stack([torch.zeros(3, 8, 8), torch.full((3, 8, 8), 200.0)])
    row = draws(2, MIX_KIND=kind, MIX_SHARE=0.6)
    mixed, _ = Mixing(1.0, 1.0, 2)(pixels, torch.tensor([0, 1]), row)
    assert (((mixed > 0) & (mixed < 200)).all()).item() is is_blended
    assert (mixed[0] != 0).any()


def test_a_batch_of_one_is_left_as_it_is():
    pixels = noise(1)
    mixed, shares = Mixing(1.0, 0.0, 2)(pixels, torch.tensor([1]), draws(1, MIX_SHARE=0.3))
    assert torch.allclose(mixed, pixels.float(), atol=1e-3)
    assert torch.allclose(shares, torch.tensor([[0.0, 1.0]]))


@pytest.mark.parametrize("alpha", [0.1, 0.2, 1.0, 8.0])
def test_shares_follow_the_beta_distribution(alpha):
    table = beta_quantiles(alpha)
    uniform = torch.from_numpy(EpochDraws(0).rows(0, np.arange(3000))[:, Draw.MIX_SHARE])
    found = torch.stack([quantile(table, one) for one in uniform]).numpy()
    error = np.abs(found - beta.ppf(uniform.numpy().astype(np.float64), alpha, alpha))
    within = np.abs(uniform.numpy() - 0.5) < 0.499  # in the outermost steps of the table it is coarse
    assert error[within].max() < 2e-3
    assert error.mean() < 1e-4
    assert found.min() >= 0
    assert found.max() <= 1
