"""The network of a run: from the base model's weights or from random ones, and which part is the head."""

from collections.abc import Callable

import pytest
import timm
import torch
from PIL import Image
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    CLIPConfig,
    CLIPForImageClassification,
    HGNetV2Config,
    HGNetV2ForImageClassification,
    PerceiverConfig,
    PerceiverForImageClassificationLearned,
    PreTrainedModel,
    SiglipConfig,
    SiglipForImageClassification,
    set_seed,
)

from superft_hf.config import ModelConfig
from superft_hf.errors import ModelError
from superft_hf.records import RunState
from superft_hf.training.image_classification.model import head_modules, load_model

NAMES = ["a", "b"]
TOWER = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 16}
TOWERS = {
    "vision_config": {**TOWER, "image_size": 32, "patch_size": 8},
    "text_config": TOWER,
    "num_labels": 3,
}


def loaded(name: str, seed: int, *, pretrained: bool) -> dict[str, torch.Tensor]:
    set_seed(seed)
    model, _ = load_model(ModelConfig(name_or_path=name, pretrained=pretrained), NAMES)
    return dict(model.state_dict())


@pytest.mark.parametrize("network", ["vit", "resnet", "timm"])
def test_from_scratch__the_architecture_with_random_weights_by_the_seed(network, models):
    base = loaded(models[network], 1, pretrained=True)
    first, again, other = (loaded(models[network], seed, pretrained=False) for seed in (1, 1, 2))
    assert {key: value.shape for key, value in first.items()} == {key: one.shape for key, one in base.items()}
    matrices = [key for key, value in first.items() if value.dim() > 1]
    assert all(torch.equal(first[key], again[key]) for key in first)
    drawn = [key for key in matrices if not torch.equal(first[key], other[key])]
    assert len(drawn) > 0.8 * len(matrices)  # some begin at zero or one whatever the seed
    assert not any(torch.equal(first[key], base[key]) for key in drawn)


@pytest.mark.parametrize("network", ["vit", "timm"])
def test_from_scratch__the_processor_is_kept(network, models):
    kept = AutoImageProcessor.from_pretrained(models[network])
    _, made = load_model(ModelConfig(name_or_path=models[network], pretrained=False), NAMES)
    image = Image.radial_gradient("L").convert("RGB")
    answers = [one(images=image, return_tensors="pt")["pixel_values"] for one in (kept, made)]
    assert torch.equal(*answers)


def test_from_scratch__networks_of_timm_are_drawn_as_timm_draws_them(models):
    found = loaded(models["timm"], 1, pretrained=False)
    torch.manual_seed(5)
    own = timm.create_model("test_resnet", num_classes=2).state_dict()
    for key, value in own.items():
        if value.dim() == 4:
            assert found[f"timm_model.{key}"].std().item() == pytest.approx(value.std().item(), rel=0.2)


def test_from_scratch__a_run_trains_and_repeats(tiny_config, train):
    first, again, pretrained = (
        train(tiny_config("timm", model={"pretrained": is_pretrained}))
        for is_pretrained in (False, False, True)
    )
    assert first.state == RunState.COMPLETED
    assert first.evaluation == again.evaluation != pretrained.evaluation


def clip() -> PreTrainedModel:
    return CLIPForImageClassification(CLIPConfig(**TOWERS))


def siglip() -> PreTrainedModel:
    return SiglipForImageClassification(SiglipConfig(**TOWERS))


def hgnet() -> PreTrainedModel:
    with torch.device("meta"):
        return HGNetV2ForImageClassification(HGNetV2Config(num_labels=3))


def perceiver() -> PreTrainedModel:
    with torch.device("meta"):
        return PerceiverForImageClassificationLearned(PerceiverConfig(num_labels=3))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (clip, ["classifier"]),
        (siglip, ["classifier"]),
        (hgnet, ["fc"]),
        (perceiver, ["perceiver.decoder.decoder.final_layer"]),
    ],
)
def test_head__of_networks_whose_body_has_another_name(make: Callable[[], PreTrainedModel], expected):
    model = make()
    names = {id(module): name for name, module in model.named_modules()}
    assert [names[id(head)] for head in head_modules(model)] == expected


def test_head__a_network_without_one_is_refused(models):
    model = AutoModelForImageClassification.from_pretrained(models["vit"])
    del model.classifier
    with pytest.raises(ModelError, match="cannot be told from its body"):
        head_modules(model)
