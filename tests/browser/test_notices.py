"""What a person sees of a run's end without looking at its page: toast, tab title, the computer's notice."""

import pytest
from playwright.sync_api import expect

from tests.factories import continue_run, held_supervisor, make_running_run

pytestmark = pytest.mark.slow

SWITCH = "Notify me on this computer when a run ends"

# Notices of the headless browser are seen by nobody, and toasts go by: both are noted.
NOTE = """
window.noted = [];
window.toasts = new Set();
setInterval(() => {
  for (const one of document.querySelectorAll("[data-testid=stToast]")) window.toasts.add(one.innerText);
}, 100);
const Real = window.Notification;
window.Notification = class {
  static get permission() { return Real.permission }
  static requestPermission() { return Real.requestPermission() }
  constructor(title, options) { window.noted.push(`${title}: ${options.body}`) }
};
"""

# A person who answers the browser's question with no.
REFUSE = """
Notification.requestPermission = async () => {
  Object.defineProperty(Notification, "permission", { get: () => "denied" });
  return "denied";
};
"""


def test_the_end_of_a_run_is_told_once_in_every_tab(serve, browser, store):
    run = make_running_run(store, "digits-live", epochs_done=4)
    with held_supervisor(store):
        url = serve().url
        context = browser.new_context(permissions=["notifications"])
        context.add_init_script(NOTE)
        first, second = context.new_page(), context.new_page()
        for page, place in ((first, "/runs"), (second, "/errors")):
            page.goto(url + place)
            expect(page).to_have_title("50 % · digits-live · superft")
        first.get_by_role("switch", name=SWITCH).check()
        second.reload()
        expect(second.get_by_role("switch", name=SWITCH)).to_be_checked()

        list(continue_run(store, run.run_id))
        share = f"{100 * store.get_run(run.run_id).evaluation['eval']['accuracy']:.1f} %"
        for page in (first, second):
            page.wait_for_function("[...toasts].some((text) => text.includes('digits-live is finished'))")
            expect(page).to_have_title("superft")
        first.wait_for_timeout(8000)  # some more looks
        for page in (first, second):
            assert page.evaluate("window.noted") == [f"digits-live is finished: {share} on eval."]
        context.close()


def test_a_browser_that_refuses_is_said(serve, page, store):
    page.add_init_script(REFUSE)
    page.goto(serve().url + "/runs")
    switch = page.get_by_role("switch", name=SWITCH)
    switch.click()
    expect(page.get_by_text("This browser refuses: allow notifications for this address")).to_be_visible()
    expect(switch).not_to_be_checked()
