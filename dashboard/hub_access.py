"""Who this tab is on the Hub: a quiet line in the sidebar, and a dialog to use another token in this tab.

The Hub is asked in a thread of its own and once in some minutes, so that no page ever waits for it.
"""

import hashlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import streamlit as st

from dashboard import dialogs, formats, look, messages, state
from superft_hf import hub_reach
from superft_hf.errors import HubError, RateLimitedError, TokenRefusedError
from superft_hf.hub.records import Identity
from superft_hf.hub.tokens import ENVIRONMENT, LOGIN, SESSION, HiddenToken, find_token, identify
from superft_hf.hub_reach import is_hub_reachable, offline_words

TYPED = "hub_typed_token"
PATIENCE_S = 6.0

_SOURCES = {
    ENVIRONMENT: "the environment of this server (HF_TOKEN)",
    LOGIN: "`hf auth login` on this machine",
    SESSION: "typed into this browser tab",
}


@dataclass(frozen=True)
class Standing:
    """What the Hub says of this tab.

    Attributes:
        identity: Whom the token stands for, or None.
        error: Why that is not known, or None.
        is_reachable: Whether the Hub can be reached.
    """

    identity: Identity | None = None
    error: HubError | None = None
    is_reachable: bool = True


def session_token() -> str | None:
    """The token that was typed into this tab."""
    return state.get_value(state.HUB_TOKEN)


def token() -> str | None:
    """The token to ask the Hub with: this tab's, else this machine's; None when there is none that can be."""
    try:
        found = find_token(session_token())
    except TokenRefusedError:
        return None
    return found[0] if found else None


def token_digest() -> str:
    """Names the tokens of this tab and this machine without telling them: part of a cache's key."""
    return hashlib.sha256(f"{session_token() or ''} {token() or ''}".encode()).hexdigest()


def identity() -> Identity | None:
    """Whom this tab is on the Hub; None without a token, or when the Hub does not say so within seconds."""
    found = standing()
    return found.identity if found else None


def standing(patience_s: float = PATIENCE_S) -> Standing | None:
    """What the Hub says of this tab; None when it has not answered within `patience_s`."""
    try:
        return _asked(token_digest(), session_token).result(patience_s)
    except TimeoutError:
        return None


def draw() -> None:
    """Draws the line at the end of the sidebar, and the dialog behind it while that is open."""
    found = standing(0.0)
    with st.sidebar:
        st.button(
            f":small[:gray[:material/hub: {_line(found)}]]", type="tertiary", key="hub_access",
            help="Whose token the Hugging Face Hub is asked with.", on_click=_open_dialog,
        )  # fmt: skip
        if found is None:
            dialogs.poll(_wait, "1s")
    if state.get_value(state.HUB_DIALOG):
        _dialog()


def _open_dialog() -> None:
    """Opens it by the state of the tab, so that a rerun of the page does not close it."""
    dialogs.close_dialog()  # one at a time
    state.put_value(state.HUB_DIALOG, True)


def _close_dialog() -> None:
    state.drop_value(state.HUB_DIALOG)


def _wait() -> None:
    """Draws the page once more as soon as the Hub has answered."""
    if standing(0.0) is not None:
        st.rerun()


def _line(found: Standing | None) -> str:
    if found is None:
        return "Hub: asking who you are"
    if found.identity is not None:
        return "Hub: " + formats.plain(" · ".join(filter(None, (found.identity.name, found.identity.role))))
    if not found.is_reachable:
        return f"Hub: {'switched off' if 'OFFLINE' in offline_words() else 'cannot be reached'}"
    if isinstance(found.error, TokenRefusedError):
        return "Hub: the token is refused"
    return "Hub: not known who you are" if found.error else "Hub: no token, reading works"


@st.dialog("Hugging Face Hub", on_dismiss=_close_dialog)
def _dialog() -> None:
    with st.spinner("Asking the Hub"):
        found = standing()
    _who(found)
    _type_token()
    if session_token() and st.button(
        "Forget the token of this tab", icon=":material/logout:", key="hub_forget_token"
    ):
        state.drop_value(state.HUB_TOKEN)
        dialogs.redraw()
    is_known = found is not None and found.is_reachable and found.error is None
    if not is_known and st.button("Ask again", icon=":material/refresh:", key="hub_ask_again"):
        hub_reach.forget()
        _asked.clear()
        dialogs.redraw()


def _who(found: Standing | None) -> None:
    if found is None:
        messages.note("The Hub has not answered yet.", "Open this again in a moment.")
    elif found.error is not None:
        messages.show(found.error)
    elif not found.is_reachable:
        st.markdown(f"Nothing is asked of the Hub: {offline_words()}. Local folders and samples work.")
    elif found.identity is None:
        st.markdown(
            "No token is in use. Searching and reading public repositories works without one; gated "
            "models, private repositories and publishing need one."
        )
    else:
        who = found.identity
        look.facts({"Name": formats.plain(who.name), "Rights": formats.plain(who.role or formats.NOTHING)})
        look.fact("Organisations", formats.plain(", ".join(who.organisations) or "none"))
        name = f", called {formats.plain(who.token_name)}" if who.token_name else ""
        look.fact("Token", f"{_SOURCES[who.source]}{name}")
        if not who.can_write:
            st.caption("A read token finds and fetches; publishing needs one with the right to write.")


def _type_token() -> None:
    with st.form("hub_token_form", border=False, clear_on_submit=True):
        typed = st.text_input(
            "Use a token in this browser tab", type="password", placeholder="hf_…", key=TYPED,
            help="From huggingface.co/settings/tokens. Read will do for gated models.",
        )  # fmt: skip
        is_sent = st.form_submit_button("Use it")
    st.caption(
        "It stays in the memory of this server until the tab is closed, and is written nowhere: not to disk, "
        "not into a run, not into a log. To keep one on this machine, run `hf auth login`."
    )
    if is_sent and typed.strip():
        state.put_value(state.HUB_TOKEN, HiddenToken(typed.strip()))
        state.drop_value(TYPED)
        dialogs.redraw()


@st.cache_resource(max_entries=32, ttl="3m", show_spinner=False)
def _asked(digest: str, _session_token: Callable[[], str | None]) -> Future[Standing]:
    pool = ThreadPoolExecutor(1, thread_name_prefix="hub-identity")
    future = pool.submit(_stand, _session_token())
    pool.shutdown(wait=False)
    return future


def _stand(session_token: str | None) -> Standing:
    try:
        if not is_hub_reachable():
            return Standing(is_reachable=False)
        return Standing(identify(session_token))
    except RateLimitedError:  # asking who one is has strict limits; that is no reason to bother anybody
        return Standing()
    except HubError as error:
        return Standing(error=error)
