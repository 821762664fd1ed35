"""How far training moved each layer of the compared runs, side by side."""

import streamlit as st

from dashboard import charts, formats, layer_panel
from dashboard.compare_views.view import View
from dashboard.layer_charts import sides_figure
from dashboard.look import card_head
from superft_hf.evaluation.layer_history import in_words

NAME_LENGTH = 28


def draw(view: View) -> None:
    """Draws a mark a run in the row of each layer, and a sentence about each run."""
    heads = {
        side.record.run_id: f"{side.letter} {charts.shortened(side.record.name, NAME_LENGTH)}"
        for side in reversed(view.sides)
    }
    found = {one.run_id: layer_panel.read(one.run_id) for one in view.records}
    known = {run_id: history for run_id, history in found.items() if history is not None}
    if not known:
        st.markdown(":gray[None of these runs has a record of its layers.]")
        return
    layers = next(iter(known.values())).layers
    names = [layer.name for layer in layers]
    same = {
        run_id: history
        for run_id, history in known.items()
        if [layer.name for layer in history.layers] == names
    }
    colors = charts.run_colors([one.run_id for one in view.records], st.context.theme.type == "dark")
    with st.container(border=True):
        card_head("How far each layer moved in all", "the images at the top, the head at the bottom")
        figure = sides_figure(
            layers,
            {heads[run_id]: history.final_changes for run_id, history in same.items()},
            {heads[run_id]: colors[run_id] for run_id in same},
            is_dark=st.context.theme.type == "dark",
        )
        st.plotly_chart(
            figure, theme="streamlit", config=charts.CONFIG, key="compare_layers",
            alt="Relative change of each layer's weights; each run's page has the numbers as a table.",
        )  # fmt: skip
        for record in view.records:
            history = known.get(record.run_id)
            name = f"**{formats.plain(heads[record.run_id])}**"
            if history is None:
                words = ":gray[has no record of its layers.]"
            else:
                words = in_words(history, formats.plain, is_going_on=record.is_unfinished)
            other = (
                "" if history is None or record.run_id in same else " :gray[Not drawn: it has other layers.]"
            )
            st.markdown(f"{name}: {words}{other}")
