"""One question to the Hub's API with one short try, for pages: the Hub's own client repeats for minutes."""

import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Answer:
    """What the Hub said.

    Attributes:
        value: The JSON value.
        next_page: Path and query of the next page of a list; None at its end.
    """

    value: Any
    next_page: str | None = None


def ask(
    path: str,
    params: Mapping[str, str | int | Sequence[str]] | None = None,
    token: str | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Answer:
    """Asks once.

    Args:
        path: Path, perhaps with a query, below the Hub's address: a token is sent nowhere else.
        params: More of the query.
        token: Sent when given; None asks as nobody, whoever is logged in.
        timeout_s: Longest wait for the connection, and for each piece of the answer.

    Raises:
        Exception: One of `superft_hf.hub_failures.HUB_FAILURES`.
    """
    import httpx2
    from huggingface_hub import constants
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

    headers = build_hf_headers(token=token or False)
    response = get_session().get(
        constants.ENDPOINT + path, params=params or None, headers=headers, timeout=timeout_s
    )
    hf_raise_for_status(response)
    try:
        value = response.json()
    except ValueError as error:  # a page of a proxy or of a hotel
        raise httpx2.DecodingError("the answer is no JSON", request=response.request) from error
    following = response.links.get("next", {}).get("url")
    return Answer(value, _below_the_hub(following) if following else None)


def _below_the_hub(url: str) -> str:
    """Path and query of an address; its host is dropped, so that a list cannot lead a token astray."""
    parts = urllib.parse.urlsplit(url)
    return f"{parts.path}?{parts.query}"
