"""Whose token the Hub is asked with, and what it may do.

A token comes from the environment, from the store of `hf auth login`, or from the browser tab that it was
typed into. It is never written anywhere by us, and no record holds it.
"""

import os
import re

from superft_hf.errors import TokenRefusedError
from superft_hf.hub.ask import ask
from superft_hf.hub.records import Identity
from superft_hf.hub_failures import HUB_FAILURES, explain

ENVIRONMENT, LOGIN, SESSION = "environment", "login", "session"

_PRINTABLE = re.compile(r"[!-~]+")


class HiddenToken(str):
    """A token that shows itself in no repr, so in no log, record, traceback or page that reprs its values."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Three dots."""
        return "'…'"


def find_token(session_token: str | None = None) -> tuple[str, str] | None:
    """The token to use and where it comes from, or None when there is none.

    Args:
        session_token: What was typed into this browser tab; it wins.

    Returns:
        The token, and `environment`, `login` or `session`.

    Raises:
        TokenRefusedError: If it cannot be a token: with blanks or other letters inside.
    """
    if session_token and session_token.strip():
        return _checked(session_token.strip()), SESSION
    from huggingface_hub import get_token

    found = get_token()
    if not found:
        return None
    is_set = os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN")
    return _checked(found), ENVIRONMENT if is_set else LOGIN


def identify(session_token: str | None = None) -> Identity | None:
    """Asks the Hub whom the token stands for; None without a token.

    Raises:
        HubError: One of its kinds: TokenRefusedError for a bad token, HubUnreachableError, RateLimitedError.
    """
    found = find_token(session_token)
    if found is None:
        return None
    token, source = found
    try:
        told = ask("/api/whoami-v2", token=token).value
    except HUB_FAILURES as error:
        raise explain(error, "your account") from error
    access = (told.get("auth") or {}).get("accessToken") or {}
    return Identity(
        name=str(told.get("name", "")),
        organisations=tuple(one["name"] for one in told.get("orgs") or [] if one.get("name")),
        role=str(access.get("role") or ""),
        token_name=str(access.get("displayName") or ""),
        source=source,
    )


def _checked(token: str) -> HiddenToken:
    """Refused here: as a header it would fail with an error that quotes it."""
    if not _PRINTABLE.fullmatch(token):
        raise TokenRefusedError(
            "The token in use cannot be one: it holds blanks or letters that no token has.",
            hint="Copy it again from https://huggingface.co/settings/tokens.",
        )
    return HiddenToken(token)
