"""The Publish page: a sealed preview, who may send, a push to a stand-in Hub, and where it went before."""

import io
import time
import zipfile
from collections.abc import Iterator

import pytest
import streamlit as st
from huggingface_hub import constants

from dashboard import publish_form, publish_preview, publish_sending
from superft_hf.publish.evidence import collect
from superft_hf.publish.licences import Licences
from superft_hf.publish.options import PublishOptions
from superft_hf.records import LOOKED_AT_TEST, PUBLISHED
from tests.factories import make_completed_run, make_failed_run, make_running_run
from tests.hub_stand_in import READ_TOKEN, WRITE_TOKEN, HubStandIn
from tests.publish.conftest import give_environment, give_model


@pytest.fixture
def run(store):
    record = make_completed_run(store, "digits try", hidden=8)
    paths = store.run_paths(record.run_id)
    give_model(paths.model, list(record.facts["class_names"]))
    give_environment(paths.environment)
    return record


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Iterator[HubStandIn]:
    """A stand-in that this process and its children take for the Hub."""
    (tmp_path / "hub").mkdir()
    st.cache_resource.clear()
    with HubStandIn(tmp_path / "hub") as found:
        monkeypatch.setattr(constants, "ENDPOINT", found.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_ENDPOINT", found.url)
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        monkeypatch.setenv("HF_TOKEN", WRITE_TOKEN)
        yield found
    st.cache_resource.clear()


def texts(page) -> str:
    return "\n".join(str(one.value) for one in (*page.title, *page.markdown))


def events(store, run, what):
    return [one for one in store.read_events(run.run_id) if one.what == what]


def test_without_a_token_the_page_shows_everything_and_says_why_nothing_can_be_sent(
    open_page, run, monkeypatch
):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    page = open_page("publish", run=run.run_id)
    assert not page.exception
    assert page.title[0].value.startswith("digits try is ready to publish: ")
    assert page.title[0].value.endswith(" in 10 files.")
    assert page.button(key="publish_send").disabled
    assert "Nothing can be sent" in texts(page)  # no Hub in tests
    assert f"superft export {run.run_id} DIR" in page.code[-1].value
    assert "model-index" in page.code[-2].value or any("model-index" in one.value for one in page.code)


def test_test_figures_stay_sealed_until_they_are_opened(open_page, store, run):
    page = open_page("publish", run=run.run_id)
    metadata = next(one.value for one in page.code if "model-index" in one.value)
    assert "Test is sealed" in texts(page) and "% of 270 test images" not in texts(page)
    assert "on test" not in metadata and "By class, on eval" in texts(page)
    assert not events(store, run, LOOKED_AT_TEST)
    page.button(key="publish_open_test").click().run()
    metadata = next(one.value for one in page.code if "model-index" in one.value)
    assert "% of 270 test images" in texts(page) and "Accuracy on test" in metadata
    assert "Test is sealed" not in texts(page)
    assert len(events(store, run, LOOKED_AT_TEST)) == 1


def test_what_is_typed_stands_in_the_card(open_page, run):
    page = open_page("publish", run=run.run_id)
    assert "has not written down what this model is meant for" in texts(page)
    page.text_area(key=f"publish_use_{run.run_id}").set_value("Sorting post.")
    page.text_area(key=f"publish_limits_{run.run_id}").set_value("Not for cheques.")
    page.selectbox(key=f"publish_licence_{run.run_id}").set_value("mit")
    page.number_input(key=f"publish_pictures_{run.run_id}").set_value(4)
    page.run()
    assert "Sorting post." in texts(page) and "Not for cheques." in texts(page)
    assert "has not written down" not in texts(page)
    assert "4 eval pictures that the model took for another class" in texts(page)
    assert "The images are under CC BY 4" in texts(page)  # passing them on names their authors
    assert "license: mit" in next(one.value for one in page.code if "model-index" in one.value)
    assert page.title[0].value.endswith(" in 14 files.")


@pytest.mark.slow
def test_publishing_sends_the_run_and_the_page_remembers_it(open_page, store, run, hub):
    page = open_page("publish", run=run.run_id)
    assert page.selectbox(key=f"publish_owner_{run.run_id}").options == ["tester", "acme"]
    page.selectbox(key=f"publish_owner_{run.run_id}").set_value("acme").run()
    assert "acme/digits-try" in texts(page) and "would be created, private" in texts(page)
    page.button(key="publish_send").click().run()
    assert publish_sending.sending(run.run_id) is not None
    assert page.button(key="publish_send").disabled
    wait_for(lambda: not publish_sending.sending(run.run_id).is_running)
    page.run()
    assert not page.exception
    assert page.title[0].value == "digits try is on the Hub: acme/digits\\-try."
    assert (hub.root / "acme" / "digits-try" / "model.safetensors").exists()
    (event,) = events(store, run, PUBLISHED)
    assert event.by == "page" and event.detail in texts(page)
    assert "exists: it is updated by one commit and stays private" in texts(page)
    assert page.button(key="publish_send").label == "Publish again"
    assert WRITE_TOKEN not in texts(page) + "".join(one.value for one in page.code)


@pytest.mark.slow
def test_a_push_that_fails_says_so_and_can_be_repeated(open_page, store, run, hub):
    hub.fail("/commit/", 503, times=None)
    page = open_page("publish", run=run.run_id)
    page.button(key="publish_send").click().run()
    wait_for(lambda: not publish_sending.sending(run.run_id).is_running)
    page.run()
    assert "has no new commit" in texts(page) and "publish again" in texts(page).lower()
    assert not events(store, run, PUBLISHED)
    hub.mend()
    page.button(key="publish_send").click().run()
    wait_for(lambda: not publish_sending.sending(run.run_id).is_running)
    page.run()
    assert "is on the Hub: tester/digits" in page.title[0].value and "has no new commit" not in texts(page)


def test_a_read_token_cannot_publish(open_page, run, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", READ_TOKEN)
    page = open_page("publish", run=run.run_id)
    assert page.button(key="publish_send").disabled and "may only read" in texts(page)


def test_a_name_that_cannot_be_is_refused_before_anything_is_sent(open_page, run, hub):
    page = open_page("publish", run=run.run_id)
    page.text_input(key=f"publish_name_{run.run_id}").set_value("a b/c").run()
    assert page.button(key="publish_send").disabled and "cannot be the name" in texts(page)


def test_earlier_publications_are_listed_with_their_addresses(open_page, store, run):
    store.add_event(run.run_id, by="page", what=PUBLISHED, detail="https://huggingface.co/acme/a/commit/12")
    store.add_event(
        run.run_id, by="command line", what=PUBLISHED, detail="https://huggingface.co/acme/b/discussions/3"
    )
    page = open_page("publish", run=run.run_id)
    assert page.title[0].value == "digits try is on the Hub: acme/b."
    assert "(https://huggingface.co/acme/a/commit/12)" in texts(page)
    assert "pull request" in texts(page) and "2 times" in texts(page)


def test_runs_that_are_not_finished_have_a_sentence_and_a_way_on(open_page, store):
    running, failed = make_running_run(store), make_failed_run(store)
    page = open_page("publish", run=running.run_id)
    assert page.title[0].value == "digits\\-live cannot be published yet: it is not finished."
    assert page.button(key="publish_open_run").label == "Open the run"
    page = open_page("publish", run=failed.run_id)
    assert page.title[0].value == "digits\\-too\\-fast has nothing to publish."


def test_without_any_run_the_page_leads_to_the_start(open_page):
    page = open_page("publish")
    assert page.title[0].value.startswith("No run yet") and not page.exception


def test_a_model_that_is_gone_is_said(open_page, store, run):
    (store.run_paths(run.run_id).model / "config.json").unlink()
    page = open_page("publish", run=run.run_id)
    assert page.title[0].value == "digits try cannot be published."
    assert "is gone" in texts(page) and not page.exception


def test_the_zip_holds_the_files_and_counts_as_a_look(open_page, store, run):
    open_page("publish", run=run.run_id)
    evidence = collect(store, run.run_id)
    encoded = publish_preview.zipped(evidence, PublishOptions(), "acme/digits")
    names = zipfile.ZipFile(io.BytesIO(encoded)).namelist()
    assert {"README.md", "model.safetensors", "superft/evaluation.json"} <= set(names) and len(names) == 10
    assert len(events(store, run, LOOKED_AT_TEST)) == 1


def test_options_that_the_hub_would_refuse_are_named():
    assert publish_form.check_options(PublishOptions(licence="mit")) == ""
    assert "no licence that the Hub knows" in publish_form.check_options(PublishOptions(licence="mine"))
    assert Licences(model="Apache-2.0", data="CC BY-NC-SA 4.0").suggested == "cc-by-nc-sa-4.0"


def wait_for(is_true, timeout_s: float = 60.0) -> None:
    until = time.monotonic() + timeout_s
    while not is_true():
        assert time.monotonic() < until
        time.sleep(0.1)
