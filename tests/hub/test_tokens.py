import logging
import traceback

import pytest

from superft_hf.errors import HubUnreachableError, RateLimitedError, TokenRefusedError
from superft_hf.hub.records import Identity
from superft_hf.hub.tokens import HiddenToken, find_token, identify
from tests.hub_stand_in import READ_TOKEN, WRITE_TOKEN, HubStandIn
from tests.stand_ins.hub_online import go_online, use_cache

BAD = "hf_nobodyknowsthistoken"


@pytest.fixture(autouse=True)
def nobody(monkeypatch, tmp_path):
    """No token anywhere."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    use_cache(monkeypatch, tmp_path)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with HubStandIn(tmp_path_factory.mktemp("hub")) as started:
        yield started


@pytest.fixture
def hub(served, monkeypatch):
    go_online(monkeypatch, served.url)
    served.mend()
    return served


def test_where_a_token_comes_from(monkeypatch, tmp_path):
    assert find_token() is None and find_token("  ") is None
    (tmp_path / "token").write_text(f"{READ_TOKEN}\n")
    assert find_token() == (READ_TOKEN, "login")
    monkeypatch.setenv("HF_TOKEN", WRITE_TOKEN)
    assert find_token() == (WRITE_TOKEN, "environment")
    assert find_token(f" {BAD} ") == (BAD, "session")


@pytest.mark.parametrize("typed", ["hf_two words", "hf_abcdefgh\nX-Evil: 1", "hf_abcdefghé"])
def test_what_can_be_no_token_is_refused_without_being_quoted(typed):
    with pytest.raises(TokenRefusedError) as caught:
        find_token(typed)
    assert "hf_" not in caught.value.message + caught.value.hint


def test_who_a_token_stands_for(hub):
    assert identify() is None
    assert identify(WRITE_TOKEN) == Identity("tester", ("acme",), "write", source="session", token_name=ANY)
    found = identify(READ_TOKEN)
    assert (found.role, found.can_write) == ("read", False)


def test_failures_say_what_to_do(hub, monkeypatch):
    with pytest.raises(TokenRefusedError, match="does not accept the token"):
        identify(BAD)
    hub.fail("whoami", 429, headers={"Retry-After": "30"})
    with pytest.raises(RateLimitedError) as caught:
        identify(READ_TOKEN)
    assert "in 30 s" in caught.value.hint
    go_online(monkeypatch, "http://127.0.0.1:9")
    with pytest.raises(HubUnreachableError):
        identify(READ_TOKEN)


def test_a_token_shows_itself_nowhere(hub, caplog):
    token, _ = find_token(BAD)
    assert BAD not in repr(token) + repr([token]) + repr({"token": token})
    assert isinstance(token, HiddenToken) and f"Bearer {token}" == f"Bearer {BAD}"
    with caplog.at_level(logging.DEBUG):
        try:
            identify(BAD)
        except TokenRefusedError as error:
            told = "".join(traceback.format_exception(error)) + error.message + error.hint
    assert BAD not in told and BAD not in caplog.text
    assert BAD not in repr(identify(WRITE_TOKEN))


class _Any(str):
    def __eq__(self, other: object) -> bool:
        return isinstance(other, str)

    __hash__ = str.__hash__


ANY = _Any()
