"""Searching the Hub within a dialog: a field that answers while one types, filters, result lines, pages.

The Hub is asked in a thread. While the page waits, each new key ends the waiting, so an answer is only ever
drawn below the words that it answers.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import streamlit as st

from dashboard import dialogs, formats, hub_access, messages, state
from superft_hf.hub import search
from superft_hf.hub.records import HubEntry, HubPage
from superft_hf.hub.search import Query

PAGE_SIZE = 10
WAIT_S = 0.1
SORT_WORDS = {
    "downloads": "Most downloads", "likes": "Most likes", "trending": "Trending", "recent": "Newest change",
}  # fmt: skip
_PLACEHOLDERS = {search.MODEL: "resnet, convnextv2, vit …", search.DATASET: "flowers, x-ray, food …"}
_ANY = "any"


@dataclass
class _Newest:
    """The number of the search that this tab began last; older ones that wait their turn are dropped."""

    number: int = 0


def draw(kind: str, choose: Callable[[str], None]) -> None:
    """Draws the search.

    Args:
        kind: `model` or `dataset`.
        choose: Called with the id of the repository whose button was pressed.
    """
    query = _draw_query(kind)
    place = st.container(gap="xsmall")
    query, number = _with_cursor(query)
    page = _find(query, place)
    with place:
        if page.note:
            _note(kind, page.note)
        chosen = _lines(page)
        if not page.entries:
            _nothing(query)
        _paging(kind, query, page, number)
    if chosen is not None:
        choose(chosen)


def _draw_query(kind: str) -> Query:
    """The field, the order and the filters."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        text = st.text_input(
            "Search the Hub", type="search", live=True, key=f"hub_{kind}_text", persist_state="session",
            placeholder=_PLACEHOLDERS[kind], label_visibility="collapsed",
        )  # fmt: skip
        # Together, so that on a phone both go to a second row and leave the first to the field.
        with st.container(horizontal=True, width=300, gap="small"):
            sort = st.selectbox(
                "Order", list(SORT_WORDS), format_func=SORT_WORDS.get, key=f"hub_{kind}_sort", width=170,
                persist_state="session", label_visibility="collapsed",
            )  # fmt: skip
            with st.popover(_filter_label(kind), icon=":material/tune:", width="stretch"):
                filters = _draw_filters(kind)
    return Query(kind, text=text or "", sort=sort, limit=PAGE_SIZE, **filters)


def _draw_filters(kind: str) -> dict[str, str]:
    author = st.text_input(
        "User or organisation", key=f"hub_{kind}_author", persist_state="session", placeholder=_ANY
    )
    sizes = search.MODEL_SIZES if kind == search.MODEL else search.DATA_SIZES
    found = {
        "author": author or "",
        "size": _choice(kind, "size", "Size", sizes),
        "licence": _choice(kind, "licence", "Licence", {one: one for one in search.LICENCES}),
        "task": _choice(kind, "task", "Task", search.TASKS[kind]) or search.CLASSIFICATION,
    }
    if kind == search.MODEL:
        found["library"] = _choice(kind, "library", "Library", {one: one for one in search.LIBRARIES})
    return found


def _choice(kind: str, name: str, label: str, words: dict[str, str]) -> str:
    chosen = st.selectbox(
        label, list(words), index=None, format_func=words.get, key=f"hub_{kind}_{name}",
        placeholder="image classification" if name == "task" else _ANY, persist_state="session",
    )  # fmt: skip
    return chosen or ""


def _filter_label(kind: str) -> str:
    names = ("author", "size", "licence", "task", "library")
    active = sum(bool(state.get_value(f"hub_{kind}_{name}")) for name in names)
    return f"Filters · {active}" if active else "Filters"


def _with_cursor(query: Query) -> tuple[Query, int]:
    """The search at the page that this tab is on, and that page's number; a new search begins at 1."""
    pages = state.get_value(state.HUB_PAGES, {})
    known, cursors = pages.get(query.kind, (None, [None]))
    if known != query:
        cursors = [None]
        state.put_value(state.HUB_PAGES, {**pages, query.kind: (query, cursors)})
    return replace(query, cursor=cursors[-1]), len(cursors)


def _find(query: Query, place: st.delta_generator.DeltaGenerator) -> HubPage:
    """Asks in a thread, and waits; every sign that it waits lets a newer key take over."""
    newest = state.get_value(state.HUB_ASKED)
    if newest is None:
        newest = _Newest()
        state.put_value(state.HUB_ASKED, newest)
    newest.number += 1
    own, token = newest.number, hub_access.token()

    def work() -> HubPage:
        return search.search(query, token) if newest.number == own else HubPage()

    future = _pool().submit(work)
    sign = place.empty()
    while True:
        try:
            page = future.result(WAIT_S)
        except TimeoutError:
            sign.caption(":material/progress_activity: Searching the Hub")
        else:
            sign.empty()
            return page


@st.cache_resource(show_spinner=False)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(8, thread_name_prefix="hub-search")


def _note(kind: str, note: str) -> None:
    with st.container(horizontal=True, vertical_alignment="center", wrap=False):
        st.markdown(f":small[:gray[:material/cloud_off: {formats.worded(note)}]]", width="stretch")
        if st.button("Try again", type="tertiary", key=f"hub_{kind}_again"):
            search.forget()
            dialogs.redraw()


def _lines(page: HubPage) -> str | None:
    """Draws the results; the id whose button was pressed."""
    pressed = None
    for one in page.entries:
        with (
            st.container(border=True),
            st.container(horizontal=True, vertical_alignment="center", wrap=False),
        ):
            lock = " :gray[:material/lock:]" if one.is_gated or one.is_private else ""
            facts = f"  \n:small[:gray[{_facts(one)}]]"
            st.markdown(f"**{formats.plain(one.repo_id)}**{lock}{facts}", width="stretch")
            if st.button("Look", key=f"hub_{one.kind}_look_{one.repo_id}"):
                pressed = one.repo_id
    return pressed


def _facts(one: HubEntry) -> str:
    """The quiet line: what is unknown is left out."""
    parts = [
        one.size,
        "other licence" if one.licence == "other" else one.licence,
        one.library,
        f"{_short(one.downloads)} downloads" if one.downloads is not None else "",
        formats.counted(one.likes, "like") if one.likes is not None else "",
        _ago(one.last_modified),
        "gated" if one.is_gated else "",
        "private" if one.is_private else "",
        "on this machine" if one.is_local else "",
    ]
    return " · ".join(formats.plain(part) for part in parts if part)


def _short(number: int) -> str:
    """A count of downloads, short: 1.2 M."""
    for unit, factor in (("M", 1e6), ("k", 1e3)):
        if number >= factor:
            amount = number / factor
            return f"{amount:.1f} {unit}" if amount < 10 else f"{amount:,.0f} {unit}"
    return str(number)


def _ago(iso: str) -> str:
    """When it was changed, as coarse as one needs."""
    try:
        then = datetime.fromisoformat(iso)
    except ValueError:
        return ""
    then = then if then.tzinfo else then.replace(tzinfo=UTC)
    days = (datetime.now(UTC) - then).days
    if days < 1:
        return "changed today"
    for unit, length in (("year", 365), ("month", 30), ("day", 1)):
        if days >= length:
            return f"changed {formats.counted(days // length, unit)} ago"
    return ""


def _nothing(query: Query) -> None:
    named = f" for “{formats.plain(query.text)}”" if query.text else ""
    messages.empty(
        f"Nothing found{named}.",
        "Use fewer words or filters. Any other id can be typed by hand.",
        icon=":material/search_off:",
    )


def _paging(kind: str, query: Query, page: HubPage, number: int) -> None:
    if number == 1 and page.next_cursor is None:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        back = st.button(
            "Previous", type="tertiary", icon=":material/chevron_left:", disabled=number == 1,
            key=f"hub_{kind}_previous",
        )  # fmt: skip
        st.markdown(f":small[:gray[Page {number}]]", width="content")
        on = st.button(
            "Next", type="tertiary", icon=":material/chevron_right:", disabled=page.next_cursor is None,
            key=f"hub_{kind}_next",
        )  # fmt: skip
    if not back and not on:
        return
    pages = state.get_value(state.HUB_PAGES, {})
    known, cursors = pages[kind]
    cursors = cursors[:-1] if back else [*cursors, page.next_cursor]
    state.put_value(state.HUB_PAGES, {**pages, kind: (known, cursors)})
    dialogs.redraw()
