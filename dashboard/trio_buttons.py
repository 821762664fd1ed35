"""The one click for full, head only and from scratch: on the Start page, and on that of a run."""

from collections.abc import Callable

import streamlit as st

from dashboard import forms, hub_access, messages, readers, state
from superft_hf import trio
from superft_hf.config import RunConfig
from superft_hf.errors import SuperFTError
from superft_hf.preflight.report import Progress
from superft_hf.records import RunRecord
from superft_hf.trio import Part, Trio

BY = "page"
_ORDER = (Part.HEAD, Part.FULL, Part.SCRATCH)
"""The head alone is A and the full run is B, so that what B fixes is what full training bought."""


def draw_start(config: RunConfig, *, is_ready: bool) -> None:
    """Draws the button that queues all three of what the form says, and opens their comparison."""
    if st.button(
        "Start full, head and scratch", icon=":material/stacked_bar_chart:", disabled=not is_ready,
        key="start_trio", help="Three runs with the same images, split, seed and image size: every layer "
        "trained, the head alone, and the same network from random weights. Their comparison says what full "
        "training buys.",
    ):  # fmt: skip
        made = _queue(lambda hear, token: trio.start(readers.store(), config, BY, hear, token))
        if made is not None:
            forms.put({"name": None})
            state.drop_value(state.START_ORIGIN)
            open_compared(Trio(dict(zip(Part, made, strict=True))))


def draw_complete(record: RunRecord) -> None:
    """Draws the button that queues what is missing of a run's trio, and opens the comparison of the three."""
    try:
        values = readers.config(record.run_id).model_dump(mode="json")
        part = trio.part_of(values, readers.decided(record.run_id).model.strategy)
    except SuperFTError:  # its settings are gone
        return
    if part is None:
        return
    others = " and ".join(one for one in Part if one is not part)
    if st.button(
        f"Compare with {others}", icon=":material/stacked_bar_chart:", key="run_trio",
        help="Queues those of them that are missing, with these settings. The comparison says what training "
        "every layer buys on these images.",
    ):  # fmt: skip
        found = _queue(lambda hear, token: trio.complete(readers.store(), record.run_id, BY, hear, token))
        if found is not None:
            open_compared(found)


def open_compared(found: Trio) -> None:
    """Goes to the comparison of the runs of a trio; ends the script run."""
    state.open_compare(ordered(found))


def ordered(found: Trio) -> list[str]:
    """The ids of the runs that are there, as they are compared."""
    return [run.run_id for part in _ORDER if (run := found.runs.get(part)) is not None]


def _queue(submit: Callable[[Progress, str | None], object]) -> object | None:
    """Submits with a bar; a refusal is shown, no run is created, and None is returned."""
    bar = st.progress(0.0, text="Checking model and images")

    def hear(done: int, total: int) -> None:
        bar.progress(done / total if total else 0.0, text=f"{done:,} of {total:,} images opened")

    try:
        return submit(hear, hub_access.session_token())
    except SuperFTError as error:
        messages.show(error)
        return None
    finally:
        bar.empty()
