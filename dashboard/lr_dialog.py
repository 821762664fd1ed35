"""The dialog that finds a learning rate: a range test at work, its curve, and what it suggests."""

from collections.abc import Sequence

import streamlit as st

from dashboard import charts, dialogs, formats, forms, lr_finding, messages
from dashboard.lr_chart import RateMark, lr_figure
from superft_hf.config import RunConfig
from superft_hf.errors import ConfigError, SuperFTError
from superft_hf.preflight.lr_find import LrRange, rounded

NAME = "learning rate"
SETTING = "training.learning_rate"


def draw_button() -> None:
    """The quiet button beside the learning rate."""
    st.button(
        "Find learning rate", type="tertiary", icon=":material/search_insights:", key="start_lr_find",
        on_click=_open,
        help="Raises the learning rate from step to step, on a copy of the network, until its loss diverges.",
    )  # fmt: skip


@st.dialog("Find the learning rate", width="large", on_dismiss=dialogs.close_dialog)
def show() -> None:
    """The test for the settings as they are now."""
    try:
        config = forms.read_config()
    except ConfigError as error:
        messages.show(error)
        return
    test = lr_finding.known(config)
    result = test.result() if test else None
    if test is None:
        st.markdown("Stopped: nothing was found, and nothing was changed.")
        _begin_button("Begin again", config)
    elif result is None:
        _at_work(config)
    elif isinstance(result, SuperFTError):
        messages.show(result)
        _begin_button("Try again", config)
    else:
        _draw_result(result, config)


def _open() -> None:
    """Begins the test of the settings as they are, and opens the dialog, which also tells why it cannot."""
    dialogs.open_dialog(NAME)
    try:
        lr_finding.begin(forms.read_config())
    except ConfigError:
        return


def _begin_button(label: str, config: RunConfig) -> None:
    if st.button(label, icon=":material/refresh:", key="lr_find_begin"):
        lr_finding.forget(config)
        lr_finding.begin(config)
        st.rerun()


@st.fragment(run_every="0.7s")
def _at_work(config: RunConfig) -> None:
    test = lr_finding.known(config)
    if test is None or test.result() is not None:
        st.rerun()
    points = list(test.points)
    last = points[-1] if points else None
    words = (
        f"Update {last['step']} of {last['steps']} at most, at the rate {last['learning_rate']:.1e}"
        if last
        else "Loading the network and its images"
    )
    with st.container(horizontal=True, vertical_alignment="center", wrap=False):
        st.progress(last["step"] / last["steps"] if last else 0.0, text=words, width="stretch")
        if st.button("Stop", icon=":material/stop:", key="lr_find_stop"):
            lr_finding.forget(config)
            st.rerun()
    rates, losses = [one["learning_rate"] for one in points], [one["loss"] for one in points]
    _draw_chart(rates, [], losses, [])
    st.caption(
        "The run's own batches, loss and optimizer, with a learning rate that rises from update to update. "
        "It goes on when this is closed; no run is made of it."
    )


def _draw_result(found: LrRange, config: RunConfig) -> None:
    chosen = config.training.learning_rate or found.learning_rate
    st.markdown(f"**{found.verdict}** :gray[{found.reason}]")
    marks = [RateMark(chosen, "the form's" if config.training.learning_rate else "the rule's")]
    if found.suggestion is not None:
        marks.append(RateMark(found.suggestion, "hint" if found.is_hint else "suggested", is_strong=True))
    _draw_chart(found.learning_rates, found.losses, found.smoothed, marks)
    _take_buttons(found, chosen)
    end = "until the loss diverged" if found.is_diverged else "up to the highest rate"
    st.caption(
        f"{len(found.smoothed)} updates of {formats.counted(found.batch_size, 'image')} on "
        f"{formats.plain(found.device)}, {end}, in {formats.duration(found.duration_s)}. Thin: the loss of "
        "each batch; thick: its average with bias correction. The network was a copy, and is gone."
    )


def _take_buttons(found: LrRange, chosen: float) -> None:
    steepest = rounded(found.steepest)
    with st.container(horizontal=True, vertical_alignment="center"):
        if found.suggestion is not None and found.suggestion != chosen:
            is_hint = found.is_hint
            _take(
                f"Take {formats.setting_value(found.suggestion)}" + (" all the same" if is_hint else ""),
                found.suggestion, "tertiary" if is_hint else "primary", "lr_find_take",
            )  # fmt: skip
        if not found.is_hint and steepest not in (None, found.suggestion, chosen):
            label = f"Take {formats.setting_value(steepest)}, where it falls fastest"
            _take(label, steepest, "tertiary", "lr_find_take_steepest")


def _take(label: str, rate: float, kind: str, key: str) -> None:
    if st.button(label, type=kind, icon=":material/check:", key=key):
        forms.put({SETTING: rate})
        dialogs.done()


def _draw_chart(
    rates: Sequence[float], losses: Sequence[float], smoothed: Sequence[float], marks: Sequence[RateMark]
) -> None:
    is_dark = st.context.theme.type == "dark"
    figure = lr_figure(rates, losses, smoothed, marks=marks, is_dark=is_dark)
    words = ", ".join(f"{one.words} {formats.setting_value(one.rate)}" for one in marks)
    st.plotly_chart(
        figure, config=charts.CONFIG, key="lr_find_chart", theme="streamlit",
        alt="Training loss against learning rate" + (f": {words}." if words else "."),
    )  # fmt: skip
