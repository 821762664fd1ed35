"""Settings that the architecture of the model has no place for."""

from collections.abc import Iterator

from superft_hf.config import RunConfig
from superft_hf.errors import ModelError
from superft_hf.hub.abilities import CHECKPOINTING, DROP_PATH, lacking
from superft_hf.records import Finding, ModelInfo, Remedy

_OFF = {DROP_PATH: None, CHECKPOINTING: False}
_HINTS = {
    DROP_PATH: "Set model.drop_path_rate to null, or choose a model such as Swin, ConvNeXt or BEiT.",
    CHECKPOINTING: "Set training.gradient_checkpointing to false; smaller batches take less memory as well.",
}
_REMEDIES = {DROP_PATH: "Train without stochastic depth", CHECKPOINTING: "Train without checkpointing"}


def find(config: RunConfig, model: ModelInfo) -> Iterator[Finding]:
    """What is asked of the model that it is known to lack."""
    for key, sentence in _asked_in_vain(config, model):
        yield Finding(
            "blocks", sentence, "", _HINTS[key], ModelError.__name__, code="model-lacks",
            remedies=(Remedy(_REMEDIES[key], {key: _OFF[key]}),),
        )  # fmt: skip


def require_abilities(config: RunConfig, model: ModelInfo) -> None:
    """Raises ModelError for the first setting that the model is known to have no place for."""
    for key, sentence in _asked_in_vain(config, model):
        raise ModelError(sentence, hint=_HINTS[key])


def _asked_in_vain(config: RunConfig, model: ModelInfo) -> Iterator[tuple[str, str]]:
    asked = {
        DROP_PATH: config.model.drop_path_rate is not None,
        CHECKPOINTING: config.training.gradient_checkpointing,
    }
    return ((key, sentence) for key, sentence in lacking(model).items() if asked[key])
