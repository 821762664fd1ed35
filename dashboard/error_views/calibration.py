"""Calibration: whether the model is as sure as it is right, and the temperature that mends it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import streamlit as st

from dashboard import charts, dialogs, formats, messages, readers, state
from dashboard.curve_charts import confidence_figure, reliability_figure
from dashboard.error_views import calibration_work, thresholds_data
from dashboard.error_views.calibration_work import Found, Work
from dashboard.error_views.thresholds_data import Scores
from dashboard.error_views.view import View
from dashboard.look import card_head
from superft_hf import decisions
from superft_hf.errors import DataNotFoundError, SuperFTError
from superft_hf.evaluation.calibration import (
    CLASSWISE_VALUES,
    Calibration,
    Change,
    Temperature,
    measure_confidence,
)
from superft_hf.evaluation.decision import Decision, plain_decision

ABOUT = (
    "Expected calibration error: the mean gap between confidence and accuracy, over 15 bins of equally many "
    "images. Brier score: the sum over the classes, from 0 to 2. Lower is better for each."
)
WAITING = "It is being fitted, for which all logits are gone through. What needs them follows by itself."
DOTS = "…"
POLL = "0.4s"


@st.fragment
def draw(view: View) -> None:
    """Draws the diagrams, the figures before and after a temperature, and what can be saved."""
    evaluation = view.evaluation
    if evaluation.rows.empty or not np.isfinite(evaluation.rows["confidence"]).any():
        messages.empty(
            "There is no confidence to look at.",
            "Every probability of this evaluation is no number: choose another epoch.",
        )
        return
    try:
        _draw(view)
    except DataNotFoundError as error:
        messages.show(error)


def _draw(view: View) -> None:
    scores, kept = thresholds_data.read(view.evaluation), thresholds_data.saved(view)
    if scores is None:
        _draw_without_logits(view)
        return
    is_choosable = thresholds_data.is_choosable(view)
    test = thresholds_data.read_test(view) if is_choosable else None
    asked = scores, test, None if is_choosable else _saved_temperature(kept)
    work, found, problem = None, None, None
    try:
        work = calibration_work.begin(*asked)
        found = work.result() if work.is_done else None
    except DataNotFoundError as error:
        problem = error
    found = found or calibration_work.from_file(*asked)
    _draw_charts(view.evaluation.split, *found.pairs[view.evaluation.split], found.confidence)
    with st.container(border=True):
        if problem is not None:
            messages.show(problem)
            return
        _draw_figures(scores, found)
        if is_choosable:
            _draw_verbs(view, scores, found.fitted, kept)
        else:
            st.markdown(f":gray[:material/lock: {_why_not_fitted(view, kept)}]")
    if work is not None and not found.is_final:
        dialogs.poll(_wait, POLL, work)


def _saved_temperature(kept: Decision | None) -> Temperature:
    """Fitted on eval's best epoch; elsewhere the saved one is only applied."""
    return Temperature(kept.temperature if kept else 1.0, "", None, None, 0)


def _wait(work: Work) -> None:
    """Draws the page anew once the work is done, and only then."""
    if work.is_done:
        st.rerun()


def _why_not_fitted(view: View, kept: Decision | None) -> str:
    shown = (
        f"The saved temperature {kept.temperature:.2f} is applied. "
        if kept and kept.temperature != 1
        else "No temperature is applied. "
    )
    return shown + thresholds_data.why_not_choosable(view)


def _draw_charts(split: str, before: Calibration, after: Calibration | None, confidence: np.ndarray) -> None:
    is_dark = st.context.theme.type == "dark"
    colors = charts.palette(is_dark)
    color = colors.test if split == "test" else colors.eval
    left, right = st.columns(2, gap="small")
    with left, st.container(border=True, height="stretch"):
        note = "each point holds equally many images; the diagonal is as sure as right"
        card_head("Reliability", note)
        st.plotly_chart(
            reliability_figure(before.bins, after.bins if after else None, color=color, is_dark=is_dark),
            theme="streamlit", config=charts.CONFIG, key="calibration_reliability",
            alt="Accuracy by confidence; the table below holds the error.",
        )  # fmt: skip
    with right, st.container(border=True, height="stretch"):
        card_head("Confidence", "of the likeliest class" + (", after the temperature" if after else ""))
        st.plotly_chart(
            confidence_figure(confidence, accuracy=before.accuracy or 0.0, color=color, is_dark=is_dark),
            theme="streamlit", config=charts.CONFIG, key="calibration_confidence",
            alt="How many images each confidence has.",
        )  # fmt: skip
    dropped = thresholds_data.dropped_words(before.num_dropped)
    if dropped:
        st.markdown(f":small[:gray[{dropped}]]")


def _draw_figures(scores: Scores, found: Found) -> None:
    """The table; test stands beside eval once it was opened, where the temperature is fitted."""
    fitted = found.fitted
    is_judged = "test" in found.pairs and scores.evaluation.split != "test"
    note = "fitted on eval, judged on test" if is_judged else ""
    if fitted is None:
        card_head("Temperature", note)
        st.markdown(f":gray[{WAITING}]")
    elif fitted.value == 1:
        card_head("Figures", "")
        if fitted.reason:
            st.markdown(f":gray[No temperature is fitted: {fitted.reason}.]")
    else:
        card_head(f"Temperature {fitted.value:.2f}", note)
        verdict = "surer than right, so it is made less sure" if fitted.value > 1 else (
            "less sure than right, so it is made surer"
        )  # fmt: skip
        st.markdown(f":gray[Logits are divided by it. The model was {verdict}; no answer changes.]")
    _draw_table(found, has_classwise=scores.num_values <= CLASSWISE_VALUES)
    if found.judged is not None:
        st.markdown(_judgement(found.judged))
    elif fitted is None and "test" in found.pairs:
        st.markdown(":gray[Test follows as well.]")
    st.markdown(f":small[:gray[{ABOUT}]]")


def _draw_table(found: Found, *, has_classwise: bool) -> None:
    """Figures that are still being computed are dots, so that the table keeps its size."""
    columns: dict[str, list[str | None]] = {"": [title for title, _ in _figures(None)]}
    has_after = found.fitted is None or found.fitted.value != 1
    for split, (before, after) in found.pairs.items():
        size, words = formats.count(before.num_images), [words for _, words in _figures(before)]
        if not found.is_final:
            waits = (False, has_classwise, True, False, False, False)
            words = [DOTS if waits_for else one for one, waits_for in zip(words, waits, strict=True)]
        columns[f"{split} before, {size} images" if has_after else f"{split}, {size} images"] = words
        if after is not None:
            columns[f"{split} after"] = [words for _, words in _figures(after)]
        elif has_after:
            columns[f"{split} after"] = [DOTS] * len(words)
    right = st.column_config.TextColumn(alignment="right")
    st.dataframe(
        pd.DataFrame(columns), hide_index=True, height="content", key="calibration_figures",
        placeholder=formats.NOTHING, column_config={name: right for name in columns if name},
    )  # fmt: skip


def _figures(found: Calibration | None) -> list[tuple[str, str | None]]:
    """Title and words of each figure; None for what is not known."""
    one = found or measure_confidence(np.zeros(0), np.zeros(0, dtype=bool), np.zeros(0))
    return [
        ("Expected calibration error", _points(one.ece)),
        ("The same, class by class", _points(one.ece_classwise)),
        ("Brier score", None if one.brier is None else f"{one.brier:.4f}"),
        ("Log loss", None if one.log_loss is None else f"{one.log_loss:.4f}"),
        ("Mean confidence", _percent(one.mean_confidence)),
        ("Accuracy", _percent(one.accuracy)),
    ]


def _judgement(found: Change) -> str:
    """Whether the temperature helps on test, in words."""
    between = f"{found.low:+.4f} to {found.high:+.4f}".replace("-", "−")
    change = f"{found.difference:+.4f}".replace("-", "−")
    verdict = (
        "**It helps on test**" if found.high < 0
        else "**It does harm on test**" if found.low > 0
        else "**It is not shown to help on test**"
    )  # fmt: skip
    return f"{verdict}: log loss {change}, 95 % interval {between}."


def _draw_verbs(view: View, scores: Scores, fitted: Temperature | None, kept: Decision | None) -> None:
    saved = kept.temperature if kept else 1.0
    has_thresholds = kept is not None and not kept.takes_likeliest
    value = fitted.value if fitted else saved
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button(
            "Save temperature", type="primary", icon=":material/save:", key="calibration_save",
            disabled=value == 1 or abs(saved - value) < 1e-9,
            help="Try it, `superft predict` and the published card use it from then on.",
        ) and _save(view, scores, kept, value):  # fmt: skip
            st.rerun()
        if st.button(
            "Reset", icon=":material/restart_alt:", key="calibration_reset", disabled=saved == 1,
            help="Back to temperature 1; saved thresholds are taken back with it.",
        ) and _save(view, scores, kept, 1.0):  # fmt: skip
            st.rerun()
        words = f"Saved: temperature {saved:.2f}." if saved != 1 else "No temperature is saved."
        st.markdown(f":small[:gray[{words}]]")
    if has_thresholds and abs(saved - value) > 1e-9:
        messages.note(
            "The saved thresholds were chosen at the saved temperature.",
            "Another one takes them back: choose them again under Thresholds.",
        )


def _save(view: View, scores: Scores, kept: Decision | None, temperature: float) -> bool:
    """Saves a temperature, without thresholds that were chosen at another. Returns whether it could be."""
    record, store = view.record, readers.store()
    start = kept or plain_decision(scores.evaluation.class_names, scores.chosen_on)
    decision = replace(start.without_thresholds(), temperature=temperature)
    try:
        if decision.is_plain and decision.costs_fp is None and decision.costs_fn is None:
            decisions.remove(store, record, by="page")
        else:
            test = thresholds_data.read_test(view)
            by_split = calibration_work.judged(scores, test)
            decisions.save(store, record, decision, by_split, by="page")
    except SuperFTError as error:
        messages.show(error)
        return False
    state.change_operating_point(record.run_id, None)
    return True


def _draw_without_logits(view: View) -> None:
    """What confidence and loss tell, which every prediction file has."""
    rows = view.evaluation.rows
    confidence, losses = (rows[name].to_numpy(dtype=np.float64) for name in ("confidence", "loss"))
    found = measure_confidence(confidence, rows["is_right"].to_numpy(), losses)
    _draw_charts(view.evaluation.split, found, None, confidence[np.isfinite(confidence)])
    with st.container(border=True):
        card_head("Figures", "")
        fitted = Temperature(1.0, "", None, None, 0)
        _draw_table(Found(fitted, {view.evaluation.split: (found, None)}, confidence), has_classwise=False)
    thresholds_data.draw_incomplete(view, "Brier score and temperature")


def _points(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.1f} points"


def _percent(share: float | None) -> str | None:
    return None if share is None else formats.percent(share)
