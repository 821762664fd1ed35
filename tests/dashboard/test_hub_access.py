import logging

import pytest
import streamlit as st

from dashboard import hub_access, state
from tests.hub_stand_in import READ_TOKEN, WRITE_TOKEN, HubStandIn
from tests.stand_ins.hub_online import go_online, use_cache

BAD = "hf_nobodyknowsthistoken"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with HubStandIn(tmp_path_factory.mktemp("hub")) as started:
        yield started


@pytest.fixture(autouse=True)
def hub(served, tmp_path, monkeypatch):
    """The stand-in, with no token on this machine and nobody known."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    use_cache(monkeypatch, tmp_path / "cache")
    go_online(monkeypatch, served.url)
    served.mend()
    served.requests.clear()
    st.cache_resource.clear()
    return served


def line(test) -> str:
    return test.get_by_key("hub_access").label


def open_dialog(test):
    return test.get_by_key("hub_access").click().run()


def words(test) -> str:
    return "\n".join(str(one.value) for kind in (test.markdown, test.caption) for one in kind)


def draw_until(test, part):
    for _ in range(50):
        if part in line(test):
            return test
        test.run()
    raise AssertionError(f"{part!r} is not in {line(test)!r}")


def test_line__without_a_token_and_without_a_hub(open_page, monkeypatch):
    draw_until(open_page("runs"), "no token, reading works")
    go_online(monkeypatch, "http://127.0.0.1:9")
    st.cache_resource.clear()
    draw_until(open_page("runs"), "cannot be reached")


def test_line__who_and_which_rights(open_page, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", READ_TOKEN)
    test = draw_until(open_page("runs"), "tester · read")
    open_dialog(test)
    assert "the environment of this server" in words(test)
    assert "publishing needs one with the right to write" in words(test)


def test_line__the_hub_is_asked_once_in_a_while(open_page, monkeypatch, hub):
    monkeypatch.setenv("HF_TOKEN", READ_TOKEN)
    test = draw_until(open_page("runs"), "tester")
    for _ in range(3):
        test.run()
    assert hub.requests == ["GET /api/whoami-v2"]


def test_line__a_slow_hub_holds_up_no_page(open_page, monkeypatch, hub):
    monkeypatch.setenv("HF_TOKEN", READ_TOKEN)
    hub.slow("whoami", 3)
    test = open_page("runs")
    assert "asking who you are" in line(test)
    assert not test.exception


def test_dialog__a_typed_token_is_used_in_this_tab_and_forgotten_again(open_page):
    test = open_dialog(open_page("runs"))
    assert "No token is in use" in words(test)
    test.get_by_key(hub_access.TYPED).set_value(f" {WRITE_TOKEN} ")
    next(one for one in test.button if one.label == "Use it").click().run()
    assert not test.exception
    assert "typed into this browser tab" in words(test) and "acme" in words(test)
    assert "tester · write" in line(test.run())
    held = {key for key, value in test.session_state.items() if WRITE_TOKEN in str(value)}
    assert held == {state.HUB_TOKEN}
    test.get_by_key("hub_forget_token").click().run()
    assert state.HUB_TOKEN not in test.session_state
    assert "No token is in use" in words(test)
    draw_until(test.run(), "no token")


def test_dialog__another_rerun_of_the_page_leaves_it_open(open_page):
    test = open_dialog(open_page("runs")).run()
    assert test.get_by_key(hub_access.TYPED)


def test_dialog__a_refused_token_says_what_to_do_and_is_shown_nowhere(open_page, caplog):
    with caplog.at_level(logging.DEBUG):
        test = open_page("runs", session={state.HUB_TOKEN: BAD})
        draw_until(test, "the token is refused")
        open_dialog(test)
    assert "does not accept the token" in words(test)
    drawn = "\n".join(str(one) for one in test)
    assert BAD not in drawn.replace(str(test.session_state), "") and BAD not in caplog.text


def test_identity__for_pages_that_publish(open_page, monkeypatch):
    assert hub_access.identity() is None
    monkeypatch.setenv("HF_TOKEN", WRITE_TOKEN)
    assert hub_access.identity().name == "tester"
    monkeypatch.setenv("HF_TOKEN", BAD)
    assert hub_access.identity() is None
