"""From a number to the pictures, by clicks: cells, margins, epochs, a closer look, and two runs compared.

Every time the pictures on the page are compared with those that the prediction file names.
"""

import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from superft_hf.evaluation.classification import confusion_matrix
from superft_hf.evaluation.prediction_files import read_predictions
from tests.browser.conftest import TIMEOUT_MS
from tests.browser.test_main_flow import SETTLED, cell_position, wait_until
from tests.factories import make_completed_run

pytestmark = pytest.mark.slow

PER_PAGE = 12
CELL, BELOW, BESIDE = range(3)
"""The drawing areas of the matrix, in the order of the page."""


def pixels_of(paths) -> list[bytes]:
    """Pictures as their 8 × 8 pixels, in no order."""
    return sorted(np.asarray(Image.open(path)).tobytes() for path in paths)


# The pictures are drawn as squares of 8 by 8 even blocks, so any point of a block has its grey.
READ_PIXELS = """all => all.filter(one => one.complete && one.naturalWidth).map(one => {
  const small = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  small.imageSmoothingEnabled = false;
  small.drawImage(one, 0, 0, 8, 8);
  return Array.from(small.getImageData(0, 0, 8, 8).data).filter((_, place) => place % 4 === 0);
})"""


def shown(page: Page, key: str) -> list[bytes]:
    """The pictures in the gallery of this key, each as its 8 × 8 pixels, in no order."""
    found = page.locator(f"[class*='st-key-{key}'] img").evaluate_all(READ_PIXELS)
    return sorted(bytes(pixels) for pixels in found)


def worst(rows: pd.DataFrame, size: int = PER_PAGE) -> list[bytes]:
    return pixels_of(rows.sort_values("loss", ascending=False, kind="stable").head(size)["image"])


def click(page: Page, area: int, x: float, y: float) -> None:
    """Clicks into a drawing area of the matrix, at a part of its width and height."""
    expect(page.locator(SETTLED)).to_be_visible(timeout=TIMEOUT_MS)
    place = page.locator(".nsewdrag").nth(area)
    box = place.bounding_box()
    place.click(position={"x": x * box["width"], "y": y * box["height"]}, force=True)


def along(class_id: int, num_classes: int = 10) -> float:
    """Where the middle of a row or column lies, as a part of the axis."""
    return cell_position(class_id, class_id, num_classes, 1, 1)["x"]


def counted(number: int) -> str:
    return f"{number} image{'s' if number != 1 else ''}"


def see(page: Page, words: str, *, exact: bool = False) -> None:
    """Waits for a heading; a machine with much to do takes longer than a browser's five seconds."""
    expect(page.get_by_role("heading", name=words, exact=exact)).to_be_visible(timeout=TIMEOUT_MS)


def test_from_the_matrix_and_its_margins_to_the_pictures_of_each_epoch(page, serve, store):
    run = make_completed_run(store, hidden=6, learning_rate=0.004, epochs=4)
    paths = store.run_paths(run.run_id)
    files = {
        step: read_predictions(paths.prediction_file("eval", step)) for step in paths.prediction_steps("eval")
    }
    page.goto(f"{serve().url}/errors?run={run.run_id}")
    page.locator(".nsewdrag").nth(BESIDE).wait_for()
    click_a_cell(page, files[run.best_step])
    click_beside_a_row(page, files[run.best_step])
    prediction = click_below_a_column(page, files[run.best_step])
    move_through_the_epochs(page, files, run.best_step, prediction)
    look_closer(page, files[min(files)])
    assert not page.get_by_text("Traceback").count()


def click_a_cell(page: Page, rows: pd.DataFrame) -> None:
    pairs = wrong_of(rows).groupby(["label", "prediction"]).size()
    label, prediction = pairs.idxmin()
    inside = rows[(rows["label"] == label) & (rows["prediction"] == prediction)]
    click(page, CELL, along(prediction), along(label))
    see(page, f"{label} taken for {prediction}: {counted(len(inside))}")
    wait_until(lambda: shown(page, "errors_cell_"), worst(inside))


def click_beside_a_row(page: Page, rows: pd.DataFrame) -> None:
    label = int(wrong_of(rows)["label"].mode()[0])
    of_class = rows[rows["label"] == label]
    missed = wrong_of(of_class)
    click(page, BESIDE, 0.25, along(label))
    see(page, f"{label}: {counted(len(of_class))}, {len(missed)} wrong", exact=True)
    wait_until(lambda: shown(page, "errors_cell_"), worst(of_class))
    click(page, BESIDE, 0.75, along(label))
    see(page, f"{label} taken for another class: {counted(len(missed))}")
    wait_until(lambda: shown(page, "errors_cell_"), worst(missed))


def click_below_a_column(page: Page, rows: pd.DataFrame) -> int:
    """Leaves the column of this prediction open."""
    prediction = int(wrong_of(rows)["prediction"].mode()[0])
    inside = rows[rows["prediction"] == prediction]
    false = wrong_of(inside)
    click(page, BELOW, along(prediction), 0.75)
    see(page, f"Another class taken for {prediction}: {counted(len(false))}")
    wait_until(lambda: shown(page, "errors_cell_"), worst(false))
    click(page, BELOW, along(prediction), 0.25)
    check_column(page, rows, prediction)
    return prediction


def check_column(page: Page, rows: pd.DataFrame, prediction: int) -> None:
    inside = rows[rows["prediction"] == prediction]
    words = f"Predicted {prediction}: {counted(len(inside))}, {len(wrong_of(inside))} wrong"
    see(page, words, exact=True)
    wait_until(lambda: shown(page, "errors_cell_"), worst(inside))


def move_through_the_epochs(
    page: Page, files: dict[int, pd.DataFrame], best_step: int, prediction: int
) -> None:
    """By button, by key and by link: all moves to that epoch, and the same column stays open."""
    steps = sorted(files)
    step = steps[steps.index(best_step) - 1]
    page.get_by_role("button", name="Previous", exact=True).click()
    check_epoch(page, files[step], step, prediction)
    page.get_by_role("slider").focus()
    page.keyboard.press("Home")
    check_epoch(page, files[steps[0]], steps[0], prediction)
    page.reload()
    see(page, f"{len(wrong_of(files[steps[0]]))} of 270 wrong")
    wait_until(lambda: shown(page, "errors_worst_"), worst(wrong_of(files[steps[0]]), 20))


def check_epoch(page: Page, rows: pd.DataFrame, step: int, prediction: int) -> None:
    """Title, matrix, open column, its pictures, the worst mistakes and the link are those of an epoch."""
    see(page, f"{len(wrong_of(rows))} of 270 wrong")
    check_column(page, rows, prediction)
    wait_until(lambda: shown(page, "errors_worst_"), worst(wrong_of(rows), 20))
    matrix = confusion_matrix(rows["label"].to_numpy(), rows["prediction"].to_numpy(), 10)
    wait_until(lambda: numbers_in_the_cells(page), sorted(matrix[matrix > 0].tolist()))
    expect(page).to_have_url(re.compile(f"step={step}"), timeout=TIMEOUT_MS)


def look_closer(page: Page, rows: pd.DataFrame) -> None:
    """Opens the worst mistake of all."""
    expect(page.locator(SETTLED)).to_be_visible(timeout=TIMEOUT_MS)
    first = wrong_of(rows).sort_values("loss", ascending=False, kind="stable").iloc[0]
    gallery = page.locator("[class*='st-key-errors_worst_']")
    gallery.get_by_role("button", name="zoom_in").first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible(timeout=TIMEOUT_MS)
    expect(dialog).to_contain_text(first["example_id"], timeout=TIMEOUT_MS)


def wrong_of(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["label"] != rows["prediction"]]


def numbers_in_the_cells(page: Page) -> list[int]:
    texts = page.locator("[class*='st-key-errors_matrix'] .annotation-text").evaluate_all(
        "all => all.filter(one => one.getAttribute('style').includes('bold') "
        "|| one.innerHTML.includes('bold')).map(one => one.textContent)"
    )
    return sorted(int(text) for text in texts if text.isdigit())


def test_fixed_and_broken_images_of_two_runs(page, serve, store):
    first = make_completed_run(store, "first", hidden=6, learning_rate=0.004, epochs=3, seed=1)
    second = make_completed_run(store, "second", hidden=6, learning_rate=0.004, epochs=3, seed=2)
    rows_a, rows_b = (
        read_predictions(store.run_paths(run.run_id).prediction_file("eval", run.best_step))
        for run in (first, second)
    )
    assert rows_a["example_id"].tolist() == rows_b["example_id"].tolist()
    right_a, right_b = ((rows["label"] == rows["prediction"]).to_numpy() for rows in (rows_a, rows_b))
    fixed, broken = rows_a[right_b & ~right_a], rows_b[right_a & ~right_b]
    assert len(fixed) > 2 and len(broken) > 2, "the case is too easy"
    page.goto(f"{serve().url}/compare?runs={first.run_id},{second.run_id}")
    for title, key, rows in (("Fixed", "compare_fixed", fixed), ("Broken", "compare_broken", broken)):
        see(page, f"{title} by B: {len(rows)}")
        wait_until(lambda key=key: shown(page, key), worst(rows))
    page.get_by_role("button", name="Swap").click()
    see(page, f"Fixed by B: {len(broken)}")
    wait_until(lambda: shown(page, "compare_fixed"), worst(broken))
    wait_until(lambda: shown(page, "compare_broken"), worst(fixed))
    assert not page.get_by_text("Traceback").count()
