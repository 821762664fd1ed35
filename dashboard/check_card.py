"""The card of the pre-flight check on the Start page: what was found, its pictures, and what settles it.

A remedy changes settings of the form, where it can be seen and undone; what was measured belongs to the
settings as they are.
"""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from dashboard import dialogs, findings_dialog, formats, forms, inspection, look, measuring, messages
from superft_hf.config import RunConfig
from superft_hf.errors import ConfigError, SuperFTError
from superft_hf.preflight.report import Report
from superft_hf.preflight.smoke import SmokeResult
from superft_hf.records import Finding

MAX_BESIDE = 3
"""Up to so many things to know stand in the card; more get a card of their own across the page."""

MEMORY_SHARE = 0.9
"""Above this share of the free memory a run is said to be near the limit."""


def draw(config: RunConfig) -> Report | None:
    """Draws the card; None while the check is at work."""
    found = inspection.start_check(config)
    report = found.report()
    if report is None:
        look.card_head("Checked before the start", "at work")
        dialogs.poll(_checking, "0.5s", found)
    else:
        look.card_head("Checked before the start", _about_findings(report))
        _draw_report(report, config)
    _draw_measurement(config, is_possible=report is not None and not report.is_blocked)
    return report


def draw_many(report: Report | None) -> None:
    """Draws what is to be known across the page, where it is too much for the card."""
    know = [one for one in report.findings if one.level == "know"] if report else []
    if len(know) <= MAX_BESIDE:
        return
    with st.container(border=True):
        look.card_head("To know before the start", "none of it stops the run")
        grid = st.grid(3, min_column_width=280, gap="medium")
        for finding in know:
            with grid.cell():
                _draw_finding(finding)


def draw_refusal(refusal: ConfigError) -> None:
    """Draws the card of settings that no check can begin with."""
    look.card_head("Checked before the start", "waits for the settings")
    messages.show(refusal)


def _draw_report(report: Report, config: RunConfig) -> None:
    passed = [formats.worded(one.title) for one in report.findings if one.level == "fine"]
    st.markdown("  \n".join(f":small[:gray[:material/check:] {title}]" for title in passed))
    blocking = [one for one in report.findings if one.level == "blocks"]
    know = [one for one in report.findings if one.level == "know"]
    for finding in blocking + (know if len(know) <= MAX_BESIDE else []):
        _draw_finding(finding)
    if len(know) > MAX_BESIDE:
        messages.note(f"{len(know)} things to know", "stand below.")
    with st.container(horizontal=True):
        if st.button("Check again", type="tertiary", icon=":material/refresh:", key="start_check_again"):
            inspection.forget()
            st.rerun()
        st.button(
            "First batch", type="tertiary", icon=":material/auto_awesome_motion:", key="start_first_batch",
            on_click=dialogs.open_dialog, args=("first batch",), disabled=report.is_blocked,
            help="The images of the first step exactly as the network will see them.",
        )  # fmt: skip


def _about_findings(report: Report) -> str:
    levels = [finding.level for finding in report.findings]
    counts = [(levels.count("blocks"), "to mend"), (levels.count("know"), "to know")]
    notable = [f"{number} {words}" for number, words in counts if number]
    return ", ".join([formats.counted(len(levels), "check"), *notable])


def _checking(found: inspection.Check) -> None:
    is_done = found.report() is not None
    # A rerun of the page takes the cursor out of an open dialog; closing the dialog redraws the page anyway.
    if is_done and not dialogs.is_dialog_open():
        st.rerun()
    share = found.done / found.total if found.total else 0.0
    words = (
        f"{found.done:,} of {found.total:,} images opened" if found.total else "Looking at model and images"
    )
    st.progress(share, text=words)
    st.caption("You can start at once: what blocks is found then as well.")


def _draw_finding(finding: Finding) -> None:
    title, text, hint = (formats.worded(part) for part in (finding.title, finding.text, finding.hint))
    with st.container(gap="xxsmall"):
        if finding.level == "blocks":
            st.markdown(f":red[:material/error: **{title}**] {text} {hint}")
        else:
            messages.note(title, f"{text} {hint}")
        if not (finding.images or finding.remedies):
            return
        with st.container(horizontal=True, gap="small"):
            if finding.images:
                st.button(
                    f"Look at {formats.counted(finding.num_images or len(finding.images), 'picture')}",
                    type="tertiary", icon=":material/image_search:", key=f"start_look_{finding.code}",
                    on_click=findings_dialog.open_dialog, args=(finding,),
                )  # fmt: skip
            for number, remedy in enumerate(finding.remedies):
                st.button(
                    remedy.title, type="tertiary", icon=":material/healing:",
                    key=f"start_remedy_{finding.code}_{number}", on_click=forms.put, args=(remedy.changes,),
                    help=f"Changes {', '.join(f'`{key}`' for key in remedy.changes)}.",
                )  # fmt: skip


def _draw_measurement(config: RunConfig, *, is_possible: bool) -> None:
    """Memory, speed and time by a few real steps; nothing until it is asked for."""
    found = measuring.find(config)
    if found is None:
        with st.container(gap="xxsmall"):
            st.button(
                "Measure memory and time", icon=":material/speed:", key="start_measure",
                on_click=measuring.start, args=(config,), disabled=not is_possible, width="stretch",
            )  # fmt: skip
            st.caption("Trains a few batches in a process of its own, to tell what the whole run takes.")
        return
    if found.result() is None:
        dialogs.poll(_measuring, "0.5s", config)
        return
    result = found.result()
    if isinstance(result, SuperFTError):
        messages.show(result)
        st.button(
            "Measure again", type="tertiary", icon=":material/refresh:", key="start_measure_again",
            on_click=measuring.stop, args=(config,),
        )  # fmt: skip
    elif result is not None:
        _draw_result(result, config)


def _measuring(config: RunConfig) -> None:
    found = measuring.find(config)
    if (found is None or found.result() is not None) and not dialogs.is_dialog_open():
        st.rerun()
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(":small[:gray[:material/speed: Training a few batches]]", width="stretch")
        if st.button("Stop", type="tertiary", icon=":material/stop:", key="start_measure_stop"):
            measuring.stop(config)
            st.rerun()


def _draw_result(result: SmokeResult, config: RunConfig) -> None:
    look.facts(
        {
            "Peak memory": formats.size(result.peak_memory_bytes),
            "Images a second": f"{result.images_per_second:.3g}",
            "Whole run": f"about {formats.duration(result.duration_s)}",
        }
    )
    st.caption(_about_result(result))
    batch = config.training.per_device_train_batch_size
    if result.peak_memory_bytes > MEMORY_SHARE * result.free_memory_bytes:
        messages.note(
            "The memory hardly suffices.",
            f"{formats.size(result.free_memory_bytes)} are free; {result.largest_batch_size} a step fit.",
        )
    if result.disk_bytes > MEMORY_SHARE * result.free_disk_bytes:
        messages.note(
            "The disk hardly suffices.",
            f"{formats.size(result.free_disk_bytes)} are free where the runs are kept.",
        )
    if result.largest_batch_size < batch:
        _offer({"training.per_device_train_batch_size": result.largest_batch_size})


def _about_result(result: SmokeResult) -> str:
    return (
        f"On {result.device}: {formats.duration(result.step_s)} a step, {result.device_hours:.2g} "
        f"device-hours in all, {formats.size(result.disk_bytes)} on disk. Batches of up to "
        f"{result.largest_batch_size:,} fit into the {formats.size(result.free_memory_bytes)} that are free."
    )


def _offer(changes: Mapping[str, Any]) -> None:
    size = next(iter(changes.values()))
    st.button(
        f"Use a batch of {size}", type="tertiary", icon=":material/healing:", key="start_use_batch",
        on_click=forms.put, args=(changes,),
    )  # fmt: skip
