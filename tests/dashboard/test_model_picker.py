import pytest
import streamlit as st

from dashboard import model_picker, state
from superft_hf.starting_points import STARTING_MODELS
from tests.factories import make_completed_run
from tests.hub_stand_in import READ_TOKEN, HubStandIn
from tests.stand_ins.hub_online import add_model, go_online, use_cache


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    root = tmp_path_factory.mktemp("hub")
    add_model(root, "acme/resnet", downloads=1234, likes=5, lastModified="2026-03-04T00:00:00.000Z")
    add_model(root, "acme/vit-gated", is_gated=True)
    add_model(root, "acme/pickled", is_pickled=True)
    with HubStandIn(root) as started:
        yield started


@pytest.fixture
def hub(served, tmp_path, monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    use_cache(monkeypatch, tmp_path / "cache")
    go_online(monkeypatch, served.url)
    served.mend()
    st.cache_resource.clear()
    return served


@pytest.fixture
def open_dialog(open_page):
    def opened(tab=model_picker.SEARCH, **session):
        draft = {"model.name_or_path": "sample:efficientnet-lite0", "data.name_or_path": "sample:textures"}
        session = {state.START_DRAFT: draft, state.START_DIALOG: "model", **session}
        return open_page("start", session={**session, "start_model_tabs": tab})

    return opened


def words(test) -> str:
    shown = "\n".join(str(one.value) for kind in (test.markdown, test.caption) for one in kind)
    return shown.replace("\\", "")


def look_at(test, name):
    return test.get_by_key(f"hub_model_look_{name}").click().run()


def test_look__card_first_then_use(hub, open_dialog):
    test = look_at(open_dialog(), "acme/resnet")
    assert not test.exception
    shown = words(test)
    for part in (
        "acme/resnet · licence apache-2.0 · safetensors · 1,234 downloads a month · 5 likes",
        "changed 4 Mar 2026",
        "Its head knows 2 classes: cat, dog.", "96 × 96 px", "1,000", "at batch 32",
    ):  # fmt: skip
        assert part in shown
    test.get_by_key("start_use_model").click().run()
    assert not test.exception
    assert state.START_DIALOG not in test.session_state
    assert test.session_state[state.START_DRAFT]["model.name_or_path"] == "acme/resnet"
    assert "resnet network · image classification · transformers" in words(test)


def test_look__back_keeps_the_search(hub, open_dialog):
    test = open_dialog()
    test.get_by_key("hub_model_text").set_value("resnet").run()
    look_at(test, "acme/resnet")
    test.get_by_key("start_model_back").click().run()
    assert test.get_by_key("hub_model_text").value == "resnet"


def test_look__a_gated_model_is_described_and_refused(hub, open_dialog):
    test = look_at(open_dialog(), "acme/vit-gated")
    assert "only to those who accept its terms" in words(test) and "gated" in words(test)
    assert not [one for one in test.button if one.key == "start_use_model"]


def test_look__a_gated_model_with_a_token_of_this_tab(hub, open_dialog):
    test = look_at(open_dialog(**{state.HUB_TOKEN: READ_TOKEN}), "acme/vit-gated")
    assert not test.exception
    assert test.get_by_key("start_use_model")


def test_look__only_pickles(hub, open_dialog):
    test = look_at(open_dialog(), "acme/pickled")
    assert "no weights in safetensors format (only pytorch_model.bin)" in words(test)
    assert "refs/pr/1" in words(test)


def test_by_hand__id_and_revision(hub, open_dialog):
    test = open_dialog(model_picker.BY_HAND)
    test.get_by_key("start_typed_model").set_value("acme/resnet")
    test.get_by_key("start_typed_revision").set_value("v1")
    test.get_by_key("start_use_typed_model").click().run()
    test.get_by_key("start_use_model").click().run()
    draft = test.session_state[state.START_DRAFT]
    assert (draft["model.name_or_path"], draft["model.revision"]) == ("acme/resnet", "v1")


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("/nowhere/at/all", "There is no model folder /nowhere/at/all."),
        ("acme/missing", "There is no model acme/missing on the Hub."),
        ("two words/x", "that is no name of a repository"),
    ],
)
def test_by_hand__what_does_not_exist_stays_in_the_dialog(hub, open_dialog, name, part):
    test = open_dialog(model_picker.BY_HAND)
    test.get_by_key("start_typed_model").set_value(name)
    test.get_by_key("start_use_typed_model").click().run()
    assert not test.exception
    assert part in words(test)
    assert test.session_state[state.START_DIALOG] == "model"


def test_starting_points__by_need_each_with_a_reason(hub, open_dialog):
    test = open_dialog(model_picker.STARTING)
    shown = words(test)
    assert all(one.repo_id in shown and one.reason in shown for one in STARTING_MODELS)
    assert {(one.need, one.family) for one in STARTING_MODELS} == {
        (need, family) for need in ("smallest", "balanced", "strongest") for family in ("convnet", "ViT")
    }
    assert {one.library for one in STARTING_MODELS} == {"timm", "transformers"}


def test_used_before__models_of_earlier_runs_and_samples(hub, open_dialog, store):
    make_completed_run(store, "a", hidden=4, epochs=1)
    test = open_dialog(model_picker.HERE)
    assert not test.exception
    assert "Samples" in words(test)
    test.get_by_key("start_use_sample:efficientnet-lite0").click().run()
    assert "EfficientNet-Lite0" in words(test) and test.get_by_key("start_use_model")
