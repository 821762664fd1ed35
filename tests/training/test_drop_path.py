"""Stochastic depth: where it goes, how it grows, and who is refused."""

import pytest
import torch
from timm.layers import DropPath
from torch import nn
from transformers import (
    BeitConfig,
    BeitForImageClassification,
    ConvNextConfig,
    ConvNextForImageClassification,
    CvtConfig,
    CvtForImageClassification,
    Dinov2Config,
    Dinov2ForImageClassification,
    EfficientNetConfig,
    EfficientNetForImageClassification,
    LevitConfig,
    LevitForImageClassification,
    PreTrainedModel,
    SwinConfig,
    SwinForImageClassification,
    TimmWrapperConfig,
    ViTImageProcessor,
)

from superft_hf.config import ModelConfig
from superft_hf.errors import ModelError
from superft_hf.records import RunState
from superft_hf.training.image_classification.drop_path import ask_for_drop_path, spread_drop_path
from superft_hf.training.image_classification.model import load_model

WIDTHS = {"hidden_size": 16, "num_attention_heads": 2, "image_size": 32, "patch_size": 8, "num_labels": 2}


def swin() -> PreTrainedModel:
    sizes = {"depths": [2, 3], "num_heads": [2, 2], "window_size": 4, "embed_dim": 16}
    return SwinForImageClassification(SwinConfig(image_size=32, patch_size=2, num_labels=2, **sizes))


NETWORKS = {
    "beit": lambda: BeitForImageClassification(BeitConfig(num_hidden_layers=5, **WIDTHS)),
    "convnext": lambda: ConvNextForImageClassification(
        ConvNextConfig(hidden_sizes=[4, 4], depths=[2, 3], num_stages=2, num_labels=2)
    ),
    "cvt": lambda: CvtForImageClassification(
        CvtConfig(embed_dim=[16, 16, 16], num_heads=[1, 1, 1], depth=[1, 2, 3], num_labels=2)
    ),
    "dinov2": lambda: Dinov2ForImageClassification(Dinov2Config(num_hidden_layers=5, **WIDTHS)),
    "swin": swin,
}


def shares(model: nn.Module) -> list[float]:
    """Of the branches that are skipped, block by block."""
    return [one.drop_prob for one in model.modules() if isinstance(one, DropPath)]


@pytest.mark.parametrize("name", NETWORKS)
def test_the_share_grows_linearly_to_the_last_block(name):
    model = NETWORKS[name]()
    ask_for_drop_path(model.config, 0.4, name)
    spread_drop_path(model, 0.4, name)
    count = 6 if name == "cvt" else 5
    assert shares(model) == pytest.approx([0.4 * index / (count - 1) for index in range(count)])
    others = [one for one in model.modules() if type(one).__name__.endswith("DropPath")]
    assert all(isinstance(one, DropPath) for one in others)  # nothing of the architecture's own is left


def test_an_efficient_net_skips_whole_branches():
    model = EfficientNetForImageClassification(EfficientNetConfig(width_coefficient=0.1, num_labels=2))
    spread_drop_path(model, 0.5, "m")
    found = shares(model)
    assert found[0] == 0 and found[-1] == 0.5 and found == sorted(found)
    assert len(found) == len(model.efficientnet.encoder.blocks)


def test_a_levit_keeps_its_own_way():
    model = LevitForImageClassification(LevitConfig(image_size=64, num_labels=2))
    spread_drop_path(model, 0.5, "m")
    found = [one.drop_rate for one in model.modules() if type(one).__name__ == "LevitResidualLayer"]
    assert found[0] == 0 and found[-1] == 0.5 and found == sorted(found)


def test_a_skipped_branch_leaves_the_input_and_the_others_are_scaled_up():
    branch = DropPath(0.25)
    torch.manual_seed(0)
    seen = branch.train()(torch.ones(4000, 3))
    assert seen[:, 0].unique().tolist() == pytest.approx([0, 4 / 3])
    assert torch.equal(seen[:, 0], seen[:, 2])  # an image loses all of its branch or nothing
    assert (seen[:, 0] == 0).float().mean() == pytest.approx(0.25, abs=0.02)


def test_it_changes_training_only_and_zero_means_none():
    torch.manual_seed(0)
    model, pixels = swin(), torch.randn(4, 3, 32, 32)
    before = model.eval()(pixels).logits
    spread_drop_path(model, 0.9, "m")
    assert torch.equal(model.eval()(pixels).logits, before)
    assert not torch.allclose(model.train()(pixels).logits, before, atol=1e-3)
    spread_drop_path(model, 0.0, "m")
    torch.testing.assert_close(model.train()(pixels).logits, before)


@pytest.mark.parametrize("network", ["resnet", "vit"])
def test_a_network_without_it_is_refused(network, models):
    with pytest.raises(ModelError, match="no stochastic depth") as caught:
        load_model(ModelConfig(name_or_path=models[network], drop_path_rate=0.1), ["a", "b"])
    assert "model.drop_path_rate to null" in caught.value.hint


@pytest.mark.parametrize("architecture", ["vgg11", "densenet121"])
def test_a_network_of_timm_without_it_is_refused(architecture, tmp_path):
    TimmWrapperConfig(architecture=architecture, pretrained_cfg={"input_size": [3, 32, 32]}).save_pretrained(
        tmp_path
    )
    config = ModelConfig(name_or_path=str(tmp_path), drop_path_rate=0.1, pretrained=False)
    with pytest.raises(ModelError, match="no stochastic depth"):
        load_model(config, ["a", "b"])


def test_timm_makes_the_branches_itself_and_says_so_in_the_configuration(models):
    model, _ = load_model(ModelConfig(name_or_path=models["timm"], drop_path_rate=0.3), ["a", "b"])
    found = shares(model)
    assert found == sorted(found) and found[-1] == pytest.approx(0.3)
    assert model.config.model_args == {"drop_path_rate": 0.3}


@pytest.mark.parametrize("network", ["timm", "swin"])
def test_a_run_trains_with_it(network, tiny_config, train, store, tmp_path):
    model = {"drop_path_rate": 0.2, "image_size": 48 if network == "timm" else None}
    if network == "swin":
        swin().save_pretrained(tmp_path / "swin")
        ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "swin")
        model["name_or_path"] = str(tmp_path / "swin")
    config = tiny_config("timm", model=model)
    first, again = train(config), train(config)
    assert first.state == RunState.COMPLETED
    assert first.evaluation == again.evaluation
    plain = train(
        config.model_copy(update={"model": config.model.model_copy(update={"drop_path_rate": None})})
    )
    assert plain.evaluation != first.evaluation
