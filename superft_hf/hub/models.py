"""Models as the pickers see them: from the Hub, a local folder or a sample, one kind of record.

Nothing here imports torch: a model is judged by its config.json and the header of its safetensors file.
"""

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from superft_hf.errors import ModelError, ModelNotFoundError
from superft_hf.hub_reach import is_hub_reachable, offline_words
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
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_PROCESSOR = "preprocessor_config.json"
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True)
class _ModelFiles:
    """What is known of a model before its weights are loaded."""

    config: Mapping[str, Any]
    processor: Mapping[str, Any]
    has_safetensors: bool
    damaged: str | None = None
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
    path = local_path(name_or_path)
    if path is not None and path.is_dir():
        return str(path.absolute())
    if path is not None or looks_like_path(name_or_path):
        raise ModelNotFoundError(
            f"There is no model folder {name_or_path}.",
            hint="Give a folder with config.json and model.safetensors.",
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
    is_hub = local_path(folder) is None
    files = _hub_files(folder, revision) if is_hub else _local_files(Path(folder), name_or_path)
    source = "sample" if name_or_path.startswith(SAMPLE_PREFIX) else "hub" if is_hub else "local"
    architecture = str(files.config.get("architecture") or files.config.get("model_type") or "")
    info = ModelInfo(
        name_or_path=name_or_path, title=Path(name_or_path).name,
        description=f"{architecture or 'unknown'} network", source=source, architecture=architecture,
        num_parameters=files.num_parameters, size_bytes=files.size_bytes, image_size=_image_size(files),
        licence=files.licence, num_labels=_num_labels(files.config), revision=files.revision,
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


def licence_words(found: Any) -> str:
    """The licence of a card, which may name several."""
    return ", ".join(str(one) for one in found) if isinstance(found, list) else str(found or "")


def _local_files(folder: Path, name: str) -> _ModelFiles:
    """Reads a model folder; `name` is what errors call it."""
    config = _read_json(folder / "config.json")
    if config is None:
        raise ModelNotFoundError(
            f"The folder {name} has no readable config.json.",
            hint="Give a folder that `save_pretrained` of a transformers model wrote.",
        )
    weights = sorted(folder.glob("*.safetensors"))
    headers = [_read_header(path) for path in weights]
    return _ModelFiles(
        config=config,
        processor=_read_json(folder / _PROCESSOR) or {},
        has_safetensors=bool(weights),
        damaged=next((path.name for path, one in zip(weights, headers, strict=True) if one is None), None),
        num_parameters=sum(_count_parameters(header or {}) for header in headers) or None,
        size_bytes=sum(path.stat().st_size for path in weights) or None,
    )


def _hub_files(repo_id: str, revision: str) -> _ModelFiles:
    """Reads a Hub model's small files, or the local cache when the Hub cannot be reached."""
    if not is_hub_reachable():
        return _cached_files(repo_id, revision)
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    path = _hub_config(repo_id, revision)
    commit = path.parent.name
    files = _ModelFiles(_read_json(path) or {}, {}, has_safetensors=True, revision=commit)
    try:
        card = HfApi().model_info(repo_id, revision=commit, files_metadata=True)
        names = {one.rfilename: one.size or 0 for one in card.siblings or []}
        if _PROCESSOR in names:
            processor = _read_json(Path(hf_hub_download(repo_id, _PROCESSOR, revision=commit)))
            files = replace(files, processor=processor or {})
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError):  # the connection broke in between
        return _cached_files(repo_id, revision)
    return replace(
        files,
        has_safetensors=any(name in names for name in _WEIGHTS),
        num_parameters=card.safetensors.total if card.safetensors else None,
        size_bytes=sum(size for name, size in names.items() if name.endswith(".safetensors")) or None,
        licence=licence_words((card.card_data or {}).get("license")),
    )


def _hub_config(repo_id: str, revision: str) -> Path:
    """Downloads config.json. Raises ModelNotFoundError, which says why it cannot be had."""
    from huggingface_hub import errors, hf_hub_download

    try:
        return Path(hf_hub_download(repo_id, "config.json", revision=revision))
    except errors.GatedRepoError as error:
        raise ModelNotFoundError(
            f"The model {repo_id} is gated.",
            hint=f"Accept its terms at https://huggingface.co/{repo_id}, then run `hf auth login`.",
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ModelNotFoundError(
            f"The model {repo_id} has no revision {revision!r}.", hint="Set model.revision to main."
        ) from error
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise ModelNotFoundError(
            f"There is no model {repo_id} on the Hub.",
            hint="Check the name; a private one needs `hf auth login` first.",
        ) from error
    except errors.LocalEntryNotFoundError as error:
        raise _unreachable(repo_id) from error
    except (errors.HfHubHTTPError, OSError) as error:
        raise ModelNotFoundError(
            f"The model {repo_id} has no config.json that can be read: {str(error).splitlines()[0]}",
            hint="Choose a model of the transformers or timm library.",
        ) from error


def _cached_files(repo_id: str, revision: str) -> _ModelFiles:
    """Reads what an earlier download left, with its weights: without them no run can start."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(repo_id, "config.json", revision=revision)
    except (HFValidationError, OSError) as error:  # OSError: a name too long for a folder
        raise _unreachable(repo_id) from error
    if not isinstance(found, str):
        raise _unreachable(repo_id)
    folder = Path(found).parent
    files = _local_files(folder, repo_id)
    if not files.has_safetensors:
        raise ModelNotFoundError(
            f"The weights of the model {repo_id} are not on this machine, and {offline_words()}.",
            hint="Connect, give a local folder, or use sample:efficientnet-lite0.",
        )
    return replace(files, revision=folder.name)


def _unreachable(repo_id: str) -> ModelNotFoundError:
    return ModelNotFoundError(
        f"The model {repo_id} is not on this machine, and {offline_words()}.",
        hint="Connect, give a local folder, or use sample:efficientnet-lite0.",
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
    if files.damaged:
        return (
            f"The weights of the model {name} are damaged: {files.damaged} is not a whole safetensors file.",
            "Fetch or save the model again.",
        )
    return None, ""


def _image_size(files: _ModelFiles) -> int | None:
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


def _num_labels(config: Mapping[str, Any]) -> int | None:
    if config.get("num_classes") or config.get("num_labels"):
        return int(config.get("num_classes") or config["num_labels"])
    return len(config["id2label"]) if config.get("id2label") else None


def _read_header(path: Path) -> dict[str, Any] | None:
    """A safetensors file's header: 8 bytes of length, then JSON. None when the file is damaged or cut off."""
    try:
        with path.open("rb") as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
            header = json.loads(opened.read(min(length, 100_000_000)))
        header.pop("__metadata__", None)
        end = 8 + length + max((tensor["data_offsets"][1] for tensor in header.values()), default=0)
        return header if path.stat().st_size == end else None
    except (OSError, ValueError, TypeError, AttributeError, LookupError, struct.error):
        return None


def _count_parameters(header: Mapping[str, Any]) -> int:
    """Numbers in the tensors of a header; the statistics of batch norms are no parameters."""
    shapes = (tensor["shape"] for name, tensor in header.items() if not name.endswith(_STATISTICS))
    return sum(math.prod(shape) for shape in shapes)


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
