"""The stand-in Hub's lists of models and data sets: filters, order and pages."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from tests.stand_ins.hub_repos import Repository

DEFAULT_LIMIT = 1000
SORTS = ("downloads", "likes", "trendingScore", "lastModified", "createdAt")
SHORT = {
    "models": ("id", "modelId", "likes", "trendingScore", "private", "downloads", "tags", "pipeline_tag",
               "library_name", "createdAt"),
    "datasets": ("id", "author", "disabled", "gated", "lastModified", "likes", "trendingScore", "private",
                 "sha", "description", "downloads", "tags", "createdAt"),
}  # fmt: skip
FULL = ("author", "gated", "lastModified", "sha", "siblings", "disabled")
UNITS = {"K": 1e3, "M": 1e6, "B": 1e9}


def repositories(root: Path, kind: str) -> Iterable[Repository]:
    """All repositories of a kind, by name."""
    top = root / "datasets" if kind == "datasets" else root
    owners = sorted(top.iterdir()) if top.is_dir() else []
    for owner in owners:
        is_owner = owner.is_dir() and not owner.name.startswith(".")
        if is_owner and (kind == "datasets" or owner.name != "datasets"):
            yield from (Repository(one, kind) for one in sorted(owner.iterdir()) if one.is_dir())


def listed(found: Iterable[Repository], kind: str, asked: QueryParams) -> tuple[list[dict], str | None]:
    """One page of what was asked for.

    Args:
        found: The repositories that the asker may see.
        kind: models or datasets.
        asked: The query.

    Returns:
        The entries, and the query of the next page (None on the last).
    """
    infos = [info for one in found if _is_asked_for(info := one.info(one.folder), asked)]
    sort = asked.get("sort") or "trendingScore"
    if sort not in SORTS:
        raise ValueError(f"Invalid sort parameter: {sort}")
    infos.sort(key=lambda info: info[sort], reverse=True)
    start, limit = int(asked.get("cursor") or 0), int(asked.get("limit") or DEFAULT_LIMIT)
    page = [chosen(info, kind, asked, is_list=True) for info in infos[start : start + limit]]
    if start + limit >= len(infos):
        return page, None
    rest = [(key, value) for key, value in asked.multi_items() if key != "cursor"]
    return page, urlencode([*rest, ("cursor", str(start + limit))])


def chosen(info: dict[str, Any], kind: str, asked: QueryParams, *, is_list: bool) -> dict[str, Any]:
    """Only the properties that were asked for: `expand`, else the usual ones and full, cardData, config."""
    expand = [*asked.getlist("expand"), *asked.getlist("expand[]")]
    if expand:
        return {key: value for key, value in info.items() if key in ("id", *expand)}
    if not is_list:
        return info
    keys = [*SHORT[kind]]
    keys += FULL if _is_true(asked.get("full")) else ()
    keys += [name for name in ("cardData", "config") if _is_true(asked.get(name))]
    return {key: info[key] for key in dict.fromkeys(keys) if key in info}


def _is_asked_for(info: dict[str, Any], asked: QueryParams) -> bool:
    marks = {*info["tags"], info.get("pipeline_tag"), info.get("library_name")}
    wanted = [part for value in asked.getlist("filter") for part in value.split(",")]
    words = asked.get("search", "").lower().split()
    return (
        all(word in info["id"].lower() for word in words)
        and asked.get("author") in (None, "", info["author"])
        and asked.get("pipeline_tag") in (None, "", info.get("pipeline_tag"))
        and all(mark in marks for mark in wanted)
        and ("gated" not in asked or bool(info["gated"]) == _is_true(asked["gated"]))
        and _has_size(info, asked.get("num_parameters"))
    )


def _has_size(info: dict[str, Any], asked: str | None) -> bool:
    """Whether the weights have as many numbers as `min:6M,max:1B` says."""
    if not asked:
        return True
    if "safetensors" not in info:
        return False
    total = info["safetensors"]["total"]
    ends = dict(part.split(":") for part in asked.split(","))
    return _number(ends.get("min", "0")) <= total <= _number(ends.get("max", "1000000B"))


def _number(text: str) -> float:
    unit = UNITS.get(text[-1:].upper())
    return float(text[:-1]) * unit if unit else float(text)


def _is_true(value: str | None) -> bool:
    return (value or "").lower() in ("true", "1")
