"""Stochastic depth: whole residual branches are skipped while training (Huang et al. 2016).

The share grows linearly with depth, from none in the first block to `model.drop_path_rate` in the last.
"""

from collections.abc import Iterator

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from superft_hf.errors import ModelError

_RATES = ("drop_path_rate", "drop_connect_rate")


def ask_for_drop_path(config: PreTrainedConfig, rate: float, name: str) -> None:
    """Prepares the configuration of a model that is yet to be made; timm's make the branches themselves.

    Args:
        config: Of transformers or of its wrapper of timm.
        rate: Share of skipped branches in the last block.
        name: Of the model, for messages.

    Raises:
        ModelError: If the architecture has no stochastic depth.
    """
    if config.model_type == "timm_wrapper":
        config.model_args = {**(config.model_args or {}), "drop_path_rate": rate}
    elif not any(hasattr(config, field) for field in _RATES):
        raise no_drop_path(name)


def spread_drop_path(model: PreTrainedModel, rate: float, name: str) -> None:
    """Gives every residual block its share; what the architecture has of its own is replaced.

    Some architectures give every block the same share, or blank out single values: here all do alike.

    Args:
        model: Made after `ask_for_drop_path`.
        rate: Share of skipped branches in the last block.
        name: Of the model, for messages.

    Raises:
        ModelError: If the architecture has no stochastic depth after all.
    """
    from timm.layers import DropPath  # timm takes a second to import, which other runs need not spend

    if hasattr(model, "timm_model"):
        if rate and not any(isinstance(one, DropPath) and one.drop_prob for one in model.modules()):
            raise no_drop_path(name)
        return
    places = list(_places(model))
    if not places:
        raise no_drop_path(name)
    for index, (block, attribute) in enumerate(places):
        share = rate * index / max(1, len(places) - 1)
        setattr(block, attribute, share if attribute == "drop_rate" else DropPath(share))


def no_drop_path(name: str) -> ModelError:
    """The refusal of an architecture without stochastic depth."""
    return ModelError(
        f"The architecture of {name} has no stochastic depth.",
        hint="Set model.drop_path_rate to null, or choose a model such as Swin, ConvNeXt or BEiT.",
    )


def _places(model: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """The module and attribute of each block that skips its branch, in order of depth."""
    for module in model.modules():
        own = getattr(module, "drop_path", None)
        if isinstance(own, nn.Module) and not isinstance(own, nn.Dropout):
            yield module, "drop_path"
        elif hasattr(module, "apply_dropout"):  # EfficientNet's, which blank out values instead
            yield module, "dropout"
        elif hasattr(module, "drop_rate") and hasattr(module, "module"):  # LeViT's
            yield module, "drop_rate"
