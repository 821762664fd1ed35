"""Charts of curves and calibration: percent, the operating point, and names where no curve runs."""

import numpy as np
import pytest

from dashboard.charts import DARK, LIGHT
from dashboard.curve_charts import (
    Curve,
    Mark,
    confidence_figure,
    precision_recall_figure,
    reliability_figure,
    roc_figure,
)
from superft_hf.evaluation.calibration import Bins

LINE = Curve("cat: AUC 0.900", np.array([0.0, 0.2, 1.0]), np.array([0.0, 0.8, 1.0]), LIGHT.eval)


def traces(figure, mode="lines"):
    return [one for one in figure.data if one.mode == mode]


def words(figure):
    return [one.text for one in figure.layout.annotations]


def test_roc__the_curve_chance_and_the_operating_point():
    figure = roc_figure([LINE], mark=Mark(0.2, 0.8, "threshold 0.5"), is_dark=False)
    chance, curve = traces(figure)
    assert chance.x == chance.y == (0, 100) and chance.hoverinfo == "skip"
    assert curve.x == (0, 20, 100) and curve.y == (0, 80, 100) and curve.line.color == LIGHT.eval
    (mark,) = traces(figure, "markers")
    assert (mark.x, mark.y) == ((20,), (80,)) and "threshold 0.5" in mark.hovertemplate
    assert words(figure) == ["<b>cat: AUC 0.900</b>"]


def test_roc__a_class_without_a_curve_leaves_chance_alone():
    figure = roc_figure([], mark=None, is_dark=True)
    assert len(figure.data) == 1 and words(figure) == []


def test_precision_recall__chance_is_the_share_of_the_class():
    figure = precision_recall_figure([LINE], mark=None, prevalence=0.25, is_dark=False)
    assert traces(figure)[0].y == (25, 25)
    assert len(precision_recall_figure([LINE], mark=None, prevalence=None, is_dark=False).data) == 1


def test_names__are_stacked_below_each_other_the_first_on_top():
    others = [LINE, Curve("macro: 0.8", LINE.x, LINE.y, "#000000", "dash")]
    notes = roc_figure(others, mark=None, is_dark=False).layout.annotations
    heights = {note.text: note.yshift for note in notes}
    assert heights["<b>cat: AUC 0.900</b>"] > heights["<b>macro: 0.8</b>"] == 0


def test_a_long_curve_is_thinned():
    x = np.linspace(0, 1, 50_000)
    curve = traces(roc_figure([Curve("a", x, x**0.2, "#000000")], mark=None, is_dark=False))[1]
    assert len(curve.x) <= 1002 and (curve.x[0], curve.x[-1]) == (0, 100)


def test_reliability__before_is_quiet_once_there_is_an_after():
    bins = Bins(np.array([0.6, 0.9]), np.array([0.5, 0.95]), np.array([10, 10]))
    alone = traces(reliability_figure(bins, None, color=DARK.eval, is_dark=True), "lines+markers")
    assert [one.line.color for one in alone] == [DARK.eval] and alone[0].x == (60, 90)
    both = traces(reliability_figure(bins, bins, color=DARK.eval, is_dark=True), "lines+markers")
    assert [(one.name, one.line.color) for one in both] == [("before", DARK.quiet), ("after", DARK.eval)]


@pytest.mark.parametrize("confidence", [np.array([0.2, 0.97, 1.0, 0.55]), np.full(4, 0.1), np.zeros(0)])
def test_confidence__shares_and_the_two_means(confidence):
    figure = confidence_figure(confidence, accuracy=0.75, color=LIGHT.test, is_dark=False)
    (bars,) = figure.data
    assert sum(bars.y) == pytest.approx(100 if len(confidence) else 0)
    assert sum(one[1] for one in bars.customdata) == len(confidence)
    mean = confidence.mean() if len(confidence) else 0
    assert words(figure) == ["╌╌ accuracy 75.0 %", f"── mean confidence {100 * mean:.1f} %"]
    assert len({note.x for note in figure.layout.annotations}) == 1  # side by side with no line between
    assert [line.x0 for line in figure.layout.shapes] == pytest.approx([75, 100 * mean])
