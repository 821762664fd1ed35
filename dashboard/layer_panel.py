"""What training changed: how far each layer of a run has moved, and its gradients, over the epochs."""

from pathlib import Path

import pandas as pd
import streamlit as st

from dashboard import charts, formats, readers
from dashboard.layer_charts import MAX_COLUMNS, heat_figure
from dashboard.look import card_head
from superft_hf.evaluation.layer_history import (
    LayerHistory,
    in_words,
    read_history,
    share_in_words,
    thinned,
    with_gradients,
)
from superft_hf.records import RunRecord, RunState

TITLE = "What training changed"


def draw(record: RunRecord) -> None:
    """Draws the card: a sentence, two heat maps, and a folded table of the same."""
    history = read(record.run_id)
    with st.container(border=True, key="run_layers"):
        if history is None:
            card_head(TITLE)
            st.markdown(f":gray[{_missing(record)}]")
            return
        layers = formats.counted(len(history.layers), "layer")
        card_head(TITLE, f"{layers}: those that see the images at the top, the head at the bottom")
        is_going_on = record.is_unfinished or record.state is RunState.PAUSED
        st.markdown(in_words(history, formats.plain, is_going_on=is_going_on))
        end = record.num_train_epochs if is_going_on else float(history.epochs[-1])
        grid = st.grid(2, min_column_width=300, gap="small", key="run_layers_maps")
        with grid.cell():
            _draw_changes(history, end)
        with grid.cell():
            _draw_gradients(history, end)
        with st.expander("As a table", icon=":material/table_rows:", key="run_layers_table"):
            st.dataframe(
                table(history), hide_index=True, placeholder=formats.NOTHING, key="run_layers_rows",
                height="content" if len(history.layers) <= 12 else 420,
                column_config={
                    name: st.column_config.TextColumn(alignment="right")
                    for name in ("Parameters", "Changed by", "Gradient")
                },
            )  # fmt: skip


def read(run_id: str) -> LayerHistory | None:
    """The layers' history of a run; None without one. Read again when its file has grown."""
    path = readers.run_paths(run_id).layers
    try:
        status = path.stat()
    except OSError:
        return None
    return _read(str(path), (status.st_mtime_ns, status.st_size, status.st_ino))


def table(history: LayerHistory) -> pd.DataFrame:
    """The last values of each layer in words."""
    return pd.DataFrame(
        {
            "Layer": [f"{one.name} (head)" if one.is_head else one.name for one in history.layers],
            "Parameters": [formats.count(one.num_parameters) for one in history.layers],
            "Changed by": [share_in_words(one) for one in history.final_changes],
            "Gradient": [share_in_words(one) for one in history.final_gradients],
        }
    )


def _draw_changes(history: LayerHistory, end: float) -> None:
    st.markdown("**Weights** :small[:gray[‖W − W₀‖ / ‖W₀‖: how far they are from where they began]]")
    shown = thinned(history, MAX_COLUMNS)
    figure = heat_figure(shown, shown.changes, "changed by", is_dark=_is_dark(), x_end=end)
    _plot(figure, "changes", "Relative change of the weights by layer and epoch; the table holds the last.")


def _draw_gradients(history: LayerHistory, end: float) -> None:
    st.markdown("**Gradients** :small[:gray[of single steps, before clipping, as a share of ‖W‖]]")
    taken = thinned(with_gradients(history), MAX_COLUMNS)
    if not len(taken.steps):
        st.markdown(":gray[None was recorded yet.]")
        return
    figure = heat_figure(taken, taken.relative_gradients, "gradient", is_dark=_is_dark(), x_end=end)
    _plot(figure, "gradients", "Relative norm of the gradient by layer and epoch; the table holds the last.")


def _missing(record: RunRecord) -> str:
    """Why there is nothing to show."""
    if readers.decided(record.run_id).hardware.sharding != "none":
        return "A network that is spread over GPUs keeps no record of its layers."
    if record.is_unfinished or record.state is RunState.PAUSED:
        return "Begins with the next point of the training curve."
    return "This run has no record of its layers: it was trained before these were watched, or none was kept."


def _plot(figure: object, name: str, alt: str) -> None:
    st.plotly_chart(figure, theme="streamlit", config=charts.CONFIG, key=f"run_layers_{name}", alt=alt)


def _is_dark() -> bool:
    return st.context.theme.type == "dark"


@st.cache_resource(max_entries=16, show_spinner=False)
def _read(path: str, stamp: tuple[int, int, int]) -> LayerHistory | None:
    return read_history(Path(path))
