"""Loading any image classifier with a new head, and finding which part of it is the head."""

import contextlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForImageClassification,
    BaseImageProcessor,
    PreTrainedConfig,
    PreTrainedModel,
)

from superft_hf.config import ModelConfig
from superft_hf.errors import ModelError
from superft_hf.hub.local_copies import is_model_here
from superft_hf.hub.models import model_folder
from superft_hf.hub_reach import is_hub_reachable
from superft_hf.sources.hub_cache import is_commit
from superft_hf.training.image_classification.drop_path import (
    ask_for_drop_path,
    no_drop_path,
    spread_drop_path,
)
from superft_hf.training.image_classification.image_size import resize_model, resize_processor

CONVOLUTIONAL_SHARE = 0.5
"""From this share of parameters in convolutions on, channels-last is the faster memory format."""


def load_model(config: ModelConfig, class_names: Sequence[str]) -> tuple[PreTrainedModel, BaseImageProcessor]:
    """Loads a base model whose head is new and fits the classes, and its image processor.

    Without `model.pretrained` only its architecture is taken, and all weights are new. New weights come from
    torch's global generator: seed it before.

    Args:
        config: The `model:` group.
        class_names: C names by class id.

    Raises:
        ModelNotFoundError: If the model cannot be found.
        ModelError: If it cannot be loaded, or cannot take `model.image_size` or `model.drop_path_rate`.
    """
    try:
        model, processor = _load(config, class_names)
    except (OSError, ValueError, RuntimeError, KeyError, ImportError) as error:
        raise ModelError(
            f"The model {config.name_or_path} cannot be loaded: {str(error).strip().splitlines()[0][:300]}",
            hint="It needs config.json, preprocessor_config.json and model.safetensors of a classifier.",
        ) from error
    except TypeError as error:
        if "drop_path_rate" not in str(error):
            raise
        raise no_drop_path(config.name_or_path) from error  # timm's way to say that an architecture has none
    if hasattr(model, "timm_model"):
        model.config.label_names = list(class_names)  # else the base model's names are saved again
    _renew_head(model)
    if config.image_size is not None:
        processor = resize_processor(processor, model, config.image_size)
        model = resize_model(model, config.image_size, config.name_or_path)
    if config.drop_path_rate is not None:
        spread_drop_path(model, config.drop_path_rate, config.name_or_path)
    if config.dropout is not None:
        add_dropout(model, config.dropout)
    return model, processor


def head_modules(model: PreTrainedModel) -> list[nn.Module]:
    """The modules that turn features into logits: everything outside the model's body.

    Raises:
        ModelError: If body and head cannot be told apart.
    """
    if hasattr(model, "timm_model"):
        found = model.timm_model.get_classifier()
        heads = list(found) if isinstance(found, (tuple, list)) else [found]
    else:
        body = getattr(model, model.base_model_prefix, None)
        if body is None:  # such as CLIP's, whose image tower is a child under another name
            body = max(model.children(), key=lambda child: sum(one.numel() for one in child.parameters()))
        children = list(model.children())
        heads = children[children.index(body) + 1 :]
    heads = [head for head in heads if any(True for _ in head.parameters())]
    if not heads:  # such as Perceiver's, whose last layer lies within its body
        size = model.config.num_labels
        heads = [one for one in model.modules() if getattr(one, "out_features", None) == size][-1:]
    if not heads:
        raise ModelError(
            f"The classification layer of {type(model).__name__} cannot be told from its body.",
            hint="Set model.strategy to full.",
        )
    return heads


def output_layers(model: PreTrainedModel) -> list[nn.Module]:
    """The layers of the head whose outputs are the logits."""
    size = model.config.num_labels
    modules = [module for head in head_modules(model) for module in head.modules()]
    return [
        module for module in modules
        if getattr(module, "out_features", None) == size or getattr(module, "out_channels", None) == size
    ]  # fmt: skip


def add_dropout(model: PreTrainedModel, share: float) -> None:
    """Drops a share of the features that the output layers read, while training.

    A hook rather than a module: the saved model stays a plain one of its architecture.

    Raises:
        ModelError: If the model has no such layer.
    """
    layers = output_layers(model)
    if not layers:
        raise ModelError(
            f"No layer of {type(model).__name__} is known to make the logits, so dropout has no place.",
            hint="Set model.dropout to null.",
        )
    if hasattr(model, "timm_model") and hasattr(model.timm_model, "drop_rate"):
        model.timm_model.drop_rate = 0.0  # timm applies its own here; the setting takes its place

    def drop(layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (nn.functional.dropout(inputs[0], share, layer.training), *inputs[1:])

    for layer in layers:
        layer.register_forward_pre_hook(drop)


def choose_memory_format(model: nn.Module) -> str:
    """`channels_last` when most parameters are in convolutions, else `contiguous`."""
    total = sum(parameter.numel() for parameter in model.parameters())
    convolutions = (module for module in model.modules() if isinstance(module, nn.Conv2d))
    inside = sum(
        parameter.numel() for module in convolutions for parameter in module.parameters(recurse=False)
    )
    return "channels_last" if inside >= CONVOLUTIONAL_SHARE * total else "contiguous"


def _load(config: ModelConfig, class_names: Sequence[str]) -> tuple[PreTrainedModel, BaseImageProcessor]:
    """Loads what is on this machine; only what is missing is asked for, since a worker has no token."""
    folder, id2label = model_folder(config.name_or_path), dict(enumerate(class_names))
    classes: dict[str, Any] = {
        "id2label": id2label, "label2id": {name: index for index, name in id2label.items()},
        "num_labels": len(class_names),
    }  # fmt: skip

    def load(*, is_local: bool) -> tuple[PreTrainedModel, BaseImageProcessor]:
        source: dict[str, Any] = {
            "revision": config.revision, "local_files_only": is_local, "trust_remote_code": False,
        }  # fmt: skip
        own = AutoConfig.from_pretrained(folder, **classes, **source)
        if config.drop_path_rate is not None:
            ask_for_drop_path(own, config.drop_path_rate, config.name_or_path)
        if config.pretrained:
            model = AutoModelForImageClassification.from_pretrained(
                folder, config=own, use_safetensors=True, ignore_mismatched_sizes=True, **source
            )
        else:
            model = _random(own)
        return model, AutoImageProcessor.from_pretrained(folder, **source)

    if is_commit(config.revision) and is_model_here(config):
        with contextlib.suppress(OSError):  # such as a processor that was never fetched
            return load(is_local=True)
    return load(is_local=not is_hub_reachable())


def _random(config: PreTrainedConfig) -> PreTrainedModel:
    """A model with random weights, as its architecture draws them."""
    model = AutoModelForImageClassification.from_config(config)
    if hasattr(model, "timm_model"):  # transformers has drawn its layers anew, in its own way
        import timm  # takes a second, which other models need not spend

        own = timm.create_model(
            config.architecture, num_classes=config.num_labels, **(config.model_args or {})
        )
        model.timm_model.load_state_dict(own.state_dict())
    return model


def _renew_head(model: PreTrainedModel) -> None:
    """Starts the head anew even where the old one happens to have as many classes."""
    for layer in output_layers(model):
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
