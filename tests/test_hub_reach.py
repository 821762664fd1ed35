import socket
import time

import pytest
from huggingface_hub import constants

from superft_hf import hub_reach


@pytest.fixture(autouse=True)
def online(monkeypatch):
    """As if HF_HUB_OFFLINE were not set, and with no proxy and no answer remembered."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    hub_reach._answers.cache_clear()


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_a_host_that_listens_is_reachable(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        assert hub_reach.is_hub_reachable()


def test_a_host_that_does_not_is_not(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{closed_port()}")
    assert not hub_reach.is_hub_reachable()
    assert hub_reach.offline_words() == "the Hub cannot be reached"


def test_a_name_that_nobody_knows_is_answered_within_seconds(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "https://nobody.invalid")
    begin = time.monotonic()
    assert not hub_reach.is_hub_reachable()
    assert time.monotonic() - begin < 4


def hang(*_, **__):
    time.sleep(3)
    raise OSError


def test_a_look_up_that_hangs_is_given_up(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "https://nobody.invalid")
    monkeypatch.setattr(hub_reach, "PROBE_S", 0.1)
    monkeypatch.setattr(hub_reach.socket, "create_connection", hang)
    begin = time.monotonic()
    assert not hub_reach.is_hub_reachable()
    assert time.monotonic() - begin < 2


def test_an_answer_is_remembered_for_a_while(monkeypatch):
    calls = []
    monkeypatch.setenv("HF_ENDPOINT", "https://nobody.invalid")

    def refuse(*address, **_):
        calls.append(address)
        raise OSError

    monkeypatch.setattr(hub_reach.socket, "create_connection", refuse)
    now = 3000.0
    monkeypatch.setattr(hub_reach.time, "monotonic", lambda: now)
    assert not hub_reach.is_hub_reachable() and not hub_reach.is_hub_reachable()
    assert len(calls) == 1
    now += 31
    assert not hub_reach.is_hub_reachable()
    assert len(calls) == 2


def test_behind_a_proxy_only_the_proxy_knows(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "https://nobody.invalid")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.invalid:3128")
    assert hub_reach.is_hub_reachable()
    monkeypatch.setenv("NO_PROXY", "nobody.invalid")
    assert not hub_reach.is_hub_reachable()


def test_hf_hub_offline_forbids_even_the_question(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub_reach.socket, "create_connection", None)
    assert not hub_reach.is_hub_reachable()
    assert hub_reach.offline_words() == "HF_HUB_OFFLINE is set"
