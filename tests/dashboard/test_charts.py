"""The figures, by what they hold: Plotly charts are opaque to AppTest."""

import numpy as np
import pytest

from dashboard import charts
from dashboard.charts import Line, line_figure, run_colors, thinned


def test_line_figure__axis_reaches_to_the_planned_end():
    figure = line_figure([Line("eval", [1, 2], [0.5, 0.4], "#000000")], is_dark=False, x_end=40)
    assert figure.layout.xaxis.range[0] == 0 and figure.layout.xaxis.range[1] == pytest.approx(40, rel=0.01)


def test_line_figure__ring_and_names():
    lines = [
        Line("train", [1, 2, 3], [1.0, 0.5, 0.2], "#111111", is_dotted=True),
        Line("eval", [1, 2, 3], [1.0, 0.6, 0.7], "#222222", best=2.0),
    ]
    figure = line_figure(lines, is_dark=False)
    train, evaluated, ring = figure.data
    assert train.line.dash == "dot" and evaluated.line.dash == "solid"
    assert (ring.x, ring.y) == ((2,), (0.6,))
    assert [a.text for a in figure.layout.annotations] == ["<b>train</b>", "<b>eval</b>"]


def test_line_figure__names_that_would_overlap_are_moved_apart():
    lines = [Line(name, [1, 2], [1.0, 0.5], "#111111") for name in ("one", "two", "three")]
    shifts = sorted(a.yshift for a in line_figure(lines, is_dark=False).layout.annotations)
    assert shifts[1] - shifts[0] > 12 and shifts[2] - shifts[1] > 12


@pytest.mark.parametrize("values", [[], [float("nan")]])
def test_line_figure__nothing_to_draw_yet(values):
    figure = line_figure([Line("eval", [1][: len(values)], values, "#111111")], is_dark=True, x_end=5)
    assert not figure.data and figure.layout.xaxis.range[1] == pytest.approx(5, rel=0.01)


def test_line_figure__a_single_point_is_a_marker():
    assert line_figure([Line("eval", [1], [0.5], "#111111")], is_dark=False).data[0].mode == "markers"


def test_thinned__long_lines_keep_their_spikes_gaps_and_ends():
    values = np.ones(10_000)
    values[[0, 3_333, 6_666]] = 2.0, 9.0, -5.0
    values[5_000:5_010] = np.nan
    short = thinned(Line("train", list(range(10_000)), values.tolist(), "#111111"))
    assert len(short.x) <= charts.MAX_POINTS and (short.x[0], short.x[-1]) == (0, 9_999)
    assert short.x == sorted(set(short.x))
    drawn = dict(zip(short.x, short.y, strict=True))
    assert (drawn[0], drawn[3_333], drawn[6_666]) == (2.0, 9.0, -5.0)
    assert np.isnan(drawn[5_000])


def test_thinned__short_lines_stay_as_they_are():
    line = Line("train", [1, 2], [3.0, 4.0], "#111111")
    assert thinned(line) is line


def test_run_colors__a_run_keeps_its_colour_and_no_two_share_one():
    ids = [f"20261124-0000-aa{letter}b" for letter in "abcdefgh"]
    together = run_colors(ids, is_dark=False)
    assert len(set(together.values())) == 8
    assert run_colors(ids[:1], is_dark=False)[ids[0]] == together[ids[0]]


def test_run_colors__more_runs_than_colours():
    ids = [f"20261124-0000-aa{number:02d}" for number in range(12)]
    assert len(run_colors(ids, is_dark=True)) == 12


def test_bar_figure__shares_become_percent():
    bars = charts.bar_figure(["cat", "dog"], [0.75, 0.25], "#111111", is_dark=False).data[0]
    assert list(bars.x) == [75.0, 25.0] and list(bars.text) == ["75.0 %", "25.0 %"]
