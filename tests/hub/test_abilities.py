"""What the names of architectures are said to lack is what the installed libraries lack."""

import pytest
import timm
import torch
from transformers import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING

from superft_hf.hub.abilities import (
    CHECKPOINTING,
    DROP_PATH,
    NO_CHECKPOINTING,
    NO_DROP_PATH,
    TIMM_NO_DROP_PATH,
    lacking,
)
from superft_hf.hub.models import CLASSIFIER_TYPES
from superft_hf.records import ModelInfo

TYPES = CLASSIFIER_TYPES - {"timm_wrapper"}


def model(architecture: str, library: str) -> ModelInfo:
    return ModelInfo("m", "m", "", "hub", architecture=architecture, library=library)


def test_stochastic_depth__as_the_configurations_of_transformers_say():
    without = {
        config.model_type
        for config in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING
        if config.model_type in TYPES
        and not any(hasattr(config(), field) for field in ("drop_path_rate", "drop_connect_rate"))
    }
    assert without == NO_DROP_PATH


def test_checkpointing__as_the_classes_of_transformers_say():
    without = {
        config.model_type
        for config, classes in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING.items()
        if config.model_type in TYPES
        and not (classes[0] if isinstance(classes, tuple) else classes).supports_gradient_checkpointing
    }
    assert without == NO_CHECKPOINTING


@pytest.mark.parametrize("start", TIMM_NO_DROP_PATH)
def test_stochastic_depth__what_timm_refuses(start):
    names = [name for name in timm.list_models() if name.startswith(start)]
    assert names
    for name in (names[0], names[-1]):
        with pytest.raises(TypeError, match="drop_path_rate"), torch.device("meta"):
            timm.create_model(name, drop_path_rate=0.1)


def test_the_library_decides_what_a_name_means():
    assert set(lacking(model("resnet", "transformers"))) == {DROP_PATH, CHECKPOINTING}
    assert set(lacking(model("vit", "transformers"))) == {DROP_PATH}
    assert set(lacking(model("convnext", "transformers"))) == {CHECKPOINTING}
    assert set(lacking(model("vgg16_bn", "timm"))) == {DROP_PATH}
    for name in (
        "resnet18",
        "vit_tiny_patch16_224",
        "tf_efficientnet_lite0",
        "repvgg_a0",
        "inception_next_tiny",
    ):
        assert lacking(model(name, "timm")) == {}
    assert lacking(model("", "")) == {}
