"""Models as the pickers see them: from the Hub, a local folder or a sample, one kind of record.

Nothing here imports torch: a model is judged by what `superft_hf.hub.model_files` finds.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from superft_hf.errors import ModelError, ModelNotFoundError, SuperFTError
from superft_hf.hub.model_files import ModelFiles, hub_files, local_files
from superft_hf.hub.tokens import find_token
from superft_hf.records import ModelInfo
from superft_hf.samples import MODEL_SAMPLES, SAMPLE_PREFIX, fetch_model
from superft_hf.sources.load import local_path, looks_like_path

# fmt: off
CLASSIFIER_TYPES = frozenset((
    "beit", "bit", "clip", "convnext", "convnextv2", "cvt", "data2vec-vision", "deit", "dinat", "dinov2",
    "dinov2_with_registers", "donut-swin", "efficientnet", "focalnet", "hgnet_v2", "hiera", "ijepa", "levit",
    "metaclip_2", "mobilenet_v1", "mobilenet_v2", "mobilevit", "mobilevitv2", "poolformer", "pp_lcnet", "pvt",
    "pvt_v2", "regnet", "resnet", "segformer", "siglip", "swiftformer", "swin", "swinv2", "textnet",
    "timm_wrapper", "vit", "vit_msn",
))
# fmt: on
"""What AutoModelForImageClassification knows, less the four that take no plain pixels (imagegpt, perceiver,
shieldgemma2, siglip2). A test holds this against the installed transformers."""

OTHER_TASKS = {
    "ForObjectDetection": "object detection",
    "ForSemanticSegmentation": "semantic segmentation",
    "ForDepthEstimation": "depth estimation",
    "ForUniversalSegmentation": "segmentation",
}
MAX_CLASS_NAMES = 8

_UNNAMED = re.compile(r"LABEL_\d+")
_OTHER_FORMATS = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".onnx", ".pkl")


def model_folder(name_or_path: str) -> str:
    """What transformers loads: the folder of a sample or local model, else the Hub id itself.

    Raises:
        ModelNotFoundError: If there is no such sample or folder.
        DownloadError: If a sample cannot be fetched.
    """
    if name_or_path.startswith(SAMPLE_PREFIX):
        return str(fetch_model(name_or_path))
    path = local_path(name_or_path)
    if path is not None and path.is_dir():
        return str(path.absolute())
    if path is not None or looks_like_path(name_or_path):
        raise ModelNotFoundError(
            f"There is no model folder {name_or_path}.",
            hint="Give a folder with config.json and model.safetensors.",
        )
    return name_or_path


def inspect_model(name_or_path: str, revision: str = "main", token: str | None = None) -> ModelInfo:
    """Looks at a model without loading its weights.

    Args:
        name_or_path: `model.name_or_path` of a run.
        revision: Branch, tag or commit of a Hub model.
        token: Of the Hub; None takes the one of this machine, if there is one.

    Returns:
        What is known of it; `problem` is set when it cannot be trained here. A gated model is described as
        far as the Hub tells of it.

    Raises:
        ModelNotFoundError: If there is no such model or revision, or it is neither here nor to be had.
        HubError: One of its kinds, if the Hub fails and the cache has no copy.
        DownloadError: If a sample cannot be fetched.
    """
    return _look(name_or_path, revision, token)[0]


def require_model(name_or_path: str, revision: str = "main", token: str | None = None) -> ModelInfo:
    """Like inspect_model, but a model with a problem raises ModelError, or GatedError when that is it."""
    info, refusal = _look(name_or_path, revision, token)
    if refusal is not None:
        raise refusal
    return info


def licence_words(found: Any) -> str:
    """The licence of a card, which may name several."""
    return ", ".join(str(one) for one in found) if isinstance(found, list) else str(found or "")


def _look(name_or_path: str, revision: str, token: str | None) -> tuple[ModelInfo, SuperFTError | None]:
    """What is known of a model, and why it cannot be trained."""
    folder = model_folder(name_or_path)
    if local_path(folder) is None:
        found = find_token(token)
        files = hub_files(folder, revision, found[0] if found else None)
        info = _with_card(_describe(name_or_path, "hub", files), files.card)
    else:
        files = local_files(Path(folder), name_or_path)
        info = _describe(name_or_path, "local", files)
    if name_or_path.startswith(SAMPLE_PREFIX):
        sample = MODEL_SAMPLES[name_or_path]
        info = replace(
            info, source="sample", title=sample.title, description=sample.description, licence=sample.licence
        )
    refusal = _judge(name_or_path, files)
    if refusal is not None:
        info = replace(info, problem=refusal.message, hint=refusal.hint)
    return info, refusal


def _describe(name: str, source: str, files: ModelFiles) -> ModelInfo:
    """What the files tell."""
    config = files.config
    is_timm = "architecture" in config
    architecture = str(config.get("architecture") or config.get("model_type") or "")
    mean, std = _normalisation(files)
    return ModelInfo(
        name_or_path=name, title=Path(name).name, description=f"{architecture or 'unknown'} network",
        source=source, architecture=architecture, num_parameters=files.num_parameters,
        size_bytes=files.size_bytes, image_size=_image_size(files), image_mean=mean, image_std=std,
        num_labels=_num_labels(config), class_names=_class_names(config), revision=files.revision,
        task="image-classification" if is_timm else _task(config),
        library="timm" if is_timm else "transformers" if config.get("model_type") else "",
        has_safetensors=files.has_safetensors,
    )  # fmt: skip


def _with_card(info: ModelInfo, card: Mapping[str, Any]) -> ModelInfo:
    """Adds what only the Hub knows."""
    return replace(
        info,
        task=str(card.get("pipeline_tag") or info.task),
        library=str(card.get("library_name") or info.library),
        licence=licence_words((card.get("cardData") or {}).get("license")),
        is_gated=bool(card.get("gated")),
        downloads=card.get("downloads"),
        likes=card.get("likes"),
        last_modified=str(card.get("lastModified") or ""),
    )


def _judge(name: str, files: ModelFiles) -> SuperFTError | None:
    """Why a model cannot be trained here, with the way on."""
    config = files.config
    if config.get("auto_map"):
        return ModelError(
            f"The model {name} needs code from its own repository, which is not run here.",
            hint="Choose one whose network transformers or timm knows, such as microsoft/resnet-18.",
        )
    other = _other_task(config)
    kind = "timm_wrapper" if "architecture" in config else config.get("model_type")
    if other or (kind not in CLASSIFIER_TYPES and (kind or files.refusal is None)):
        return ModelError(
            f"The model {name} {other or _is_of_type(kind, files)}, which cannot classify images.",
            hint="Choose a model of the task image classification, such as microsoft/resnet-18.",
        )
    if files.refusal is not None:
        return files.refusal
    if not files.has_safetensors:
        return _no_safetensors(name, files)
    if files.damaged:
        return ModelError(
            f"The weights of the model {name} are damaged: {files.damaged} is not a whole safetensors file.",
            hint="Fetch or save the model again.",
        )
    return None


def _is_of_type(kind: Any, files: ModelFiles) -> str:
    library = files.card.get("library_name")
    if kind is None and library and library not in ("transformers", "timm"):
        return f"belongs to the library {library}"
    names = [one["rfilename"] for one in files.card.get("siblings") or []]
    return "has no config.json" if files.card and "config.json" not in names else f"is of type {kind!r}"


def _no_safetensors(name: str, files: ModelFiles) -> ModelError:
    names = [str(one["rfilename"]) for one in files.card.get("siblings") or []]
    other = next((one for one in names if one.endswith(_OTHER_FORMATS)), None)
    only = f" (only {other})" if other else ""
    return ModelError(
        f"The model {name} has no weights in safetensors format{only}; other formats may run code when "
        "opened.",
        hint="Choose a model with model.safetensors. For this one, look for a pull request of the Hub's "
        "converter, and give its revision, such as refs/pr/1; or convert it with `save_pretrained`.",
    )


def _other_task(config: Mapping[str, Any]) -> str | None:
    names = [str(one) for one in config.get("architectures") or []]
    return next(
        (
            f"is made for {task}"
            for end, task in OTHER_TASKS.items()
            if any(one.endswith(end) for one in names)
        ),
        None,
    )


def _task(config: Mapping[str, Any]) -> str:
    names = [str(one) for one in config.get("architectures") or []]
    return "image-classification" if any(one.endswith("ForImageClassification") for one in names) else ""


def _image_size(files: ModelFiles) -> int | None:
    timm = files.config.get("pretrained_cfg")
    if isinstance(timm, Mapping) and timm.get("input_size"):
        return int(timm["input_size"][-1])
    for size in (
        files.processor.get("crop_size"),
        files.processor.get("size"),
        files.config.get("image_size"),
    ):
        if isinstance(size, Mapping):
            size = size.get("height") or size.get("shortest_edge")
        if isinstance(size, list):
            size = size[0]
        if isinstance(size, int):
            return size
    return None


def _normalisation(files: ModelFiles) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each channel that images are normalised with; empty when unknown."""
    timm = files.config.get("pretrained_cfg")
    if isinstance(timm, Mapping):
        return _fractions(timm.get("mean")), _fractions(timm.get("std"))
    if files.processor.get("do_normalize") is False:
        return (), ()
    return _fractions(files.processor.get("image_mean")), _fractions(files.processor.get("image_std"))


def _fractions(found: Any) -> tuple[float, ...]:
    if not isinstance(found, list) or not all(isinstance(one, int | float) for one in found):
        return ()
    return tuple(float(one) for one in found)


def _num_labels(config: Mapping[str, Any]) -> int | None:
    if config.get("num_classes") or config.get("num_labels"):
        return int(config.get("num_classes") or config["num_labels"])
    return len(config["id2label"]) if config.get("id2label") else None


def _class_names(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The first names of the head's classes; empty when it has none but LABEL_0, LABEL_1 and so on."""
    found = config.get("id2label") or config.get("label_names") or []
    if isinstance(found, Mapping):
        found = [found[key] for key in sorted(found, key=lambda key: int(key) if str(key).isdecimal() else 0)]
    names = tuple(str(one) for one in found[:MAX_CLASS_NAMES])
    return () if any(_UNNAMED.fullmatch(one) for one in names) else names
