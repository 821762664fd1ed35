"""Run: one run, live while it trains, then as a record of what came out."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from dashboard import (
    advice_card,
    choice,
    dialogs,
    failure_card,
    findings,
    formats,
    headlines,
    layer_panel,
    messages,
    readers,
    reporting,
    run_curves,
    run_figures,
    run_log,
    run_settings,
    run_verbs,
    state,
    timeline,
    trio_buttons,
)
from dashboard.look import card_head
from superft_hf import vault, verbs
from superft_hf.errors import SuperFTError
from superft_hf.evaluation.headline import Headline
from superft_hf.records import Request, RunRecord, RunState

ENDED_STATES = (RunState.COMPLETED, RunState.FAILED, RunState.DISCARDED)


def draw_page() -> None:
    """Draws the page from top to bottom."""
    record = choice.chosen_run()
    if record.is_unfinished or _is_waited_for(record):
        dialogs.poll(_draw_live, "2s", record.run_id)
    else:
        _draw_run(record)
    run_settings.draw(record)


def _draw_live(run_id: str) -> None:
    try:
        record = readers.run(run_id)
    except SuperFTError:  # deleted from elsewhere: the whole page says so
        st.rerun()
    _draw_run(record)
    if not record.is_unfinished and not _is_waited_for(record):
        st.rerun()


def _is_waited_for(record: RunRecord) -> bool:
    """Whether an ended run is still to be discarded."""
    return record.request == Request.DISCARD and record.state in verbs.DISCARD.states


def _draw_run(record: RunRecord) -> None:
    points = readers.metrics(record.run_id)
    left_s = headlines.seconds_left(record, points)
    standing = vault.standing(readers.store(), record) if vault.has_test(record) else None
    is_test_open = standing is not None and standing.is_open
    sentence = headlines.of_run(
        record, left_s=left_s, is_test_open=is_test_open, checkpoint_step=_checkpoint_step(record)
    )
    choice.show_head(record, sentence, _context(record, points, standing))
    if record.state is RunState.RUNNING:
        share = min(1.0, record.global_step / record.max_steps) if record.max_steps else 0.0
        st.progress(share, text=headlines.progress_text(record, left_s))
    if record.failure is not None:
        failure_card.draw(record)
    _draw_verbs(record)
    run_verbs.draw_slow(record, "run_slow")
    if record.state is RunState.QUEUED and points.empty:
        timeline.draw(record.run_id)
        return
    if not points.empty:
        run_curves.draw_figures(record, points)
        run_curves.draw_curves(record, points)
    _draw_words(record, points, is_test_open)
    if record.evaluation:
        _draw_evaluation(record, standing)
    if not points.empty:
        layer_panel.draw(record)
    timeline.draw(record.run_id)


def _draw_words(record: RunRecord, points: pd.DataFrame, is_test_open: bool) -> None:
    """What to do, beside what the worker said; alone when there is nothing to advise about."""
    log = readers.run_paths(record.run_id).log
    if record.failure is not None and record.best_step is None:
        with st.container(border=True, height=run_log.PANEL_HEIGHT):
            run_log.draw("What the worker said", log, is_test_open)
        return
    left, right = st.columns([2, 3], gap="small")
    with left:
        if record.state in ENDED_STATES and record.best_step is not None:
            advice_card.draw(record)
        else:
            with st.container(border=True, height="stretch"):
                _draw_findings(findings.find(record, readers.decided(record.run_id), points))
    with right, st.container(border=True, height=run_log.PANEL_HEIGHT):
        run_log.draw("Log", log, is_test_open)


def _checkpoint_step(record: RunRecord) -> int | None:
    return readers.checkpoint_step(record.run_id) if record.state is RunState.PAUSED else None


def _context(record: RunRecord, points: pd.DataFrame, standing: vault.Standing | None) -> str:
    parts = []
    best = run_curves.epoch_of(points, record.best_step)
    if best is not None:
        parts.append(f"best in epoch {formats.epochs(best)} of {record.num_train_epochs:g}")
    if not record.is_unfinished and record.started_at:
        word = "took" if record.state is RunState.COMPLETED else "after"
        parts.append(f"{word} {formats.duration(formats.run_duration_s(record))}")
    if record.state is RunState.QUEUED:
        parts.append(f"since {formats.moment(record.queued_at or record.created_at)}")
        if record.global_step:
            parts.append(f"goes on after step {formats.count(record.global_step)}")
        if record.priority:
            parts.append(f"priority {record.priority}")
    parts += [formats.plain(record.data), formats.plain(record.model)]
    if record.facts.get("device"):
        parts.append(formats.plain(record.facts["device"]))
    if record.facts.get("skipped"):
        parts.append(f"{formats.counted(record.facts['skipped'], 'unreadable image')} left out")
    if standing is not None and standing.is_open:
        parts.append(vault.words(standing))
    return " · ".join(parts)


def _draw_verbs(record: RunRecord) -> None:
    """One row: the primary verb first, those that take something away last."""
    fitting = verbs.fitting_verbs(record)
    is_slow = run_verbs.is_slow(record)
    has_remedy = record.failure is not None and bool(record.failure.remedies)
    with st.container(horizontal=True, vertical_alignment="center", key="run_verbs"):
        if verbs.RESUME in fitting:
            run_verbs.draw(record, verbs.RESUME, "run", type="secondary" if has_remedy else "primary")
        _draw_errors_button(record)
        if record.state is RunState.COMPLETED:
            _draw_completed_verbs(record)
        run_verbs.draw_pending(record)
        for verb in fitting:
            if verb is verbs.STOP_HARD and is_slow:
                continue  # offered loudly below
            if verb not in (verbs.RESUME, verbs.DISCARD):
                is_quiet = verb is verbs.STOP_HARD
                run_verbs.draw(record, verb, "run", type="tertiary" if is_quiet else "secondary")
        _draw_report_button(record)
        is_primary = record.state is RunState.DISCARDED
        if st.button(
            "Repeat with changes", icon=":material/replay:", key="run_repeat",
            type="primary" if is_primary else "secondary", help="Opens Start filled in with these settings.",
        ):  # fmt: skip
            state.repeat_run(record.run_id)
        if verbs.DISCARD in fitting:
            run_verbs.draw(record, verbs.DISCARD, "run", type="tertiary")
        if not record.is_unfinished:
            _draw_delete(record)
        elif not record.request:
            st.caption("Goes on when this page is closed.", width="content")


def _draw_errors_button(record: RunRecord) -> None:
    has_errors = bool(readers.run_paths(record.run_id).prediction_steps("eval"))
    is_first = record.state in (RunState.STARTING, RunState.RUNNING, RunState.COMPLETED)
    if record.state is RunState.DISCARDED or not (is_first or has_errors):
        return
    if st.button(
        "Open errors" if record.state is RunState.COMPLETED else "Errors so far",
        type="primary" if is_first else "secondary", icon=":material/grid_on:", key="run_errors",
        disabled=not has_errors,
        help=None if has_errors else "From the first evaluation on, at the end of an epoch.",
    ):  # fmt: skip
        state.open_page(state.ERRORS_PAGE, record.run_id)


def _draw_report_button(record: RunRecord) -> None:
    if readers.run_paths(record.run_id).prediction_steps("eval"):
        reporting.draw_button([record.run_id], "run")


def _draw_completed_verbs(record: RunRecord) -> None:
    if st.button("Try it", icon=":material/image_search:", key="run_try"):
        state.open_page(state.TRY_PAGE, record.run_id)
    if st.button("Compare", icon=":material/compare_arrows:", key="run_compare"):
        state.open_compare([record.run_id])
    trio_buttons.draw_complete(record)
    if readers.run_paths(record.run_id).model.is_dir() and st.button(
        "Continue as a new run", icon=":material/resume:", key="run_continue",
        help="Opens Start with this run's model as the one to begin with; settings and images as they are.",
    ):  # fmt: skip
        state.continue_run(record.run_id, readers.run_paths(record.run_id).model)


def _draw_delete(record: RunRecord) -> None:
    with st.popover("Delete", type="tertiary", icon=":material/delete_forever:", key="run_delete"):
        st.markdown(
            "Removes the run for good: curves, predictions, model and settings.  \n"
            ":yellow[:material/warning: This cannot be undone.]",
            width=300,
        )
        if st.button("Delete this run", icon=":material/delete_forever:", key="run_delete_now"):
            try:
                readers.store().delete_run(record.run_id)
            except SuperFTError as error:
                messages.show(error)
            else:
                state.forget_run(record.run_id)
                state.open_page(state.RUNS_PAGE)


def _draw_findings(found: Sequence[findings.Advice]) -> None:
    card_head("What to do")
    for advice in found:
        st.markdown(f"{advice.icon} **{advice.title}** {advice.text}")


def _draw_evaluation(record: RunRecord, standing: vault.Standing | None) -> None:
    """Every figure of the kept checkpoint with its interval, by split; test once it was opened."""
    is_test_open = standing is not None and standing.is_open
    splits = ["eval", "test"] if is_test_open else ["eval"]
    with st.container(border=True):
        note = f"on {' and '.join(splits)}, with 95 % intervals"
        if standing is not None:
            how = "" if is_test_open else "; Errors opens it"
            note = f"{note}; {vault.words(standing)}{how}"
        card_head("Figures of the best checkpoint", note)
        found = {split: run_figures.of_kept(record, split) for split in splits}
        keys = [key for key in record.evaluation.get("eval", {}) if key in formats.METRIC_TITLES]
        grid = st.grid(5, min_column_width=130, gap=("small", "xsmall"), key="run_evaluation")
        for key in keys:
            lines = [f":gray[:small[{formats.metric_title(key)}]]"]
            for split in splits:
                head = f":{formats.SPLIT_COLORS[split]}[{split}] " if is_test_open else ""
                value = formats.metric_value(key, record.evaluation[split].get(key))
                lines.append(f"{head}{value}{_ends(found[split], key)}")
            with grid.cell():
                st.markdown("  \n".join(lines))


def _ends(found: Headline | None, key: str) -> str:
    """The interval of a figure, small and quiet; nothing when its prediction file is gone."""
    name = "loss" if key == "log_loss" else key
    if found is None or name not in found.figures:
        return ""
    return f" :small[:gray[{run_figures.ends_words(found.figures[name])}]]"


draw_page()
