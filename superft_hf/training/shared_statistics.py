"""Batch-norm statistics over all processes of a run on GPUs (SyncBatchNorm)."""

from timm.layers import convert_sync_batchnorm
from torch import nn

from superft_hf.config import HardwareConfig


def share_statistics(model: nn.Module, hardware: HardwareConfig, device_type: str, world_size: int) -> bool:
    """Lets the batch-norm layers of a model use the images of all processes, in place.

    timm's conversion is taken, since torch's own loses the activation of timm's fused layers.

    Args:
        model: Before its optimizer is made; its parameters stay the same objects.
        hardware: `hardware.sync_batch_norm` asks for it.
        device_type: torch's layer works on GPUs only.
        world_size: Processes of all machines; one alone has nothing to share.

    Returns:
        Whether there was anything to share.
    """
    if not hardware.sync_batch_norm or device_type != "cuda" or world_size == 1:
        return False
    layers = [one for one in model.modules() if isinstance(one, nn.modules.batchnorm._BatchNorm)]
    for name, child in model.named_children():
        model.add_module(name, convert_sync_batchnorm(child))
    return bool(layers)
