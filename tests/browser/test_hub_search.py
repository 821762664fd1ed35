"""Searching while one types: an answer stands only below the words that it answers."""

import pytest
from playwright.sync_api import expect

from tests.hub_stand_in import HubStandIn
from tests.stand_ins.hub_online import add_model

pytestmark = pytest.mark.slow

FIELD = "resnet, convnextv2, vit …"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The stand-in; dashboards that are started now take it for the Hub."""
    root = tmp_path / "hub"
    for name in ("acme/tortoise", "acme/hare", "acme/badger"):
        add_model(root, name)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "huggingface"))
    with HubStandIn(root) as served:
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        yield served


def open_search(page, url):
    page.goto(url)
    page.get_by_role("button", name="Settings first").click()
    page.get_by_role("button", name="Change").first.click()
    expect(page.get_by_placeholder(FIELD)).to_be_visible()
    return page.get_by_role("dialog")


def test_an_older_answer_never_overwrites_a_newer_one(hub, serve, page):
    hub.slow("search=tortoise", 3)
    dialog = open_search(page, serve().url)
    expect(dialog.get_by_text("acme/badger")).to_be_visible()
    field = page.get_by_placeholder(FIELD)
    field.fill("tortoise")
    expect(dialog.get_by_text("Searching the Hub")).to_be_visible()
    field.fill("hare")
    expect(dialog.get_by_text("acme/hare")).to_be_visible(timeout=2500)
    page.wait_for_timeout(3500)
    expect(dialog.get_by_text("acme/hare")).to_be_visible()
    expect(dialog.get_by_text("acme/tortoise")).not_to_be_visible()
    field.fill("tortoise")  # its answer came meanwhile, and was kept
    expect(dialog.get_by_text("acme/tortoise")).to_be_visible(timeout=2000)


def test_a_model_is_looked_at_before_it_is_used(hub, serve, page):
    dialog = open_search(page, serve().url)
    page.get_by_placeholder(FIELD).fill("hare")
    expect(dialog.get_by_role("button", name="Look", exact=True)).to_have_count(1)
    dialog.get_by_role("button", name="Look", exact=True).click()
    expect(dialog.get_by_text("licence apache-2.0")).to_be_visible()
    dialog.get_by_role("button", name="Back to the list").click()
    expect(page.get_by_placeholder(FIELD)).to_have_value("hare")
    dialog.get_by_role("button", name="Look", exact=True).click()
    dialog.get_by_role("button", name="Use this model").click()
    expect(dialog).not_to_be_visible()
    expect(page.get_by_text("acme/hare").first).to_be_visible()
