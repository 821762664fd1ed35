"""Giving a model and its processor an input size other than their own.

The change is written into both configurations, so that plain transformers loads the result as it is.
"""

import copy
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

    Position embeddings are interpolated (bicubic, as in the vision transformer's paper, Dosovitskiy et al.
    2021, section 3.2); everything else must fit as it is.

    Raises:
        ModelError: If the size does not fit the patches, or weights other than positions depend on it.
    """
    if hasattr(model, "timm_model"):
        return _resize_timm(model, size, name)
    own = getattr(model.config, "image_size", None)
    patch = getattr(model.config, "patch_size", None)
    if own is None or own == size:
        return model
    if isinstance(patch, int) and size % patch:
        raise ModelError(
            f"model.image_size is {size}, but the model {name} cuts images into patches of {patch} px.",
            hint=f"Set it to {max(1, round(size / patch)) * patch}.",
        )
    config = copy.deepcopy(model.config)
    config.image_size = size
    with torch.random.fork_rng(devices=[]):  # new weights are thrown away, so they must not use up the seed
        made = type(model)(config)
    weights = dict(model.state_dict())
    for key, target in made.state_dict().items():
        if key in weights and weights[key].shape != target.shape:
            weights[key] = _stretched(weights[key], target, key, name)
    made.load_state_dict(weights, strict=True)
    return made


def _resize_timm(model: PreTrainedModel, size: int, name: str) -> PreTrainedModel:
    network = model.timm_model
    if not hasattr(network, "set_input_size"):
        if any("pos_embed" in key for key in network.state_dict()):
            raise _fixed_size(name, "pos_embed")
        return model
    try:
        network.set_input_size(img_size=(size, size))
    except (AssertionError, ValueError, RuntimeError) as error:
        reason = (str(error).splitlines() or ["the size is refused"])[0]
        raise ModelError(
            f"The model {name} cannot take images of {size} px: {reason}.",
            hint="Set model.image_size to a multiple of its patch size, or to null.",
        ) from error
    model.config.model_args = {**(model.config.model_args or {}), "img_size": size}
    return model


def _stretched(weight: torch.Tensor, target: torch.Tensor, key: str, name: str) -> torch.Tensor:
    """Position embeddings of shape ([1,] prefix + g², D) for another grid."""
    flat = weight.squeeze(0) if weight.dim() == 3 else weight
    wanted = target.squeeze(0) if target.dim() == 3 else target
    is_position = (
        "position" in key and flat.dim() == 2 and wanted.dim() == 2 and flat.shape[1] == wanted.shape[1]
    )
    for prefix in (0, 1, 2):
        old, new = round((len(flat) - prefix) ** 0.5), round((len(wanted) - prefix) ** 0.5)
        if is_position and old**2 + prefix == len(flat) and new**2 + prefix == len(wanted):
            grid = flat[prefix:].reshape(1, old, old, -1).permute(0, 3, 1, 2)
            grid = nn.functional.interpolate(grid, size=(new, new), mode="bicubic", align_corners=False)
            made = torch.cat([flat[:prefix], grid.permute(0, 2, 3, 1).reshape(new * new, -1)])
            return made.reshape(target.shape)
    raise _fixed_size(name, key)


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
