"""Batch-norm layers that see the images of all processes."""

import timm
import torch
from timm.layers import SyncBatchNormAct
from torch import nn

from superft_hf.config import HardwareConfig
from superft_hf.training.shared_statistics import share_statistics


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 2))


def test_share__on_several_gpus_and_the_parameters_stay_the_same_objects():
    model = network()
    before = {name: id(one) for name, one in model.named_parameters()}
    assert share_statistics(model, HardwareConfig(), "cuda", 2)
    assert isinstance(model[1], nn.SyncBatchNorm)
    assert {name: id(one) for name, one in model.named_parameters()} == before


def test_share__timm_layers_keep_their_activation():
    model = timm.create_model("tf_efficientnet_lite0", num_classes=2)
    share_statistics(model, HardwareConfig(), "cuda", 2)
    assert isinstance(model.bn1, SyncBatchNormAct)
    assert isinstance(model.bn1.act, nn.Module) and not isinstance(model.bn1.act, nn.Identity)


def test_share__not_on_the_cpu_alone_or_when_it_is_off():
    for hardware, device, world in (
        (HardwareConfig(), "cpu", 2),
        (HardwareConfig(), "cuda", 1),
        (HardwareConfig(sync_batch_norm=False), "cuda", 2),
    ):
        model = network()
        assert not share_statistics(model, hardware, device, world)
        assert type(model[1]) is nn.BatchNorm2d


def test_share__nothing_to_share_in_a_network_without_such_layers():
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    assert not share_statistics(model, HardwareConfig(), "cuda", 2)
    assert torch.is_tensor(model(torch.zeros(1, 3)))
