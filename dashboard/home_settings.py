"""Settings of the whole home behind one button: runs at once, and where their ends are sent."""

import streamlit as st

from dashboard import formats, look, messages, readers, state
from superft_hf.engine import devices, notify
from superft_hf.errors import ConfigError

SLOTS, WEBHOOK = "home_cpu_slots", "home_webhook"
MAX_SLOTS = 64
TEST_TIMEOUT_S = 5.0


def draw() -> None:
    """Draws the button with the settings behind it."""
    with st.popover("Queue settings", type="tertiary", icon=":material/tune:", key="home_settings"):
        _draw_slots()
        _draw_webhook()


def _draw_slots() -> None:
    gpus = devices.list_gpus()
    if gpus:
        look.fact("Runs at once", f"One a GPU: {formats.counted(len(gpus), 'GPU')} here.")
        return
    slots = readers.store().read_settings().cpu_slots
    if state.get_value(SLOTS) != slots:  # written only then, so that nothing half typed is lost
        state.put_value(SLOTS, slots)
    st.number_input(
        "Runs at once", 1, MAX_SLOTS, key=SLOTS, on_change=_take_slots, width=300,
        help="How many runs train at the same time on this machine's processor. Cores and memory are shared "
        "out among them when a run starts for the first time.",
    )  # fmt: skip
    cores = devices.share_of_cores(1, slots)
    memory = formats.size(devices.share_of_memory(slots))
    st.markdown(f":small[:gray[For each run {formats.counted(cores, 'core')} and {memory} of memory.]]")


def _take_slots() -> None:
    """Callback of the number."""
    readers.store().change_settings(cpu_slots=int(state.get_value(SLOTS)))


def _draw_webhook() -> None:
    url = readers.store().read_settings().webhook_url
    if url:
        st.markdown(f":gray[:small[Webhook]]  \n`{notify.mask_webhook(url)}`")
        with st.container(horizontal=True):
            is_tried = st.button("Send a test message", icon=":material/send:", key="home_webhook_test")
            if st.button("Remove", type="tertiary", icon=":material/close:", key="home_webhook_remove"):
                readers.store().change_settings(webhook_url=None)
                st.rerun()
        if is_tried:
            _try_webhook(url)
    with st.form("home_webhook_form", border=False, clear_on_submit=True, width=300):
        typed = st.text_input(
            "Another webhook" if url else "Webhook", type="password", key=WEBHOOK,
            placeholder="https://hooks.slack.com/services/…",
            help="This address gets a message when a run completes, fails or is paused. Slack and Discord "
            "understand it. It is a secret: whoever has it can write there.",
        )  # fmt: skip
        is_sent = st.form_submit_button("Save")
    if is_sent:
        _save_webhook(typed)


def _try_webhook(url: str) -> None:
    words = "A test message of superft: the ends of runs are told here."
    with st.spinner("Waiting for its answer"):
        answer = notify.send(url, {"text": words, "content": words}, timeout_s=TEST_TIMEOUT_S)
    # A toast outlives the next drawing of this part of the page.
    if answer.is_delivered:
        st.toast(f"The test message arrived: {formats.plain(answer.words)}.", icon=":material/check:")
    else:
        st.toast(
            f"**The test message did not arrive**: {formats.plain(answer.words)}. Look at the address again.",
            icon=":material/warning:", duration="long",
        )  # fmt: skip


def _save_webhook(typed: str) -> None:
    try:
        url = notify.check_webhook(typed)
    except ConfigError as error:
        messages.show(error)
        return
    readers.store().change_settings(webhook_url=url)
    st.rerun()
