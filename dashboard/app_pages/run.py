"""Run: one run, live while it trains, then as a record of what came out."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import streamlit as st

from dashboard import charts, choice, findings, formats, headlines, messages, readers, state
from dashboard.look import card_head
from superft_hf.config_file import dump_config, value_of
from superft_hf.engine import control
from superft_hf.errors import SuperFTError
from superft_hf.records import Failure, Request, RunRecord, RunState
from superft_hf.settings import GROUP_TITLES, all_settings

CHART_HEIGHT, SMALL_CHART_HEIGHT = 250, 160
PANEL_HEIGHT = 296
SELECT_HEIGHT = 36  # of the head beside it, which holds a selectbox
LOG_LINES, LOG_BYTES = 200, 64_000


def draw_page() -> None:
    """Draws the page from top to bottom."""
    record = choice.chosen_run()
    if record.is_unfinished:
        _draw_live(record.run_id)
    else:
        _draw_run(record)
    _draw_settings(record)


@st.fragment(run_every="2s")
def _draw_live(run_id: str) -> None:
    try:
        record = readers.run(run_id)
    except SuperFTError:  # deleted from elsewhere: the whole page says so
        st.rerun()
    if not record.is_unfinished:
        st.rerun()
    _draw_run(record)


def _draw_run(record: RunRecord) -> None:
    config = readers.config(record.run_id)
    points = readers.metrics(record.run_id)
    left_s = headlines.seconds_left(record, points)
    is_test_open = headlines.has_looked_at_test(readers.events(record.run_id))
    sentence = headlines.of_run(record, left_s=left_s, is_test_open=is_test_open)
    choice.show_head(record, sentence, _context(record, points))
    if record.state is RunState.RUNNING:
        share = min(1.0, record.global_step / record.max_steps) if record.max_steps else 0.0
        st.progress(share, text=headlines.progress_text(record, left_s))
    if record.failure is not None:
        _draw_failure(record, record.failure)
    else:
        _draw_verbs(record)
    if record.state is RunState.QUEUED:
        return
    if not points.empty:
        _draw_figures(record, points)
        _draw_curves(record, points)
    log = readers.run_paths(record.run_id).log
    if record.failure is not None and record.best_step is None:
        with st.container(border=True, height=PANEL_HEIGHT):
            _draw_log("What the worker said", log, is_test_open)
    else:
        left, right = st.columns([2, 3], gap="small")
        with left, st.container(border=True, height="stretch"):
            _draw_findings(findings.find(record, config, points))
        with right, st.container(border=True, height=PANEL_HEIGHT):
            _draw_log("Log", log, is_test_open)
    if record.evaluation:
        _draw_evaluation(record, is_test_open)


def _context(record: RunRecord, points: pd.DataFrame) -> str:
    parts = []
    best = _epoch_of(points, record.best_step)
    if best is not None:
        parts.append(f"best in epoch {best:g} of {record.num_train_epochs:g}")
    if not record.is_unfinished and record.started_at:
        word = "took" if record.state is RunState.COMPLETED else "after"
        parts.append(f"{word} {formats.duration(formats.run_duration_s(record))}")
    if record.state is RunState.QUEUED:
        parts.append(f"since {formats.moment(record.created_at)}")
    parts += [formats.plain(record.data), formats.plain(record.model)]
    if record.facts.get("device"):
        parts.append(formats.plain(record.facts["device"]))
    if record.facts.get("skipped"):
        parts.append(f"{formats.counted(record.facts['skipped'], 'unreadable image')} left out")
    return " · ".join(parts)


def _draw_verbs(record: RunRecord) -> None:
    has_errors = bool(readers.run_paths(record.run_id).prediction_steps("eval"))
    with st.container(horizontal=True, vertical_alignment="center", key="run_verbs"):
        if record.state not in (RunState.DISCARDED, RunState.QUEUED):
            _draw_errors_button(record, has_errors)
        if record.state is RunState.COMPLETED:
            if st.button("Try it", icon=":material/image_search:", key="run_try"):
                state.open_page(state.TRY_PAGE, record.run_id)
            if st.button("Compare", icon=":material/compare_arrows:", key="run_compare"):
                state.open_compare([record.run_id])
        _draw_repeat_button(record, is_primary=record.state is RunState.DISCARDED)
        if record.is_unfinished:
            _draw_discard(record)
            st.caption("Goes on when this page is closed.", width="content")
        else:
            _draw_delete(record)


def _draw_errors_button(record: RunRecord, has_errors: bool) -> None:
    label = "Errors so far" if record.is_unfinished else "Open errors"
    wait = None if has_errors else "From the first evaluation on, at the end of an epoch."
    if st.button(
        label, type="primary", icon=":material/grid_on:", key="run_errors", disabled=not has_errors, help=wait
    ):
        state.open_page(state.ERRORS_PAGE, record.run_id)


def _draw_repeat_button(record: RunRecord, *, is_primary: bool) -> None:
    if st.button(
        "Repeat with changes", icon=":material/replay:", key="run_repeat",
        type="primary" if is_primary else "secondary", help="Opens Start filled in with these settings.",
    ):  # fmt: skip
        state.repeat_run(record.run_id)


def _draw_discard(record: RunRecord) -> None:
    if record.request == Request.DISCARD:
        st.markdown(":small[:gray[:material/hourglass_top: Being discarded]]", width="content")
        return
    with st.popover("Discard", type="tertiary", icon=":material/delete:", key="run_discard"):
        st.markdown("Stops the run and removes its weights. Its curves and settings stay.")
        if st.button("Discard this run", icon=":material/delete:", key="run_discard_now"):
            try:
                control.discard(readers.store(), record.run_id, by="page")
            except SuperFTError as error:
                messages.show(error)
            else:
                st.rerun()


def _draw_delete(record: RunRecord) -> None:
    with st.popover("Delete", type="tertiary", icon=":material/delete:", key="run_delete"):
        st.markdown("Removes the run for good: curves, predictions, model and settings.")
        if st.button("Delete this run", icon=":material/delete:", key="run_delete_now"):
            try:
                readers.store().delete_run(record.run_id)
            except SuperFTError as error:
                messages.show(error)
            else:
                state.forget_run(record.run_id)
                state.open_page(state.RUNS_PAGE)


def _draw_failure(record: RunRecord, failure: Failure) -> None:
    changes = headlines.suggested_changes(failure, readers.config(record.run_id))
    with st.container(border=True):
        st.markdown(f":red[:material/error:] **{formats.plain(failure.message)}**")
        if failure.hint:
            st.markdown(f":material/lightbulb: {formats.plain(failure.hint)}")
        with st.container(horizontal=True, vertical_alignment="center", key="run_verbs"):
            if changes:
                _draw_repeat_changed(record, changes)
            _draw_repeat_button(record, is_primary=not changes)
            if readers.run_paths(record.run_id).prediction_steps("eval") and st.button(
                "Errors so far", icon=":material/grid_on:", key="run_errors"
            ):
                state.open_page(state.ERRORS_PAGE, record.run_id)
            _draw_delete(record)


def _draw_repeat_changed(record: RunRecord, changes: Mapping[str, float]) -> None:
    words = " and ".join(formats.significant(value) for value in changes.values())
    named = ", ".join(f"{key} {formats.significant(value)}" for key, value in changes.items())
    if st.button(
        f"Repeat with {words}", type="primary", icon=":material/replay:", key="run_repeat_changed",
        help=f"Opens Start with {named}.",
    ):  # fmt: skip
        state.repeat_run(record.run_id, changes)


def _draw_figures(record: RunRecord, points: pd.DataFrame) -> None:
    metric = record.best_metric or "eval_loss"
    losses = points[points["key"] == "eval_loss"]
    best_loss = losses[losses["step"] == record.best_step]["value"]
    train = points[points["key"] == "loss"]["value"]
    pace = points[points["key"] == "train_samples_per_second"]["value"]
    best_epoch = _epoch_of(points, record.best_step)
    chips: Sequence[tuple[str, str, str | None, str]] = (
        (
            "Best eval accuracy", formats.percent(record.accuracy),
            formats.accuracy_interval(record.accuracy, formats.eval_size(record)),
            f"Of the checkpoint that is kept: the best by {formats.metric_title(metric).lower()}. "
            "Below: its 95 % interval (Wilson), which says how far a split of this size can be trusted.",
        ),
        (
            "Best eval loss" if metric == "eval_loss" else "Eval loss at the best",
            formats.loss(best_loss.iloc[-1] if len(best_loss) else None),
            f"epoch {best_epoch:g}" if best_epoch is not None else formats.NOTHING,
            "Mean cross-entropy of the checkpoint that is kept.",
        ),
        (
            "Last eval loss", formats.loss(losses["value"].iloc[-1] if len(losses) else None),
            f"train {formats.loss(train.iloc[-1])}" if len(train) else formats.NOTHING,
            "Of the newest evaluation, beside the newest train loss.",
        ),
        (
            "Images per second", formats.count(pace.median()) if len(pace) else formats.NOTHING,
            "median of training", "While training; evaluations and checkpoints are left out.",
        ),
    )  # fmt: skip
    grid = st.grid(4, min_column_width=150, gap="small", key="run_figures")
    for label, value, chip, explanation in chips:
        with grid.cell():
            st.metric(
                label, value, chip, delta_color="off", delta_arrow="off", border=True, height="stretch",
                help=explanation,
            )  # fmt: skip


def _draw_curves(record: RunRecord, points: pd.DataFrame) -> None:
    best = _epoch_of(points, record.best_step)
    ring = f"ring: best by {formats.metric_title(record.best_metric or 'eval_loss').lower()}"
    end = record.num_train_epochs if record.is_unfinished else float(points["epoch"].max())
    is_dark = _is_dark()
    colors = charts.palette(is_dark)
    grid = st.grid(2, min_column_width=300, gap="small", key="run_curves")
    with grid.cell(), st.container(border=True, height="stretch"):
        with st.container(height=SELECT_HEIGHT, border=False, vertical_alignment="center"):
            card_head("Loss", f"by epoch; {ring}")
        lines = [
            _line(points, "loss", "train", colors.train, is_dotted=True),
            _line(points, "eval_loss", "eval", colors.eval, best=best),
        ]
        _plot(
            charts.line_figure(lines, is_dark=is_dark, x_end=end, is_from_zero=True, height=CHART_HEIGHT),
            "loss",
        )
    with grid.cell(), st.container(border=True, height="stretch"):
        key = _choose_metric(points, ring)
        line = _line(points, key, "eval", colors.eval, best=best, factor=100)
        _plot(
            charts.line_figure(
                [line], is_dark=is_dark, x_end=end, value_format=".1f", unit=" %", height=CHART_HEIGHT
            ),
            "metric",
        )
    small = {"is_dark": is_dark, "x_end": end, "height": SMALL_CHART_HEIGHT, "is_from_zero": True}
    with grid.cell(), st.container(border=True, height="stretch"):
        card_head("Learning rate", _schedule_words(record))
        line = _line(points, "learning_rate", "", colors.train)
        _plot(charts.line_figure([line], value_format="~g", **small), "learning_rate")
    with grid.cell(), st.container(border=True, height="stretch"):
        card_head("Throughput", "train images per second")
        line = _line(points, "train_samples_per_second", "", colors.train)
        _plot(charts.line_figure([line], value_format=",.0f", **small), "throughput")


def _schedule_words(record: RunRecord) -> str:
    training = readers.config(record.run_id).training
    return (
        f"peak {formats.significant(training.learning_rate)}, {training.lr_scheduler_type.replace('_', ' ')}"
    )


def _choose_metric(points: pd.DataFrame, ring: str) -> str:
    shares = [key for key in points["key"].unique() if key.startswith("eval_") and not key.endswith("loss")]
    options = sorted(shares, key=lambda key: (key != "eval_accuracy", key)) or ["eval_accuracy"]
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        chosen = st.selectbox(
            "Metric", options, format_func=formats.metric_title, key="run_metric", width=210,
            label_visibility="collapsed", persist_state="session",
        )  # fmt: skip
        st.markdown(f":small[:gray[in %; {ring}]]", width="content")
    return chosen or options[0]


def _draw_findings(found: Sequence[findings.Advice]) -> None:
    card_head("What to do")
    for advice in found:
        st.markdown(f"{advice.icon} **{advice.title}** {advice.text}")


def _draw_log(title: str, path: Path, is_test_open: bool) -> None:
    text = _tail(path) or "The worker has said nothing yet."
    shown = text if is_test_open else re.sub(r"(\btest_\w+)[ :=]+[\d.]+", r"\1 sealed", text)
    card_head(title, "newest last")
    with st.container(height=PANEL_HEIGHT - 78, border=False, autoscroll=True, key="run_log"):
        st.code(shown, language=None)


def _draw_evaluation(record: RunRecord, is_test_open: bool) -> None:
    with st.container(border=True):
        has_test = bool(record.evaluation.get("test"))
        splits = ["eval", "test"] if has_test and is_test_open else ["eval"]
        sealed = "; test sealed: open it on the Errors page" if has_test and not is_test_open else ""
        card_head("Figures of the best checkpoint", f"on {' and '.join(splits)}{sealed}")
        keys = [key for key in record.evaluation["eval"] if key in formats.METRIC_TITLES]
        grid = st.grid(5, min_column_width=130, gap=("small", "xsmall"), key="run_evaluation")
        for key in keys:
            values = [
                (f":{formats.SPLIT_COLORS[split]}[{split}] " if len(splits) > 1 else "")
                + f"{formats.metric_value(key, record.evaluation[split].get(key))}"
                for split in splits
            ]
            with grid.cell():
                st.markdown("  \n".join([f":gray[:small[{formats.metric_title(key)}]]", *values]))


def _draw_settings(record: RunRecord) -> None:
    config = readers.config(record.run_id)
    settings = [one for one in all_settings() if one.key != "name"]
    changed = [one for one in settings if not one.is_required and value_of(config, one) != one.default]
    title = f"Settings: {len(changed)} of {len(settings)} changed"
    with st.expander(title, icon=":material/tune:", key="run_settings"):
        table = pd.DataFrame(
            {
                "": ["●" if one in changed or one.is_required else "" for one in settings],
                "Group": [GROUP_TITLES[one.group] for one in settings],
                "Setting": [one.title for one in settings],
                "Value": [formats.setting_value(value_of(config, one)) for one in settings],
                "Default": [
                    "required" if one.is_required else formats.setting_value(one.default) for one in settings
                ],
            }
        )
        order = table[""].ne("").sort_values(ascending=False, kind="stable").index
        st.dataframe(table.loc[order], hide_index=True, height=380, key="run_settings_table")
        st.caption("● differs from the default, or has none.")
    with st.expander("Show YAML and command", icon=":material/terminal:", key="run_yaml"):
        path = readers.run_paths(record.run_id).config
        st.markdown("The same run from a shell:")
        st.code(f"superft --home {readers.home_paths().home} train {path}", language="bash", wrap_lines=True)
        st.code(dump_config(config), language="yaml", height=380)
    with st.expander("History", icon=":material/history:", key="run_history"):
        for event in readers.events(record.run_id):
            detail = f": {formats.plain(event.detail)}" if event.detail else ""
            who = formats.plain(event.by)
            st.markdown(
                f":gray[{formats.moment(event.time)}] {formats.plain(event.what)}{detail} :gray[by {who}]"
            )


def _line(
    points: pd.DataFrame, key: str, name: str, color: str, *, is_dotted: bool = False,
    best: float | None = None, factor: float = 1.0,
) -> charts.Line:  # fmt: skip
    found = points[points["key"] == key].sort_values("step")
    return charts.Line(
        name, found["epoch"].tolist(), (found["value"] * factor).tolist(), color, is_dotted, best
    )


def _plot(figure: object, name: str) -> None:
    st.plotly_chart(figure, theme="streamlit", config=charts.CONFIG, key=f"run_chart_{name}", alt=name)


def _epoch_of(points: pd.DataFrame, step: int | None) -> float | None:
    """The epoch of the evaluation at a step."""
    found = (
        points[(points["step"] == step) & points["key"].str.startswith("eval_")] if len(points) else points
    )
    return None if step is None or found.empty else float(found["epoch"].iloc[0])


def _is_dark() -> bool:
    return st.context.theme.type == "dark"


def _tail(path: Path) -> str:
    """The last lines of a log, read from its end only; progress bars leave their last state."""
    try:
        with path.open("rb") as opened:
            size = opened.seek(0, 2)
            opened.seek(max(0, size - LOG_BYTES))
            text = opened.read().decode("utf-8", "replace")
    except OSError:
        return ""
    plain = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text)
    lines = [line.rsplit("\r", 1)[-1] for line in plain.replace("\r\n", "\n").rstrip().split("\n")]
    return "\n".join(lines[-LOG_LINES:])


draw_page()
