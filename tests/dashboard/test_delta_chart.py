"""The delta matrix as a figure: what is drawn, what is clickable, what blue and orange mean."""

from types import SimpleNamespace

import numpy as np
import pytest

from dashboard.charts import LIGHT
from dashboard.compare_views import delta
from dashboard.delta_chart import MAX_CELLS, delta_figure, drawn_cells

NAMES = ["cat", "dog", "fox"]
DELTA = np.array([[2, -2, 0], [1, -1, 0], [0, 0, 0]])
MOVED = np.array([[2, 2, 0], [1, 1, 0], [0, 0, 4]])


def test_only_cells_with_movement_are_drawn_and_each_carries_what_it_is():
    figure = delta_figure(DELTA, MOVED, NAMES, is_dark=False)
    cells = figure.data[0].customdata
    assert [list(one) for one in cells] == [
        [0, 0, 2, 2], [0, 1, -2, 2], [1, 0, 1, 1], [1, 1, -1, 1], [2, 2, 0, 4],
    ]  # fmt: skip
    assert [one.text for one in figure.layout.annotations] == [
        "<b>+2</b>", "<b>−2</b>", "<b>+1</b>", "<b>−1</b>", "<b>±0</b>",
    ]  # fmt: skip


def test_blue_is_better_and_orange_worse_on_and_beside_the_diagonal():
    fills = delta_figure(DELTA, MOVED, NAMES, is_dark=False).data[0].marker.color
    assert fills[0] in LIGHT.right_steps and fills[1] in LIGHT.right_steps  # more right, fewer wrong
    assert fills[2] in LIGHT.wrong_steps and fills[3] in LIGHT.wrong_steps
    assert fills[4].startswith("rgba")  # as many came as left


def test_a_thousand_classes_draw_a_bounded_number_of_cells_without_numbers():
    generator = np.random.default_rng(0)
    moved = generator.integers(0, 2, (1000, 1000))
    delta = np.where(moved > 0, generator.integers(-3, 4, moved.shape), 0)
    names = [f"class {one}" for one in range(1000)]
    figure = delta_figure(delta, np.maximum(moved, np.abs(delta)), names, is_dark=True, chosen=(3, 4))
    assert len(figure.data[0].x) == MAX_CELLS and not figure.layout.annotations
    rows, columns = drawn_cells(delta, np.maximum(moved, np.abs(delta)))
    assert np.abs(delta[rows, columns]).min() == 3  # the largest changes first


@pytest.mark.parametrize("chosen", [None, (0, 1)])
def test_the_open_cell_is_framed(chosen):
    figure = delta_figure(DELTA, MOVED, NAMES, is_dark=False, chosen=chosen)
    assert len(figure.layout.shapes) == (chosen is not None)


def test_a_click_opens_the_cell_for_these_two_runs_alone(monkeypatch):
    kept = {}
    point = {"customdata": [3, 9, -7, 7]}
    monkeypatch.setattr(delta.state, "selection", lambda key: {"points": [point]})
    monkeypatch.setattr(delta.state, "put_value", kept.__setitem__)
    monkeypatch.setattr(delta.state, "renew_key", lambda name: None)
    sides = (SimpleNamespace(run_id=one) for one in ("a", "b"))
    pair = SimpleNamespace(first=next(sides), second=next(sides))
    delta._take_point(pair)
    assert kept == {"compare_cell_a_b": (3, 9)}
