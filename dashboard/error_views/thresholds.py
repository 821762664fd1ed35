"""Operating points: curves of one class against the rest, thresholds and costs, and what they lead to."""

from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import numpy as np
import streamlit as st

from dashboard import charts, dialogs, formats, messages, readers, state
from dashboard.curve_charts import Curve, Mark, precision_recall_figure, roc_figure
from dashboard.error_views import calibration_work, thresholds_data, thresholds_outcome, thresholds_work
from dashboard.error_views.thresholds_data import Scores
from dashboard.error_views.view import View
from dashboard.look import card_head
from superft_hf import decisions
from superft_hf.errors import DataNotFoundError, SuperFTError
from superft_hf.evaluation.classification import confusion_matrix
from superft_hf.evaluation.curves import EXACT_SCORES, GRID, Averages, Counts
from superft_hf.evaluation.decision import MAX_BAND, MIN_THRESHOLD, Decision, in_words, plain_decision

CLASS, LIMIT, BAND = "thresholds_class", "thresholds_limit", "thresholds_band"
POLL = "0.4s"
COST_FP, COST_FN = "thresholds_cost_fp", "thresholds_cost_fn"
MAX_COST = 1e6
EVEN_CLASSES = 20
FINE_LIMITS = tuple(round(float(one), 5) for one in np.geomspace(MIN_THRESHOLD, 1, 241))


@st.fragment
def draw(view: View) -> None:
    """Draws the curves of a class, what can be chosen, and what that leads to."""
    if len(view.evaluation.class_names) < 2:
        messages.empty("There is one class only.", "Curves tell a class from the rest: there is none.")
        return
    try:
        _draw(view)
    except DataNotFoundError as error:
        messages.show(error)


def _draw(view: View) -> None:
    scores, names = thresholds_data.read(view.evaluation), view.evaluation.class_names
    if scores is None:
        thresholds_data.draw_incomplete(view, "Curves and thresholds")
        return
    kept = thresholds_data.saved(view)
    start = kept or plain_decision(names, scores.chosen_on)
    decision = state.operating_point(view.record.run_id)
    if decision is None or decision.class_names != names or decision.temperature != start.temperature:
        decision = start
    is_choosable = thresholds_data.is_choosable(view)
    decision, search = thresholds_work.take_found(view.record.run_id, decision)
    with st.container(border=True):
        label = _draw_choice(view, scores, decision, is_choosable=is_choosable, is_searching=bool(search))
        averaging = _draw_curves(scores, decision, label)
    pair = thresholds_outcome.before_and_after(scores, decision)
    with st.container(border=True):
        thresholds_outcome.draw(view, scores, decision, label, pair)
        if is_choosable:
            _draw_verbs(view, scores, decision, kept)
    with st.container(border=True):
        thresholds_outcome.draw_classes(scores, decision, pair)
    if is_choosable and not decision.takes_likeliest:
        test = thresholds_data.read_test(view)
        calibration_work.measure_ahead(scores, test, decision.temperature)
    waiting = [one for one in (search.future if search else None, averaging) if one is not None]
    if waiting:
        dialogs.poll(_wait, POLL, waiting)


def _wait(futures: list[Future[Any]]) -> None:
    """Draws the page anew once something is there, and only then."""
    if any(one.done() for one in futures):
        st.rerun()


def _draw_choice(
    view: View, scores: Scores, decision: Decision, *, is_choosable: bool, is_searching: bool
) -> int:
    """Class, costs, threshold and band. Returns the class id."""
    run_id, names = view.record.run_id, view.evaluation.class_names
    calibrated = (
        f"calibrated by temperature {decision.temperature:.2f}" if decision.temperature != 1
        else "probabilities not calibrated"
    )  # fmt: skip
    card_head("Operating point", f"one class against the rest · {calibrated}")
    if not is_choosable:
        st.markdown(f":gray[:material/lock: {thresholds_data.why_not_choosable(view)}]")
    if state.get_value(CLASS) not in range(len(names)):
        state.put_value(CLASS, _most_missed(scores))
    grid = st.grid(4, min_column_width=150, gap="small", key="thresholds_choice")
    with grid.cell():
        label = st.selectbox(
            "Class", range(len(names)), format_func=lambda one: names[one], key=CLASS,
            persist_state="session",
        )  # fmt: skip
    if not is_choosable:
        return label
    _put_widgets(decision, label)
    args = (run_id, decision, label)
    with grid.cell():
        st.number_input(
            "Cost of a false positive", 0.0, MAX_COST, step=1.0, format="%g", key=COST_FP,
            on_change=_take_costs, args=args,
            help="An image of another class that is taken for this one.",
        )  # fmt: skip
    with grid.cell():
        st.number_input(
            "Cost of a false negative", 0.0, MAX_COST, step=1.0, format="%g", key=COST_FN,
            on_change=_take_costs, args=args, help="An image of this class that is not taken for it.",
        )  # fmt: skip
    with grid.cell(), st.container(gap="xxsmall"):
        _draw_suggest(scores, decision, label, is_searching=is_searching)
    left, right = st.columns([2, 1], gap="medium")
    with left:
        _draw_limit(decision, label, args)
    with right:
        st.slider(
            "Abstain band", 0.0, MAX_BAND, step=0.01, format="%.2f", key=BAND, on_change=_take_band,
            args=(run_id, decision),
            help="By how much the probability must exceed the threshold. Below that the model is not sure.",
        )  # fmt: skip
    return label


def _draw_limit(decision: Decision, label: int, args: tuple[str, Decision, int]) -> None:
    """The slider of the threshold; of many classes it is finer the lower, since 1 / C is where they begin."""
    title = f"Threshold of {formats.plain(charts.shortened(decision.class_names[label], 40))}"
    words = (
        "The answer is the class with the greatest probability / threshold, if its probability reaches the "
        "threshold. Equal thresholds of 1 / classes are the likeliest class."
    )
    limit = float(decision.limits[label])
    if decision.num_classes <= EVEN_CLASSES:
        state.put_value(LIMIT, round(limit, 3))
        st.slider(
            title, 0.0, 1.0, step=0.001, format="%.3f", key=LIMIT, on_change=_take_limit, args=args,
            help=words,
        )  # fmt: skip
        return
    nearest = FINE_LIMITS[int(np.abs(np.log(np.array(FINE_LIMITS) / limit)).argmin())]
    state.put_value(LIMIT, nearest)
    st.select_slider(
        title, FINE_LIMITS, format_func=lambda one: f"{one:.4g}", key=LIMIT, on_change=_take_limit,
        args=args, help=words,
    )  # fmt: skip


def _draw_suggest(scores: Scores, decision: Decision, label: int, *, is_searching: bool) -> None:
    run_id, is_binary = scores.evaluation.run_id, decision.num_classes == 2
    st.markdown(f":small[{thresholds_work.SEARCHING if is_searching else 'Suggest for the least cost'}]")
    with st.container(horizontal=True, gap="xsmall"):
        if not is_binary:
            st.button(
                "This class", key="thresholds_suggest", on_click=_suggest,
                args=(run_id, scores, decision, [label]), disabled=is_searching,
                help="The threshold with the least cost on eval, while the others stay.",
            )  # fmt: skip
        st.button(
            "Suggest" if is_binary else "All classes", key="thresholds_suggest_all", on_click=_suggest,
            args=(run_id, scores, decision, None), disabled=is_searching,
            help="The threshold with the least cost on eval."
            if is_binary
            else "Thresholds are moved one after the other, each to where all eval images cost least.",
        )  # fmt: skip


def _draw_curves(scores: Scores, decision: Decision, label: int) -> Future[Averages] | None:
    """The two charts. Returns the averages that are still being computed, if they are asked for."""
    names, evaluation = scores.evaluation.class_names, scores.evaluation
    counts = scores.counts(label, decision.temperature)
    is_large = scores.num_values > EXACT_SCORES
    shown = st.toggle(
        "Averages over the classes", value=not is_large, key="thresholds_averages",
        help="Macro: the mean of the classes' curves. Micro: all answers together, one against the rest.",
    )  # fmt: skip
    averaging = thresholds_work.averages(scores, decision.temperature) if shown else None
    averages = averaging.result() if averaging is not None and averaging.done() else None
    is_waiting = averaging is not None and averages is None
    name = formats.plain(charts.shortened(names[label], 40))
    if counts is None:
        size = int((scores.labels == label).sum())
        reason = "has no image" if not size else "is the only class with images"
        st.markdown(f":gray[{name} {reason} in this evaluation, so it has no curve.]")
    is_dark = st.context.theme.type == "dark"
    colors = charts.palette(is_dark)
    color = colors.test if evaluation.split == "test" else colors.eval
    limit = float(decision.limits[label])
    roc, pr = _lines(names[label], counts, averages, (color, colors.quiet))
    marks = (None, None) if counts is None else _marks(counts, limit)
    left, right = st.columns(2, gap="medium")
    with left:
        st.markdown(":small[:gray[ROC]]")
        st.plotly_chart(
            roc_figure(roc, mark=marks[0], is_dark=is_dark), theme="streamlit", config=charts.CONFIG,
            key="thresholds_roc", alt=f"ROC curve of {names[label]}",
        )  # fmt: skip
    with right:
        st.markdown(":small[:gray[Precision and recall]]")
        share = (
            None if counts is None else counts.num_positives / (counts.num_positives + counts.num_negatives)
        )
        st.plotly_chart(
            precision_recall_figure(pr, mark=marks[1], prevalence=share, is_dark=is_dark),
            theme="streamlit", config=charts.CONFIG, key="thresholds_pr",
            alt=f"Precision-recall curve of {names[label]}",
        )  # fmt: skip
    parts = [_curve_note(counts, averages, limit), thresholds_work.AVERAGING if is_waiting else ""]
    st.markdown(f":small[:gray[{' · '.join(part for part in parts if part)}]]")
    return averaging if is_waiting else None


def _lines(
    name: str, counts: Counts | None, averages: Averages | None, inks: tuple[str, str]
) -> tuple[list[Curve], list[Curve]]:
    """The lines of the two charts: the class, then macro and micro."""
    color, quiet = inks
    roc, pr = [], []
    if counts is not None:
        begin = np.zeros(1)
        roc.append(
            Curve(
                f"{charts.shortened(name, 24)}: AUC {counts.auc:.3f}",
                np.concatenate([begin, counts.false_positive_rate]), np.concatenate([begin, counts.recall]),
                color,
            )
        )  # fmt: skip
        pr.append(
            Curve(
                f"{charts.shortened(name, 24)}: average precision {counts.average_precision:.3f}",
                counts.recall, counts.precision, color,
            )
        )  # fmt: skip
    if averages is not None and averages.num_defined:
        roc.append(Curve(f"macro: {averages.macro_auc:.3f}", GRID, averages.macro_recall, quiet, "dash"))
        macro = averages.macro_average_precision
        pr.append(Curve(f"macro: {macro:.3f}", GRID, averages.macro_precision, quiet, "dash"))
    if averages is not None and averages.micro is not None:
        micro = averages.micro
        roc.append(Curve(f"micro: {micro.auc:.3f}", micro.false_positive_rate, micro.recall, quiet, "dot"))
        pr.append(Curve(f"micro: {micro.average_precision:.3f}", micro.recall, micro.precision, quiet, "dot"))
    return roc, pr


def _marks(counts: Counts, limit: float) -> tuple[Mark, Mark | None]:
    """Where the threshold lies on the two charts; precision is not defined where nothing reaches it."""
    hits, false = counts.at(limit)
    recall = hits / counts.num_positives
    words = f"threshold {limit:.3f}: {hits:,} of {counts.num_positives:,} found, {false:,} false positives"
    roc = Mark(false / counts.num_negatives, recall, words)
    return roc, Mark(recall, hits / (hits + false), words) if hits + false else None


def _curve_note(counts: Counts | None, averages: Averages | None, limit: float) -> str:
    parts = []
    if counts is not None:
        parts.append(
            f"The ring is the threshold {limit:.3f}: images whose probability reaches it, whatever the others"
        )
        dropped = thresholds_data.dropped_words(counts.num_dropped)
        parts += [dropped] if dropped else []
    if averages is not None:
        missing = len(averages.auc) - averages.num_defined
        if missing:
            parts.append(f"macro leaves out {formats.counted(missing, 'class', 'classes')} without a curve")
        if averages.is_binned:
            parts.append("micro comes from finely binned scores, right to a thousandth")
    return " · ".join(parts)


def _draw_verbs(view: View, scores: Scores, decision: Decision, kept: Decision | None) -> None:
    record = view.record
    start = kept or plain_decision(decision.class_names, decision.chosen_on)
    is_new = replace(start, figures={}, chosen_on=decision.chosen_on) != replace(decision, figures={})
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button(
            "Save operating point", type="primary", icon=":material/save:", key="thresholds_save",
            disabled=not is_new,
            help="Try it, `superft predict` and the published card use it from then on.",
        ):  # fmt: skip
            test = thresholds_data.read_test(view)
            try:
                by_split = calibration_work.judged(scores, test)
                decisions.save(readers.store(), record, decision, by_split, by="page")
            except SuperFTError as error:
                messages.show(error)
            else:
                state.change_operating_point(record.run_id, None)
                st.rerun()
        st.button(
            "Reset", icon=":material/restart_alt:", key="thresholds_reset", on_click=_reset,
            args=(view, kept, scores),
            disabled=decision.takes_likeliest and decision.costs_fp is None and decision.costs_fn is None,
            help="Back to the likeliest class, also for what is saved. The temperature stays.",
        )  # fmt: skip
        words = "Nothing is saved: the model answers with the likeliest class."
        if kept is not None:
            words = f"Saved: {' '.join(in_words(kept))}"
        st.markdown(f":small[:gray[{formats.plain(words)}]]")


def _reset(view: View, kept: Decision | None, scores: Scores) -> None:
    """Callback: forgets what was chosen, and what was saved of it."""
    record, store = view.record, readers.store()
    state.change_operating_point(record.run_id, None)
    if kept is None:
        return
    if kept.temperature == 1:
        decisions.remove(store, record, by="page")
        return
    plain = replace(kept.without_thresholds(), costs_fp=None, costs_fn=None)
    test = thresholds_data.read_test(view)
    try:
        by_split = calibration_work.judged(scores, test)
        decisions.save(store, record, plain, by_split, by="page")
    except SuperFTError as error:
        messages.show(error)


def _put_widgets(decision: Decision, label: int) -> None:
    """The widgets show the decision: it alone is the truth."""
    state.put_value(BAND, round(decision.abstain_band, 2))
    state.put_value(COST_FP, float(decision.false_positive_costs[label]))
    state.put_value(COST_FN, float(decision.false_negative_costs[label]))


def _take_limit(run_id: str, decision: Decision, label: int) -> None:
    limits = decision.limits.copy()
    limits[label] = np.clip(state.get_value(LIMIT), MIN_THRESHOLD, 1)
    if decision.num_classes == 2:
        limits[label] = min(limits[label], 1 - MIN_THRESHOLD)
        limits[1 - label] = 1 - limits[label]
    state.change_operating_point(run_id, replace(decision, thresholds=tuple(limits.tolist())))


def _take_band(run_id: str, decision: Decision) -> None:
    state.change_operating_point(run_id, replace(decision, abstain_band=float(state.get_value(BAND))))


def _take_costs(run_id: str, decision: Decision, label: int) -> None:
    costs = []
    for key, values in (
        (COST_FP, decision.false_positive_costs), (COST_FN, decision.false_negative_costs),
    ):  # fmt: skip
        changed = np.array(values, dtype=float)
        changed[label] = state.get_value(key)
        costs.append(tuple(changed.tolist()))
    state.change_operating_point(run_id, replace(decision, costs_fp=costs[0], costs_fn=costs[1]))


def _suggest(run_id: str, scores: Scores, decision: Decision, classes: list[int] | None) -> None:
    try:
        thresholds_work.search(run_id, scores, decision, classes)
    except DataNotFoundError as error:
        messages.show(error)


def _most_missed(scores: Scores) -> int:
    """The class that the likeliest class misses most often: the one to begin with."""
    rows, count = scores.evaluation.rows, len(scores.evaluation.class_names)
    matrix = confusion_matrix(rows["label"].to_numpy(), rows["prediction"].to_numpy(), count)
    return int((matrix.sum(axis=1) - matrix.diagonal()).argmax())
