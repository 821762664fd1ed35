"""Where a finished model looks: Grad-CAM, attention rollout, or occlusion, for one image.

Pages call `heat_map` through the child process. Which method fits is found by looking at what passes through
the network, not by its name, so that networks nobody listed here are explained as well.

- Grad-CAM (Selvaraju et al. 2017): the last map of features with more than one place, each channel weighted
  by the mean gradient of the class's logit. Of token networks, the last tokens that reach the logit.
- Attention rollout (Abnar & Zuidema 2020): the attention of all layers multiplied, half of each layer being
  what passes by. It tells of no class.
- Occlusion: how much the logit falls when a square is made grey. Slow and coarse, but it needs no insight.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from captum.attr import LayerGradCam, Occlusion
from torch import nn
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    BaseImageProcessor,
    PreTrainedModel,
)

from superft_hf.errors import BadImageError, ModelError
from superft_hf.sources.images import open_rgb
from superft_hf.training.attention_rollout import MAX_PREFIX, attentions, patch_grid, rollout
from superft_hf.training.image_classification.pixels import eval_pixels
from superft_hf.training.image_classification.seen_box import Box, seen_box
from superft_hf.training.inference import model_stamp

GRAD_CAM, ROLLOUT, OCCLUSION = "Grad-CAM", "attention rollout", "occlusion"
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)

_SQUARES = 7
"""Places along a side in which occlusion puts its square, which is two places wide."""

_ROUGH = "In a transformer each place has already seen the others, so this is rough."

_PASSING = (nn.Dropout, nn.Softmax, nn.Identity, nn.Linear)
"""Layers whose outputs are no features: among them are matrices of attention."""


@dataclass(frozen=True)
class Explained:
    """A map over what the network saw.

    Attributes:
        values: Shape (H, W) of the network's input, from 0 to 1.
        method: GRAD_CAM, ROLLOUT or OCCLUSION.
        note: What has to be known of it, or empty.
    """

    values: np.ndarray
    method: str
    note: str = ""


def heat_map(
    model_folder: str, encoded_image: bytes, class_id: int | None = None, method: str | None = None
) -> dict[str, Any]:
    """What in an image speaks for a class, by the model of a finished run.

    Args:
        model_folder: The `model/` folder of a run.
        encoded_image: An image file as bytes.
        class_id: The class to explain; None: the one that the model predicts.
        method: GRAD_CAM, or None for the method that fits the network best.

    Returns:
        `values`: float32 of shape (H, W) from 0 to 1 over the network's input; `box`: the part of the upright
        picture that the input shows, as fractions left, top, right, bottom; `method`; `note`; `class_id`:
        what is explained, None where the method tells of no class; `prediction` and `confidence` of this
        model; `has_rollout`: whether attention rollout fits this network.

    Raises:
        BadImageError: If the bytes are no readable image.
        ModelNotFoundError: If the folder holds no model.
    """
    model, processor = _load(model_folder, model_stamp(model_folder))
    try:
        image = open_rgb(encoded_image)
    except ValueError as error:
        raise BadImageError(["the image"], str(error)) from error
    pixels = eval_pixels(processor, image)[None].float()
    with torch.no_grad():
        probabilities = model(pixel_values=pixels).logits[0].float().softmax(dim=-1)
    prediction = int(probabilities.argmax())
    wanted = prediction if class_id is None else class_id
    found = explain(model, pixels, wanted, method)
    try:
        box, problem = seen_box(processor, image.size), ""
    except ModelError:
        box, problem = WHOLE, "What the image processor cut off is not known."
    return {
        "values": found.values.astype(np.float32), "box": box, "method": found.method,
        "note": " ".join(part for part in (found.note, problem) if part),
        "class_id": None if found.method == ROLLOUT else wanted,
        "prediction": prediction, "confidence": float(probabilities[prediction]),
        "has_rollout": found.method == ROLLOUT or attentions(model, pixels) is not None,
    }  # fmt: skip


def explain(
    model: PreTrainedModel, pixels: torch.Tensor, class_id: int, method: str | None = None
) -> Explained:
    """The map of one image.

    Args:
        model: In evaluation mode.
        pixels: The network's input, shape (1, 3, H, W).
        class_id: The class whose logit is explained.
        method: GRAD_CAM, or None for the method that fits best.
    """
    if method is None:
        found = attentions(model, pixels)
        if found is not None:
            shares = rollout(found.matrices, is_from_mean=found.is_from_mean)
            grid = shares[-found.grid[0] * found.grid[1] :].reshape(found.grid)
            return Explained(_stretched(_enlarged(grid, pixels)), ROLLOUT)
    places = _grad_cam(model, pixels, class_id)
    if places is not None:
        note = _ROUGH if method == GRAD_CAM and patch_grid(model, pixels) is not None else ""
        if not places.any():
            note = "Nothing in the last features speaks for this class."
        return Explained(_of_largest(_enlarged(places, pixels)), GRAD_CAM, note)
    falls = _occlusion(model, pixels, class_id)
    note = "This network has no map of features to look at, so squares of the image were covered in turn."
    return Explained(_of_largest(_enlarged(falls, pixels)), OCCLUSION, note)


# Grad-CAM


@dataclass(frozen=True)
class _Features:
    """What a layer gave: features in places.

    Attributes:
        layer: The layer.
        output: Its output.
        grid: Rows and columns.
        layout: `NCHW`, `NHWC`, or `tokens` for (N, T, C) whose last tokens are the places.
    """

    layer: nn.Module
    output: torch.Tensor
    grid: tuple[int, int]
    layout: str

    def by_place(self, tensor: torch.Tensor) -> torch.Tensor:
        """Such an output, or its gradient, as (places, C)."""
        if self.layout == "NCHW":
            return tensor[0].flatten(1).T
        flat = tensor[0].flatten(0, -2)
        return flat[-self.grid[0] * self.grid[1] :]


def _grad_cam(model: PreTrainedModel, pixels: torch.Tensor, class_id: int) -> np.ndarray | None:
    """The places that speak for a class, shape (rows, columns), at least 0; None without such features."""
    with torch.enable_grad():
        candidates, logits = _features(model, pixels)
        if not candidates:
            return None
        outputs = [one.output for one in candidates]
        gradients = torch.autograd.grad(logits[0, class_id], outputs, allow_unused=True)
    for features, gradient in zip(reversed(candidates), reversed(gradients), strict=True):
        if gradient is None or not features.by_place(gradient).any():
            continue  # such as the last tokens of a network that reads its class token only
        if features.layout == "NCHW":
            return _captum_grad_cam(model, features.layer, pixels, class_id)
        weights = features.by_place(gradient).mean(dim=0)
        found = (features.by_place(features.output.detach()) @ weights).relu()
        return found.reshape(features.grid).numpy()
    return None


def _captum_grad_cam(
    model: PreTrainedModel, layer: nn.Module, pixels: torch.Tensor, class_id: int
) -> np.ndarray:
    method = LayerGradCam(lambda images: model(pixel_values=images).logits, layer)
    return method.attribute(pixels, target=class_id, relu_attributions=True)[0, 0].detach().numpy()


def _features(model: PreTrainedModel, pixels: torch.Tensor) -> tuple[list[_Features], torch.Tensor]:
    """The features of each layer that has some, in the order in which they are made, and the logits."""
    found: list[_Features] = []
    calls: dict[int, int] = {}
    patches = patch_grid(model, pixels)

    def note(layer: nn.Module, inputs: Any, output: Any) -> None:
        calls[id(layer)] = calls.get(id(layer), 0) + 1
        if isinstance(output, torch.Tensor) and output.requires_grad and len(output) == 1:
            place = _place(layer, output, pixels.shape[2:], patches)
            if place is not None:
                found.append(_Features(layer, output, *place))

    layers = [one for one in model.modules() if not isinstance(one, _PASSING)]
    hooks = [layer.register_forward_hook(note) for layer in layers]
    try:
        logits = model(pixel_values=pixels.detach().requires_grad_()).logits
    finally:
        for hook in hooks:
            hook.remove()
    return [one for one in found if calls[id(one.layer)] == 1], logits


def _place(
    layer: nn.Module, output: torch.Tensor, size: Sequence[int], patches: tuple[int, int] | None
) -> tuple[tuple[int, int], str] | None:
    """The grid of places in an output and its layout, or None where it has none."""
    shape = tuple(output.shape)
    if len(shape) == 4:
        for layout, grid in (("NCHW", shape[2:]), ("NHWC", shape[1:3])):
            if _is_grid(grid, size):
                return grid, layout
    is_whole = "norm" in type(layer).__name__.lower() or any(True for _ in layer.children())
    if len(shape) != 3 or not is_whole:
        return None
    if patches is not None and 0 <= shape[1] - patches[0] * patches[1] <= MAX_PREFIX:
        return (patches, "tokens") if max(patches) > 1 else None
    for prefix in range(min(MAX_PREFIX, shape[1] - 1) + 1):
        rows = round(((shape[1] - prefix) * size[0] / size[1]) ** 0.5)
        columns = rows * size[1] // size[0]
        if rows * columns == shape[1] - prefix and _is_grid((rows, columns), size):
            return (rows, columns), "tokens"
    return None


def _is_grid(grid: Sequence[int], size: Sequence[int]) -> bool:
    """Whether an input of this size becomes such a grid: more than one place, one stride both ways."""
    if min(grid) < 1 or max(grid) < 2 or grid[0] > size[0] or grid[1] > size[1]:
        return False
    strides = [
        {stride for stride in range(1, whole + 1) if part in (whole // stride, -(-whole // stride))}
        for part, whole in zip(grid, size, strict=True)
    ]
    return bool(strides[0] & strides[1])


# Occlusion


def _occlusion(model: PreTrainedModel, pixels: torch.Tensor, class_id: int) -> np.ndarray:
    """How much the logit of a class falls when a square is grey, shape (H, W), at least 0."""
    height, width = pixels.shape[2:]
    steps = (max(1, height // _SQUARES), max(1, width // _SQUARES))
    method = Occlusion(lambda images: model(pixel_values=images).logits)
    with torch.no_grad():
        falls = method.attribute(
            pixels, target=class_id, strides=(3, *steps), baselines=pixels.mean(),
            sliding_window_shapes=(3, min(height, 2 * steps[0]), min(width, 2 * steps[1])),
            perturbations_per_eval=8,
        )  # fmt: skip
    return falls[0].mean(dim=0).relu().numpy()


# Scales


def _of_largest(values: np.ndarray) -> np.ndarray:
    """As shares of the largest; all 0 where that is 0."""
    largest = float(values.max(initial=0.0))
    return values / largest if largest > 0 else np.zeros_like(values)


def _stretched(values: np.ndarray) -> np.ndarray:
    """From the least, which becomes 0, to the largest, which becomes 1; all 0 where they are equal."""
    return _of_largest(values - values.min())


def _enlarged(values: np.ndarray, pixels: torch.Tensor) -> np.ndarray:
    """A map at the size of the network's input, bilinear; what is not finite becomes 0."""
    tensor = torch.from_numpy(np.nan_to_num(np.ascontiguousarray(values, dtype=np.float32)))[None, None]
    large = nn.functional.interpolate(tensor, size=pixels.shape[2:], mode="bilinear", align_corners=False)
    return large[0, 0].numpy()


@lru_cache(maxsize=1)
def _load(model_folder: str, stamp: float) -> tuple[PreTrainedModel, BaseImageProcessor]:
    """Model and processor of a folder; `stamp` makes a rewritten folder a new one.

    Attention is computed step by step: only then is there a matrix to look at.
    """
    options = {"attn_implementation": "eager", "dtype": torch.float32}
    model = AutoModelForImageClassification.from_pretrained(model_folder, **options).eval()
    return model, AutoImageProcessor.from_pretrained(model_folder)
