"""What the Hub accepts at the top of a README.md: the stand-in checks what a card maker gets wrong."""

import io
import re
from collections.abc import Iterator
from typing import Any

from ruamel.yaml import YAML, YAMLError

REPO_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
LICENCES = {
    "apache-2.0", "mit", "openrail", "bigscience-openrail-m", "creativeml-openrail-m",
    "bigscience-bloom-rail-1.0", "bigcode-openrail-m", "afl-3.0", "artistic-2.0", "bsl-1.0", "bsd",
    "bsd-2-clause", "bsd-3-clause", "bsd-3-clause-clear", "c-uda", "cc", "cc0-1.0", "cc-by-2.0",
    "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0",
    "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0",
    "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cdla-sharing-1.0", "cdla-permissive-1.0", "cdla-permissive-2.0",
    "wtfpl", "ecl-2.0", "epl-1.0", "epl-2.0", "etalab-2.0", "eupl-1.1", "eupl-1.2", "agpl-3.0", "gfdl",
    "gpl", "gpl-2.0", "gpl-3.0", "lgpl", "lgpl-2.1", "lgpl-3.0", "isc", "h-research", "intel-research",
    "lppl-1.3c", "ms-pl", "apple-ascl", "apple-amlr", "mpl-2.0", "odc-by", "odbl", "openmdw-1.0",
    "openrail++", "osl-3.0", "postgresql", "ofl-1.1", "ncsa", "unlicense", "zlib", "pddl", "lgpl-lr",
    "deepfloyd-if-license", "llama2", "llama3", "llama3.1", "llama3.2", "llama3.3", "llama4", "gemma",
    "unknown", "other",
}  # fmt: skip


def check_card(content: str, kind: str) -> tuple[list[str], list[str]]:
    """Errors and warnings about the YAML of a README.md; `kind` is model or dataset."""
    found = re.match(r"---\s*\n(.*?)\n?---\s*(\n|$)", content, re.DOTALL)
    if not found or not found[1].strip():
        return [], ["empty or missing yaml metadata in repo card"]
    try:
        card = YAML(typ="safe", pure=True).load(io.StringIO(found[1]))
    except YAMLError as error:
        return [f"YAML error: {str(error).splitlines()[0]}"], []
    if not isinstance(card, dict):
        return ['"value" must be of type object'], []
    errors = [*_common(card)]
    errors += [*_model(card)] if kind == "model" else []
    return errors, []


def _common(card: dict[str, Any]) -> Iterator[str]:
    for key in ("tags", "task_categories"):
        if key in card and not _is_texts(card[key]):
            yield f'"{key}" must be an array of strings'
    licences = card.get("license", [])
    for licence in licences if isinstance(licences, list) else [licences]:
        if licence not in LICENCES:
            yield f'"license" must be one of the known licences, not {licence!r}'


def _model(card: dict[str, Any]) -> Iterator[str]:
    for key in ("pipeline_tag", "library_name"):
        if key in card and not isinstance(card[key], str):
            yield f'"{key}" must be a string'
    if "metrics" in card and not _is_texts(card["metrics"]):
        yield '"metrics" must be an array of strings'
    for key, place in (("base_model", "models"), ("datasets", "datasets")):
        values = card.get(key, [])
        for value in values if isinstance(values, list) else [values]:
            if not isinstance(value, str) or not REPO_ID.fullmatch(value):
                yield f'"{key}" with value "{value}" is not valid. Use an id from https://hf.co/{place}.'
    yield from _index(card.get("model-index", []))


def _index(index: Any) -> Iterator[str]:
    if not isinstance(index, list):
        yield '"model-index" must be an array'
        return
    for number, entry in enumerate(index):
        place = f"model-index[{number}]"
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            yield f'"{place}.name" is required'
        results = entry.get("results") if isinstance(entry, dict) else None
        if not isinstance(results, list):
            yield f'"{place}.results" must be an array'
            continue
        for count, result in enumerate(results):
            yield from _result(result, f"{place}.results[{count}]")


def _result(result: Any, place: str) -> Iterator[str]:
    if not isinstance(result, dict):
        yield f'"{place}" must be of type object'
        return
    for path in (("task", "type"), ("dataset", "type"), ("dataset", "name")):
        part = result.get(path[0])
        if not isinstance(part, dict) or not isinstance(part.get(path[1]), str):
            yield f'"{place}.{path[0]}.{path[1]}" is required'
    metrics = result.get("metrics")
    if not isinstance(metrics, list) or not metrics:
        yield f'"{place}.metrics" is required'
        return
    for count, metric in enumerate(metrics):
        if not isinstance(metric, dict) or not isinstance(metric.get("type"), str):
            yield f'"{place}.metrics[{count}].type" is required'
        elif metric.get("value") is None or metric["value"] != metric["value"]:
            yield f'"{place}.metrics[{count}].value" is required'


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)
