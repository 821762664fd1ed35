"""Heat maps: of every kind of network, by hand where there is a formula, and where the answer is known."""

import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from transformers import (
    BeitConfig,
    BeitForImageClassification,
    BitImageProcessor,
    ConvNextConfig,
    ConvNextForImageClassification,
    ConvNextImageProcessor,
    DeiTConfig,
    DeiTForImageClassification,
    Dinov2Config,
    Dinov2ForImageClassification,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersForImageClassification,
    EfficientNetConfig,
    EfficientNetForImageClassification,
    PreTrainedModel,
    ResNetConfig,
    ResNetForImageClassification,
    SwinConfig,
    SwinForImageClassification,
    TimmWrapperConfig,
    TimmWrapperForImageClassification,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
)

from superft_hf.errors import BadImageError, ModelNotFoundError
from superft_hf.training.attention_rollout import attentions, rollout
from superft_hf.training.explain import GRAD_CAM, OCCLUSION, ROLLOUT, explain, heat_map
from superft_hf.training.image_classification.seen_box import seen_box

CLASSES = {"num_labels": 4}
TOKENS = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 8,
    **CLASSES,
}  # fmt: skip


def timm_network(architecture: str, side: int) -> PreTrainedModel:
    pretrained = {"input_size": [3, side, side], "mean": [0.5] * 3, "std": [0.5] * 3}
    config = TimmWrapperConfig(architecture=architecture, pretrained_cfg=pretrained)
    config.num_labels = 4
    return TimmWrapperForImageClassification(config)


NETWORKS = {
    "resnet": (
        lambda: ResNetForImageClassification(
            ResNetConfig(
                embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1], layer_type="basic", **CLASSES
            )
        ), 32, GRAD_CAM,
    ),
    "convnext": (
        lambda: ConvNextForImageClassification(
            ConvNextConfig(hidden_sizes=[8, 16, 24, 32], depths=[1] * 4, **CLASSES)
        ), 64, GRAD_CAM,
    ),
    "efficientnet": (
        lambda: EfficientNetForImageClassification(
            EfficientNetConfig(width_coefficient=0.25, depth_coefficient=0.25, hidden_dim=320, **CLASSES)
        ), 64, GRAD_CAM,
    ),
    "vit": (lambda: ViTForImageClassification(ViTConfig(**TOKENS)), 32, ROLLOUT),
    "deit": (lambda: DeiTForImageClassification(DeiTConfig(**TOKENS)), 32, ROLLOUT),
    "beit": (lambda: BeitForImageClassification(BeitConfig(**TOKENS)), 32, ROLLOUT),
    "dinov2": (lambda: Dinov2ForImageClassification(Dinov2Config(**TOKENS)), 32, ROLLOUT),
    "dinov2, registers": (
        lambda: Dinov2WithRegistersForImageClassification(Dinov2WithRegistersConfig(**TOKENS)), 32, ROLLOUT,
    ),
    "swin": (
        lambda: SwinForImageClassification(
            SwinConfig(
                embed_dim=16, depths=[1, 1], num_heads=[2, 2], window_size=4, image_size=32, patch_size=4,
                **CLASSES,
            )
        ), 32, GRAD_CAM,
    ),
    "timm resnet": (lambda: timm_network("test_resnet", 32), 32, GRAD_CAM),
    "timm convnext": (lambda: timm_network("test_convnext", 64), 64, GRAD_CAM),
    "timm efficientnet": (lambda: timm_network("test_efficientnet", 64), 64, GRAD_CAM),
    "timm vit": (lambda: timm_network("test_vit", 160), 160, ROLLOUT),
}  # fmt: skip


def made(name: str) -> tuple[PreTrainedModel, torch.Tensor]:
    """A network with random weights that computes its attention step by step, and an input."""
    torch.manual_seed(0)
    build, side, _ = NETWORKS[name]
    model = build()
    if not hasattr(model, "timm_model"):
        model.set_attn_implementation("eager")
    with torch.no_grad():
        for _ in range(20):  # else deep networks of random weights give next to nothing
            model.train()(pixel_values=torch.randn(8, 3, side, side))
    return model.eval(), torch.randn(1, 3, side, side)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_kind_of_network_gets_a_map_by_the_method_that_fits(name):
    model, pixels = made(name)
    before = model(pixel_values=pixels).logits
    maps = [explain(model, pixels, label) for label in range(4)]
    assert {one.method for one in maps} == {NETWORKS[name][2]}
    for one in maps:
        assert one.values.shape == tuple(pixels.shape[2:])
        assert np.isfinite(one.values).all() and one.values.min() >= 0 and one.values.max() <= 1
        assert (one.values.max() == 1) == ("Nothing in the last features" not in one.note)
    assert any(one.values.max() == 1 for one in maps)
    assert torch.equal(model(pixel_values=pixels).logits, before), "it leaves the network as it was"


@pytest.mark.parametrize("name", ["vit", "deit", "beit", "dinov2", "dinov2, registers", "timm vit"])
def test_transformers_have_grad_cam_as_well_and_it_tells_classes_apart(name):
    model, pixels = made(name)
    maps = [explain(model, pixels, label, GRAD_CAM) for label in range(4)]
    assert {one.method for one in maps} == {GRAD_CAM}
    assert len({one.values.tobytes() for one in maps}) > 2


# Formulas by hand


def test_rollout__two_layers_by_hand():
    first = np.array([[[0.2, 0.3, 0.5], [0.6, 0.2, 0.2], [0.1, 0.1, 0.8]]] * 2)
    first[1] = [[0.4, 0.1, 0.5], [0.2, 0.2, 0.6], [0.3, 0.3, 0.4]]
    second = np.array([[[0.0, 1.0, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]])
    # Heads averaged, half of the unit matrix added: rows of the second layer times those of the first.
    mixed = np.array([[0.65, 0.1, 0.25], [0.2, 0.6, 0.2], [0.1, 0.1, 0.8]])
    assert rollout([first, second]) == pytest.approx(0.5 * mixed[0] + 0.5 * mixed[1])
    rows = np.array([0.5 * mixed[0] + 0.5 * mixed[1], 0.25 * mixed[0] + 0.75 * mixed[1], mixed[2]])
    assert rollout([first, second], is_from_mean=True) == pytest.approx(rows.mean(axis=0))


def test_rollout__without_attention_to_others_every_token_stays_itself():
    assert rollout([np.eye(4)[None]] * 3).tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize(
    ("name", "prefix"), [("vit", 1), ("deit", 2), ("dinov2, registers", 5), ("timm vit", 1)]
)
def test_the_attention_is_the_networks_own(name, prefix):
    model, pixels = made(name)
    found = attentions(model, pixels)
    side = pixels.shape[2] // (16 if name == "timm vit" else 8)
    assert found.grid == (side, side) and not found.is_from_mean
    for matrix in found.matrices:
        assert matrix.shape[1:] == (side**2 + prefix,) * 2
        np.testing.assert_allclose(matrix.sum(axis=2), 1, atol=1e-5)
    with torch.no_grad():
        if name == "timm vit":
            network = model.timm_model
            block = network.blocks[0]
            tokens = network.norm_pre(network.patch_drop(network._pos_embed(network.patch_embed(pixels))))
            heads = block.attn.num_heads
            qkv = block.attn.qkv(block.norm1(tokens)).reshape(1, -1, 3, heads, tokens.shape[2] // heads)
            query, key, _ = qkv.permute(2, 0, 3, 1, 4)
            query, key = block.attn.q_norm(query), block.attn.k_norm(key)
            expected = (query @ key.transpose(2, 3) * block.attn.scale).softmax(dim=-1)[0].numpy()
        else:
            expected = model(pixel_values=pixels, output_attentions=True).attentions[0][0].numpy()
    np.testing.assert_allclose(found.matrices[0], expected, atol=1e-5)


def test_a_network_that_reads_the_mean_of_the_patches_is_followed_from_there():
    torch.manual_seed(0)
    beit = BeitForImageClassification(BeitConfig(**TOKENS, use_mean_pooling=True)).eval()
    beit.set_attn_implementation("eager")
    assert attentions(beit, torch.randn(1, 3, 32, 32)).is_from_mean


@pytest.mark.parametrize("label", range(4))
def test_grad_cam__a_resnet_by_its_formula(label):
    model, pixels = made("resnet")
    found = explain(model, pixels, label)
    features = model.resnet(pixels).last_hidden_state.detach().requires_grad_()
    model.classifier(model.resnet.pooler(features))[0, label].backward()
    weights = features.grad[0].mean(dim=(1, 2))  # Selvaraju et al. 2017, equations 1 and 2
    expected = (weights[:, None, None] * features[0]).sum(dim=0).relu().detach()
    expected = nn.functional.interpolate(expected[None, None], (32, 32), mode="bilinear")[0, 0].numpy()
    np.testing.assert_allclose(found.values, expected / max(expected.max(), 1e-12), atol=1e-5)


@pytest.mark.parametrize("label", range(4))
def test_grad_cam__the_last_tokens_of_a_swin_are_a_grid(label):
    model, pixels = made("swin")
    found = explain(model, pixels, label)
    tokens = model.swin(pixels).last_hidden_state.detach().requires_grad_()
    model.classifier(tokens.mean(dim=1))[0, label].backward()
    expected = (tokens[0] @ tokens.grad[0].mean(dim=0)).relu().detach().reshape(1, 1, 4, 4)
    expected = nn.functional.interpolate(expected, (32, 32), mode="bilinear")[0, 0].numpy()
    np.testing.assert_allclose(found.values, expected / max(expected.max(), 1e-12), atol=1e-5)


# Where the answer is known


def blobs(count: int, seed: int, side: int = 64) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Noise with a red or green square in one of four corners: pixels, colours (0, 1), corners (0 to 3)."""
    generator = torch.Generator().manual_seed(seed)
    pixels = 0.3 * torch.randn(count, 3, side, side, generator=generator)
    colours = torch.randint(0, 2, (count,), generator=generator)
    corners = torch.randint(0, 4, (count,), generator=generator)
    half, wide = side // 2, side // 4
    for index in range(count):
        top, left = (half * int(corners[index]) // 2) // half * half, half * (int(corners[index]) % 2)
        patch = (slice(top + wide // 2, top + 3 * wide // 2), slice(left + wide // 2, left + 3 * wide // 2))
        pixels[(index, colours[index], *patch)] += 2.0
    return pixels, colours, corners


def trained(model: PreTrainedModel, side: int, steps: int = 60) -> PreTrainedModel:
    """A network that has learned to tell the colour of the square, wherever it is."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    model.train()
    for step in range(steps):
        pixels, colours, _ = blobs(32, step, side)
        loss = nn.functional.cross_entropy(model(pixel_values=pixels).logits, colours)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    pixels, colours, _ = blobs(64, 10_000, side)
    with torch.no_grad():
        assert (model(pixel_values=pixels).logits.argmax(dim=1) == colours).float().mean() > 0.95
    return model


def share_in_corner(values: np.ndarray, corner: int) -> float:
    half = len(values) // 2
    top, left = half * (corner // 2), half * (corner % 2)
    return float(values[top : top + half, left : left + half].sum() / max(values.sum(), 1e-9))


@pytest.mark.parametrize(("name", "side", "method"), [("resnet", 64, GRAD_CAM), ("vit", 32, ROLLOUT)])
def test_the_map_is_where_the_only_thing_to_see_is(name, side, method):
    torch.manual_seed(0)
    model = NETWORKS[name][0]()
    model.set_attn_implementation("eager")
    trained(model, side)
    pixels, colours, corners = blobs(12, 20_000, side)
    places = list(zip(pixels, colours.tolist(), corners.tolist(), strict=True))
    maps = [explain(model, one[None], colour) for one, colour, _ in places]
    assert {one.method for one in maps} == {method}
    shares = [share_in_corner(one.values, corner) for one, (_, _, corner) in zip(maps, places, strict=True)]
    assert min(shares) > 0.45, "by chance it would be a quarter"
    if method == GRAD_CAM:  # the other class is spoken for by nothing there
        others = [explain(model, one[None], 1 - colour).values for one, colour, _ in places]
        shares = [share_in_corner(one, corner) for one, (_, _, corner) in zip(others, places, strict=True)]
        assert max(shares) < 0.1


class Corner(nn.Module):
    """Logits from the mean of the upper right quarter alone; no features in places."""

    config = SimpleNamespace()

    def forward(self, pixel_values: torch.Tensor) -> SimpleNamespace:
        half = pixel_values.shape[2] // 2
        brightness = pixel_values[:, :, :half, half:].mean(dim=(1, 2, 3))
        return SimpleNamespace(logits=torch.stack([brightness, -brightness], dim=1))


def test_a_network_without_features_is_covered_square_by_square_and_that_is_said():
    pixels = torch.zeros(1, 3, 56, 56)
    pixels[:, :, :28, 28:] = 1.0
    found = explain(Corner(), pixels, 0)
    assert found.method == OCCLUSION and "covered" in found.note
    assert share_in_corner(found.values, 1) > 0.75 and found.values[:28, 28:].min() > 0
    assert not explain(Corner(), pixels, 1).values.any(), "nothing speaks for the other class"


# As the page asks


def encoded(width: int, height: int, orientation: int | None = None) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    out, exif = io.BytesIO(), Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    Image.fromarray(pixels).save(out, "JPEG", exif=exif)
    return out.getvalue()


@pytest.mark.parametrize("name", ["resnet", "vit", "timm"])
def test_of_a_saved_model(name, models):
    found = heat_map(models[name], encoded(48, 32))
    assert found["values"].shape == (32, 32) and found["values"].dtype == np.float32
    assert found["has_rollout"] == (name == "vit") == (found["method"] == ROLLOUT)
    assert found["class_id"] == (None if name == "vit" else found["prediction"])
    assert 0 < found["confidence"] <= 1
    other = (found["prediction"] + 1) % 7
    asked = heat_map(models[name], encoded(48, 32), other, GRAD_CAM)
    assert (asked["class_id"], asked["method"], asked["prediction"]) == (other, GRAD_CAM, found["prediction"])


def test_what_timm_cuts_off_is_not_covered_and_an_image_is_turned_upright_first(models):
    # crop_pct 0.9: the short side becomes 35 px, of which 32 are seen.
    found = heat_map(models["timm"], encoded(60, 30))
    assert found["box"] == pytest.approx(
        [0.5 - 16 / 70, 0.5 - 16 / 35, 0.5 + 16 / 70, 0.5 + 16 / 35], abs=0.02
    )
    turned = heat_map(models["timm"], encoded(60, 30, orientation=6))
    assert turned["box"] == pytest.approx(
        [0.5 - 16 / 35, 0.5 - 16 / 70, 0.5 + 16 / 35, 0.5 + 16 / 70], abs=0.02
    )


def test_what_is_no_image_or_no_model_is_said(models, tmp_path):
    with pytest.raises(BadImageError):
        heat_map(models["resnet"], b"no image")
    with pytest.raises(ModelNotFoundError):
        heat_map(str(tmp_path), encoded(8, 8))


# What the processor shows


@pytest.mark.parametrize("size", [(400, 300), (300, 400), (40, 20), (1200, 800), (5, 7)])
def test_box__a_stretched_picture_is_seen_whole(size):
    processor = ViTImageProcessor(size={"height": 64, "width": 64})
    assert seen_box(processor, size) == pytest.approx((0, 0, 1, 1), abs=0.005)


@pytest.mark.parametrize(
    "processor",
    [
        ConvNextImageProcessor(size={"shortest_edge": 224}, crop_pct=224 / 256),
        BitImageProcessor(size={"shortest_edge": 256}, crop_size={"height": 224, "width": 224}),
    ],
)
@pytest.mark.parametrize("size", [(400, 300), (300, 400), (512, 512), (16, 16), (2000, 500)])
def test_box__the_middle_of_a_cropped_one(processor, size):
    scale = 256 / min(size)
    half = [0.5 * 224 / (scale * side) for side in size]
    expected = (0.5 - half[0], 0.5 - half[1], 0.5 + half[0], 0.5 + half[1])
    assert seen_box(processor, size) == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize("size", [(32, 32), (20, 100), (3, 50)])
def test_box__a_padded_one_is_smaller_than_what_is_seen(size):
    processor = BitImageProcessor(do_resize=False, crop_size={"height": 64, "width": 64})
    expected = [0.5 - 32 / side for side in size] + [0.5 + 32 / side for side in size]
    assert seen_box(processor, size) == pytest.approx(expected, rel=0.02, abs=0.01)


def test_box__a_single_pixel_is_whole():
    assert seen_box(ViTImageProcessor(size={"height": 32, "width": 32}), (1, 1)) == (0, 0, 1, 1)


def test_the_child_finds_the_function_by_its_name(models):
    from dashboard.child import Child

    child = Child()
    try:
        found = child.call("superft_hf.training.explain:heat_map", models["resnet"], encoded(20, 20))
    finally:
        child.close()
    assert found["method"] == GRAD_CAM and Path(models["resnet"]).is_dir()
