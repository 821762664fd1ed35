import numpy as np

from dashboard.charts import DARK, LIGHT
from dashboard.data_charts import (
    MAX_NAMED,
    binned_sizes,
    class_balance_figure,
    distinct_names,
    image_sizes_figure,
    size_ticks,
)

COUNTS = {"train": {"cat": 5, "dog": 9}, "eval": {"cat": 1, "dog": 2}, "test": {"cat": 2, "dog": 0}}


def test_class_balance__largest_first_each_split_in_its_colour():
    figure = class_balance_figure(COUNTS, is_dark=False)

    assert [trace.name for trace in figure.data] == ["train", "eval", "test"]
    assert [list(trace.x) for trace in figure.data] == [[9, 5], [2, 1], [0, 2]]
    assert list(figure.layout.yaxis.ticktext) == ["dog", "cat"]
    assert [trace.marker.color for trace in figure.data] == [LIGHT.train, LIGHT.eval, LIGHT.test]
    assert [note.text for note in figure.layout.annotations] == ["11", "8"]
    assert class_balance_figure(COUNTS, is_dark=True).data[1].marker.color == DARK.eval


def test_class_balance__a_thousand_classes_are_one_shape_with_names_on_hover():
    counts = {
        split: {f"class {index:04d}": index % 50 for index in range(1000)} for split in ("train", "eval")
    }
    figure = class_balance_figure(counts, is_dark=False)

    assert figure.layout.height < 400
    assert list(figure.data[0].y) == sorted(figure.data[0].y, reverse=True)
    assert len(figure.data[0].customdata) == 1000
    assert not figure.layout.annotations


def test_class_balance__the_most_named_classes_keep_a_row_each():
    counts = {"train": {f"class {index}": 3 for index in range(MAX_NAMED)}}
    figure = class_balance_figure(counts, is_dark=False)

    assert len(figure.layout.yaxis.ticktext) == MAX_NAMED
    assert figure.layout.height >= MAX_NAMED * 20


def test_long_names_that_differ_in_the_middle_stay_different():
    names = [f"Acrocephalus schoenobaenus, {age}, seen from the left side" for age in ("adult", "juvenile")]

    assert len(set(distinct_names(names, 20))) == 2
    assert distinct_names(["a", "a"], 20) == ["a", "a"]


def test_sizes__equal_ones_are_counted_together():
    sizes = np.array([[8, 8]] * 3 + [[32, 16]])
    figure = image_sizes_figure(sizes, is_dark=False)
    (trace,) = figure.data

    assert list(zip(trace.x, trace.y, trace.customdata, strict=True)) == [(8, 8, 3), (32, 16, 1)]
    assert trace.marker.size[0] > trace.marker.size[1]


def test_sizes__very_many_different_ones_are_put_together_and_none_is_lost():
    sizes = np.random.default_rng(0).integers(100, 4000, size=(5000, 2))
    shown, counts = binned_sizes(sizes)

    assert len(shown) <= 600
    assert counts.sum() == 5000


def test_size_ticks__one_power_of_two_within_is_not_enough():
    assert size_ticks(200, 300) == [240, 250]
    assert size_ticks(100, 300) == [128, 256]
