"""About how much memory training a model takes, from what is known before anything is downloaded.

A rough figure to choose by; the smoke run of the pre-flight measures the real one.
"""

import re

from superft_hf.optimizer_states import values_per_weight
from superft_hf.records import ModelInfo

PROCESS_BYTES = 940_000_000
"""A worker before its model is loaded: Python, torch, transformers and their libraries."""

ALLOCATOR_BYTES = 280_000_000
"""What the C library keeps in reserve with the settings of `superft_hf.engine.launcher`."""

_BYTES = 4
_MOMENTUM = 0.9
"""Any above 0: optimizers that may have it are taken to."""

_PATCH = re.compile(r"patch(\d+)")
_VIT_BYTES = 65.1
"""Bytes of activations per pixel and root of the parameters of a ViT, times the square of its patch."""

_VISION_TRANSFORMERS = (
    "vit",
    "deit",
    "dinov2",
    "dino",
    "ijepa",
    "clip",
    "siglip",
    "eva",
    "data2vec",
    "levit",
)
_PER_PIXEL = {
    "mobilevit": 1.25, "mobilenetv3": 0.43, "mobilenetv4": 0.22, "mobilenet_v1": 0.8, "mobilenet": 1.0,
    "efficientnetv2": 0.69, "efficientnet": 0.9, "efficientformer": 0.6, "convnextv2": 0.6, "convnext": 0.39,
    "regnet": 0.46, "resnext": 0.45, "densenet": 1.0, "vgg": 0.13, "swin": 0.52, "beit": 0.33,
    "segformer": 0.7, "pvt": 0.6, "edgenext": 0.49, "fastvit": 0.6,
}  # fmt: skip
"""Bytes of activations per pixel and root of the parameters, by family."""

_OTHER = 0.5
_BASIC_RESNET, _RESNET = 0.155, 0.485
_LARGEST_BASIC_RESNET = 23_000_000


def training_memory_bytes(
    info: ModelInfo, batch_size: int, image_size: int | None, optim: str, *, is_averaged: bool = False
) -> int | None:
    """Estimates the peak memory of a training process with every layer trained in float32 on a CPU.

    Weights and the optimizer's state count exactly. The activations kept for the backward pass grow with
    the pixels and, within a family of networks, with the square root of the parameters: wider means more of
    both. The factors of the families were measured. Of thirteen training processes (the test lists them) the
    estimate meets the peak within 5 %; those of a family that is not listed may be off by a factor of two in
    their activations. On a GPU take PROCESS_BYTES and ALLOCATOR_BYTES off.

    Args:
        info: The model; its architecture and number of parameters decide.
        batch_size: Images in one batch on one device.
        image_size: Height and width in pixels; None takes the model's own.
        optim: `training.optim` of a run.
        is_averaged: Whether a moving average of the weights is kept, which is one more copy of them.

    Returns:
        Bytes, or None when the number of parameters or the image size is unknown.
    """
    size = image_size or info.image_size
    if not info.num_parameters or not size:
        return None
    copies = 1 + is_averaged + values_per_weight(optim, _MOMENTUM, info.architecture)
    states = _BYTES * info.num_parameters * copies
    gradients = _BYTES * info.num_parameters
    activations = _per_pixel(info) * info.num_parameters**0.5 * size * size * batch_size
    # Activations are freed while the gradients come: only the larger of the two is there at the peak.
    return round(PROCESS_BYTES + ALLOCATOR_BYTES + states + max(gradients, activations))


def _per_pixel(info: ModelInfo) -> float:
    """Bytes of activations per pixel and root of the parameters."""
    name = info.architecture.lower().replace("-", "")
    family = next((one for one in _PER_PIXEL if one in name), None)
    if family is not None:
        return _PER_PIXEL[family]
    if "resnet" in name:
        is_basic = (info.num_parameters or 0) < _LARGEST_BASIC_RESNET
        return _BASIC_RESNET if is_basic else _RESNET
    if any(one in name for one in _VISION_TRANSFORMERS):
        return _VIT_BYTES / _patch(info) ** 2
    return _OTHER


def _patch(info: ModelInfo) -> int:
    """The patch size of a ViT: its name mostly says it."""
    found = _PATCH.search(f"{info.architecture} {info.name_or_path}".lower())
    if found:
        return int(found[1]) or 16
    return 14 if "dinov2" in info.architecture else 16
