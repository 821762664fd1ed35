"""Makes the pictures of the README from a home with finished runs on the digits: run it by hand.

    DEMO=digits SERVE=0 make demo && python -m tests.browser.screenshots runs docs [PAGE …]

The Hub is one on this machine, so that the pages look the same without a network. Pictures under a
non-commercial licence (the solar cells) do not belong in the repository.
"""

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from superft_hf.records import RunState
from superft_hf.store import RunStore
from tests.browser.conftest import FLAGS, Dashboard, chromium
from tests.hub_stand_in import HubStandIn
from tests.stand_ins.hub_demo import environment

PAGES = {
    "start": "/", "runs": "/runs", "run": "/run?run={run}", "errors": "/errors?run={run}",
    "publish": "/publish?run={run}",
}  # fmt: skip
SETTLE_MS = 4000
DONE = "[data-testid=stApp][data-test-script-state=notRunning]"


def main(home: str, folder: str, *wanted: str) -> None:
    """Takes the wanted pages, else every page: light and dark, on a desk and as on a phone."""
    store = RunStore(Path(home).absolute())
    runs = store.list_runs([RunState.COMPLETED])
    addresses = {name: address.format(run=runs[0].run_id) for name, address in PAGES.items()}
    addresses["try_it"] = f"/try_it?run={runs[0].run_id}"
    if len(runs) > 1:  # train the worse one first: Errors shows it, Compare tells what the other brings
        addresses["errors"] = f"/errors?run={runs[1].run_id}"
        addresses["compare"] = f"/compare?runs={runs[1].run_id},{runs[0].run_id}"
    if wanted:
        addresses = {name: addresses[name] for name in wanted}
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as aside, HubStandIn(Path(aside) / "hub") as hub:
        dashboard = Dashboard(store.home, **environment(hub.url, Path(aside)))
        try:
            _take_all(dashboard.url, addresses, target)
        finally:
            dashboard.kill()


def _take_all(url: str, addresses: dict[str, str], target: Path) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        for scheme in ("light", "dark"):
            for width in (1440, 390):
                size = {"width": width, "height": 900}
                page = browser.new_context(viewport=size, color_scheme=scheme).new_page()
                suffix = scheme if width > 400 else f"phone-{scheme}"
                for name, address in addresses.items():
                    _take(page, url + address, target / f"{name}-{suffix}.png")
        browser.close()


def _take(page: Page, url: str, path: Path) -> None:
    """The whole page: the window is made as high as its content."""
    page.goto(url)
    page.wait_for_selector("text=Hub: no token", state="attached", timeout=60_000)  # what is drawn last
    page.wait_for_timeout(SETTLE_MS)
    page.wait_for_selector(DONE, timeout=60_000)
    height = page.evaluate("document.querySelector('[data-testid=stMain]')?.scrollHeight || 900")
    page.set_viewport_size(
        {"width": page.viewport_size["width"], "height": max(700, min(int(height) + 10, 2600))}
    )
    page.wait_for_timeout(1000)
    page.screenshot(path=path)
    page.set_viewport_size({"width": page.viewport_size["width"], "height": 900})


if __name__ == "__main__":
    main(*sys.argv[1:])
