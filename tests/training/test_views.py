"""Test-time augmentation: the mean over views by hand, and what it must leave as it is."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoImageProcessor, AutoModelForImageClassification

from superft_hf.evaluation.prediction_files import read_predictions
from superft_hf.sources.images import open_rgb
from superft_hf.training import inference
from superft_hf.training.embeddings import normalized
from superft_hf.training.image_classification.pixels import eval_pixels
from superft_hf.training.image_classification.views import ImageViews, enlarged_centre, mirrored


class LeftEdge(nn.Module):
    """Its only logit is the square of the first column's mean; it remembers what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.Tensor] = []

    def forward(self, pixel_values: torch.Tensor) -> SimpleNamespace:
        self.seen.append(pixel_values)
        return SimpleNamespace(logits=pixel_values[..., 0].mean(dim=(1, 2)).square()[:, None])


def ramp(count: int) -> torch.Tensor:
    """Images of 16 × 16 px whose pixels are the numbers of their columns, (B, 3, 16, 16)."""
    return torch.arange(16.0).expand(count, 3, 16, 16).contiguous()


def model_of(folder: str) -> nn.Module:
    return AutoModelForImageClassification.from_pretrained(folder).eval()


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("none", 0.0),  # column 0
        ("mirror", (0 + 15**2) / 2),
        # The centre of 16 columns is the 14 from 1 to 14; enlarged, its first is column 1, its last 14.
        ("crops", (0 + 15**2 + 1 + 14**2) / 4),
    ],
)
def test_the_logits_are_the_mean_over_the_views(mode, expected):
    found = ImageViews(mode)(LeftEdge(), ramp(2))
    assert found.tolist() == [[pytest.approx(expected)]] * 2


def test_the_enlarged_centre_is_the_middle_at_the_size_of_the_whole():
    pixels = torch.zeros(1, 3, 32, 16)
    pixels[..., 2:30, 1:15] = 1.0  # 28 of 32 rows, 14 of 16 columns
    assert torch.equal(enlarged_centre(pixels), torch.ones(1, 3, 32, 16))


@pytest.mark.parametrize("network", ["resnet", "vit", "timm"])
def test_none_changes_no_bit(network, models):
    model, pixels = model_of(models[network]), torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(ImageViews("none")(model, pixels), model(pixel_values=pixels).logits)


@pytest.mark.parametrize("mode", ["mirror", "crops"])
@pytest.mark.parametrize("network", ["resnet", "vit", "timm"])
def test_an_image_and_its_mirror_image_have_the_same_logits(network, mode, models):
    model, pixels = model_of(models[network]), torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        plain = [model(pixel_values=one).logits for one in (pixels, mirrored(pixels))]
        views = [ImageViews(mode)(model, one) for one in (pixels, mirrored(pixels))]
    scale = plain[0].abs().max()
    assert (plain[0] - plain[1]).abs().max() > 1e-2 * scale
    assert (views[0] - views[1]).abs().max() < 1e-4 * scale


@pytest.mark.parametrize(
    ("count", "passes"), [(1, [1, 3]), (6, [6, 12, 6]), (16, [16, 16, 16, 16]), (40, [40, 40, 40, 40])]
)
def test_no_pass_is_larger_than_the_batch_or_16_images_and_the_plain_one_is_alone(count, passes):
    model = LeftEdge()
    ImageViews("crops")(model, ramp(count))
    assert [len(one) for one in model.seen] == passes
    assert torch.equal(model.seen[0], ramp(count))


def test_the_memory_format_stays():
    model = LeftEdge()
    ImageViews("crops")(model, ramp(20).contiguous(memory_format=torch.channels_last))
    assert [one.is_contiguous(memory_format=torch.channels_last) for one in model.seen] == [True] * 4


def test_bf16_logits_are_averaged_in_full_precision():
    logits = iter([torch.tensor([[256.0]]), torch.tensor([[258.0]])])
    model = lambda pixel_values: SimpleNamespace(logits=next(logits).bfloat16())  # noqa: E731
    assert ImageViews("mirror")(model, ramp(1)).tolist() == [[257.0]]  # which bf16 cannot say


@pytest.mark.parametrize("mode", ["mirror", "crops"])
def test_a_run_evaluates_and_is_tried_with_its_views_and_keeps_the_features_of_the_plain_one(
    mode, tiny_config, train, store
):
    record = train(tiny_config("vit", augmentation={"test_time": mode}))
    paths = store.run_paths(record.run_id)
    rows = read_predictions(paths.prediction_file("eval", record.best_step), with_logits=True)
    model, processor = model_of(str(paths.model)), AutoImageProcessor.from_pretrained(paths.model)
    pixels = torch.stack([eval_pixels(processor, open_rgb(read(path))) for path in rows["image"]])
    views = [pixels, pixels.flip(-1)]
    if mode == "crops":
        centre = enlarged_centre(pixels)
        views += [centre, centre.flip(-1)]
    with torch.no_grad():
        said = [model(pixel_values=view).logits.numpy() for view in views]
        features = model.vit(pixels).last_hidden_state[:, 0].numpy()
    kept = np.stack(rows["logits"])
    np.testing.assert_allclose(kept, np.mean(said, axis=0), atol=1e-5)
    assert np.abs(kept - said[0]).max() > 1e-3, "the views differ, or nothing is shown here"
    names, tried = inference.predict(str(paths.model), [read(path) for path in rows["image"]], mode)
    assert names == ["a", "b", "c"]
    np.testing.assert_allclose(tried, kept, atol=1e-5)
    embeddings = np.load(paths.embeddings_file("eval", record.best_step))
    np.testing.assert_allclose(embeddings, normalized(features), atol=2e-3)


def read(path: str) -> bytes:
    return Path(path).read_bytes()
