"""Giving a model and its processor an input size other than their own.

The change is written into both configurations, so that plain transformers loads the result as it is.
"""

import copy
import math
from typing import Any

import torch
from torch import nn
from transformers import BaseImageProcessor, PreTrainedModel

from superft_hf.errors import ModelError


def resize_processor(processor: BaseImageProcessor, model: PreTrainedModel, size: int) -> BaseImageProcessor:
    """A processor like the given one whose output is `size` × `size` pixels.

    A processor that resizes and then crops keeps the ratio of the two.
    """
    if hasattr(model, "timm_model"):
        settings = {**model.config.pretrained_cfg, "input_size": [3, size, size]}
        settings.pop("test_input_size", None)
        model.config.pretrained_cfg = settings
        return type(processor)(settings, architecture=model.config.architecture)
    made = copy.deepcopy(processor)
    old = _plain(processor.size)
    crop = _plain(getattr(processor, "crop_size", None))
    if getattr(processor, "do_center_crop", False) and crop:
        ratio = size / crop["height"]
        made.crop_size = _like(processor.crop_size, {"height": size, "width": size})
        made.size = _like(processor.size, {key: round(value * ratio) for key, value in old.items()})
    elif "shortest_edge" in old:
        made.size = _like(processor.size, {"shortest_edge": size})
    else:
        made.size = _like(processor.size, {"height": size, "width": size})
    return made


def resize_model(model: PreTrainedModel, size: int, name: str) -> PreTrainedModel:
    """A model with the same weights that takes images of `size` × `size` pixels.

    Position embeddings and tables of relative positions are interpolated (bicubic, as in the vision
    transformer's paper, Dosovitskiy et al. 2021, section 3.2); everything else must fit as it is.

    Raises:
        ModelError: If the network cannot take the size.
    """
    if hasattr(model, "timm_model"):
        made = _resize_timm(model, size, name)
    else:
        made = _resize_transformers(model, size, name)
    if made is not None:
        _require_size(made, size, name)
    return made or model


def _resize_transformers(model: PreTrainedModel, size: int, name: str) -> PreTrainedModel | None:
    """None where nothing of the model depends on the size, or it is its own."""
    config = copy.deepcopy(model.config)
    part = config if hasattr(config, "image_size") else getattr(config, "vision_config", config)
    own, patch = getattr(part, "image_size", None), getattr(part, "patch_size", None)
    if own is None or own in (size, [size, size], (size, size)):
        return None
    if isinstance(patch, int) and size % patch:
        raise ModelError(
            f"model.image_size is {size}, but the model {name} cuts images into patches of {patch} px.",
            hint=f"Set it to {max(1, round(size / patch)) * patch}.",
        )
    part.image_size = size if isinstance(own, int) else [size, size]
    with torch.random.fork_rng(devices=[]):  # new weights are thrown away, so they must not use up the seed
        made = type(model)(config)
    weights = dict(model.state_dict())
    for key, target in made.state_dict().items():
        if key in weights and weights[key].shape != target.shape:
            weights[key] = _stretched(weights[key], target, key, name)
    made.load_state_dict(weights, strict=True)
    return made.train(model.training)


def _resize_timm(model: PreTrainedModel, size: int, name: str) -> PreTrainedModel | None:
    network = model.timm_model
    if not hasattr(network, "set_input_size"):
        if any("pos_embed" in key for key in network.state_dict()):
            raise _fixed_size(name, "pos_embed")
        return None
    try:
        network.set_input_size(img_size=(size, size))
    except (AssertionError, ValueError, RuntimeError) as error:
        raise _refused_size(name, size, error) from error
    model.config.model_args = {**(model.config.model_args or {}), "img_size": size}
    return model


def _require_size(model: PreTrainedModel, size: int, name: str) -> None:
    """Looks at one black image: windows may not fit a size that patches fit. Raises ModelError."""
    was_training = model.training
    try:
        with torch.no_grad():
            model.eval()(pixel_values=torch.zeros(1, 3, size, size))
    except (AssertionError, ValueError, RuntimeError) as error:
        raise _refused_size(name, size, error) from error
    finally:
        model.train(was_training)


def _stretched(weight: torch.Tensor, target: torch.Tensor, key: str, name: str) -> torch.Tensor:
    """Values by position for another grid.

    Args:
        weight: Shape ([1,] g² + k, D), the k of them for tokens that have no place.
        target: Of the shape that is wanted.
        key: Its name in the model.
        name: Of the model, for messages.
    """
    flat = weight.squeeze(0) if weight.dim() == 3 else weight
    wanted = target.squeeze(0) if target.dim() == 3 else target
    is_table = "relative_position_bias_table" in key  # those of BEiT end with three of the class token
    if "position" not in key or flat.dim() != 2 or wanted.dim() != 2 or flat.shape[1] != wanted.shape[1]:
        raise _fixed_size(name, key)
    for others in (3, 0) if is_table else (0, 1, 2):
        old, new = (math.isqrt(max(0, len(one) - others)) for one in (flat, wanted))
        if old**2 + others == len(flat) and new**2 + others == len(wanted):
            first, last = (0, others) if is_table else (others, 0)
            grid = flat[first : len(flat) - last].reshape(1, old, old, -1).permute(0, 3, 1, 2)
            grid = nn.functional.interpolate(grid, size=(new, new), mode="bicubic", align_corners=False)
            rows = grid.permute(0, 2, 3, 1).reshape(new * new, -1)
            return torch.cat([flat[:first], rows, flat[len(flat) - last :]]).reshape(target.shape)
    raise _fixed_size(name, key)


def _refused_size(name: str, size: int, error: Exception) -> ModelError:
    reason = (str(error).splitlines() or ["the network refuses it"])[0]
    return ModelError(
        f"The model {name} cannot take images of {size} px: {reason.rstrip('.')}.",
        hint="Set model.image_size to a multiple of its patches and windows, or to null.",
    )


def _fixed_size(name: str, key: str) -> ModelError:
    return ModelError(
        f"The model {name} has weights that fit its own image size only ({key}).",
        hint="Set model.image_size to null.",
    )


def _plain(size: Any) -> dict[str, int]:
    """A processor's size, which is a mapping or a record, without its empty entries."""
    items = dict(size).items() if size is not None else ()
    return {key: value for key, value in items if value is not None}


def _like(old: Any, values: dict[str, int]) -> Any:
    return type(old)(**values) if not isinstance(old, dict) else values
