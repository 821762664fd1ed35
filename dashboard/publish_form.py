"""What a person decides on the Publish page: where to, what the card says, and what goes in."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import streamlit as st

from dashboard import formats, hub_access, messages
from dashboard.look import card_head
from superft_hf.errors import PublishError, SuperFTError
from superft_hf.hub.records import Identity
from superft_hf.hub_reach import is_hub_reachable, offline_words
from superft_hf.publish.licences import Licences
from superft_hf.publish.options import (
    LICENCE_IDS,
    MAX_MISCLASSIFIED,
    PublishOptions,
    require_repo_id,
    suggested_name,
)
from superft_hf.publish.push import look_up
from superft_hf.records import RunRecord

NOBODY = "OWNER"
PATIENCE_S = 2.0


@dataclass(frozen=True)
class Target:
    """Where a run would go.

    Attributes:
        repo_id: `OWNER/NAME`.
        words: What would happen there, Markdown.
        problem: Why nothing can be sent, as a sentence; empty when it can.
        is_there: Whether the repository exists already, as far as is known.
    """

    repo_id: str
    words: str
    problem: str
    is_there: bool = False


def draw_target(record: RunRecord, num_publications: int) -> tuple[Target, bool, bool, str]:
    """Draws the card *Where to*.

    Args:
        record: The run.
        num_publications: How often it was published: after each the Hub is asked anew.

    Returns:
        The target, whether a new repository is private, whether to open a pull request, and the title of the
        commit.
    """
    card_head("Where to", "on the Hugging Face Hub")
    who = hub_access.identity()
    left, right = st.columns([1, 1.4], gap="small")
    with left:
        owners = [who.name, *who.organisations] if who else [NOBODY]
        owner = st.selectbox(
            "Owner", owners, key=f"publish_owner_{record.run_id}", disabled=who is None,
            help="You, or an organisation that you belong to.",
        )  # fmt: skip
    with right:
        name = st.text_input(
            "Name", suggested_name(record.name), key=f"publish_name_{record.run_id}", max_chars=96,
            persist_state="session",
        )  # fmt: skip
    repo_id = f"{owner or NOBODY}/{name.strip()}"
    is_private = st.toggle(
        "Private", True, key=f"publish_private_{record.run_id}", persist_state="session",
        help="Only its owner sees a private repository. You can open it to all later, on the Hub.",
    )  # fmt: skip
    is_pull_request = st.toggle(
        "As a pull request", key=f"publish_pr_{record.run_id}", persist_state="session",
        help="Offers the change for review where the repository is there already.",
    )  # fmt: skip
    message = st.text_input(
        "Title of the commit", key=f"publish_message_{record.run_id}", persist_state="session",
        placeholder=f"{record.name}: model, card and figures", max_chars=200,
    )  # fmt: skip
    target = _target(repo_id, who, num_publications, is_private=is_private, is_pull_request=is_pull_request)
    st.markdown(f":small[:gray[{target.words}]]")
    return target, is_private, is_pull_request, message


def draw_words(record: RunRecord, licences: Licences, num_wrong: int) -> tuple[str, str, str, int]:
    """Draws the card *What you add*.

    Returns:
        Intended use, limits, the licence's id, and how many misclassified pictures go in.
    """
    card_head("What you add", "the figures are there already")
    use = st.text_area(
        "Intended use", key=f"publish_use_{record.run_id}", persist_state="session", height=92,
        placeholder="Who should use it, for which images, to decide what",
    )  # fmt: skip
    limits = st.text_area(
        "Limits", key=f"publish_limits_{record.run_id}", persist_state="session", height=92,
        placeholder="Where it fails, and what it must not be used for",
    )  # fmt: skip
    left, right = st.columns([1.4, 1], gap="small")
    with left:
        suggested = licences.suggested
        choices = ["", *LICENCE_IDS]
        licence = st.selectbox(
            "Licence of the model", choices, key=f"publish_licence_{record.run_id}", persist_state="session",
            format_func=lambda one: one or (f"{suggested}, as it follows" if suggested else "none"),
            help=f"Base model: {licences.model or 'not known'}. Images: {licences.data or 'not known'}.",
        )  # fmt: skip
    with right:
        most = min(MAX_MISCLASSIFIED, num_wrong)
        number = st.number_input(
            "Misclassified pictures", 0, max(most, 1), 0, key=f"publish_pictures_{record.run_id}",
            persist_state="session", disabled=not most,
            help=f"The worst eval mistakes, of {num_wrong:,}. None go in unless you ask for them.",
        )  # fmt: skip
    return use, limits, licence, int(number)


def check_options(options: PublishOptions) -> str:
    """What is wrong with the choices, as a sentence; empty when nothing is."""
    try:
        options.require_valid()
    except PublishError as error:
        return error.message
    return ""


def _target(
    repo_id: str, who: Identity | None, num_publications: int, *, is_private: bool, is_pull_request: bool
) -> Target:
    shown = f"**{formats.plain(repo_id)}**"
    if who is None:
        return Target(repo_id, f"{shown} would be created.", _why_nobody())
    if not who.can_write:
        return Target(repo_id, f"{shown} cannot be written to.", f"The token of {who.name} may only read.")
    try:
        require_repo_id(repo_id)
    except PublishError as error:
        return Target(repo_id, f"{shown} cannot be a repository.", f"{error.message} {error.hint}")
    found = _look_up(repo_id, who, num_publications)
    if isinstance(found, SuperFTError):
        return Target(repo_id, f"Whether {shown} is there already could not be asked.", found.message)
    kind = "private" if is_private else "public"
    if found is None:
        return Target(repo_id, f"{shown} is looked for on the Hub.", "")
    is_there, is_there_private = found
    if not is_there:
        return Target(repo_id, f"{shown} does not exist yet: it would be created, {kind}.", "")
    how = "gets a pull request" if is_pull_request else "is updated by one commit"
    stays = "private" if is_there_private else "public"
    return Target(repo_id, f"{shown} exists: it {how} and stays {stays}.", "", is_there=True)


def _why_nobody() -> str:
    standing = hub_access.standing(0.0)
    if standing is not None and standing.error is not None:
        return standing.error.message
    if not is_hub_reachable():
        return f"Nothing can be sent: {offline_words()}."
    return "Publishing needs a token with the right to write: press the Hub line in the sidebar."


def _look_up(repo_id: str, who: Identity, num_publications: int) -> tuple[bool, bool] | SuperFTError | None:
    """Whether it is there and private; None while the Hub has not answered."""
    try:
        asked = _asked(repo_id, f"{who.name} {who.token_name}", num_publications, hub_access.token)
        return asked.result(PATIENCE_S)
    except TimeoutError:
        return None


@st.cache_resource(max_entries=64, ttl="30s", show_spinner=False)
def _asked(
    repo_id: str, who: str, num_publications: int, _token: Callable[[], str | None]
) -> Future[tuple[bool, bool] | SuperFTError]:
    token = _token()

    def ask() -> tuple[bool, bool] | SuperFTError:
        try:
            return look_up(repo_id, token)
        except SuperFTError as error:
            return error

    pool = ThreadPoolExecutor(1, thread_name_prefix="hub-target")
    future = pool.submit(ask)
    pool.shutdown(wait=False)
    return future


def draw_warnings(warnings: tuple[str, ...]) -> None:
    """Says what is worth knowing before publishing; stops nobody."""
    for warning in warnings:
        head, _, rest = warning.partition(": ")
        messages.note(formats.plain(head + ("." if rest else "")), formats.plain(rest[:1].upper() + rest[1:]))
