"""The Hub by clicks alone: search, preview, check, train, publish; and what anybody then finds there."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from superft_hf.evaluation.prediction_files import read_predictions
from superft_hf.records import PUBLISHED, RunState
from superft_hf.store import RunStore
from tests.browser.test_main_flow import SETTLED, TRAINING_MS
from tests.hub_stand_in import WRITE_TOKEN, HubStandIn, ask_hub
from tests.stand_ins.hub_content import fill_hub

pytestmark = pytest.mark.slow
expect.set_options(timeout=30_000)

REPO = "tester/digits-from-a-browser"

COMPARED = 40
"""Pictures of the test split that the published model is asked about."""

SAVE_PICTURES = """
from pathlib import Path
from superft_hf.config import DataConfig
from superft_hf.sources.load import open_reference
data = DataConfig.model_validate_json(DATA)
Path("pictures").mkdir()
for number, reference in enumerate(REFERENCES):
    Path(f"pictures/{number:03d}.png").write_bytes(open_reference(data, reference))
print("true")
"""

ASK_AGAIN = """
import json
from pathlib import Path
from PIL import Image
from transformers import pipeline
classify = pipeline("image-classification", model=REPO)
pictures = [Image.open(path).convert("RGB") for path in sorted(Path("pictures").glob("*.png"))]
answers = classify(pictures, top_k=1)
best = [one[0] for one in answers]
print(json.dumps({"labels": [one["label"] for one in best], "scores": [one["score"] for one in best]}))
"""

READ_CARD = """
import json
from huggingface_hub import HfApi, ModelCard
info = HfApi().model_info(REPO)
card = ModelCard.load(REPO)
results = {one.metric_name: one.metric_value for one in card.data.eval_results}
print(json.dumps({
    "private": info.private, "files": [one.rfilename for one in info.siblings], "text": card.text,
    "results": results,
}))
"""


def settle(page: Page) -> None:
    page.wait_for_timeout(400)
    expect(page.locator(SETTLED)).to_be_visible()


def search(page: Page, placeholder: str, text: str, repo_id: str) -> None:
    """Types into the search of the open dialog and looks at the result of this name."""
    dialog = page.get_by_role("dialog")
    dialog.get_by_placeholder(re.compile(placeholder)).press_sequentially(text, delay=60)
    expect(dialog.get_by_role("button", name="Look")).to_have_count(1)
    expect(dialog.get_by_text(repo_id, exact=True)).to_be_visible()
    dialog.get_by_role("button", name="Look").click()


def set_number(page: Page, label: str, value: str) -> None:
    field = page.get_by_label(label, exact=True)
    field.fill(value)
    field.press("Tab")
    settle(page)


def choose_and_start(page: Page, url: str) -> None:
    """From the empty Start page to the page of a run with model and images of the Hub."""
    page.goto(url)
    page.get_by_role("button", name="Choose images").click()
    page.get_by_role("tab", name="Search the Hub").click()
    search(page, "flowers", "by-writer", "acme/digits-by-writer")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("licence cc-by-4.0")).to_be_visible()
    expect(dialog.get_by_role("img")).to_have_count(16)
    dialog.get_by_role("button", name="Download and use").click()
    expect(page.get_by_text("Examples by class")).to_be_visible()
    settle(page)
    page.get_by_role("button", name="Change").first.click()
    search(page, "resnet", "tiny-resnet", "acme/tiny-resnet")
    page.get_by_role("button", name="Use this model").click()
    expect(page.get_by_text("acme/tiny-resnet")).to_be_visible()
    ready = "Ready to start: 630 training images in 10 classes."
    expect(page.get_by_role("heading", name=ready)).to_be_visible()
    for line in ("All 900 images open", "No near copies", "Licences: model apache-2.0, images cc-by-4.0"):
        expect(page.get_by_text(line)).to_be_visible()
    set_number(page, "Epochs", "2")
    set_number(page, "Learning rate", "0.003")
    page.get_by_role("button", name="Start", exact=True).click()
    page.wait_for_url("**/run?run=*")
    expect(page.get_by_text("completed").first).to_be_visible(timeout=TRAINING_MS)


def publish(page: Page) -> None:
    """Types the token into this tab, and publishes the run that is open."""
    page.get_by_role("button", name="Hub: no token").click()
    dialog = page.get_by_role("dialog")
    dialog.locator("input[type=password]").fill(WRITE_TOKEN)
    dialog.get_by_role("button", name="Use it").click()
    expect(dialog.get_by_text("typed into this browser tab")).to_be_visible()
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Publish").click()
    page.get_by_label("Name", exact=True).fill(REPO.split("/")[1])
    page.keyboard.press("Tab")
    expect(page.get_by_text("does not exist yet: it would be created, private.")).to_be_visible()
    expect(page.get_by_text("Test is sealed in this preview.", exact=True)).to_be_visible()
    settle(page)
    page.get_by_role("button", name="Publish", exact=True).click()
    sent = page.get_by_role("heading", name=f"is on the Hub: {REPO}")
    expect(sent).to_be_visible(timeout=TRAINING_MS)


def leaks(text: str, folders: list[Path]) -> list[str]:
    """Files that hold a text."""
    return [
        str(path)
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and text.encode() in path.read_bytes()
    ]


def shown(home: Path, run_id: str) -> dict:
    """What `superft show` says of a run."""
    command = [sys.executable, "-m", "superft_hf.cli", "--home", str(home), "show", run_id, "--json"]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_from_a_search_to_a_published_model_that_predicts_the_same(page, serve, home, tmp_path):
    root = tmp_path / "hub"
    fill_hub(root, with_weights=False)
    with HubStandIn(root) as hub:
        cache = str(tmp_path / "huggingface")
        dashboard = serve(
            HF_ENDPOINT=hub.url, HF_HUB_OFFLINE="0", HF_HUB_DISABLE_XET="1", HF_HOME=cache
        )  # fmt: skip
        choose_and_start(page, dashboard.url)
        publish(page)
        store = RunStore(home)
        (record,) = store.list_runs()
        assert record.state == RunState.COMPLETED
        (event,) = [one for one in store.read_events(record.run_id) if one.what == PUBLISHED]
        assert REPO in event.detail
        rows = read_predictions(store.run_paths(record.run_id).prediction_file("test", record.global_step))
        assert rows["image"].str.startswith("hub:train:").all()
        references = rows["image"].tolist()[:COMPARED]
        save = SAVE_PICTURES.replace("REFERENCES", repr(references))
        data = store.read_config(record.run_id).data
        ask_hub(save.replace("DATA", repr(data.model_dump_json())), hub.url, tmp_path)
        again = ask_hub(ASK_AGAIN.replace("REPO", repr(REPO)), hub.url, tmp_path, token=WRITE_TOKEN)
        card = ask_hub(READ_CARD.replace("REPO", repr(REPO)), hub.url, tmp_path, token=WRITE_TOKEN)
    names = record.facts["class_names"]
    assert again["labels"] == [names[index] for index in rows["prediction"][:COMPARED]]
    assert again["scores"] == pytest.approx(rows["confidence"][:COMPARED].tolist(), abs=1e-4)
    assert card["private"] is True
    assert {"README.md", "config.json", "model.safetensors", "preprocessor_config.json"} <= set(card["files"])
    assert not [name for name in card["files"] if name.endswith((".bin", ".pt", ".pkl"))]
    figures = shown(home, record.run_id)["evaluation"]
    for split in ("eval", "test"):
        assert card["results"][f"Accuracy on {split}"] == figures[split]["accuracy"]
        assert card["results"][f"F1, macro on {split}"] == figures[split]["f1_macro"]
        assert card["results"][f"Loss on {split}"] == figures[split]["loss"]
    assert str(home) not in card["text"] and str(tmp_path) not in card["text"]
    assert WRITE_TOKEN not in dashboard.log and WRITE_TOKEN not in page.content()
    assert leaks(WRITE_TOKEN, [home, tmp_path / "huggingface", root]) == []
