"""Gradient checkpointing: the same gradients, fewer activations, and statistics that see each batch once."""

import copy

import pytest
import torch
from torch import nn
from transformers import AutoModelForImageClassification, PreTrainedModel

from superft_hf.errors import ModelError
from superft_hf.records import RunState
from superft_hf.training.checkpointing import prepare_checkpointing


def passed(model: PreTrainedModel, pixels: torch.Tensor) -> int:
    """Trains one step. Returns the bytes that the forward pass kept for the backward pass."""
    kept = 0

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal kept
        kept += tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = model.train()(pixel_values=pixels).logits.square().sum()
    loss.backward()
    return kept


@pytest.mark.parametrize("network", ["vit", "timm"])
def test_gradients_are_equal_and_activations_fewer(network, models):
    plain = AutoModelForImageClassification.from_pretrained(models[network]).double()
    again = copy.deepcopy(plain)
    prepare_checkpointing(again, network)
    again.activation_checkpointing_enable({"use_reentrant": False})
    pixels = torch.randn(4, 3, 32, 32).double()
    kept, fewer = passed(plain, pixels), passed(again, pixels)
    assert fewer < 0.6 * kept
    for one, other in zip(plain.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad)


def test_statistics_of_batch_norm_count_a_batch_once(models):
    plain = AutoModelForImageClassification.from_pretrained(models["timm"])
    again, unprepared = copy.deepcopy(plain), copy.deepcopy(plain)
    prepare_checkpointing(again, "timm")
    pixels = torch.randn(4, 3, 32, 32)
    for model in (plain, again, unprepared):
        if model is not plain:
            model.activation_checkpointing_enable({"use_reentrant": False})
        for _ in range(2):
            passed(model, pixels)
    norms = [
        [one for one in model.modules() if isinstance(one, nn.BatchNorm2d)]
        for model in (plain, again, unprepared)
    ]
    for one, other in zip(norms[0], norms[1], strict=True):
        torch.testing.assert_close(other.running_mean, one.running_mean)
        torch.testing.assert_close(other.running_var, one.running_var)
        assert other.momentum == one.momentum == 0.1
    assert not all(
        torch.allclose(one.running_var, other.running_var)
        for one, other in zip(norms[0], norms[2], strict=True)
    )


def test_a_network_that_cannot_is_refused(models):
    model = AutoModelForImageClassification.from_pretrained(models["resnet"])
    with pytest.raises(ModelError, match=r"my/resnet does not support gradient checkpointing") as caught:
        prepare_checkpointing(model, "my/resnet")
    assert "training.gradient_checkpointing to false" in caught.value.hint


@pytest.mark.parametrize("network", ["vit", "timm"])
def test_a_run_ends_as_it_does_without(network, tiny_config, train):
    plain, again = (
        train(tiny_config(network, training={"gradient_checkpointing": on})) for on in (False, True)
    )
    assert again.state == RunState.COMPLETED
    assert again.evaluation["test"] == pytest.approx(plain.evaluation["test"], rel=1e-4)


def test_a_run_of_a_network_that_cannot_says_why(tiny_config, train):
    with pytest.raises(ModelError, match="does not support gradient checkpointing"):
        train(tiny_config("resnet", training={"gradient_checkpointing": True}))
