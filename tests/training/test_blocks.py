"""The blocks of a network are found whatever its architecture, and each parameter is in one of them."""

import pytest
import timm
import torch
from torch import nn
from transformers import (
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING,
    AutoModelForImageClassification,
    ConvNextConfig,
    ConvNextForImageClassification,
    PreTrainedModel,
    PvtConfig,
    PvtForImageClassification,
    TimmWrapperConfig,
    TimmWrapperForImageClassification,
)

from superft_hf.hub.models import CLASSIFIER_TYPES
from superft_hf.training.blocks import STEM, blocks
from superft_hf.training.image_classification.model import head_modules

NOT_INSTALLED = {"dinat"}
"""Needs a package of its own."""


def names(model: nn.Module) -> list[str]:
    return [name for name, _ in blocks(model)]


def of_timm(architecture: str) -> PreTrainedModel:
    config = TimmWrapperConfig(architecture=architecture)
    config.num_labels = 3
    with torch.device("meta"):
        return TimmWrapperForImageClassification(config)


def assert_each_once(model: nn.Module) -> None:
    """Every parameter outside the head is in one part, in the order of the model within it."""
    found = [id(one) for _, part in blocks(model) for one in part]
    in_head = {id(one) for head in head_modules(model) for one in head.parameters()}
    assert len(found) == len(set(found))
    assert set(found) == {id(one) for one in model.parameters()} - in_head


@pytest.mark.parametrize("network", ["vit", "resnet", "timm"])
def test_tiny_networks__part_for_part(network, models):
    model = AutoModelForImageClassification.from_pretrained(models[network])
    expected = {
        "vit": [STEM, "vit.layers.0", "vit.layers.1"],
        "resnet": [STEM, "resnet.encoder.stages.0", "resnet.encoder.stages.1"],
        "timm": [STEM, *(f"timm_model.layer{number}" for number in (1, 2, 3, 4))],
    }
    assert names(model) == expected[network]
    assert_each_once(model)


def test_what_follows_the_last_block_belongs_to_it(models):
    model = AutoModelForImageClassification.from_pretrained(models["vit"])
    found = dict(blocks(model))
    held = {id(one) for one in found["vit.layers.1"]}
    assert {id(model.vit.layernorm.weight), id(model.vit.layernorm.bias)} <= held
    assert {id(one) for one in found[STEM]} == {id(one) for one in model.vit.embeddings.parameters()}


def test_what_begins_a_stage_belongs_to_its_first_block():
    model = ConvNextForImageClassification(ConvNextConfig(hidden_sizes=[4, 8, 8, 8], depths=[1, 2, 1, 1]))
    found = dict(blocks(model))
    assert list(found)[:4] == [
        STEM, "convnext.encoder.stages.0", "convnext.encoder.stages.1.layers.0",
        "convnext.encoder.stages.1.layers.1",
    ]  # fmt: skip
    between = model.convnext.encoder.stages[1].downsampling_layer
    held = {id(one) for one in found["convnext.encoder.stages.1.layers.0"]}
    assert {id(one) for one in between.parameters()} <= held


def test_lists_side_by_side_make_stages():
    sizes = {"hidden_sizes": [8, 8, 8, 8], "num_attention_heads": [1, 1, 1, 1], "depths": [1, 2, 1, 1]}
    model = PvtForImageClassification(PvtConfig(image_size=64, **sizes))
    found = dict(blocks(model))
    assert len(found) == 1 + 5  # the patches of the first stage are the stem
    patches = model.pvt.encoder.patch_embeddings
    assert {id(one) for one in found[STEM]} == {id(one) for one in patches[0].parameters()}
    second = {id(one) for one in found["pvt.encoder.block.1.0"]}
    assert {id(one) for one in patches[1].parameters()} <= second


@pytest.mark.parametrize("kind", sorted(CLASSIFIER_TYPES - {"timm_wrapper"} - NOT_INSTALLED))
def test_every_architecture_of_transformers_has_blocks(kind):
    config, classes = next(
        pair for pair in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING.items() if pair[0].model_type == kind
    )
    with torch.device("meta"):
        model = (classes[0] if isinstance(classes, tuple) else classes)(config())
    found = blocks(model)
    assert_each_once(model)
    assert len(found) >= 7 and found[0][0] == STEM
    body = sum(one.numel() for _, part in found for one in part)
    assert max(sum(one.numel() for one in part) for _, part in found) < 0.55 * body
    assert sum(one.numel() for one in found[0][1]) < 0.12 * body


@pytest.mark.parametrize(
    ("architecture", "count", "last"),
    [
        ("resnet18", 9, "timm_model.layer4.1"),
        ("tf_efficientnet_lite0", 17, "timm_model.blocks.6"),
        ("vit_tiny_patch16_224", 13, "timm_model.blocks.11"),
        ("swin_tiny_patch4_window7_224", 13, "timm_model.layers.3.blocks.1"),
        ("convnext_atto", 13, "timm_model.stages.3.blocks.1"),
        ("caformer_s18", 19, "timm_model.stages.3.blocks.2"),  # timm does not say: found in the modules
    ],
)
def test_architectures_of_timm(architecture, count, last):
    model = of_timm(architecture)
    assert (len(blocks(model)), names(model)[0], names(model)[-1]) == (count, STEM, last)
    assert_each_once(model)


def test_a_network_without_blocks_is_one_part():
    class Plain(nn.Module):
        base_model_prefix = "body"

        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(2, 2)
            self.classifier = nn.Linear(2, 2)

    assert names(Plain()) == [STEM]


def test_timm_is_asked_where_it_knows(monkeypatch):
    model = of_timm("resnet18")
    monkeypatch.setattr(
        type(model.timm_model),
        "group_matcher",
        lambda self, coarse: {"stem": r"^conv1|bn1", "all": r"^layer"},
    )
    assert names(model) == [STEM, "timm_model"] or len(names(model)) == 2
    assert timm.__version__
