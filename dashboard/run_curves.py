"""The figures and curves of a run: four numbers, and what they rose or fell by, epoch by epoch."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from dashboard import charts, formats, readers
from dashboard.look import card_head
from superft_hf.records import RunRecord, RunState
from superft_hf.train_loss import train_loss_key

CHART_HEIGHT, SMALL_CHART_HEIGHT = 250, 160
SELECT_HEIGHT = 36  # of the head beside it, which holds a selectbox


def draw_figures(record: RunRecord, points: pd.DataFrame) -> None:
    """Draws the four numbers that say most.

    Args:
        record: The run.
        points: Its metrics so far: columns step, epoch, key, value.
    """
    metric = record.best_metric or "eval_loss"
    losses = points[points["key"] == "eval_loss"]
    best_loss = losses[losses["step"] == record.best_step]["value"]
    train = points[points["key"] == train_loss_key(set(points["key"]))]["value"]
    pace = points[points["key"] == "train_samples_per_second"]["value"]
    best_epoch = epoch_of(points, record.best_step)
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
            f"epoch {formats.epochs(best_epoch)}" if best_epoch is not None else formats.NOTHING,
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


def draw_curves(record: RunRecord, points: pd.DataFrame) -> None:
    """Draws loss, a metric, learning rate and throughput by epoch.

    Args:
        record: The run.
        points: Its metrics so far: columns step, epoch, key, value.
    """
    best = epoch_of(points, record.best_step)
    ring = f"ring: best by {formats.metric_title(record.best_metric or 'eval_loss').lower()}"
    is_going_on = record.is_unfinished or record.state is RunState.PAUSED
    end = record.num_train_epochs if is_going_on else float(points["epoch"].max())
    is_dark = _is_dark()
    colors = charts.palette(is_dark)
    grid = st.grid(2, min_column_width=300, gap="small", key="run_curves")
    with grid.cell(), st.container(border=True, height="stretch"):
        with st.container(height=SELECT_HEIGHT, border=False, vertical_alignment="center"):
            card_head("Loss", f"by epoch; {ring}")
        lines = [
            _line(points, train_loss_key(set(points["key"])), "train", colors.train, is_dotted=True),
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


def epoch_of(points: pd.DataFrame, step: int | None) -> float | None:
    """The epoch of the evaluation at a step."""
    found = (
        points[(points["step"] == step) & points["key"].str.startswith("eval_")] if len(points) else points
    )
    return None if step is None or found.empty else float(found["epoch"].iloc[0])


def _schedule_words(record: RunRecord) -> str:
    training = readers.decided(record.run_id).training
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


def _is_dark() -> bool:
    return st.context.theme.type == "dark"
