"""Curves over one another, scatter and parallel coordinates."""

import math

import numpy as np
import pytest

from dashboard.charts import Line
from dashboard.compare_charts import Axis, overlay_figure, parallel_figure, scatter_figure

NAMES, IDS = ["one", "two", "three"], ["a", "b", "c"]


def overlay(lines, dotted=(), height=300):
    return overlay_figure(
        lines, dotted, is_dark=False, height=height, x_title="step", value_format=".3f", is_from_zero=True
    )


def test_overlay__names_of_lines_that_end_early_stand_at_the_edge():
    early, late = Line("A", [1, 2], [1.0, 0.5], "#111111"), Line("B", [1, 9], [1.0, 0.4], "#222222")
    figure = overlay([early, late])
    assert {(one.xref, one.x) for one in figure.layout.annotations} == {("paper", 1)}
    figure = overlay([late, late])
    assert {one.x for one in figure.layout.annotations} == {9.0}
    assert figure.layout.xaxis.title.text == "step"


def test_overlay__eight_long_names_do_not_overlap_with_train_loss_drawn():
    lines = [Line(f"{one} a rather long name", [1, 2], [2.0, 0.5 + one / 1e3], "#111111") for one in range(8)]
    dotted = [Line("train", [0.5, 2], [30.0, 0.1], "#111111")]
    figure = overlay(lines, dotted)
    low, high = figure.layout.yaxis.range
    assert high > 30
    area = 300 - figure.layout.margin.t - figure.layout.margin.b
    places = sorted((one.y - low) / (high - low) * area + one.yshift for one in figure.layout.annotations)
    assert np.diff(places).min() >= 15 - 1e-6 and places[-1] <= area + 1e-6


def test_overlay__a_run_without_a_point():
    figure = overlay([Line("A", [], [], "#111111"), Line("B", [1, 2], [math.nan, math.nan], "#222222")])
    assert not figure.layout.annotations


def test_axis__logarithmic_where_numbers_span_much():
    assert Axis("rate", [1e-5, 1e-2]).is_logarithmic
    assert not Axis("epochs", [5.0, 10.0]).is_logarithmic
    assert not Axis("l1", [0.0, 100.0]).is_logarithmic
    assert not Axis("optim", ["sgd", "adam"]).is_logarithmic


@pytest.mark.parametrize("color", [None, Axis("optim", ["sgd", "adam", "sgd"]), Axis("F1", [1.0, 2.0, 3.0])])
def test_scatter__every_point_tells_its_run(color):
    figure = scatter_figure(
        NAMES, IDS, Axis("rate", [1e-4, 1e-2, 1e-1]), Axis("accuracy", [90.0, math.nan, 95.0], " %"), color,
        chosen=[False, True, False], is_dark=False, height=300,
    )  # fmt: skip
    points = figure.data[0]
    assert [list(one) for one in points.customdata] == [["a", "one"], ["b", "two"], ["c", "three"]]
    assert figure.layout.xaxis.type == "log" and figure.layout.yaxis.title.text == "accuracy (%)"
    assert "not known" in points.hovertext[1]
    assert points.marker.line.color[1] != points.marker.line.color[0]


def test_parallel__words_become_ticks_and_chosen_lines_stand_out():
    axes = [Axis("optim", ["sgd", "adam", "sgd"]), Axis("rate", [1e-4, 1e-2, 1e-1]), Axis("acc", [1.0, 2, 3])]
    figure = parallel_figure(axes, chosen=[False, True, False], is_dark=False, height=300)
    optim, rate, _ = figure.data[0].dimensions
    assert optim.values == (0.0, 1.0, 0.0) and optim.ticktext == ("sgd", "adam")
    assert np.allclose(rate.values, [-4, -2, -1]) and rate.ticktext == ("0.0001", "0.01", "0.1")
    assert figure.data[0].line.color == (0.0, 1.0, 0.0)


def test_parallel__an_axis_on_which_nothing_is_known():
    axes = [Axis("a", [math.nan, math.nan]), Axis("b", [1.0, 1.0])]
    figure = parallel_figure(axes, chosen=[False, False], is_dark=True, height=300)
    assert all(math.isfinite(one) for one in figure.data[0].dimensions[0].values)
