"""The figures, by what they hold: Plotly charts are opaque to AppTest."""

import numpy as np
import pytest

from dashboard import charts
from dashboard.charts import DARK, LIGHT, Line, line_figure, run_colors, thinned
from dashboard.confusion_chart import confusion_figure, ink


def targets(figure):
    """The trace that takes the clicks."""
    return figure.data[-1]


def cells(figure):
    return {tuple(point[:2]): point[2] for point in targets(figure).customdata}


def test_confusion_figure__every_cell_can_be_clicked_and_knows_its_count():
    figure = confusion_figure(np.array([[5, 1], [0, 7]]), ["cat", "dog"], is_dark=False)
    assert cells(figure) == {(0, 0): 5, (0, 1): 1, (1, 0): 0, (1, 1): 7}
    assert targets(figure).mode == "markers" and targets(figure).marker.opacity == 0
    assert targets(figure).hoverinfo is None  # "skip" would swallow the clicks


def test_confusion_figure__heatmaps_hold_right_and_wrong_apart():
    figure = confusion_figure(np.array([[5, 1], [0, 7]]), ["cat", "dog"], is_dark=False)
    empty, right, wrong = (np.array(trace.z, dtype=float) for trace in figure.data[:3])
    assert np.isfinite(empty).tolist() == [[False, False], [True, False]]
    assert np.isfinite(right).tolist() == [[True, False], [False, True]]
    assert np.isfinite(wrong).tolist() == [[False, True], [False, False]]


def test_confusion_figure__numbers_only_where_there_are_examples():
    figure = confusion_figure(np.array([[5, 1], [0, 1200]]), ["cat", "dog"], is_dark=False)
    assert [(a.x, a.y, a.text) for a in figure.layout.annotations] == [
        (0, 0, "<b>5</b>"), (1, 0, "<b>1</b>"), (1, 1, "<b>1,200</b>"),
    ]  # fmt: skip


def test_confusion_figure__shares_are_of_the_row():
    figure = confusion_figure(np.array([[3, 1], [0, 8]]), ["cat", "dog"], is_dark=True, is_shares=True)
    assert [a.text for a in figure.layout.annotations] == ["<b>75.0</b>", "<b>25.0</b>", "<b>100.0</b>"]


def test_confusion_figure__a_class_without_examples():
    figure = confusion_figure(np.array([[3, 0], [0, 0]]), ["cat", "dog"], is_dark=False, is_shares=True)
    assert [a.text for a in figure.layout.annotations] == ["<b>100.0</b>"]


def test_confusion_figure__chosen_cell_is_framed():
    figure = confusion_figure(np.eye(3, dtype=int), ["a", "b", "c"], is_dark=False, chosen=(2, 1))
    frame = figure.layout.shapes[0]
    assert (frame.x0, frame.x1, frame.y0, frame.y1) == (0.5, 1.5, 1.5, 2.5)


@pytest.mark.parametrize(
    ("count", "has_numbers", "num_traces"), [(29, True, 4), (30, False, 4), (61, False, 1)]
)
def test_confusion_figure__by_number_of_classes(count, has_numbers, num_traces):
    matrix = np.eye(count, dtype=int)
    figure = confusion_figure(matrix, [f"class {index}" for index in range(count)], is_dark=False)
    assert bool(figure.layout.annotations) == has_numbers
    assert len(figure.data) == num_traces


def test_confusion_figure__a_thousand_classes_draw_only_what_is_there():
    matrix = np.zeros((1000, 1000), dtype=int)
    matrix[3, 998] = 2
    matrix[5, 5] = 7
    figure = confusion_figure(matrix, [str(index) for index in range(1000)], is_dark=True, chosen=(3, 998))
    assert cells(figure) == {(3, 998): 2, (5, 5): 7}
    assert targets(figure).marker.opacity == 1 and targets(figure).unselected.marker.opacity == 1


def test_ink_reads_on_every_step_of_the_matrix():
    for fill in (*LIGHT.right_steps, *LIGHT.wrong_steps, *DARK.right_steps, *DARK.wrong_steps):
        light, dark = sorted((luminance(fill), luminance(ink(fill))), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, fill


def luminance(color):
    channels = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


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
