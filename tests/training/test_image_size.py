"""Networks that get another input size keep their weights, and their positions are interpolated."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    BeitConfig,
    BeitForImageClassification,
    CLIPConfig,
    CLIPForImageClassification,
    DeiTConfig,
    DeiTForImageClassification,
    Dinov2Config,
    Dinov2ForImageClassification,
    LevitConfig,
    LevitForImageClassification,
    PreTrainedModel,
    SiglipConfig,
    SiglipForImageClassification,
    SwinConfig,
    SwinForImageClassification,
    Swinv2Config,
    Swinv2ForImageClassification,
    TimmWrapperConfig,
    TimmWrapperForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)

from superft_hf.errors import ModelError
from superft_hf.training.image_classification.image_size import _stretched, resize_model

WIDTHS = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
PATCHES = {"image_size": 32, "patch_size": 8}
PLAIN = {**WIDTHS, **PATCHES, "num_labels": 3}
WINDOWS: dict[str, Any] = {
    "image_size": 32, "patch_size": 2, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 2],
    "window_size": 4, "num_labels": 3,
}  # fmt: skip
TOWERS = {"vision_config": {**WIDTHS, **PATCHES}, "text_config": WIDTHS, "num_labels": 3}
DINO = {key: value for key, value in PLAIN.items() if key != "intermediate_size"}


def timm(architecture: str, **model_args: Any) -> TimmWrapperForImageClassification:
    config = TimmWrapperConfig(architecture=architecture, model_args=model_args)
    config.num_labels = 3
    return TimmWrapperForImageClassification(config)


NETWORKS: dict[str, Callable[[], PreTrainedModel]] = {
    "vit": lambda: ViTForImageClassification(ViTConfig(**PLAIN)),
    "deit": lambda: DeiTForImageClassification(DeiTConfig(**PLAIN)),
    "dinov2": lambda: Dinov2ForImageClassification(Dinov2Config(**DINO)),
    "beit": lambda: BeitForImageClassification(BeitConfig(**PLAIN, use_relative_position_bias=True)),
    "beit, shared": lambda: BeitForImageClassification(
        BeitConfig(**PLAIN, use_shared_relative_position_bias=True)
    ),
    "beit, absolute": lambda: BeitForImageClassification(
        BeitConfig(**PLAIN, use_absolute_position_embeddings=True)
    ),
    "swin": lambda: SwinForImageClassification(SwinConfig(**WINDOWS)),
    "swinv2": lambda: Swinv2ForImageClassification(Swinv2Config(**WINDOWS)),
    "clip": lambda: CLIPForImageClassification(CLIPConfig(**TOWERS)),
    "siglip": lambda: SiglipForImageClassification(SiglipConfig(**TOWERS)),
    "timm vit": lambda: timm("test_vit", img_size=32),
}


def network(name: str) -> PreTrainedModel:
    """With positions that matter: as drawn they are all but zero."""
    torch.manual_seed(0)
    model = NETWORKS[name]().eval()
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if "position" in key or "pos_embed" in key:
                weight.normal_(0, 0.5)
    return model


@pytest.mark.parametrize("name", NETWORKS)
def test_its_own_size_changes_nothing(name):
    model = network(name)
    pixels = torch.randn(2, 3, 32, 32)
    before = model(pixel_values=pixels).logits
    assert torch.equal(resize_model(model, 32, name)(pixel_values=pixels).logits, before)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("size", [64, 48])
def test_another_size_is_taken_and_back_at_its_own_little_is_lost(name, size, tmp_path):
    model = network(name)
    smooth(model)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    pixels = torch.randn(2, 3, 32, 32)
    logits = model(pixel_values=pixels).logits
    larger = resize_model(model, size, name)
    seen = larger(pixel_values=torch.randn(2, 3, size, size)).logits
    assert seen.shape == (2, 3) and torch.isfinite(seen).all()
    same = [key for key, value in larger.state_dict().items() if torch.equal(value, before.get(key))]
    moved = set(before) - set(same)
    assert all("position" in key or "pos_embed" in key for key in moved)
    larger.save_pretrained(tmp_path)
    loaded = type(larger).from_pretrained(tmp_path).eval()  # the new size stands in its configuration
    assert loaded(pixel_values=torch.zeros(1, 3, size, size)).logits.shape == (1, 3)
    back = resize_model(larger, 32, name).eval()
    assert torch.allclose(back(pixel_values=pixels).logits, logits, atol=0.02)


def smooth(model: PreTrainedModel) -> None:
    """Gives the positions values that change slowly, so that interpolation there and back restores them."""
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if "position" in key or "pos_embed" in key:
                weight.fill_(0.1)


@pytest.mark.parametrize("name", ["vit", "deit", "dinov2"])
def test_positions_are_those_that_transformers_interpolates_itself(name):
    model = network(name)
    pixels = torch.randn(2, 3, 64, 64)
    expected = (
        model(pixel_values=pixels, interpolate_pos_encoding=True) if name != "dinov2" else model(pixels)
    )
    torch.testing.assert_close(resize_model(model, 64, name)(pixel_values=pixels).logits, expected.logits)


def test_a_grid_is_stretched_and_what_has_no_place_stays():
    grid = torch.tensor([[0.0], [1.0], [0.0], [1.0]])  # dark on the left, bright on the right
    rows = torch.cat([torch.tensor([[7.0]]), grid])[None]
    made = _stretched(rows, torch.zeros(1, 17, 1), "vit.embeddings.position_embeddings", "m")
    assert made.shape == (1, 17, 1) and made[0, 0, 0] == 7
    field = made[0, 1:, 0].view(4, 4)
    assert torch.allclose(field, field[:1].expand(4, 4)) and (field.diff(dim=1) > 0).all()
    expected = nn.functional.interpolate(grid.view(1, 1, 2, 2), size=(4, 4), mode="bicubic")[0, 0]
    assert torch.equal(field, expected)


def test_a_table_of_relative_positions_keeps_its_last_three_rows():
    table = torch.cat([torch.full((9, 2), 0.5), torch.tensor([[1.0, 2], [3, 4], [5, 6]])])
    made = _stretched(table, torch.zeros(52, 2), "layers.0.relative_position_bias_table", "m")
    assert torch.allclose(made[:49], torch.tensor(0.5)) and torch.equal(made[49:], table[9:])


def test_windows_that_do_not_fit_are_refused_in_words():
    model = SwinForImageClassification(SwinConfig(**{**WINDOWS, "window_size": 7, "image_size": 64}))
    with pytest.raises(ModelError, match="cannot take images of 24 px"):
        resize_model(model, 24, "my swin")


def test_patches_that_do_not_fit_are_refused_with_a_size_that_does():
    with pytest.raises(ModelError, match="patches of 8 px") as caught:
        resize_model(network("vit"), 50, "my vit")
    assert caught.value.hint == "Set it to 48."


def test_weights_that_depend_on_the_size_otherwise_are_refused():
    model = LevitForImageClassification(LevitConfig(image_size=64, num_labels=3))
    with pytest.raises(ModelError, match="fit its own image size only"):
        resize_model(model, 128, "my levit")


def test_the_seed_is_not_used_up_and_the_mode_stays():
    model = network("vit").train()
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    made = resize_model(model, 64, "m")
    assert torch.equal(torch.rand(1), expected) and made.training
