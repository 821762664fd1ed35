"""Sending a run to the Hub: at work, done or failed, the same in every tab; and where it went before."""

from collections.abc import MutableMapping

import streamlit as st

from dashboard import dialogs, formats, hub_access, messages, readers
from dashboard.look import card_head
from superft_hf.publish.options import PublishOptions
from superft_hf.publish.sending import Sending
from superft_hf.records import PUBLISHED, Event

MAX_SHOWN = 8


def sending(run_id: str) -> Sending | None:
    """The newest push of a run since the server began; None when there was none."""
    return _sendings().get((str(readers.store().home), run_id))


def begin(run_id: str, repo_id: str, options: PublishOptions) -> None:
    """Callback: starts a push in a process of its own, unless one is at work."""
    now, token = sending(run_id), hub_access.token()
    if token is None or (now is not None and now.is_running):
        return
    home = readers.store().home
    _sendings()[str(home), run_id] = Sending(home, run_id, repo_id, options, token=token, by="page")


def draw(run_id: str) -> None:
    """Draws how the newest push is doing; nothing when there was none."""
    found = sending(run_id)
    if found is None:
        return
    if found.is_running:
        dialogs.poll(_draw_progress, "1s", run_id)
    elif found.error is not None:
        messages.show(found.error)
    elif found.result is not None:
        _draw_result(found)


def draw_history(publications: list[Event]) -> None:
    """Draws where the run went, newest first."""
    card_head("Where it went", formats.counted(len(publications), "time"))
    for event in reversed(publications[-MAX_SHOWN:]):
        when, repo_id = formats.moment(event.time), formats.plain(repo_of(event.detail))
        kind = "pull request" if "/discussions/" in event.detail else "commit"
        st.markdown(
            f"[{repo_id}]({event.detail}) :small[:gray[{kind}, {when}, by {formats.plain(event.by)}]]"
        )


def publications(run_id: str) -> list[Event]:
    """The run's publications, oldest first."""
    return [event for event in readers.events(run_id) if event.what == PUBLISHED]


def repo_of(url: str) -> str:
    """`owner/name` of the address of a commit or pull request.

    Example:
        >>> repo_of("https://huggingface.co/acme/cells/commit/abc")
        'acme/cells'
    """
    path = url.split("://", 1)[-1].split("/", 1)[-1]
    return "/".join(path.split("/")[:2])


def _draw_progress(run_id: str) -> None:
    found = sending(run_id)
    if found is None or not found.is_running:
        st.rerun()
    with st.container(border=True):
        share = found.done / found.total if found.total else 0.0
        text = f"Getting ready to send to {formats.plain(found.repo_id)}"
        if found.total:
            sizes = f"{formats.size(found.done)} of {formats.size(found.total)}"
            text = f"Sending to {formats.plain(found.repo_id)}: {sizes}"
        st.progress(min(share, 1.0), text=text)
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(
                ":small[:gray[It goes on when you leave this page. The repository changes at the very end, "
                "all at once.]]",
                width="stretch",
            )
            st.button("Stop", icon=":material/stop:", key="publish_stop", on_click=found.stop)


def _draw_result(found: Sending) -> None:
    result = found.result
    name = formats.plain(result.repo_id)
    what = "has a pull request with this run" if result.is_pull_request else "holds this run"
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        st.markdown(
            f":material/check: **{name} {what}.** {formats.size(found.total)} were sent.", width="stretch"
        )
        st.link_button("Open it on the Hub", result.url, icon=":material/open_in_new:")


@st.cache_resource(show_spinner=False)
def _sendings() -> MutableMapping[tuple[str, str], Sending]:
    return {}
