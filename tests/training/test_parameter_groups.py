"""Which weights learn at which rate, and which decay, in networks of each kind."""

import pytest
import torch
from torch import nn
from transformers import (
    CLIPConfig,
    CLIPForImageClassification,
    SwinConfig,
    SwinForImageClassification,
    TimmWrapperConfig,
    TimmWrapperForImageClassification,
)

from superft_hf.training.image_classification.model import head_modules, load_model
from superft_hf.training.parameter_groups import RATE_FACTOR, decaying_weights, parameter_groups

TRAINING = {
    "learning_rate": 0.016, "layer_decay": 0.5, "head_learning_rate_factor": 10.0, "weight_decay": 0.1
}  # fmt: skip


def groups_of(model, config):
    return parameter_groups(model, head_modules(model), config)


def rates(model, config):
    """Learning rate and decay of each parameter by name."""
    groups = groups_of(model, config)
    of = {
        id(one): (round(group["lr"], 9), group["weight_decay"]) for group in groups for one in group["params"]
    }
    assert len(of) == sum(len(group["params"]) for group in groups)  # none is in two groups
    return {name: of[id(one)] for name, one in model.named_parameters() if id(one) in of}


def decaying_names(model):
    decaying = {id(one) for one in decaying_weights(model)}
    return {name for name, one in model.named_parameters() if id(one) in decaying}


def test_vit__each_layers_rate_and_decay(tiny_config):
    config = tiny_config("vit", training=TRAINING)
    model, _ = load_model(config.model, ["a", "b"])
    found = rates(model, config)
    assert found.keys() == dict(model.named_parameters()).keys()
    for name, (rate, decay) in found.items():
        if name.startswith("classifier"):
            expected = 0.16
        elif ".layer.1." in name or ".layers.1." in name or name.startswith("vit.layernorm"):
            expected = 0.008  # the last of two blocks, and the norm behind it
        elif ".layer.0." in name or ".layers.0." in name:
            expected = 0.004
        else:
            assert "embeddings" in name
            expected = 0.002
        assert rate == pytest.approx(expected), name
        spared = "bias" in name or "norm" in name or name.endswith(("cls_token", "position_embeddings"))
        assert decay == (0.0 if spared else 0.1), name
    assert sum(decay > 0 for _, decay in found.values()) == 2 * 6 + 2  # matrices of blocks; patches; head


def test_resnet__each_blocks_rate(tiny_config):
    config = tiny_config("resnet", training=TRAINING)
    model, _ = load_model(config.model, ["a", "b"])
    of = {name: rate for name, (rate, _) in rates(model, config).items()}
    assert {rate for name, rate in of.items() if "embedder" in name} == {0.002}
    assert {rate for name, rate in of.items() if "stages.0" in name} == {0.004}
    assert {rate for name, rate in of.items() if "stages.1" in name} == {0.008}
    assert {rate for name, rate in of.items() if name.startswith("classifier")} == {0.16}


def test_timm__its_own_groups(tiny_config):
    config = tiny_config("timm", training=TRAINING)
    model, _ = load_model(config.model, ["a", "b"])
    of = {name: rate for name, (rate, _) in rates(model, config).items()}
    assert of.keys() == dict(model.named_parameters()).keys()
    number = 4  # test_resnet has four stages of one block
    assert of["timm_model.fc.weight"] == 0.16
    for stage in range(number):
        inside = {rate for name, rate in of.items() if f"layer{stage + 1}." in name}
        assert inside == {0.016 * 0.5 ** (number - stage)}
    assert of["timm_model.conv1.0.weight"] == of["timm_model.bn1.weight"] == 0.016 * 0.5**5


def test_alike_layers_share_a_group(tiny_config):
    config = tiny_config("vit", training={**TRAINING, "layer_decay": 1.0})
    model, _ = load_model(config.model, ["a", "b"])
    found = [(group["lr"], group["weight_decay"], group[RATE_FACTOR]) for group in groups_of(model, config)]
    assert found == [(0.016, 0.0, 1.0), (0.016, 0.1, 1.0), (0.16, 0.1, 10.0), (0.16, 0.0, 10.0)]


def test_frozen_weights_are_left_out_unless_they_will_be_freed(tiny_config):
    full = tiny_config("vit")
    model, _ = load_model(full.model, ["a", "b"])
    for name, one in model.named_parameters():
        one.requires_grad_(name.startswith("classifier"))
    assert rates(model, full).keys() == {"classifier.weight", "classifier.bias"}
    for strategy in ("head-then-full", "gradual"):
        later = tiny_config("vit", model={"strategy": strategy})
        assert rates(model, later).keys() == dict(model.named_parameters()).keys()
        # the parts that are freed in turn are groups of their own: stem, two blocks, head
        owners = [{id(one) for one in group["params"]} for group in groups_of(model, later)]
        first, second = (dict(model.named_parameters())[name] for name in _one_matrix_of_each_block(model))
        assert not any(id(first) in owner and id(second) in owner for owner in owners)


def _one_matrix_of_each_block(model):
    names = [name for name, one in model.named_parameters() if one.dim() > 1]
    return [next(name for name in names if f".{number}." in name) for number in (0, 1)]


def test_swin__tables_of_relative_positions_do_not_decay():
    model = SwinForImageClassification(
        SwinConfig(
            image_size=32, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=4,
            num_labels=2,
        )
    )  # fmt: skip
    decaying = decaying_names(model)
    assert not [name for name in decaying if "relative" in name or "norm" in name or "bias" in name]
    assert "classifier.weight" in decaying and any("reduction.weight" in name for name in decaying)


def test_clip__embeddings_of_positions_and_classes_do_not_decay():
    vision = {
        "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "image_size": 32, "patch_size": 16,
    }  # fmt: skip
    model = CLIPForImageClassification(CLIPConfig(vision_config=vision, num_labels=2))
    names = decaying_names(model)
    assert [name for name in names if name.endswith("patch_embedding.weight")]
    assert not [name for name in names if "position_embedding" in name or "class_embedding" in name]


def test_timm__what_the_network_spares_is_spared():
    network = TimmWrapperForImageClassification(TimmWrapperConfig(architecture="test_vit", num_labels=2))
    names = decaying_names(network)
    assert {f"timm_model.{name}" for name in network.timm_model.no_weight_decay()}.isdisjoint(names)
    assert "timm_model.patch_embed.proj.weight" in names and "timm_model.head.weight" in names


def test_vectors_in_disguise_do_not_decay():
    model = nn.Module()
    model.scale = nn.Parameter(torch.ones(8, 1, 1))
    model.tokens = nn.Embedding(4, 8)
    model.norm = nn.LayerNorm([8, 8])
    model.layer = nn.Conv2d(8, 4, 1)
    assert decaying_names(model) == {"layer.weight"}
