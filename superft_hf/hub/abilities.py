"""What an architecture is known to lack, told by its name: no network is built for it.

Only what is sure stands here. An architecture that is not named may lack it all the same: then the worker
says so at the start of the run. Tests hold the names against the installed transformers and timm.
"""

from superft_hf.records import ModelInfo

DROP_PATH, CHECKPOINTING = "model.drop_path_rate", "training.gradient_checkpointing"

# fmt: off
NO_DROP_PATH = frozenset((
    "clip", "deit", "hgnet_v2", "ijepa", "metaclip_2", "mobilenet_v1", "mobilenet_v2", "mobilevit",
    "mobilevitv2", "pp_lcnet", "regnet", "resnet", "siglip", "textnet", "vit", "vit_msn",
))
NO_CHECKPOINTING = frozenset((
    "bit", "convnext", "convnextv2", "cvt", "dinat", "efficientnet", "hgnet_v2", "levit", "mobilenet_v1",
    "mobilenet_v2", "poolformer", "pvt", "regnet", "resnet", "textnet",
))
"""Types of transformers."""

TIMM_NO_DROP_PATH = (
    "convmixer", "densenet", "dla", "dpn", "efficientvit", "ghostnet", "hrnet", "inception_resnet",
    "inception_v3", "inception_v4", "lcnetv2", "nasnet", "pnasnet", "repghost", "repvit", "selecsls",
    "legacy_senet", "legacy_seresn", "legacy_xception", "shvit", "vgg",
)
"""First parts of names in timm."""
# fmt: on


def lacking(model: ModelInfo) -> dict[str, str]:
    """A sentence for each setting that the architecture has no place for, by dotted key.

    Example:
        >>> lacking(ModelInfo("m", "m", "", "local", architecture="vit", library="transformers"))
        {'model.drop_path_rate': 'The architecture vit has no stochastic depth.'}
        >>> lacking(ModelInfo("m", "m", "", "local", architecture="resnet18", library="timm"))
        {}
    """
    name, found = model.architecture, {}
    is_timm = model.library == "timm"
    if name.startswith(TIMM_NO_DROP_PATH) if is_timm else name in NO_DROP_PATH:
        found[DROP_PATH] = f"The architecture {name} has no stochastic depth."
    if not is_timm and name in NO_CHECKPOINTING:
        found[CHECKPOINTING] = f"The architecture {name} does not support gradient checkpointing."
    return found
