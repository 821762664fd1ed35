"""The pictures of the layers, by what they hold."""

import math

import numpy as np
import pytest

from dashboard.charts import palette
from dashboard.layer_charts import heat_figure, short_name, sides_figure
from superft_hf.evaluation.layer_history import Layer, LayerHistory

LAYERS = (Layer("stem", 1), Layer("block", 1), Layer("head", 1, is_head=True))


def history(changes, layers=LAYERS):
    values = np.array(changes, dtype=float)
    steps = np.arange(1, 1 + len(values))
    nothing = np.full_like(values, math.nan)
    return LayerHistory(layers, steps, steps / 2, values, nothing, np.ones_like(values))


def figure_of(changes, layers=LAYERS, **more):
    found = history(changes, layers)
    return heat_figure(found, found.changes, "changed by", is_dark=False, x_end=4, **more)


def test_heat_figure__layers_from_the_images_down_and_epochs_to_the_planned_end():
    figure = figure_of([[0.001, 0.01, 0.1], [0.002, 0.02, 0.2]])
    cells = figure.data[1]
    assert list(cells.x) == [0.0, 0.5, 1.0] and list(cells.y) == ["stem", "block", "head"]
    assert tuple(figure.layout.yaxis.range) == (2.5, -0.5) and tuple(figure.layout.xaxis.range) == (0, 4)
    assert np.round(cells.z, 3).tolist() == [[-3.0, -2.699], [-2.0, -1.699], [-1.0, -0.699]]
    assert cells.customdata[2][1] == [20.0, 1.0]  # the head: percent and epoch
    assert [shape.y0 for shape in figure.layout.shapes] == [1.5]


def test_heat_figure__colours_are_powers_of_ten_with_percent_at_their_ends():
    bar = figure_of([[0.001, 0.01, 0.15]]).data[1]
    assert (bar.zmin, bar.zmax) == (-3, 0)
    assert list(bar.colorbar.ticktext) == ["0.1 %", "1 %", "10 %", "100 %"]
    assert [color for _, color in bar.colorscale] == list(palette(False).amounts)
    alike = figure_of([[0.02, 0.03, 0.03]]).data[1]
    assert (alike.zmin, alike.zmax) == (-2, -1)
    wide = figure_of([[1e-9, 0.01, 0.5]]).data[1]
    assert (wide.zmin, wide.zmax) == (-4, 0)


def test_heat_figure__what_has_not_moved_is_an_empty_cell_and_what_is_unknown_is_none():
    still, cells = figure_of([[0.0, math.nan, 0.1]]).data
    assert still.z[0][0] == 0.0 and np.isnan([still.z[1][0], still.z[2][0]]).all()
    assert np.isnan([cells.z[0][0], cells.z[1][0]]).all() and cells.z[2][0] == -1.0
    assert "as it was" in still.hovertemplate


@pytest.mark.parametrize(("count", "height"), [(1, 124), (3, 154), (60, 736)])
def test_heat_figure__height_follows_from_the_layers_alone(count, height):
    layers = tuple(Layer(f"layer{place}", 1) for place in range(count))
    early, late = (figure_of([[0.1] * count] * steps, layers) for steps in (1, 8))
    assert early.layout.height == late.layout.height == height
    assert not early.layout.shapes


def test_short_name__words_become_letters_from_the_left():
    assert short_name("encoder.layers.2.blocks.17.attention") == "e.l.2.b.17.attention"
    assert short_name("fc") == "fc" and len(short_name("x" * 90)) == 20


def test_sides_figure__a_mark_a_run_and_hollow_where_nothing_moved():
    changes = {"A full": np.array([0.001, 0.01, 0.1]), "B head": np.array([0.0, math.nan, 0.2])}
    figure = sides_figure(LAYERS, changes, {"A full": "#111111", "B head": "#222222"}, is_dark=True)
    full, head = figure.data
    assert np.round(full.x, 3).tolist() == [-3.0, -2.0, -1.0] and list(full.marker.symbol) == ["circle"] * 3
    assert list(head.y) == ["stem", "head"] and list(head.marker.symbol) == ["square-open", "square"]
    assert head.x[0] < full.x[0] and list(head.text) == ["as it was", "changed by 20 %"]
    assert list(figure.layout.xaxis.ticktext) == ["0", "0.1 %", "1 %", "10 %", "100 %"]
