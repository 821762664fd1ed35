"""Models and data sets as the pickers see them: from the Hub, a local path or a sample, one kind of record.

Nothing here imports torch: a model is judged by its config.json and the header of its safetensors file.
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from superft_hf.config import DataConfig
from superft_hf.errors import ModelError, ModelNotFoundError
from superft_hf.records import DataInfo, ModelInfo
from superft_hf.samples import IMAGE_SAMPLES, MODEL_SAMPLES, SAMPLE_PREFIX, fetch_model
from superft_hf.sources.load import ImageSet, load_images, looks_like_path

CLASSIFIER_TYPES = frozenset(
    "beit bit clip convnext convnextv2 cvt data2vec-vision deit dinat dinov2 dinov2_with_registers donut-swin "
    "efficientnet focalnet hgnet_v2 hiera ijepa levit metaclip_2 mobilenet_v1 mobilenet_v2 mobilevit mobilevitv2 "
    "poolformer pp_lcnet pvt pvt_v2 regnet resnet segformer siglip swiftformer swin swinv2 textnet timm_wrapper vit "
    "vit_msn".split()
)
"""What AutoModelForImageClassification knows, less the four that take no plain pixels (imagegpt, perceiver,
shieldgemma2, siglip2). A test holds this against the installed transformers."""

OTHER_TASKS = {
    "ForObjectDetection": "object detection",
    "ForSemanticSegmentation": "semantic segmentation",
    "ForDepthEstimation": "depth estimation",
    "ForUniversalSegmentation": "segmentation",
}
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")


@dataclass(frozen=True)
class _ModelFiles:
    """What is known of a model before its weights are loaded."""

    config: Mapping[str, Any]
    processor: Mapping[str, Any]
    has_safetensors: bool
    revision: str | None = None
    num_parameters: int | None = None
    size_bytes: int | None = None
    licence: str = ""


def model_folder(name_or_path: str) -> str:
    """What transformers loads: the folder of a sample or local model, else the Hub id itself.

    Raises:
        ModelNotFoundError: If there is no such sample or folder.
        DownloadError: If a sample cannot be fetched.
    """
    if name_or_path.startswith(SAMPLE_PREFIX):
        return str(fetch_model(name_or_path))
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        return str(path.absolute())
    if looks_like_path(name_or_path) or path.exists():
        raise ModelNotFoundError(
            f"There is no model folder {path}.", hint="Give a folder with config.json and model.safetensors."
        )
    return name_or_path


def inspect_model(name_or_path: str, revision: str = "main") -> ModelInfo:
    """Looks at a model without loading its weights.

    Args:
        name_or_path: `model.name_or_path` of a run.
        revision: Branch, tag or commit of a Hub model.

    Returns:
        What is known of it; `problem` is set when it cannot be trained here.

    Raises:
        ModelNotFoundError: If it does not exist, is gated, or cannot be reached.
        DownloadError: If a sample cannot be fetched.
    """
    folder = model_folder(name_or_path)
    is_hub = not Path(folder).is_dir()
    files = _hub_files(folder, revision) if is_hub else _local_files(Path(folder))
    source = "sample" if name_or_path.startswith(SAMPLE_PREFIX) else "hub" if is_hub else "local"
    architecture = str(files.config.get("architecture") or files.config.get("model_type") or "")
    info = ModelInfo(
        name_or_path=name_or_path, title=Path(name_or_path).name, description=f"{architecture or 'unknown'} network",
        source=source, architecture=architecture, num_parameters=files.num_parameters, size_bytes=files.size_bytes,
        image_size=_image_size(files), licence=files.licence, num_labels=_num_labels(files.config),
        revision=files.revision,
    )  # fmt: skip
    if source == "sample":
        sample = MODEL_SAMPLES[name_or_path]
        info = replace(info, title=sample.title, description=sample.description, licence=sample.licence)
    problem, hint = _problem(name_or_path, files)
    return replace(info, problem=problem, hint=hint)


def require_model(name_or_path: str, revision: str = "main") -> ModelInfo:
    """Like inspect_model, but a model with a problem raises ModelError."""
    info = inspect_model(name_or_path, revision)
    if info.problem:
        raise ModelError(info.problem, hint=info.hint)
    return info


def describe_data(data: DataConfig, home: Path) -> tuple[DataInfo, ImageSet]:
    """Finds the images of a run and counts them, without opening them.

    Raises:
        DataError: As `superft_hf.sources.load.load_images`.
    """
    images = load_images(data, home)
    name = data.name_or_path
    sample = IMAGE_SAMPLES.get(name)
    is_local = Path(name).expanduser().exists()
    source = "sample" if sample else "local" if is_local else "hub"
    size = len(images.class_names)
    info = DataInfo(
        name_or_path=name,
        title=sample.title if sample else Path(name).name,
        description=sample.description if sample else f"{size} classes",
        source=source, class_names=images.class_names, counts=images.counts(), is_cut=images.is_cut,
        licence=sample.licence if sample else "", licence_note=sample.note if sample else "",
    )  # fmt: skip
    return info, images


def _local_files(folder: Path) -> _ModelFiles:
    config = _read_json(folder / "config.json")
    if config is None:
        raise ModelNotFoundError(
            f"The folder {folder} has no readable config.json.",
            hint="Give a folder that `save_pretrained` of a transformers model wrote.",
        )
    weights = sorted(folder.glob("*.safetensors"))
    return _ModelFiles(
        config=config,
        processor=_read_json(folder / "preprocessor_config.json") or {},
        has_safetensors=bool(weights),
        num_parameters=sum(_count_parameters(path) for path in weights) or None,
        size_bytes=sum(path.stat().st_size for path in weights) or None,
    )


def _hub_files(repo_id: str, revision: str) -> _ModelFiles:
    """Reads a Hub model's small files; falls back to the local cache when the Hub cannot be reached."""
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        config_path = Path(hf_hub_download(repo_id, "config.json", revision=revision))
    except GatedRepoError as error:
        raise ModelNotFoundError(
            f"The model {repo_id} is gated.",
            hint=f"Accept its terms at https://huggingface.co/{repo_id}, then run `hf auth login`.",
        ) from error
    except RevisionNotFoundError as error:
        raise ModelNotFoundError(
            f"The model {repo_id} has no revision {revision!r}.", hint="Set model.revision to main."
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise ModelNotFoundError(
            f"There is no model {repo_id} on the Hub.",
            hint="Check the name; a private one needs `hf auth login` first.",
        ) from error
    except LocalEntryNotFoundError as error:
        raise ModelNotFoundError(
            f"The model {repo_id} is not on this machine, and the Hub cannot be reached.",
            hint="Connect, give a local folder, or use sample:efficientnet-lite0.",
        ) from error
    except (HfHubHTTPError, OSError) as error:
        raise ModelNotFoundError(
            f"The model {repo_id} has no config.json that can be read: {str(error).splitlines()[0]}",
            hint="Choose a model of the transformers or timm library.",
        ) from error
    files = _ModelFiles(
        _read_json(config_path) or {}, {}, has_safetensors=True, revision=config_path.parent.name
    )
    try:
        card = HfApi().model_info(repo_id, revision=revision, files_metadata=True)
        names = {one.rfilename: one for one in card.siblings or []}
        processor = "preprocessor_config.json"
        if processor in names:
            files = replace(
                files,
                processor=_read_json(Path(hf_hub_download(repo_id, processor, revision=revision))) or {},
            )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError):
        return files  # offline with a cached model: enough to train
    sizes = [one.size or 0 for name, one in names.items() if name.endswith(".safetensors")]
    return replace(
        files,
        has_safetensors=any(name in names for name in _WEIGHTS),
        num_parameters=card.safetensors.total if card.safetensors else None,
        size_bytes=sum(sizes) or None,
        licence=str((card.card_data or {}).get("license") or ""),
    )


def _problem(name: str, files: _ModelFiles) -> tuple[str | None, str]:
    config = files.config
    names = [str(one) for one in config.get("architectures") or []]
    other = next((task for end, task in OTHER_TASKS.items() if any(one.endswith(end) for one in names)), None)
    if config.get("auto_map"):
        return (
            f"The model {name} needs code from its own repository, which is not run here.",
            "Choose another model.",
        )
    kind = "timm_wrapper" if "architecture" in config else config.get("model_type")
    if other or kind not in CLASSIFIER_TYPES:
        what = f"is made for {other}" if other else f"is of type {kind!r}"
        return (
            f"The model {name} {what}, which cannot classify images.",
            "Choose a model of the task image classification, such as microsoft/resnet-18.",
        )
    if not files.has_safetensors:
        return (
            f"The model {name} has no weights in safetensors format; other formats may run code when opened.",
            "Choose a model with model.safetensors, or convert it with `save_pretrained`.",
        )
    return None, ""


def _image_size(files: _ModelFiles) -> int | None:
    input_size = (files.config.get("pretrained_cfg") or {}).get("input_size")
    if input_size:
        return int(input_size[-1])
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


def _num_labels(config: Mapping[str, Any]) -> int | None:
    if config.get("num_classes") or config.get("num_labels"):
        return int(config.get("num_classes") or config["num_labels"])
    return len(config["id2label"]) if config.get("id2label") else None


def _count_parameters(path: Path) -> int:
    """Reads a safetensors file's header: 8 bytes of length, then JSON. Batch-norm statistics do not count."""
    try:
        with path.open("rb") as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
            header = json.loads(opened.read(min(length, 100_000_000)))
    except (OSError, ValueError, struct.error):
        return 0
    total = 0
    for name, tensor in header.items():
        if name != "__metadata__" and not name.endswith(
            ("running_mean", "running_var", "num_batches_tracked")
        ):
            size = 1
            for side in tensor["shape"]:
                size *= side
            total += size
    return total


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
