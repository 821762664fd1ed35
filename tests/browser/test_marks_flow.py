"""A mark by clicks alone: made on an image of train, downloaded, and obeyed by the next run."""

import csv
import io

import psutil
import pytest
from playwright.sync_api import Page, expect

from superft_hf.evaluation.prediction_files import read_predictions
from superft_hf.records import MarkKind, RunRecord, RunState
from superft_hf.sources.load import load_images
from superft_hf.sources.scan import scan_images
from superft_hf.store import RunStore
from tests.browser.conftest import TIMEOUT_MS
from tests.browser.test_main_flow import SETTLED, TRAINING_MS, wait_until
from tests.factories import make_completed_run

pytestmark = pytest.mark.slow

SMALL = {"max_train_samples": 60}


def train_ids(store: RunStore, run: RunRecord) -> set[str]:
    """The example ids that a run trains on."""
    config = store.read_config(run.run_id)
    return set(scan_images(load_images(config.data, store.home), config.data).example_ids["train"])


def open_tab(page: Page, title: str) -> None:
    expect(page.locator(SETTLED)).to_be_visible(timeout=TIMEOUT_MS)
    page.get_by_role("tab", name=title).click()
    expect(page.locator(SETTLED)).to_be_visible(timeout=TIMEOUT_MS)


def test_a_mark_is_made_exported_and_obeyed_by_a_new_run(page, serve, home):
    store = RunStore(home)
    run = make_completed_run(store, "digits few", epochs=1, data_settings=SMALL)
    folds = [
        make_completed_run(
            store, f"fold {fold + 1}", epochs=1, data_settings={**SMALL, "num_folds": 2, "fold": fold}
        )
        for fold in (0, 1)
    ]
    before = train_ids(store, run)
    judged = [
        read_predictions(store.run_paths(one.run_id).prediction_file("eval", one.best_step)) for one in folds
    ]
    assert before == set(judged[0]["example_id"]) | set(judged[1]["example_id"])

    page.goto(f"{serve().url}/errors?run={run.run_id}")
    open_tab(page, "Label errors")
    page.get_by_role("radio", name="train, by folds").or_(
        page.get_by_role("button", name="train, by folds")
    ).first.click()
    expect(page.get_by_text("Out-of-sample predictions for all of train, from 2 folds.")).to_be_visible()
    page.get_by_role("button", name="It is").first.click()
    expect(page.get_by_role("button", name="Undo")).to_be_visible()
    (mark,) = store.read_marks()
    assert (mark.kind, mark.split) == (MarkKind.WRONG_LABEL, "train")
    assert mark.example_id in before and mark.corrected not in (None, mark.label)

    open_tab(page, "Marks")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    rows = list(csv.DictReader(io.StringIO(download.value.path().read_text(encoding="utf-8"))))
    assert [(row["example_id"], row["corrected"]) for row in rows] == [(mark.example_id, mark.corrected)]

    page.get_by_role("button", name="Without the marked images").click()
    start = page.get_by_role("button", name="Start", exact=True)
    expect(start).to_be_visible(timeout=TIMEOUT_MS)
    expect(page.locator(SETTLED)).to_be_visible(timeout=TIMEOUT_MS)
    start.click()
    page.wait_for_url("**/run?run=*")
    new = store.list_runs()[0]
    assert new.name == "digits few, without marked images"
    wait_until(lambda: store.get_run(new.run_id).state, RunState.COMPLETED, seconds=TRAINING_MS / 1000)
    assert train_ids(store, new) == before - {mark.example_id}
    assert store.get_run(new.run_id).facts["counts"]["train"] == len(before) - 1
    assert not page.get_by_text("Traceback").count()
    processes = store.read_processes(new.run_id)
    wait_until(lambda: [one.pid for one in processes if psutil.pid_exists(one.pid)], [])
