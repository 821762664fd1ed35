"""The Errors page: every number on it is one of the prediction file."""

import pandas as pd
import pytest

from dashboard import headlines
from superft_hf.evaluation.prediction_files import read_predictions
from superft_hf.records import LOOKED_AT_TEST
from tests.factories import (
    continue_run,
    make_completed_run,
    make_image_folder,
    make_many_classes_run,
    make_queued_run,
    make_running_run,
)


@pytest.fixture
def run(store):
    return make_completed_run(store, hidden=10, learning_rate=0.002)


def rows_of(store, run, split="eval", step=None):
    return read_predictions(store.run_paths(run.run_id).prediction_file(split, step or run.best_step))


def heads(app):
    return [head.value for head in app.subheader]


def captions(app):
    return [markdown.value for markdown in app.main.markdown if "true " in markdown.value]


def test_errors_page__headline_is_the_files_truth(open_page, store, run):
    rows = rows_of(store, run)
    wrong = int((rows["label"] != rows["prediction"]).sum())
    sentence = open_page("errors", run=run.run_id).title[0].value
    assert f"{wrong} of 270 wrong" in sentence and "on eval (95 % interval" in sentence


def test_errors_page__opens_the_most_confused_cell(open_page, store, run):
    rows = rows_of(store, run)
    pairs = rows[rows["label"] != rows["prediction"]].groupby(["label", "prediction"]).size()
    label, prediction = pairs.idxmax()
    assert (
        heads(open_page("errors", run=run.run_id))[1]
        == f"{label} taken for {prediction}: {pairs.max()} images"
    )


def test_errors_page__a_chosen_cell_shows_exactly_its_images(open_page, store, run):
    rows = rows_of(store, run)
    pairs = rows[rows["label"] != rows["prediction"]].groupby(["label", "prediction"]).size()
    label, prediction = pairs.idxmin()
    found = rows[(rows["label"] == label) & (rows["prediction"] == prediction)]
    app = open_page("errors", {f"errors_cell_{run.run_id}": (int(label), int(prediction))}, run=run.run_id)
    noun = "image" if len(found) == 1 else "images"
    assert heads(app)[1] == f"{label} taken for {prediction}: {len(found)} {noun}"
    shown = captions(app)[: len(found)]
    assert all(f"**{prediction}**" in caption and f"true {label}" in caption for caption in shown)


def test_errors_page__an_empty_cell_says_so(open_page, store, run):
    rows = rows_of(store, run)
    taken = set(zip(rows["label"], rows["prediction"], strict=True))
    cell = next((i, j) for i in range(10) for j in range(10) if i != j and (i, j) not in taken)
    app = open_page("errors", {f"errors_cell_{run.run_id}": cell}, run=run.run_id)
    assert any("No image of" in markdown.value for markdown in app.main.markdown) and not app.exception


def test_errors_page__a_full_cell_is_paged(open_page, store, run):
    app = open_page("errors", {f"errors_cell_{run.run_id}": (0, 0)}, run=run.run_id)
    rows = rows_of(store, run)
    size = int(((rows["label"] == 0) & (rows["prediction"] == 0)).sum())
    assert heads(app)[1] == f"0 recognised: {size} images" and size > 12
    assert sum("true 0" in caption and ":blue[" in caption for caption in captions(app)) == 12


def test_errors_page__a_cell_of_a_run_with_more_classes_is_forgotten(open_page, run):
    app = open_page("errors", {f"errors_cell_{run.run_id}": (77, 3)}, run=run.run_id)
    assert not app.exception and "taken for" in heads(app)[1]


def test_errors_page__tables_add_up(open_page, store, run):
    rows = rows_of(store, run)
    app = open_page("errors", run=run.run_id)
    by_class, pairs = (frame.value for frame in app.dataframe)
    assert sum(int(count) for count in by_class["Images"]) == len(rows)
    assert by_class["Recall"].is_monotonic_increasing
    assert pairs["Times"].sum() == (rows["label"] != rows["prediction"]).sum()


def test_errors_page__worst_mistakes_have_the_highest_loss(open_page, store, run):
    rows = rows_of(store, run)
    worst = rows[rows["label"] != rows["prediction"]].nlargest(20, "loss")
    expected = [f"true {label}" for label in worst["label"]]
    wrong = [caption for caption in captions(open_page("errors", run=run.run_id)) if ":orange[" in caption]
    assert [caption.split("gray[")[1].rstrip("]") for caption in wrong[-20:]] == expected


def test_errors_page__slider_stands_at_the_best_epoch_and_moves(open_page, store, run):
    app = open_page("errors", run=run.run_id)
    slider = app.select_slider(key="errors_epoch")
    assert slider.value == run.best_step
    first = store.run_paths(run.run_id).prediction_steps("eval")[0]
    slider.set_value(first).run()
    rows = rows_of(store, run, step=first)
    wrong = int((rows["label"] != rows["prediction"]).sum())
    assert f"{wrong} of 270 wrong" in app.title[0].value and not app.exception


def test_errors_page__test_is_sealed_until_it_is_opened_once(open_page, store, run):
    app = open_page("errors", run=run.run_id)
    app.segmented_control(key="errors_split").set_value("test").run()
    assert "test is sealed" in app.title[0].value and not app.dataframe
    assert LOOKED_AT_TEST not in [event.what for event in store.read_events(run.run_id)]
    app.button(key="errors_open_test").click().run()
    rows = rows_of(store, run, "test")
    assert f"{100 * (rows['label'] == rows['prediction']).mean():.1f} % on test" in app.title[0].value
    app.run()
    looks = [event for event in store.read_events(run.run_id) if event.what == LOOKED_AT_TEST]
    assert [(event.by, event.what) for event in looks] == [("page", "looked at test")]


def test_errors_page__test_of_a_run_that_still_trains(open_page, store):
    run = make_running_run(store)
    app = open_page("errors", run=run.run_id)
    app.segmented_control(key="errors_split").set_value("test").run()
    assert "has no test results" in app.title[0].value and not app.exception


def test_errors_page__follows_a_run_that_trains(open_page, store):
    run = make_running_run(store, epochs_done=2)
    app = open_page("errors", run=run.run_id)
    assert app.select_slider(key="errors_epoch").options[-1] == "2 of 2"
    next(continue_run(store, run.run_id))
    app.run()
    assert app.select_slider(key="errors_epoch").options[-1] == "3 of 3"


@pytest.mark.parametrize("make", [make_queued_run, lambda store: make_running_run(store, epochs_done=0)])
def test_errors_page__nothing_evaluated_yet(open_page, store, make):
    app = open_page("errors", run=make(store).run_id)
    assert "has not been evaluated yet" in app.title[0].value and not app.exception


def test_errors_page__a_half_written_file_is_a_sentence(open_page, store, run):
    path = store.run_paths(run.run_id).prediction_file("eval", run.best_step)
    path.write_bytes(path.read_bytes()[:500])
    app = open_page("errors", run=run.run_id)
    assert "cannot be shown" in app.title[0].value and not app.exception


def test_errors_page__a_deleted_image_is_a_sentence(open_page, store, tmp_path):
    folder = make_image_folder(tmp_path / "images")
    run = make_completed_run(store, data=str(folder), epochs=1)
    for path in folder.rglob("*.png"):
        path.unlink()
    app = open_page("errors", run=run.run_id)
    assert any("gone or unreadable" in markdown.value for markdown in app.main.markdown)
    assert not app.exception


def test_errors_page__a_thousand_classes(open_page, store):
    run = make_many_classes_run(store)
    app = open_page("errors", run=run.run_id)
    assert not app.exception and "of 5,000 wrong" in app.title[0].value
    assert isinstance(app.dataframe[0].value, pd.DataFrame) and len(app.dataframe[0].value) == 1000


def test_errors_page__no_mistake_at_all():
    rows = pd.DataFrame({"label": [0, 1], "prediction": [0, 1]})
    record = type("Record", (), {"name": "perfect"})()
    assert headlines.of_errors(record, "eval", rows, ("a", "b")).endswith("none of 2 wrong.")
