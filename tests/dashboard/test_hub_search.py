import pytest
import streamlit as st

from dashboard import state
from dashboard.hub_search import _ago, _facts, _short
from superft_hf.hub.records import HubEntry
from tests.hub_stand_in import HubStandIn
from tests.stand_ins.hub_online import add_model, go_online, use_cache


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Fourteen models: two pages."""
    root = tmp_path_factory.mktemp("hub")
    for number in range(12):
        add_model(root, f"acme/resnet-{number:02}", downloads=100 - number)
    add_model(root, "acme/vit-gated", is_gated=True, licence="other")
    add_model(root, "timm/resnet18", config={"architecture": "resnet18", "num_classes": 2})
    with HubStandIn(root) as started:
        yield started


@pytest.fixture
def hub(served, tmp_path, monkeypatch):
    use_cache(monkeypatch, tmp_path / "cache")
    go_online(monkeypatch, served.url)
    served.mend()
    served.requests.clear()
    st.cache_resource.clear()
    return served


@pytest.fixture
def open_dialog(open_page):
    def opened():
        draft = {"model.name_or_path": "sample:efficientnet-lite0", "data.name_or_path": "sample:textures"}
        session = {state.START_DRAFT: draft, state.START_DIALOG: "model"}
        return open_page("start", session=session)

    return opened


def results(test) -> list[str]:
    return [
        one.key.removeprefix("hub_model_look_") for one in test.button if "model_look_" in (one.key or "")
    ]


def words(test) -> str:
    return "\n".join(str(one.value) for kind in (test.markdown, test.caption) for one in kind)


def test_search__begins_with_the_most_downloaded_and_follows_the_words(hub, open_dialog):
    test = open_dialog()
    assert not test.exception
    assert len(results(test)) == 10 and results(test)[0] == "acme/resnet-00"
    test.get_by_key("hub_model_text").set_value("gated").run()
    assert results(test) == ["acme/vit-gated"]
    assert ":material/lock:" in words(test) and "other licence" in words(test)


def test_search__pages_forward_and_back_and_anew_with_new_words(hub, open_dialog):
    test = open_dialog()
    first = results(test)
    test.get_by_key("hub_model_next").click().run()
    second = results(test)
    assert len(second) == 4 and not set(first) & set(second)
    assert "Page 2" in words(test) and test.get_by_key("hub_model_next").disabled
    test.get_by_key("hub_model_previous").click().run()
    assert results(test) == first
    test.get_by_key("hub_model_next").click().run()
    test.get_by_key("hub_model_text").set_value("resnet").run()
    assert "Page 1" in words(test) and results(test)[0] == "acme/resnet-00"


def test_search__filters(hub, open_dialog):
    test = open_dialog()
    test.get_by_key("hub_model_library").set_value("timm").run()
    assert results(test) == ["timm/resnet18"]
    test.get_by_key("hub_model_author").set_value("acme").run()
    assert results(test) == []
    assert "Nothing found" in words(test)


def test_search__failing_hub_says_why_and_is_asked_again(hub, open_dialog):
    hub.fail("/api/models", 429, times=1, headers={"Retry-After": "5"})
    test = open_dialog()
    assert not test.exception
    assert "takes no more requests for now" in words(test)
    assert results(test) == ["sample:efficientnet-lite0"]
    test.get_by_key("hub_model_again").click().run()
    assert len(results(test)) == 10


def test_search__without_a_network_shows_what_is_here(hub, open_dialog, monkeypatch):
    go_online(monkeypatch, "http://127.0.0.1:9")
    test = open_dialog()
    assert not test.exception
    assert "The Hub cannot be reached: this is what is on this machine." in words(test).replace("\\", "")
    assert results(test) == ["sample:efficientnet-lite0"]


def test_facts__leave_out_what_is_unknown():
    assert _facts(HubEntry("acme/vit", "model")) == ""
    one = HubEntry("a/b", "model", downloads=1_204_331, likes=1, licence="mit", is_gated=True, is_local=True)
    assert _facts(one) == r"mit · 1\.2 M downloads · 1 like · gated · on this machine"


def test_words_of_numbers_and_times():
    assert [_short(one) for one in (12, 8_120, 340_112, 2_881_020)] == ["12", "8.1 k", "340 k", "2.9 M"]
    assert _ago("2020-01-01T00:00:00.000Z").startswith("changed ") and _ago("2020-01-01").endswith(
        "years ago"
    )
    assert _ago("") == "" and _ago("odd") == ""
