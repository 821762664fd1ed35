"""Searching the Hub for models and data sets; without it, what this machine has.

A search never raises for the Hub's failures: it answers with what the cache and the samples hold, and a note
that says why. Answers are remembered for a few minutes, so that going back and forth costs nothing.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from superft_hf import hub_reach
from superft_hf.errors import HubError, HubUnreachableError, TokenRefusedError
from superft_hf.hub.ask import ask
from superft_hf.hub.local_entries import find_local
from superft_hf.hub.records import HubEntry, HubPage
from superft_hf.hub_failures import HUB_FAILURES, explain
from superft_hf.hub_reach import is_hub_reachable, offline_words

MODEL, DATASET = "model", "dataset"
CLASSIFICATION, ANY_IMAGES = "image-classification", "any"

SORTS = {
    "downloads": "downloads", "likes": "likes", "trending": "trendingScore", "recent": "lastModified",
}  # fmt: skip
"""Orders, with the Hub's name of each; all begin with the largest or newest."""

MODEL_SIZES = {
    "max:10M": "under 10 M parameters", "min:10M,max:50M": "10 – 50 M parameters",
    "min:50M,max:200M": "50 – 200 M parameters", "min:200M": "above 200 M parameters",
}  # fmt: skip
DATA_SIZES = {
    "n<1K": "under 1,000 rows", "1K<n<10K": "1,000 – 10,000 rows", "10K<n<100K": "10,000 – 100,000 rows",
    "100K<n<1M": "100,000 – 1 M rows", "1M<n<10M": "1 – 10 M rows", "10M<n<100M": "10 – 100 M rows",
}  # fmt: skip
TASKS = {
    MODEL: {"image-feature-extraction": "networks without a head", ANY_IMAGES: "any task"},
    DATASET: {ANY_IMAGES: "any data set with images"},
}
"""By kind: what else than image classification is worth looking through."""

LIBRARIES = ("transformers", "timm")
LICENCES = ("apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0", "cc-by-sa-4.0", "cc0-1.0", "openrail", "other")

_EXPAND = {
    MODEL: ("author", "downloads", "likes", "lastModified", "pipeline_tag", "library_name", "tags", "gated",
            "private", "safetensors"),
    DATASET: ("author", "downloads", "likes", "lastModified", "tags", "gated", "private"),
}  # fmt: skip
_REMEMBERED_S = 180
_FAILURE_REMEMBERED_S = 15


@dataclass(frozen=True)
class Query:
    """What to look for.

    Attributes:
        kind: `model` or `dataset`.
        text: Part of the name.
        author: User or organisation.
        library: `transformers`, `timm` or another; models only.
        licence: Such as `apache-2.0`.
        size: A key of MODEL_SIZES or of DATA_SIZES.
        task: `image-classification`, another of the Hub's tasks, or `any`: every data set with images, and
            every model.
        sort: A key of SORTS.
        cursor: `HubPage.next_cursor` of the page before; None begins.
        limit: Entries a page.
    """

    kind: str
    text: str = ""
    author: str = ""
    library: str = ""
    licence: str = ""
    size: str = ""
    task: str = CLASSIFICATION
    sort: str = "downloads"
    cursor: str | None = None
    limit: int = 20


def search(query: Query, token: str | None = None) -> HubPage:
    """Looks for repositories.

    Args:
        query: What to look for.
        token: Shows private repositories of its owner as well.

    Returns:
        A page of the Hub's answer; else of what is on this machine, with a note that says why.
    """
    query = replace(query, text=query.text.strip(), author=query.author.strip())
    if not is_hub_reachable():
        return _local_page(query, f"{_capital(offline_words())}: this is what is on this machine.")
    now = time.monotonic()
    found = _page_or_failure(query, token, int(now // _FAILURE_REMEMBERED_S))
    if isinstance(found, TokenRefusedError) and token:
        page = search(query, None)
        return replace(page, note=page.note or f"{found.message} This is what anybody may see.")
    if isinstance(found, HubError):
        return _local_page(query, f"{found.message} This is what is on this machine.")
    return found


def forget() -> None:
    """Forgets all answers, also whether the Hub can be reached, so that the next search asks anew."""
    hub_reach.forget()
    _page.cache_clear()
    _page_or_failure.cache_clear()


@lru_cache(maxsize=128)
def _page_or_failure(query: Query, token: str | None, period: int) -> HubPage | HubError:
    """A failure is remembered too, but for seconds only: each key typed would wait for it again."""
    try:
        return _page(query, token, int(time.monotonic() // _REMEMBERED_S))
    except HubError as error:
        return error


@lru_cache(maxsize=512)
def _page(query: Query, token: str | None, period: int) -> HubPage:
    try:
        if query.cursor:
            answer = ask(query.cursor, token=token)
        else:
            answer = ask(f"/api/{query.kind}s", _params(query), token)
        if not isinstance(answer.value, list):
            raise HubUnreachableError("The Hub answered the search with something that is no list.")
        entries = tuple(_entry(one, query.kind) for one in answer.value)
    except HUB_FAILURES as error:
        found = explain(error, "what fits the search", kind=query.kind)
        if not isinstance(found, HubError):  # a 404: whoever answers there knows no search
            hint = "Look after HF_ENDPOINT and the proxy, or try again."
            found = HubError("The Hub does not answer the search as it should.", hint=hint)
        raise found from error
    return HubPage(entries, answer.next_page)


def _params(query: Query) -> dict[str, Any]:
    """The query as the Hub's API spells it."""
    marks = [query.library, f"license:{query.licence}" if query.licence else ""]
    if query.kind == DATASET:
        any_images, task = "modality:image", f"task_categories:{query.task}"
        marks += [any_images if query.task == ANY_IMAGES else task if query.task else ""]
        marks += [f"size_categories:{query.size}" if query.size else ""]
    elif query.task != ANY_IMAGES:
        marks += [query.task]
    params = {
        "filter": [mark for mark in marks if mark],
        "search": query.text,
        "author": query.author,
        "num_parameters": query.size if query.kind == MODEL else "",
    }
    return {
        **{key: value for key, value in params.items() if value},
        "sort": SORTS[query.sort],
        "limit": query.limit,
        "expand": list(_EXPAND[query.kind]),
    }


def _entry(told: Mapping[str, Any], kind: str) -> HubEntry:
    """One line; whatever the Hub leaves out stays unknown."""
    repo_id, tags = str(told["id"]), [str(tag) for tag in told.get("tags") or []]
    total = (told.get("safetensors") or {}).get("total")
    rows = DATA_SIZES.get(_tagged(tags, "size_categories"), "")
    return HubEntry(
        repo_id=repo_id, kind=kind, author=told.get("author") or repo_id.rpartition("/")[0],
        downloads=told.get("downloads"), likes=told.get("likes"),
        last_modified=str(told.get("lastModified") or ""),
        task=told.get("pipeline_tag") or _tagged(tags, "task_categories"),
        library=told.get("library_name") or next((one for one in LIBRARIES if one in tags), ""),
        licence=_tagged(tags, "license"),
        size=(parameter_words(total) if total else "") if kind == MODEL else rows,
        is_gated=bool(told.get("gated")), is_private=bool(told.get("private")),
    )  # fmt: skip


def _tagged(tags: list[str], name: str) -> str:
    return next((tag.partition(":")[2] for tag in tags if tag.startswith(f"{name}:")), "")


def parameter_words(number: int) -> str:
    """A number of parameters, short.

    Example:
        >>> [parameter_words(one) for one in (900, 4_652_008, 86_389_248, 1_100_000_000)]
        ['900 parameters', '4.7 M parameters', '86 M parameters', '1.1 B parameters']
    """
    for unit, factor in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= factor:
            amount = number / factor
            return f"{amount:.1f} {unit} parameters" if amount < 10 else f"{amount:.0f} {unit} parameters"
    return f"{number} parameters"


def _local_page(query: Query, note: str) -> HubPage:
    """A page of what this machine has; what a folder does not tell (licence, size) filters nothing out."""
    found = find_local(query.kind, query.text, query.author)
    start = int(query.cursor) if query.cursor and query.cursor.isdecimal() else 0
    end = start + query.limit
    return HubPage(tuple(found[start:end]), str(end) if end < len(found) else None, note)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
