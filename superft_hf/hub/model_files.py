"""What is known of a model before its weights are loaded: its small files, and what the Hub tells of it.

Nothing here imports torch: config.json, the processor's file and the headers of the safetensors files say it.
"""

import json
import math
import re
import struct
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from superft_hf.errors import ModelNotFoundError, SuperFTError
from superft_hf.hub.ask import ask
from superft_hf.hub_failures import HUB_FAILURES, explain
from superft_hf.hub_reach import is_hub_reachable, offline_words

_CONFIG, _PROCESSOR = "config.json", "preprocessor_config.json"
_WEIGHTS = re.compile(r"model(-\d+-of-\d+)?\.safetensors")
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True)
class ModelFiles:
    """A model as its files and the Hub describe it.

    Attributes:
        config: Of config.json; what the Hub tells of it when the file itself cannot be had.
        processor: Of preprocessor_config.json; empty when there is none.
        has_safetensors: Whether there are weights that load without running code.
        damaged: Name of a weights file that is not whole, or None.
        revision: The commit hash, where there is one.
        num_parameters: Numbers in the weights; None when unknown.
        size_bytes: Of the weights; None when unknown.
        card: The Hub's answer about the repository: downloads, tags, gated and so on; empty without one.
        refusal: Why the files cannot be had although the Hub tells of the model, or None.
    """

    config: Mapping[str, Any]
    processor: Mapping[str, Any] = field(default_factory=dict)
    has_safetensors: bool = False
    damaged: str | None = None
    revision: str | None = None
    num_parameters: int | None = None
    size_bytes: int | None = None
    card: Mapping[str, Any] = field(default_factory=dict)
    refusal: SuperFTError | None = None


def local_files(folder: Path, name: str) -> ModelFiles:
    """Reads a model folder.

    Args:
        folder: Where it lies.
        name: What errors call it.

    Raises:
        ModelNotFoundError: If it has no readable config.json.
    """
    config = _read_json(folder / _CONFIG)
    if config is None:
        raise ModelNotFoundError(
            f"The folder {name} has no readable config.json.",
            hint="Give a folder that `save_pretrained` of a transformers model wrote.",
        )
    weights = sorted(folder.glob("*.safetensors"))
    headers = [_read_header(path) for path in weights]
    return ModelFiles(
        config=config,
        processor=_read_json(folder / _PROCESSOR) or {},
        has_safetensors=bool(weights),
        damaged=next((path.name for path, one in zip(weights, headers, strict=True) if one is None), None),
        num_parameters=sum(_count_parameters(header or {}) for header in headers) or None,
        size_bytes=sum(path.stat().st_size for path in weights) or None,
    )


def hub_files(repo_id: str, revision: str, token: str | None) -> ModelFiles:
    """Reads a Hub model's small files; what an earlier download left, when the Hub does not give them.

    Args:
        repo_id: The model's id.
        revision: Branch, tag or commit.
        token: None asks as nobody.

    Returns:
        What is known; with a `refusal` when the Hub tells of the model but does not give its files.

    Raises:
        SuperFTError: As `superft_hf.hub_failures.explain`, if neither the Hub nor the cache has it.
    """
    if not is_hub_reachable():
        return _cached_files(repo_id, revision)
    try:
        files = _files_of_card(_ask_card(repo_id, revision, token))
        return _with_small_files(files, repo_id, revision, token)
    except HUB_FAILURES as error:
        failure = explain(error, f"the model {repo_id}", repo_id)
    except SuperFTError as error:
        failure = error
    try:  # such as the worker of a gated model: it has no token, but the files are there
        return _cached_files(repo_id, revision)
    except SuperFTError:
        raise failure from None


def _ask_card(repo_id: str, revision: str, token: str | None) -> Mapping[str, Any]:
    from huggingface_hub.utils import validate_repo_id

    validate_repo_id(repo_id)
    revision = urllib.parse.quote(revision, safe="")
    return ask(f"/api/models/{repo_id}/revision/{revision}", {"blobs": "true"}, token).value


def _files_of_card(card: Mapping[str, Any]) -> ModelFiles:
    """What the Hub tells without a file being opened."""
    names = {str(one["rfilename"]): one.get("size") or 0 for one in card.get("siblings") or []}
    weights = {name: size for name, size in names.items() if name.endswith(".safetensors")}
    main = {name: size for name, size in weights.items() if _WEIGHTS.fullmatch(name)}
    return ModelFiles(
        config=card.get("config") or {},
        has_safetensors=bool(main),
        revision=card.get("sha"),
        num_parameters=(card.get("safetensors") or {}).get("total"),
        size_bytes=sum((main or weights).values()) or None,
        card=card,
    )


def _with_small_files(files: ModelFiles, repo_id: str, revision: str, token: str | None) -> ModelFiles:
    """Adds config.json and the processor.

    They are asked for once and not kept: the client's own download would repeat a failing request for half a
    minute, and give a cached copy of what one may not fetch.
    """
    names = {one["rfilename"] for one in files.card.get("siblings") or []}
    if _CONFIG not in names:
        return files
    folder = f"/{repo_id}/resolve/{urllib.parse.quote(files.revision or revision, safe='')}"
    try:
        config = ask(f"{folder}/{_CONFIG}", token=token).value
        processor = ask(f"{folder}/{_PROCESSOR}", token=token).value if _PROCESSOR in names else {}
    except HUB_FAILURES as error:
        failure = explain(error, f"the model {repo_id}", repo_id)
        cached = _if_cached(repo_id, revision)
        return replace(cached, card=files.card) if cached else replace(files, refusal=failure)
    return replace(files, config=_mapping(config), processor=_mapping(processor))


def _if_cached(repo_id: str, revision: str) -> ModelFiles | None:
    try:
        return _cached_files(repo_id, revision)
    except SuperFTError:
        return None


def _cached_files(repo_id: str, revision: str) -> ModelFiles:
    """Reads what an earlier download left, with its weights: without them no run can start."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(repo_id, _CONFIG, revision=revision)
    except (HFValidationError, OSError) as error:  # OSError: a name too long for a folder
        raise _not_here(repo_id) from error
    if not isinstance(found, str):
        raise _not_here(repo_id)
    folder = Path(found).parent
    files = local_files(folder, repo_id)
    if not files.has_safetensors:
        raise ModelNotFoundError(
            f"The weights of the model {repo_id} are not on this machine, and {offline_words()}.",
            hint="Connect, give a local folder, or use sample:efficientnet-lite0.",
        )
    return replace(files, revision=folder.name)


def _not_here(repo_id: str) -> ModelNotFoundError:
    return ModelNotFoundError(
        f"The model {repo_id} is not on this machine, and {offline_words()}.",
        hint="Connect, give a local folder, or use sample:efficientnet-lite0.",
    )


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


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
