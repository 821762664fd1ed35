import json

import numpy as np
import pytest

from dashboard.error_views.slices import p_words
from dashboard.slice_chart import SliceBar, slice_figure
from superft_hf import saved_filters
from superft_hf.evaluation.prediction_filter import Filter
from tests.factories import make_completed_run, make_run_of

TAB = {"errors_view": ":material/donut_small: Slices"}


def texts(page) -> str:
    return "\n".join([one.value for one in page.markdown] + [one.value for one in page.subheader])


def run_with_a_weak_class(store, size=90):
    labels = np.tile(np.arange(3), size // 3)
    logits = 6 * np.eye(3, dtype=np.float32)[labels]
    weak = np.flatnonzero(labels == 2)[::2]
    logits[weak] = 6 * np.eye(3, dtype=np.float32)[0]
    return make_run_of(store, "weak", class_names=("a", "b", "c_d"), labels=labels, logits=[logits])


def test_a_weak_class_is_named_and_its_wrong_images_are_open(open_page, store):
    run = run_with_a_weak_class(store)
    page = open_page("errors", session=TAB, run=run.run_id)
    assert not page.exception
    assert "1 slice is worse than the rest" in texts(page)
    assert "15 of 30 images wrong" in texts(page)
    table = page.dataframe[0].value
    assert table["Slice"].tolist()[0] == "c_d" and table["Worse"].tolist()[0] == "yes"


def test_the_images_of_another_slice_open_by_its_row(open_page, store):
    run = run_with_a_weak_class(store)
    key = f"slices_table_{run.run_id}_eval_{run.best_step}_0"
    chosen = {"selection": {"rows": [1], "columns": [], "cells": []}}
    page = open_page("errors", session={**TAB, key: chosen}, run=run.run_id)
    assert not page.exception and "Every image of this slice was recognised" in texts(page)


def test_without_a_find_it_says_that_none_is_shown(open_page, store):
    labels = np.tile(np.arange(3), 30)
    logits = 6 * np.eye(3, dtype=np.float32)[labels]
    run = make_run_of(store, "right", class_names=("a", "b", "c"), labels=labels, logits=[logits])
    page = open_page("errors", session=TAB, run=run.run_id)
    assert not page.exception and "No slice is shown to be worse than the rest" in texts(page)
    assert "of an earlier version" in texts(page)  # its example file is of other images


def test_brightness_and_sharpness_are_slices_of_a_run_with_an_example_file(open_page, store):
    run = make_completed_run(store, hidden=4, epochs=2)
    page = open_page("errors", session=TAB, run=run.run_id)
    assert not page.exception and "of an earlier version" not in texts(page)
    assert {"class", "brightness", "contrast", "sharpness"} <= set(page.dataframe[0].value["By"])


def test_a_saved_filter_is_a_slice(open_page, store):
    run = run_with_a_weak_class(store)
    chosen = saved_filters.SavedFilter(Filter(labels=(1, 2)))
    saved_filters.save(store, run.data, "my *part*", chosen, ("a", "b", "c_d"))
    page = open_page("errors", session=TAB, run=run.run_id)
    assert not page.exception and "my *part*" in page.dataframe[0].value["Slice"].tolist()


def test_a_split_that_is_too_small_is_said(open_page, store):
    labels = np.tile(np.arange(2), 5)
    run = make_run_of(
        store, "tiny", class_names=("a", "b"), labels=labels, logits=[np.eye(2, dtype=np.float32)[labels]]
    )
    page = open_page("errors", session=TAB, run=run.run_id)
    assert not page.exception and "this split has 10 images" in texts(page)


def test_many_classes_stay_whole(open_page, store):
    labels = np.repeat(np.arange(200), 25)
    logits = np.random.default_rng(0).normal(size=(5000, 200)).astype(np.float32)
    logits[np.arange(5000), labels] += 3
    names = tuple(f"class {label}" for label in range(200))
    run = make_run_of(store, "many", class_names=names, labels=labels, logits=[logits])
    page = open_page("errors", session=TAB, run=run.run_id)
    assert not page.exception and len(page.dataframe[0].value) == 200


@pytest.mark.parametrize("is_dark", [False, True])
def test_the_chart_shows_accuracy_and_interval_of_each_slice(is_dark):
    bars = [SliceBar("dark", 0.5, 0.4, 0.6, True), SliceBar("cat", 0.9, 0.8, 0.95, False)]
    figure = json.loads(slice_figure(bars, 0.8, is_dark).to_json())
    worse, other = figure["data"]
    assert (worse["x"], worse["y"], other["x"], other["y"]) == ([50], [0], [90], [1])
    assert worse["error_x"]["array"] == pytest.approx([10]) and other["error_x"][
        "arrayminus"
    ] == pytest.approx([10])
    assert worse["marker"]["color"] != other["marker"]["color"] and worse["marker"]["symbol"] == "circle"
    assert figure["layout"]["shapes"][0]["x0"] == 80 and figure["layout"]["xaxis"]["range"][
        0
    ] == pytest.approx(36)
    assert slice_figure([], 1.0, is_dark).data is not None


def test_p_values_are_short():
    assert [p_words(one) for one in (0, 0.0009, 0.05, 0.994, 0.995)] == [
        "< 0.001",
        "< 0.001",
        "0.050",
        "0.99",
        "1",
    ]
