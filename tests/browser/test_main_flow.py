"""The main job by clicks alone: from an empty home to a completed run, and from a cell to its pictures."""

import contextlib
import io
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image
from playwright.sync_api import Page, TimeoutError, expect

from superft_hf.evaluation.classification import confusion_matrix
from superft_hf.evaluation.prediction_files import read_predictions
from superft_hf.records import RunState
from superft_hf.store import RunStore
from tests.browser.conftest import TIMEOUT_MS

pytestmark = pytest.mark.slow

TRAINING_MS = 300_000
GALLERY = "errors_cell_"
PER_PAGE = 12
SETTLED = "[data-test-script-state='notRunning']"
"""The page while no script of it runs."""


def start_digits(page: Page, url: str, epochs: int) -> None:
    """From the empty Start page to the page of a run that was just started."""
    page.goto(url)
    expect(page.get_by_role("heading", name="No run yet.")).to_be_visible()
    page.get_by_role("button", name="Settings first").click()
    field = page.get_by_label("Epochs", exact=True)
    field.fill(str(epochs))
    field.press("Tab")
    page.get_by_role("button", name="Start", exact=True).click()
    page.wait_for_url("**/run?run=*")


def open_errors(page: Page) -> None:
    """Presses the button; again, when the page drew itself anew at that moment, since the run had ended."""
    for timeout_ms in (10_000, TIMEOUT_MS):
        page.get_by_role("button", name="Open errors").click()
        with contextlib.suppress(TimeoutError):
            page.wait_for_url("**/errors?run=*", timeout=timeout_ms)
            return
    page.wait_for_url("**/errors?run=*")


def cell_position(
    label: int, prediction: int, num_classes: int, width: float, height: float
) -> dict[str, float]:
    """Where the middle of a cell lies in the drawing area of the matrix, see confusion_chart."""
    edge = 0.5 + num_classes * 0.006
    span = num_classes - 1 + 2 * edge
    return {"x": (prediction + edge) / span * width, "y": (label + edge) / span * height}


def shown_pictures(page: Page) -> list[bytes]:
    """The pictures in the open cell's gallery, each as its 8 × 8 pixels."""
    found = []
    gallery = page.locator(f"[class*='st-key-{GALLERY}'] img")
    for address in gallery.evaluate_all("all => all.map(one => one.src)"):
        answer = page.request.get(address)
        if not answer.ok:  # the page has moved on meanwhile
            return [f"{answer.status} for {address}".encode()]
        picture = Image.open(io.BytesIO(answer.body())).convert("L").resize((8, 8), Image.Resampling.NEAREST)
        found.append(np.asarray(picture).tobytes())
    return sorted(found)


def test_from_an_empty_home_to_the_pictures_behind_a_cell(page, serve, home):
    dashboard = serve()
    start_digits(page, dashboard.url, epochs=1)
    expect(
        page.get_by_role("heading", name="completed").or_(page.get_by_text("completed").first)
    ).to_be_visible(timeout=TRAINING_MS)
    store = RunStore(home)
    (record,) = store.list_runs()
    assert (record.state, record.num_train_epochs) == (RunState.COMPLETED, 1)
    open_errors(page)
    rows = read_predictions(store.run_paths(record.run_id).prediction_file("eval", record.best_step))
    matrix = confusion_matrix(rows["label"].to_numpy(), rows["prediction"].to_numpy(), 10)
    np.fill_diagonal(matrix, 0)
    cells = [(int(label), int(prediction)) for label, prediction in zip(*np.nonzero(matrix), strict=True)]
    assert cells, "a single epoch recognises every digit: there is no cell to click"
    area = page.locator(".nsewdrag").first
    for label, prediction in (cells[0], cells[-1], cells[len(cells) // 2]):
        expect(page.locator(SETTLED)).to_be_visible()
        box = area.bounding_box()
        area.click(position=cell_position(label, prediction, 10, box["width"], box["height"]), force=True)
        inside = rows[(rows["label"] == label) & (rows["prediction"] == prediction)]
        count = f"{len(inside)} image{'s' if len(inside) > 1 else ''}"
        expect(page.get_by_role("heading", name=f"{label} taken for {prediction}: {count}")).to_be_visible()
        first = inside.sort_values("loss", ascending=False, kind="stable").head(PER_PAGE)
        expected = sorted(np.asarray(Image.open(path)).tobytes() for path in first["image"])
        wait_until(lambda: shown_pictures(page), expected)
    assert not page.get_by_text("Traceback").count()


def test_a_run_outlives_the_web_server(page, serve, home):
    dashboard = serve()
    start_digits(page, dashboard.url, epochs=2)
    store = RunStore(home)
    (record,) = store.list_runs()
    wait_until(lambda: store.get_run(record.run_id).state, RunState.RUNNING, seconds=120)
    dashboard.kill()
    again = serve()
    page.goto(f"{again.url}/run?run={record.run_id}")
    expect(page.get_by_role("heading", name="is training")).to_be_visible()
    wait_until(lambda: store.get_run(record.run_id).state, RunState.COMPLETED, seconds=300)
    expect(page.get_by_role("button", name="Open errors")).to_be_visible()
    processes = store.read_processes(record.run_id)
    wait_until(lambda: [one.pid for one in processes if psutil.pid_exists(one.pid)], [])


def wait_until(look: Callable[[], Any], expected: Any, seconds: float = 60) -> None:
    """Looks again and again until it sees what is expected."""
    until = time.monotonic() + seconds
    while (seen := look()) != expected and time.monotonic() < until:
        time.sleep(0.25)
    assert seen == expected
