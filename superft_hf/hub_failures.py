"""Every way in which the Hugging Face Hub can fail us, as a sentence with the next step.

Whoever talks to the Hub catches `HUB_FAILURES` and raises what `explain` makes of it, so that page and
command line say the same of the same failure. No sentence ever holds a token.
"""

import errno
import re
import urllib.parse
from collections.abc import Iterator

import httpx2

# Nothing else of huggingface_hub here: its constants read the environment once, when they are imported.
from huggingface_hub import errors as hub_errors

from superft_hf.errors import (
    BrokenDownloadError,
    DataNotFoundError,
    DownloadError,
    GatedError,
    HubError,
    HubUnreachableError,
    ModelNotFoundError,
    RateLimitedError,
    SuperFTError,
    TokenRefusedError,
)
from superft_hf.hub_reach import offline_words

HUB_FAILURES: tuple[type[Exception], ...] = (
    httpx2.HTTPError,  # everything between us and an answer, and every answer above 399 (HfHubHTTPError)
    httpx2.InvalidURL,
    httpx2.StreamError,
    OSError,  # no connection, cut downloads, "not in the cache"; of datasets, "not found" and "unreachable"
    hub_errors.EntryNotFoundError,
    hub_errors.HFValidationError,
    hub_errors.RevisionResolutionError,
)
"""What huggingface_hub, datasets and the client below them raise when the Hub does not do its part."""

_TOKEN = re.compile(r"hf_[A-Za-z0-9]{8,}")
_REVISION = re.compile(r"/(?:revision|resolve|tree|commits|paths-info)/([^/?]+)")
_FILE = re.compile(r"/resolve/[^/]+/([^?]+)")
_GATED = re.compile(r"\bgated\b|accept the (terms|conditions)|authorized list", re.IGNORECASE)
_NO_REVISION = re.compile(r"Revision '(?P<revision>[^']*)' doesn't exist")
_CUT = ("Consistency check failed", "peer closed connection", "IncompleteRead", "payload is not completed")
_DISK = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EACCES: "there is no right to write",
    errno.EROFS: "the disk is read-only",
}
_WITHOUT = "Local folders, samples and what is in the cache work without the Hub."


def explain(error: Exception, what: str, repo_id: str = "", kind: str = "model") -> SuperFTError:
    """Words a failure of the Hub; the caller raises it `from error`.

    Args:
        error: One of HUB_FAILURES, or an error that one of them caused.
        what: What was asked for, within a sentence: `the model acme/vit`.
        repo_id: The repository; names its page in the hint.
        kind: `model` or `dataset`: decides the error for what does not exist.

    Returns:
        TokenRefusedError (401), GatedError (403), ModelNotFoundError or DataNotFoundError (404, unknown
        revision, no such name), RateLimitedError (429), HubUnreachableError (no connection, no answer in
        time, 5xx), BrokenDownloadError (cut off), DownloadError (our disk), or HubError for the rest.
    """
    if isinstance(error, SuperFTError):
        return error
    about = _About(what, repo_id, kind)
    for one in _chain(error):
        found = _of_answer(one, about) or _of_connection(one, about) or _of_words(one, about)
        if found is not None:
            return found
    return HubError(
        f"{about.subject} could not be had from the Hub: {_first_line(error)}.",
        hint="Try again; if it stays so, look at the repository's page on the Hub.",
    )


def scrub(text: str) -> str:
    """A text without anything that looks like a token.

    Example:
        >>> scrub("Illegal header value b'Bearer hf_abcdefgh12'")
        "Illegal header value b'Bearer hf_…'"
    """
    return _TOKEN.sub("hf_…", text)


class _About:
    """What was asked for."""

    def __init__(self, what: str, repo_id: str, kind: str) -> None:
        self.what = what
        self.subject = what[:1].upper() + what[1:]
        self.noun = what.removeprefix("the ")
        self.kind = kind
        self.page = _page(repo_id, kind)
        self.missing = DataNotFoundError if kind == "dataset" else ModelNotFoundError


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, then what caused it: the clients wrap the answer of the Hub in errors of their own."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _of_answer(error: BaseException, about: _About) -> SuperFTError | None:
    """Words an answer of the Hub by its error code or status."""
    response = getattr(error, "response", None)
    if not isinstance(response, httpx2.Response):
        return None
    status, url = response.status_code, str(response.url)
    if isinstance(error, hub_errors.GatedRepoError):
        return _gated(about)
    if isinstance(error, hub_errors.RevisionNotFoundError):
        return _no_revision(_found(_REVISION, url), about)
    if isinstance(error, hub_errors.RemoteEntryNotFoundError):
        return _no_file(_found(_FILE, url), about)
    # The client takes every 401 for a missing repository; with a token and no such code it is the token.
    is_token = status == 401 and "X-Error-Code" not in response.headers and _has_token(response)
    if status == 404 or (isinstance(error, hub_errors.RepositoryNotFoundError) and not is_token):
        return _no_repository(about)
    if isinstance(error, hub_errors.DisabledRepoError):
        return about.missing(f"The Hub has disabled {about.what}.", hint="Choose another.")
    if status in (401, 403):
        return _refused(status, response, about)
    if status == 429:
        return _rate_limited(response, about)
    if status >= 500 or status == 408:
        return HubUnreachableError(
            f"The Hub has trouble of its own (it answered {status}) and did not give {about.what}.",
            hint=f"Try again in a few minutes. {_WITHOUT}",
        )
    return HubError(
        f"The Hub did not do what was asked of {about.what} (it answered {status}): {_server_words(error)}.",
        hint=f"Look at {about.page}, and try again.",
    )


def _of_connection(error: BaseException, about: _About) -> SuperFTError | None:
    """Words a connection that failed, stalled or broke."""
    text = str(error)
    if isinstance(error, hub_errors.OfflineModeIsEnabled):
        return HubUnreachableError(
            f"The Hub is not asked for {about.what}: HF_HUB_OFFLINE is set.", hint=f"Unset it. {_WITHOUT}"
        )
    if isinstance(error, httpx2.TimeoutException | TimeoutError):
        return HubUnreachableError(
            f"The Hub did not answer in time when it was asked for {about.what}.",
            hint=f"Try again in a moment. {_WITHOUT}",
        )
    if isinstance(error, httpx2.ReadError | httpx2.WriteError) or any(part in text for part in _CUT):
        return _cut(about)
    if isinstance(error, httpx2.ConnectError) and "CERTIFICATE" in text.upper():
        return HubUnreachableError(
            f"No secure connection to the Hub for {about.what}: its certificate is not trusted here.",
            hint="Check the clock and the certificates of this machine; a proxy may need SSL_CERT_FILE.",
        )
    if isinstance(error, httpx2.ProxyError):
        return HubUnreachableError(
            f"The proxy of this machine does not let a request for {about.what} through.",
            hint="Check HTTPS_PROXY and NO_PROXY.",
        )
    if isinstance(error, httpx2.DecodingError):
        return HubUnreachableError(
            f"What answered when the Hub was asked for {about.what} is not the Hub.",
            hint="A proxy or the login page of a network may stand in between: open it in a browser once.",
        )
    if isinstance(error, httpx2.RequestError | ConnectionError | hub_errors.RevisionResolutionError):
        return _unreachable(about) if error.__cause__ is None or not _is_told(error.__cause__) else None
    return None


def _of_words(error: BaseException, about: _About) -> SuperFTError | None:
    """Words what tells its reason only in its text or its number."""
    text = str(error)
    if isinstance(error, hub_errors.HFValidationError | hub_errors.HfUriError | httpx2.InvalidURL):
        return about.missing(
            f"There is no {about.noun} on the Hub: that is no name of a repository.",
            hint="A name looks like owner/name, such as microsoft/resnet-18.",
        )
    if type(error).__name__ == "DatasetNotFoundError":  # of datasets, which drops the cause
        revision = _NO_REVISION.search(text)
        if revision:
            return _no_revision(revision["revision"], about)
        return _gated(about) if _GATED.search(text) else _no_repository(about)
    if isinstance(error, FileNotFoundError) and "on the Hugging Face Hub either" in text:  # likewise
        return _unreachable(about) if "LocalEntryNotFound" in text else _no_repository(about)
    if type(error).__name__ == "XetAuthenticationError":  # of hf_xet, an OSError
        return _refused(401, None, about)
    if isinstance(error, OSError) and error.errno in _DISK:
        return DownloadError(
            f"Nothing of {about.what} could be written to this machine: {_DISK[error.errno]}.",
            hint="Free some space, or set HF_HOME to a folder on another disk.",
        )
    if isinstance(error, hub_errors.LocalEntryNotFoundError) and error.__cause__ is None:
        return HubUnreachableError(
            f"Not all of {about.what} is on this machine, and {offline_words()}.",
            hint=f"Connect and try again. {_WITHOUT}",
        )
    return None


def _is_told(error: BaseException) -> bool:
    """Whether the cause says more than the error around it."""
    return isinstance(error, (*HUB_FAILURES, TimeoutError))


def _gated(about: _About) -> GatedError:
    return GatedError(
        f"The Hub gives {about.what} only to those who accept its terms.",
        hint=f"Accept them at {about.page}, then use a token of that account: `hf auth login`, HF_TOKEN, or "
        "the Hub line in the sidebar.",
    )


def _no_repository(about: _About) -> SuperFTError:
    return about.missing(
        f"There is no {about.noun} on the Hub.",
        hint="Check the name, which looks like owner/name; a private one needs a token that may read it.",
    )


def _no_revision(revision: str, about: _About) -> SuperFTError:
    group = "data" if about.kind == "dataset" else "model"
    named = f"no revision {revision!r}" if revision else "no such revision"
    return about.missing(f"{about.subject} has {named}.", hint=f"Set {group}.revision to main.")


def _no_file(name: str, about: _About) -> SuperFTError:
    return about.missing(
        f"{about.subject} has no file {name or 'of that name'}.",
        hint=f"Look at its files at {about.page}.",
    )


def _refused(status: int, response: httpx2.Response | None, about: _About) -> SuperFTError:
    """401: the token is none. 403: the token lacks a right, or there was none."""
    has_token = response is not None and _has_token(response)
    words = response.headers.get("X-Error-Message", "") if response is not None else ""
    if status == 403 and (not has_token or _GATED.search(words)):
        return _gated(about)
    if status == 401 and response is not None and not has_token:
        return TokenRefusedError(
            f"The Hub wants a token for {about.what}.",
            hint="Run `hf auth login`, set HF_TOKEN, or type one under the Hub line in the sidebar.",
        )
    if status == 403:
        return TokenRefusedError(
            f"The token in use has no right to what was asked of {about.what}.",
            hint="Use a token with that right, from https://huggingface.co/settings/tokens.",
        )
    return TokenRefusedError(
        f"The Hub does not accept the token in use when asked for {about.what}.",
        hint="It may have expired: run `hf auth login` or change HF_TOKEN. Public repositories need none.",
    )


def _has_token(response: httpx2.Response) -> bool:
    return "authorization" in response.request.headers


def _rate_limited(response: httpx2.Response, about: _About) -> RateLimitedError:
    from huggingface_hub.utils import parse_ratelimit_headers

    limit, after = parse_ratelimit_headers(response.headers), response.headers.get("Retry-After", "").strip()
    seconds = int(after) if after.isdecimal() else limit.reset_in_seconds if limit else None
    when = f"in {seconds} s" if seconds is not None else "in a few minutes"
    return RateLimitedError(
        f"The Hub takes no more requests for now (429), and did not give {about.what}.",
        hint=f"Try again {when}. With a token the limits are higher.",
    )


def _cut(about: _About) -> BrokenDownloadError:
    return BrokenDownloadError(
        f"The connection broke while {about.what} came from the Hub.",
        hint="Try again: nothing half-downloaded is used, and files that arrived whole are kept.",
    )


def _unreachable(about: _About) -> HubUnreachableError:
    return HubUnreachableError(
        f"The Hub cannot be reached to ask for {about.what}.",
        hint=f"Check the connection and try again. {_WITHOUT}",
    )


def _page(repo_id: str, kind: str) -> str:
    """The address of a repository's page."""
    from huggingface_hub import constants

    return f"{constants.ENDPOINT}/{'datasets/' if kind == 'dataset' else ''}{repo_id}"


def _found(pattern: re.Pattern[str], url: str) -> str:
    found = pattern.search(url)
    return urllib.parse.unquote(found[1]) if found else ""


def _server_words(error: BaseException) -> str:
    """What the server said itself, in one line."""
    return _one_line(getattr(error, "server_message", None) or "") or _first_line(error)


def _first_line(error: BaseException) -> str:
    return _one_line(str(error)) or type(error).__name__


def _one_line(text: str) -> str:
    lines = scrub(text).strip().splitlines()
    return lines[0].strip().rstrip(".")[:300] if lines else ""
