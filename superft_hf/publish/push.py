"""Publishing a run on the Hub: first a plan that sends nothing, then one commit.

What stays true: everything goes into a single commit, so a push that fails half-way leaves the repository as
it was; files that had arrived are not sent again by the next try. The run is only read, but for two lines in
its history: where it went, and that its test figures were shown. The token is passed on and kept nowhere.
"""

import io
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, ModelCard
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError
from huggingface_hub.hf_api import ModelInfo
from huggingface_hub.utils import logging as hub_logging

from superft_hf.errors import BrokenDownloadError, HubError, HubUnreachableError, PublishError, SuperFTError
from superft_hf.hub_failures import HUB_FAILURES, explain, scrub
from superft_hf.publish.bundle import FILES, Bundle, make_bundle
from superft_hf.publish.evidence import Evidence, collect
from superft_hf.publish.licences import find_licences
from superft_hf.publish.options import PublishOptions, require_repo_id
from superft_hf.records import PUBLISHED
from superft_hf.store import RunStore
from superft_hf.words import counted, size

Progress = Callable[[int, int], None]
"""Called with bytes sent and bytes in all."""

_CONFLICTS = (409, 412)


@dataclass(frozen=True)
class PushPlan:
    """What a push would do.

    Attributes:
        repo_id: `OWNER/NAME`.
        url: Of the repository.
        action: `create`, `update`, `pull request`, or `unknown` when the Hub could not be asked.
        is_private: Whether the repository is, or would be, private; None when unknown.
        files: Bytes by path.
        removed: Files of an earlier publication that would go.
        card: The text of README.md.
        warnings: What to know first, as sentences.
    """

    repo_id: str
    url: str
    action: str
    is_private: bool | None
    files: Mapping[str, int]
    removed: tuple[str, ...]
    card: str
    warnings: tuple[str, ...]

    @property
    def total_bytes(self) -> int:
        """Of all files."""
        return sum(self.files.values())

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self) | {"total_bytes": self.total_bytes}


@dataclass(frozen=True)
class PushResult:
    """Where a run went.

    Attributes:
        repo_id: `OWNER/NAME`.
        url: Of the commit or of the pull request.
        repo_url: Of the repository.
        commit: Its hash.
        is_new: Whether the repository was created.
        is_pull_request: Whether it waits there to be merged.
    """

    repo_id: str
    url: str
    repo_url: str
    commit: str
    is_new: bool
    is_pull_request: bool


def plan(
    store: RunStore, run_id: str, repo_id: str, options: PublishOptions, token: str | None = None
) -> PushPlan:
    """Says what a push would do; sends nothing and notes nothing.

    Args:
        store: Where the run is.
        run_id: A completed run.
        repo_id: `OWNER/NAME`.
        options: What its author chose.
        token: To ask whether the repository is there; None asks as nobody.

    Raises:
        PublishError: If name, options or the model's files are refused.
        StateError: If the run is not completed.
        TokenRefusedError: If the Hub does not accept the token.
    """
    require_repo_id(repo_id)
    evidence = collect(store, run_id)
    bundle = make_bundle(evidence, options, find_licences(evidence, token), repo_id=repo_id)
    api, notes = HfApi(token=token), list(bundle.warnings)
    target, is_known = None, True
    try:
        target = _find(api, repo_id)
    except HubUnreachableError as error:
        is_known = False
        notes.append(f"Whether {repo_id} is there already could not be asked. {error.message}")
    if target is not None and bool(target.private) != options.is_private:
        notes.append(_visibility_note(repo_id, bool(target.private)))
    if target is None and is_known and options.as_pull_request:
        notes.append(f"{repo_id} is new: it is created with a commit, not with a pull request.")
    action = "unknown" if not is_known else "create" if target is None else "update"
    if action == "update" and options.as_pull_request:
        action = "pull request"
    return PushPlan(
        repo_id=repo_id,
        url=f"{api.endpoint}/{repo_id}",
        action=action,
        is_private=None if not is_known else bool(target.private) if target else options.is_private,
        files=bundle.sizes,
        removed=_stale(target, bundle),
        card=bundle.card.text,
        warnings=tuple(notes),
    )


def look_up(repo_id: str, token: str | None) -> tuple[bool, bool]:
    """Whether a repository is there as far as the token may see, and whether it is private.

    Raises:
        HubError: If the Hub cannot be asked, or refuses the token.
    """
    target = _find(HfApi(token=token), require_repo_id(repo_id))
    return target is not None, bool(target and target.private)


def push(
    store: RunStore,
    run_id: str,
    repo_id: str,
    options: PublishOptions,
    *,
    token: str | None,
    by: str,
    progress: Progress | None = None,
) -> PushResult:
    """Publishes a run in one commit.

    Args:
        store: Where the run is; its history gets a line.
        run_id: A completed run.
        repo_id: `OWNER/NAME`.
        options: What its author chose.
        token: With the right to write there.
        by: Who asked, for the history.
        progress: Hears of bytes.

    Raises:
        PublishError: If something is refused before anything is sent, or the repository changed meanwhile.
        StateError: If the run is not completed.
        HubError: If the Hub did not do its part; the message says what was sent, the hint what to do.
    """
    require_repo_id(repo_id)
    if not token:
        raise PublishError(
            "Publishing needs a token with the right to write.",
            hint="Run `hf auth login`, set HF_TOKEN, or type one under the Hub line in the sidebar.",
        )
    evidence = collect(store, run_id)
    bundle = make_bundle(evidence, options, find_licences(evidence, token), repo_id=repo_id)
    sent = _Sent(sum(bundle.sizes.values()), progress)
    with _quiet_client():
        try:
            found = _send(HfApi(token=token), repo_id, bundle, options, evidence, sent)
        except (*HUB_FAILURES, ValueError) as error:
            raise _failure(error, repo_id, sent) from error
    if "test" in evidence.splits:
        store.look_at_test(run_id, by=by, detail=f"published in the card of {repo_id}")
    store.add_event(run_id, by=by, what=PUBLISHED, detail=found.url)
    return found


class _Sent:
    """How far a push is.

    Args:
        total: Bytes of all files.
        progress: Hears of them.
    """

    def __init__(self, total: int, progress: Progress | None) -> None:
        self.total = total
        self.done = 0
        self.is_begun = False
        self._progress = progress

    def add(self, size_bytes: int) -> None:
        self.done = min(self.done + size_bytes, self.total)
        if self._progress:
            self._progress(self.done, self.total)


class _CountedFile(io.BufferedReader):
    """A file that says how much of it was read: the client tells nobody but its own progress bars.

    A file that is handed over open is also sent over plain HTTP by every installation, so what the tests see
    is what happens.
    """

    def __init__(self, path: Path, sent: _Sent) -> None:
        super().__init__(path.open("rb", buffering=0))
        self._sent = sent

    def read(self, size: int | None = -1, /) -> bytes:
        part = super().read(size)
        if self._sent.is_begun:  # before, the client reads the file to compute its hash
            self._sent.add(len(part))
        return part


def _send(
    api: HfApi, repo_id: str, bundle: Bundle, options: PublishOptions, evidence: Evidence, sent: _Sent
) -> PushResult:
    ModelCard(bundle.card.text).validate()
    target = _find(api, repo_id)
    is_new = target is None
    if target is None:
        api.create_repo(repo_id, private=options.is_private, exist_ok=True)
        target = api.model_info(repo_id)
    is_pull_request = options.as_pull_request and not is_new
    opened = [
        _CountedFile(found, sent) if isinstance(found, Path) else found for found in bundle.files.values()
    ]
    try:
        operations = [
            CommitOperationAdd(path, found) for path, found in zip(bundle.files, opened, strict=True)
        ]
        sent.is_begun = True
        commit = api.create_commit(
            repo_id,
            [*(CommitOperationDelete(path) for path in _stale(target, bundle)), *operations],
            commit_message=options.message.strip() or f"{evidence.record.name}: model, card and figures",
            create_pr=is_pull_request,
            parent_commit=None if is_pull_request else target.sha,  # a change by others is not overwritten
        )
    finally:
        for one in opened:
            if isinstance(one, _CountedFile):
                one.close()
    sent.add(sent.total)
    return PushResult(
        repo_id=repo_id,
        url=commit.pr_url or commit.commit_url,
        repo_url=f"{api.endpoint}/{repo_id}",
        commit=commit.oid,
        is_new=is_new,
        is_pull_request=commit.pr_url is not None,
    )


def _find(api: HfApi, repo_id: str) -> ModelInfo | None:
    """What the Hub has under this name; None when there is nothing that the token may see.

    Raises:
        HubError: If the Hub cannot be asked, or refuses the token.
    """
    try:
        return api.model_info(repo_id)
    except RepositoryNotFoundError as error:
        # Whoever asks without a token, or with one that is refused, gets 401 for what is not there.
        if error.response.status_code == 401 and api.token:
            raise explain(error, f"the model {repo_id}", repo_id) from error
        return None
    except HUB_FAILURES as error:
        raise explain(error, f"the model {repo_id}", repo_id) from error


def _stale(target: ModelInfo | None, bundle: Bundle) -> tuple[str, ...]:
    """Files of an earlier publication that this one does not have: else they would stay for ever."""
    names = [one.rfilename for one in (target.siblings or [])] if target else []
    return tuple(
        name for name in names
        if name not in bundle.files
        and (name.startswith(FILES.folders) or ("/" not in name and _is_weights(name)))
    )  # fmt: skip


def _is_weights(name: str) -> bool:
    return name.endswith((".safetensors", ".safetensors.index.json"))


def _visibility_note(repo_id: str, is_private: bool) -> str:
    now, other = ("private", "public") if is_private else ("public", "private")
    return f"{repo_id} is {now} and stays so: make it {other} in its settings on the Hub."


def _failure(error: Exception, repo_id: str, sent: _Sent) -> SuperFTError:
    """Says what was sent and what to do; the repository has no new commit."""
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if not sent.is_begun and isinstance(error, ValueError):
        return PublishError(
            f"The Hub refuses the card: {scrub(str(error)).strip()[:500]}.",
            hint="Nothing was sent. Look at the licence and the texts of the card, then publish again.",
        )
    if sent.is_begun and status in _CONFLICTS:
        return PublishError(
            f"{repo_id} was changed on the Hub while the run was being sent. Nothing of it was overwritten.",
            hint="Look at what changed there, then publish again; what has arrived is not sent again.",
        )
    found = explain(error, f"the model {repo_id}", repo_id)
    if isinstance(found, BrokenDownloadError):  # the words of a download
        found = HubUnreachableError(f"The connection to the Hub broke while {repo_id} was being sent.")
    if not sent.is_begun:
        return type(found)(f"{found.message} Nothing was sent.", hint=found.hint)
    kind = type(found) if isinstance(found, HubError) else PublishError
    return kind(
        f"{found.message} {size(sent.done)} of {size(sent.total)} had been sent, but {repo_id} has no new "
        "commit.",
        hint=f"{found.hint} Then publish again: the run is as it was, and files that have arrived are not "
        "sent again.".strip(),
    )


@contextmanager
def _quiet_client() -> Iterator[None]:
    """Keeps the client from telling the terminal of a person what is no news to them."""
    before = hub_logging.get_verbosity()
    hub_logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        hub_logging.set_verbosity(before)


def result_words(found: PushResult, num_files: int, total_bytes: int) -> str:
    """What a push did, in a sentence."""
    what = "waits as a pull request at" if found.is_pull_request else "is on the Hub at"
    return f"{found.repo_id} {what} {found.url} ({counted(num_files, 'file')}, {size(total_bytes)})."
