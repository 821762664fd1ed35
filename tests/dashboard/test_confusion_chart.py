"""The confusion matrix as a figure: what its cells and margins hold, and what a click on them says."""

import numpy as np
import pytest
from sklearn import metrics as sk

from dashboard import confusion_overview
from dashboard.charts import DARK, LIGHT
from dashboard.confusion_chart import confusion_figure, selected
from dashboard.confusion_part import MAX_MARKERS, MatrixLook, ink, num_hidden, part_of
from dashboard.state import Selection
from superft_hf.evaluation.classification import confusion_matrix
from superft_hf.evaluation.matrices import Window, order, window_around

MATRIX = np.array([[5, 1, 0], [2, 7, 0], [0, 0, 0]])
NAMES = ["cat", "dog", "emu"]


def traces(figure, xaxis, yaxis):
    return [one for one in figure.data if (one.xaxis or "x", one.yaxis or "y") == (xaxis, yaxis)]


def targets(figure, xaxis="x", yaxis="y"):
    """Everything that can be clicked there: position and customdata."""
    (found,) = [one for one in traces(figure, xaxis, yaxis) if one.type == "scatter"]
    return {(x, y): list(data) for x, y, data in zip(found.x, found.y, found.customdata, strict=True)}


def numbers(figure, xref="x", yref="y"):
    return {
        (one.x, one.y): one.text for one in figure.layout.annotations if (one.xref, one.yref) == (xref, yref)
    }


def random_matrix(num_classes, num_images, seed=0):
    labels, predictions = np.random.default_rng(seed).integers(0, num_classes, (2, num_images))
    return confusion_matrix(labels, predictions, num_classes)


def test_every_cell_can_be_clicked_and_knows_its_count():
    figure = confusion_figure(np.array([[5, 1], [0, 7]]), ["cat", "dog"], is_dark=False)
    assert {place: data[:3] for place, data in targets(figure).items()} == {
        (0, 0): [0, 0, 5], (1, 0): [0, 1, 1], (0, 1): [1, 0, 0], (1, 1): [1, 1, 7],
    }  # fmt: skip
    (clicked,) = [one for one in traces(figure, "x", "y") if one.type == "scatter"]
    assert clicked.mode == "markers" and clicked.marker.opacity == 0
    assert clicked.hoverinfo is None  # "skip" would swallow the clicks


def test_heatmaps_hold_right_and_wrong_apart():
    figure = confusion_figure(np.array([[5, 1], [0, 7]]), ["cat", "dog"], is_dark=False)
    empty, right, wrong = (np.array(trace.z, dtype=float) for trace in figure.data[:3])
    assert np.isfinite(empty).tolist() == [[False, False], [True, False]]
    assert np.isfinite(right).tolist() == [[True, False], [False, True]]
    assert np.isfinite(wrong).tolist() == [[False, True], [False, False]]


def test_numbers_stand_only_where_there_are_examples():
    figure = confusion_figure(np.array([[5, 1], [0, 1200]]), ["cat", "dog"], is_dark=False)
    assert numbers(figure) == {(0, 0): "<b>5</b>", (1, 0): "<b>1</b>", (1, 1): "<b>1,200</b>"}


def test_shares_of_the_row():
    figure = confusion_figure(
        np.array([[3, 1], [0, 8]]), ["cat", "dog"], is_dark=True, look=MatrixLook("row")
    )
    assert numbers(figure) == {(0, 0): "<b>75.0</b>", (1, 0): "<b>25.0</b>", (1, 1): "<b>100.0</b>"}


@pytest.mark.parametrize(
    ("count", "has_numbers", "num_traces"), [(29, True, 4), (30, False, 4), (61, False, 1)]
)
def test_what_is_drawn_by_number_of_classes(count, has_numbers, num_traces):
    names = [f"class {index}" for index in range(count)]
    figure = confusion_figure(np.eye(count, dtype=int), names, is_dark=False)
    assert bool(figure.layout.annotations) == has_numbers
    assert len(traces(figure, "x", "y")) == num_traces


def test_all_of_a_thousand_classes_draw_only_what_is_there():
    matrix = np.zeros((1000, 1000), dtype=int)
    matrix[3, 998], matrix[5, 5] = 2, 7
    figure = confusion_figure(matrix, [str(index) for index in range(1000)], is_dark=True)
    assert targets(figure) == {(998, 3): [3, 998, 2, 0], (5, 5): [5, 5, 7, 0]}
    (drawn,) = [one for one in traces(figure, "x", "y") if one.type == "scatter"]
    assert drawn.marker.opacity == 1 and drawn.unselected.marker.opacity == 1


def test_ink_reads_on_every_step_of_the_matrix():
    for fill in (*LIGHT.right_steps, *LIGHT.wrong_steps, *DARK.right_steps, *DARK.wrong_steps):
        light, dark = sorted((luminance(fill), luminance(ink(fill))), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, fill


def luminance(color):
    channels = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_margins_count_each_class_and_what_was_wrong_of_it():
    figure = confusion_figure(MATRIX, NAMES, is_dark=False)
    assert targets(figure, "x2", "y") == {
        (0, 0): [0, -1, 6, 0], (1, 0): [0, -1, 1, 1],
        (0, 1): [1, -1, 9, 0], (1, 1): [1, -1, 2, 1],
        (0, 2): [2, -1, 0, 0], (1, 2): [2, -1, 0, 1],
    }  # fmt: skip
    assert targets(figure, "x", "y2") == {
        (0, 0): [-1, 0, 7, 0], (0, 1): [-1, 0, 2, 1],
        (1, 0): [-1, 1, 8, 0], (1, 1): [-1, 1, 1, 1],
        (2, 0): [-1, 2, 0, 0], (2, 1): [-1, 2, 0, 1],
    }  # fmt: skip


def test_margins_say_recall_and_precision():
    matrix = random_matrix(6, 300)
    labels = np.repeat(np.arange(6), matrix.sum(axis=1))
    predictions = np.concatenate([np.repeat(np.arange(6), row) for row in matrix])
    recall = sk.recall_score(labels, predictions, average=None)
    precision = sk.precision_score(labels, predictions, average=None)
    figure = confusion_figure(matrix, [f"class {one}" for one in range(6)], is_dark=False)
    for class_id in range(6):
        assert f">{100 * recall[class_id]:.0f}\u2009%" in numbers(figure, "x2", "y")[(0, class_id)]
        assert f">{100 * precision[class_id]:.0f}\u2009%" in numbers(figure, "x", "y2")[(class_id, 0)]
    (at_right,) = [one for one in traces(figure, "x2", "y") if one.type == "scatter"]
    assert f"recall {100 * recall[0]:.1f} %" in at_right.text[0]


def test_margins_of_a_class_without_images_claim_no_share():
    figure = confusion_figure(MATRIX, NAMES, is_dark=False)
    assert numbers(figure, "x2", "y")[(0, 2)] == "0"
    (at_right,) = [one for one in traces(figure, "x2", "y") if one.type == "scatter"]
    assert at_right.text[4] == "emu: no image"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ([3, 5, 7, 0], Selection("cell", 3, 5)),
        ([3, 3, 7, 0], Selection("cell", 3, 3)),
        ([0, -1, 7, 0], Selection("row", 0, -1)),
        ([3, -1, 7, 1], Selection("row", 3, -1, True)),
        ([-1, 0, 7, 0], Selection("column", -1, 0)),
        ([-1, 5, 7, 1], Selection("column", -1, 5, True)),
    ],
)
def test_a_click_says_what_it_stands_for(data, expected):
    assert selected({"customdata": data}) == expected


def test_shares_of_the_column():
    figure = confusion_figure(MATRIX, NAMES, is_dark=True, look=MatrixLook("column"))
    assert numbers(figure) == {
        (0, 0): "<b>71.4</b>", (1, 0): "<b>12.5</b>", (0, 1): "<b>28.6</b>", (1, 1): "<b>87.5</b>",
    }  # fmt: skip


def test_a_hidden_diagonal_leaves_the_mistakes_and_their_clicks():
    figure = confusion_figure(MATRIX, NAMES, is_dark=False, look=MatrixLook(hides_diagonal=True))
    assert set(numbers(figure)) == {(1, 0), (0, 1)}
    assert len(targets(figure)) == 9


def test_small_cells_are_left_out_and_said():
    look = MatrixLook(at_least=2)
    figure = confusion_figure(MATRIX, NAMES, is_dark=False, look=look)
    assert set(numbers(figure)) == {(0, 0), (0, 1), (1, 1)}
    assert num_hidden(part_of(MATRIX, NAMES, False, look)) == 1
    assert targets(figure, "x2", "y")[(1, 0)] == [0, -1, 1, 1], "margins count all"


def test_another_order_moves_cells_names_and_margins_alike():
    shown = Window(np.array([1, 2, 0]), np.array([1, 2, 0]))
    figure = confusion_figure(MATRIX, NAMES, is_dark=False, window=shown)
    assert targets(figure)[(2, 0)] == [1, 0, 2, 0], "first row dog, last column cat"
    assert list(figure.layout.yaxis.ticktext) == ["dog", "emu", "cat"]
    assert targets(figure, "x2", "y")[(0, 2)] == [0, -1, 6, 0]
    assert numbers(figure)[(0, 0)] == "<b>7</b>"


def test_a_window_of_a_thousand_classes_has_numbers_for_its_part_only():
    matrix = random_matrix(1000, 50_000)
    names = [f"class {one}" for one in range(1000)]
    shown = window_around(matrix, order(matrix, names, "name"), [4, 7], 20)
    figure = confusion_figure(matrix, names, is_dark=False, window=shown)
    assert len(targets(figure)) == 400 and len(traces(figure, "x", "y")) == 4
    for (x, y), (label, prediction, count, _) in targets(figure).items():
        assert (shown.columns[x], shown.rows[y]) == (prediction, label)
        assert count == matrix[label, prediction]
    assert targets(figure, "x2", "y")[(0, 0)][2] == matrix[shown.rows[0]].sum(), "of all images"


def test_all_of_a_thousand_classes_are_bounded():
    matrix = random_matrix(1000, 50_000)
    names = [str(one) for one in range(1000)]
    figure = confusion_figure(matrix, names, is_dark=False)
    found = [data for data in targets(figure).values() if data[0] != data[1]]
    counts = matrix[~np.eye(1000, dtype=bool)]
    least = min(data[2] for data in found)
    assert 100 < len(found) <= MAX_MARKERS < np.count_nonzero(counts)
    assert len(found) == (counts >= least).sum(), "of equal cells all are drawn, or none"
    assert (counts >= least - 1).sum() > MAX_MARKERS, "as many as may be"
    hidden = num_hidden(part_of(matrix, names, False, MatrixLook()))
    assert hidden == np.count_nonzero(counts) - len(found)
    assert len(targets(figure)) - len(found) == np.count_nonzero(matrix.diagonal())
    assert not numbers(figure) and not any(one.type == "heatmap" for one in traces(figure, "x", "y"))


def frames(figure):
    return [
        (one.xref or "x", one.yref or "y", (one.x0, one.x1, one.y0, one.y1)) for one in figure.layout.shapes
    ]


def test_what_is_open_is_framed():
    def framed(*chosen):
        return frames(confusion_figure(MATRIX, NAMES, is_dark=False, chosen=Selection(*chosen)))

    assert framed("cell", 1, 0) == [("x", "y", (-0.5, 0.5, 0.5, 1.5))]
    assert framed("row", 1, -1) == [("x", "y", (-0.5, 2.5, 0.5, 1.5)), ("x2", "y", (-0.5, 0.5, 0.5, 1.5))]
    assert framed("row", 1, -1, True)[1] == ("x2", "y", (0.5, 1.5, 0.5, 1.5))
    assert framed("column", -1, 2, True) == [
        ("x", "y", (1.5, 2.5, -0.5, 2.5)), ("x", "y2", (1.5, 2.5, 0.5, 1.5)),
    ]  # fmt: skip


def test_what_is_open_but_out_of_sight_has_no_frame():
    shown = Window(np.array([0, 1]), np.array([0, 1]))
    for chosen in (Selection("cell", 2, 0), Selection("row", 2), Selection("column", -1, 2)):
        assert frames(confusion_figure(MATRIX, NAMES, is_dark=False, window=shown, chosen=chosen)) == []


def test_names_that_look_like_markup_stay_names_and_hover_has_them_whole():
    names = ["<b>bold</b> & co", "a" * 60]
    figure = confusion_figure(np.array([[3, 1], [0, 2]]), names, is_dark=False)
    (found,) = [one for one in traces(figure, "x", "y") if one.type == "scatter"]
    assert found.text[1] == f"&lt;b&gt;bold&lt;/b&gt; &amp; co<br>taken for {'a' * 60}"
    assert len(figure.layout.xaxis.ticktext[1]) == 16


@pytest.mark.parametrize(
    "matrix", [np.zeros((2, 2), int), np.array([[4, 0], [0, 3]]), np.array([[0, 4], [3, 0]])]
)
@pytest.mark.parametrize("cells", ["counts", "row", "column"])
def test_nothing_all_right_and_all_wrong_are_drawn(matrix, cells):
    figure = confusion_figure(matrix, ["a", "b"], is_dark=True, look=MatrixLook(cells))
    assert len(numbers(figure)) == np.count_nonzero(matrix)


def test_overview_blocks_hold_the_mistakes_and_open_the_worst_pair():
    matrix = np.diag([30] * 200)
    matrix[7, 150], matrix[6, 151], matrix[3, 4] = 2, 5, 1
    ordered = np.arange(200)
    shown = Window(ordered[20:40], ordered[20:40])
    figure = confusion_overview.overview_figure(matrix, ordered, shown, is_dark=False)
    (blocks,) = [one for one in figure.data if one.type == "scatter"]
    assert sorted(map(tuple, blocks.customdata)) == [(0, 1, 1), (1, 37, 7)]
    assert confusion_overview.worst_pair(matrix, ordered, 1, 37) == (6, 151)
    assert confusion_overview.worst_pair(matrix, ordered, 5, 5) is None
    frame = figure.layout.shapes[0]
    assert frame.x0 < 20 / 4 - 0.5 and frame.x1 > 40 / 4 - 0.5


def test_overview_marks_classes_from_all_over():
    matrix = np.diag([3] * 100)
    shown = Window(np.array([3, 70]), np.array([3, 70]))
    figure = confusion_overview.overview_figure(matrix, np.arange(100), shown, is_dark=True)
    assert not figure.layout.shapes
    assert [round(x) for x in figure.data[-1].x] == [1, 35]
