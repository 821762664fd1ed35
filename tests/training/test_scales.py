"""Sizes of the steps, and the models that take them."""

import pytest
import timm
import torch
from torch import nn
from transformers import (
    CLIPConfig,
    CLIPForImageClassification,
    Dinov2Config,
    Dinov2ForImageClassification,
    SwinConfig,
    SwinForImageClassification,
    TimmWrapperConfig,
    TimmWrapperForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)

from superft_hf.config import AugmentationConfig
from superft_hf.errors import ModelError
from superft_hf.training.image_classification.scales import (
    StepSizes,
    allow_other_sizes,
    can_take,
    resize,
    size_multiple,
)

TINY = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


def sizes(multiple: int = 32, size: tuple[int, int] = (224, 224), seed: int = 42, **settings) -> StepSizes:
    config = AugmentationConfig(**{"progressive_resizing": 1.0, **settings})
    return StepSizes(config, seed, size, multiple)


def test_progressive__grows_to_the_whole_in_two_thirds_and_stays():
    found = [sizes(progressive_resizing=0.5)(step, 90) for step in range(90)]
    assert found[0] == (128, 128)  # of 96 and 128, which are as near to 112, the larger
    assert found == sorted(found)
    assert set(found) == {(128, 128), (160, 160), (192, 192), (224, 224)}
    assert set(found[60:]) == {(224, 224)}
    assert found[50] != (224, 224)


def test_several_scales__within_their_range_and_spread_over_it():
    found = [sizes(multi_scale=0.25)(step, 1000)[0] for step in range(1000)]
    assert set(found) == {160, 192, 224, 256, 288}
    counts = [found.count(side) for side in (160, 192, 224, 256, 288)]
    # The changes are uniform in 168 to 280 px, and 32 of these 112 px belong to each size in the middle.
    assert counts == pytest.approx([71, 286, 286, 286, 71], abs=60)


def test_sizes__depend_on_seed_and_step_alone():
    again = [sizes(multi_scale=0.4)(step, 50) for step in reversed(range(50))][::-1]
    assert again == [sizes(multi_scale=0.4)(step, 50) for step in range(50)]
    assert again != [sizes(multi_scale=0.4, seed=7)(step, 50) for step in range(50)]


def test_sizes__both_at_once_and_of_images_that_are_not_square():
    both = sizes(size=(224, 320), multi_scale=0.2, progressive_resizing=0.5)
    assert both.varies
    assert both.extremes == ((96, 128), (256, 384))
    height, width = both(0, 10)
    assert 80 <= height <= 140
    assert 120 <= width <= 200


def test_sizes__the_whole_size_is_always_one_even_where_it_is_no_multiple():
    assert sizes(size=(300, 300), progressive_resizing=0.5)(9, 9) == (300, 300)
    assert not sizes().varies
    assert sizes()(0, 9) == (224, 224)


def test_resize__keeps_dtype_and_leaves_the_whole_size_alone():
    pixels = torch.arange(2 * 3 * 64 * 64).remainder(256).to(torch.uint8).view(2, 3, 64, 64)
    assert resize(pixels, (64, 64)) is pixels
    made = resize(pixels.contiguous(memory_format=torch.channels_last), (32, 48))
    assert made.dtype == torch.uint8
    expected = nn.functional.interpolate(pixels.float(), (32, 48), mode="bilinear", antialias=True)
    assert (made.float() - expected).abs().max() <= 1


@pytest.mark.parametrize(
    ("patch", "size", "expected"), [(16, 224, 32), (14, 224, 14), (16, 64, 16), (8, 32, 8)]
)
def test_size_multiple__is_one_of_the_patch(patch, size, expected):
    model = ViTForImageClassification(ViTConfig(image_size=size, patch_size=patch, **TINY))
    assert size_multiple(model, (size, size)) == expected


def timm_model(architecture: str, size: int) -> TimmWrapperForImageClassification:
    config = TimmWrapperConfig(architecture=architecture, pretrained_cfg={"input_size": [3, size, size]})
    config.num_labels = 3
    return TimmWrapperForImageClassification(config)


MODELS = {
    "vit": lambda: ViTForImageClassification(ViTConfig(image_size=32, patch_size=8, **TINY)),
    "dinov2": lambda: Dinov2ForImageClassification(
        Dinov2Config(image_size=56, patch_size=14, hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
    ),
    "swin": lambda: SwinForImageClassification(
        SwinConfig(image_size=64, patch_size=4, window_size=2, embed_dim=8, depths=[1, 1], num_heads=[2, 2])
    ),
    "clip": lambda: CLIPForImageClassification(
        CLIPConfig(vision_config={"image_size": 32, "patch_size": 8, **TINY}, text_config=TINY)
    ),
    "timm resnet": lambda: timm_model("test_resnet", 160),
    "timm vit": lambda: timm_model("test_vit3", 160),
}
SIZES = {"dinov2": 56, "swin": 64, "timm resnet": 160, "timm vit": 160}


@pytest.mark.parametrize("name", MODELS)
def test_allow_other_sizes__trains_at_each_and_changes_nothing_at_its_own(name):
    torch.manual_seed(0)
    model, side = MODELS[name](), SIZES.get(name, 32)
    multiple = size_multiple(model, (side, side))
    varied = sizes(multiple, (side, side), multi_scale=0.5)
    own = torch.rand(2, 3, side, side)
    with torch.no_grad():
        before, state = model.eval()(pixel_values=own).logits, model.state_dict()
        allow_other_sizes(model, varied, name)
        assert torch.equal(model.eval()(pixel_values=own).logits, before)
    assert model.state_dict().keys() == state.keys()
    model.train()
    seen = {varied(step, 20) for step in range(20)}
    assert len(seen) > 1
    for height, width in seen:
        model.zero_grad()
        model(pixel_values=torch.rand(2, 3, height, width)).logits.sum().backward()
        assert any(one.grad is not None and one.grad.abs().sum() > 0 for one in model.parameters())


def test_allow_other_sizes__says_what_to_set_where_the_size_is_fixed():
    model = timm_model("mixer_s32_224", 224).train()
    with pytest.raises(ModelError, match="of its own size only, not of 128 × 128 px") as caught:
        allow_other_sizes(model, sizes(progressive_resizing=0.5), "mixer")
    assert (
        caught.value.hint == "Set augmentation.multi_scale to 0 and augmentation.progressive_resizing to 1."
    )
    assert model.training
    assert model.timm_model.training


def test_can_take__leaves_modes_and_statistics_alone():
    model = timm_model("test_resnet", 160).train()
    frozen = next(one for one in model.modules() if isinstance(one, nn.BatchNorm2d)).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert can_take(model, (64, 64))
    assert model.training
    assert not frozen.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_timm_still_has_what_is_set_from_outside():
    made = timm.create_model("test_vit3", dynamic_img_size=True)
    assert made.dynamic_img_size is True
    assert (made.patch_embed.strict_img_size, made.patch_embed.flatten) == (False, False)
