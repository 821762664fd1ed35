"""Attention rollout: where what a vision transformer reads at its end comes from (Abnar & Zuidema 2020)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedModel

MAX_PREFIX = 16
"""Tokens before those of the patches: one for the class, one for a teacher, some registers."""


@dataclass(frozen=True)
class Attentions:
    """The attention of all layers of a plain vision transformer.

    Attributes:
        matrices: One array of shape (heads, T, T) a layer.
        grid: Rows and columns of patches, whose tokens come last.
        is_from_mean: Whether the head reads the mean of the patches rather than the first token.
    """

    matrices: list[np.ndarray]
    grid: tuple[int, int]
    is_from_mean: bool


def rollout(matrices: Sequence[np.ndarray], *, is_from_mean: bool = False) -> np.ndarray:
    """How much of each input token arrives at the end (Abnar & Zuidema 2020, section 3).

    Args:
        matrices: The attention of each layer, first layer first: shape (heads, T, T), rows sum to 1.
        is_from_mean: Whether the end is the mean of all tokens; else it is the first token.

    Returns:
        Shares of shape (T,) that sum to 1.
    """
    size = matrices[0].shape[-1]
    flow = np.eye(size)
    for matrix in matrices:
        mixed = 0.5 * matrix.astype(np.float64).mean(axis=0) + 0.5 * np.eye(size)
        flow = mixed / mixed.sum(axis=1, keepdims=True) @ flow
    return flow.mean(axis=0) if is_from_mean else flow[0]


def attentions(model: PreTrainedModel, pixels: torch.Tensor) -> Attentions | None:
    """The attention between all tokens in every layer; None of networks that have none of that kind."""
    grid = patch_grid(model, pixels)
    if grid is None:
        return None
    with torch.no_grad():
        found = _timm_attention(model, pixels) if hasattr(model, "timm_model") else _attention(model, pixels)
    if not found or any(one is None or one.dim() != 4 for one in found):
        return None
    shapes = {tuple(one.shape[-2:]) for one in found}
    rows, columns = next(iter(shapes))
    prefix = rows - grid[0] * grid[1]
    if len(shapes) > 1 or rows != columns or not 0 <= prefix <= MAX_PREFIX:  # windows, or merged tokens
        return None
    if any(len(one) != 1 for one in found):
        return None
    is_from_mean = prefix == 0 or _reads_mean(model)
    return Attentions([one[0].float().numpy() for one in found], grid, is_from_mean)


def _attention(model: PreTrainedModel, pixels: torch.Tensor) -> Sequence[torch.Tensor]:
    try:
        return model(pixel_values=pixels, output_attentions=True).attentions or ()
    except (TypeError, ValueError, AttributeError):  # networks without attention refuse in their own ways
        return ()


def _timm_attention(model: PreTrainedModel, pixels: torch.Tensor) -> Sequence[torch.Tensor]:
    """What goes into the dropout between softmax and values: timm hands out no attention."""
    blocks = [one for one in model.modules() if hasattr(one, "fused_attn") and hasattr(one, "attn_drop")]
    fused = [block.fused_attn for block in blocks]
    seen: list[torch.Tensor] = []
    hooks = [
        block.attn_drop.register_forward_hook(lambda _, inputs, output: seen.append(inputs[0]))
        for block in blocks
    ]
    try:
        for block in blocks:
            block.fused_attn = False
        model(pixel_values=pixels)
    finally:
        for block, was in zip(blocks, fused, strict=True):
            block.fused_attn = was
        for hook in hooks:
            hook.remove()
    return seen


def patch_grid(model: PreTrainedModel, pixels: torch.Tensor) -> tuple[int, int] | None:
    """Rows and columns of patches, where the network cuts its input into some."""
    if hasattr(model, "timm_model"):
        patch = getattr(getattr(model.timm_model, "patch_embed", None), "patch_size", None)
    else:
        patch = getattr(model.config, "patch_size", None)
    if isinstance(patch, int):
        patch = (patch, patch)
    if not isinstance(patch, (tuple, list)) or len(patch) != 2:
        return None
    return pixels.shape[2] // patch[0], pixels.shape[3] // patch[1]


def _reads_mean(model: PreTrainedModel) -> bool:
    if hasattr(model, "timm_model"):
        return getattr(model.timm_model, "global_pool", "token") not in ("token", "map", "")
    return bool(getattr(model.config, "use_mean_pooling", False))
