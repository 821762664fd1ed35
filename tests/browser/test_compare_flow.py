"""Two runs in a real browser: the fixed and broken galleries, the delta matrix, a point of the scatter."""

import re

import pytest
from playwright.sync_api import Page, expect

from superft_hf.evaluation.prediction_files import read_predictions
from tests.factories import held_supervisor, make_completed_run

pytestmark = pytest.mark.slow

SETTLED = "[data-test-script-state='notRunning']"


def settle(page: Page) -> None:
    page.wait_for_selector(SETTLED)
    page.wait_for_timeout(400)
    page.wait_for_selector(SETTLED)


def heads(page: Page) -> list[str]:
    return page.locator("h3").all_inner_texts()


def click_cell(page: Page, label: int, prediction: int, num_classes: int = 10) -> None:
    """Clicks the middle of a cell of the delta matrix."""
    chart = page.locator(".js-plotly-plot").nth(1)
    chart.evaluate("chart => chart.scrollIntoView({block: 'center'})")
    page.wait_for_timeout(500)
    box = chart.locator(".nsewdrag").first.bounding_box()
    edge = 0.5 + num_classes * 0.006
    span = num_classes - 1 + 2 * edge
    x = box["x"] + box["width"] * (prediction + edge) / span
    y = box["y"] + box["height"] * (label + edge) / span
    page.mouse.move(x - 2, y - 2)
    page.mouse.move(x, y)
    page.wait_for_timeout(300)
    page.mouse.click(x, y)
    settle(page)


def test_from_the_difference_to_the_images_behind_it(serve, page, store):
    runs = (
        make_completed_run(store, "small", hidden=10, learning_rate=0.002),
        make_completed_run(store, "large", learning_rate=0.006),
    )
    files = [store.run_paths(one.run_id).prediction_file("eval", one.best_step) for one in runs]
    first, second = (read_predictions(path) for path in files)
    right_a, right_b = (one["label"] == one["prediction"] for one in (first, second))
    with held_supervisor(store):
        page.goto(f"{serve().url}/compare?runs={','.join(one.run_id for one in runs)}")
        expect(page.get_by_role("heading", level=1)).to_contain_text("large is better than small")
        settle(page)
        assert f"Fixed by B: {(right_b & ~right_a).sum()}" in heads(page)
        assert f"Broken by B: {(right_a & ~right_b).sum()}" in heads(page)
        pictures = page.locator("[data-testid=stImage] img")
        expect(pictures.first).to_be_visible()
        num_shown = min(12, int((right_b & ~right_a).sum())) + min(12, int((right_a & ~right_b).sum()))
        assert pictures.count() >= num_shown

        page.get_by_role("tab", name=re.compile("Delta matrix")).click()
        settle(page)
        came = ((first["label"] == 2) & (second["prediction"] == 2) & (first["prediction"] != 2)).sum()
        left = ((first["label"] == 2) & (second["prediction"] != 2) & (first["prediction"] == 2)).sum()
        assert came + left  # so there is a cell to click
        click_cell(page, 2, 2)
        expect(page.get_by_text(f"Came in B: {came}")).to_be_visible()
        assert any(head.startswith("2 recognised: ") for head in heads(page))

        page.get_by_role("tab", name=re.compile("Many runs")).click()
        settle(page)
        point = page.locator(".js-plotly-plot").nth(1).locator(".scatterlayer .point").first
        point.scroll_into_view_if_needed()
        box = point.bounding_box()
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        expect(page.get_by_text("1 run selected.")).to_be_visible()
