"""Which parameters make a row: each layer of a small network, the blocks of a deep one, the head last."""

import pytest
import torch
from torch import nn
from transformers import (
    ResNetConfig,
    ResNetForImageClassification,
    TimmWrapperConfig,
    TimmWrapperForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)

from superft_hf.evaluation.layer_history import Layer
from superft_hf.training.image_classification.model import head_modules
from superft_hf.training.layer_groups import MAX_ROWS, layer_groups


def layers(model, heads, **more):
    return [group.layer for group in layer_groups(model, heads, **more)]


def names(model, heads, **more):
    return [layer.name for layer in layers(model, heads, **more)]


class Nested(nn.Module):
    """A network that declares its head first, and owns a parameter itself."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)
        self.body = nn.Module()
        self.body.token = nn.Parameter(torch.zeros(5))
        self.body.first = nn.Linear(2, 4)
        self.body.block = nn.Sequential(nn.Linear(4, 4, bias=False), nn.ReLU(), nn.LayerNorm(4))


def test_each_module_with_parameters_is_a_row_and_the_head_comes_last():
    model = Nested()
    assert layers(model, [model.head]) == [
        Layer("token", 5), Layer("first", 12), Layer("block.0", 16), Layer("block.2", 8),
        Layer("head", 15, is_head=True),
    ]  # fmt: skip


def test_one_layer_has_a_name():
    model = nn.Sequential(nn.Linear(2, 2))
    assert layers(model, list(model)) == [Layer("0", 6, is_head=True)]
    assert layers(model, []) == [Layer("0", 6)]


def test_a_row_holds_whole_modules_where_they_are_many():
    model = nn.Sequential(
        *(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)) for _ in range(5)), nn.Linear(2, 3)
    )
    assert names(model, [model[-1]], limit=11) == [f"{one}.{two}" for one in range(5) for two in range(2)] + [
        "5"
    ]
    assert names(model, [model[-1]], limit=6)[:3] == ["0.0 – 1", "1.0 – 1", "2.0 – 1"]


def test_many_neighbours_are_put_together_in_their_order():
    model = nn.Sequential(*(nn.Linear(1, 1) for _ in range(100)))
    found = layer_groups(model, [model[-1]])
    assert len(found) <= MAX_ROWS and [one.layer.name for one in found[:2]] == ["0 – 1", "2 – 3"]
    flat = [id(parameter) for group in found for parameter in group.parameters]
    assert flat == [id(parameter) for parameter in model.parameters()]


def deep(kind):
    with torch.device("meta"):
        if kind == "resnet-50":
            return ResNetForImageClassification(ResNetConfig(depths=[3, 4, 6, 3], num_labels=3))
        if kind == "vit-large":
            return ViTForImageClassification(ViTConfig(num_hidden_layers=24, num_labels=3))
        config = TimmWrapperConfig(architecture=kind)
        config.num_labels = 3
        return TimmWrapperForImageClassification(config)


@pytest.mark.parametrize("kind", ["resnet-50", "vit-large", "resnet50", "densenet201", "efficientnet_lite0"])
def test_real_networks_have_some_rows_but_not_hundreds_and_lose_nothing(kind):
    model = deep(kind)
    found = layer_groups(model, head_modules(model))
    assert 12 <= len(found) <= MAX_ROWS
    assert len({group.layer.name for group in found}) == len(found)
    assert [group.layer.is_head for group in found] == [False] * (len(found) - 1) + [True]
    flat = [id(parameter) for group in found for parameter in group.parameters]
    assert sorted(flat) == sorted(id(parameter) for parameter in model.parameters())
    assert sum(group.layer.num_parameters for group in found) == sum(
        one.numel() for one in model.parameters()
    )


def test_the_blocks_of_a_vit_are_its_rows():
    model = deep("vit-large")
    found = names(model, head_modules(model))
    assert found[-1] == "classifier" and "layers.0" in found and "layers.23" in found
