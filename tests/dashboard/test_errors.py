"""The Errors page: every number on it is one of the prediction file."""

import numpy as np
import pandas as pd
import pytest

from dashboard import headlines
from dashboard.error_views.matrix_data import MAX_PAIRS
from superft_hf.evaluation.prediction_files import read_predictions
from superft_hf.records import LOOKED_AT_TEST
from tests.factories import (
    continue_run,
    make_completed_run,
    make_image_folder,
    make_many_classes_run,
    make_queued_run,
    make_run_of,
    make_running_run,
)


@pytest.fixture
def run(store):
    return make_completed_run(store, hidden=10, learning_rate=0.002)


def rows_of(store, run, split="eval", step=None):
    return read_predictions(store.run_paths(run.run_id).prediction_file(split, step or run.best_step))


def heads(app):
    return [head.value for head in app.subheader]


def opened(run, kind, label=-1, prediction=-1, is_wrong_only=False):
    """The session of a tab in which a cell, row or column is open."""
    return {f"errors_cell_{run.run_id}": (kind, label, prediction, is_wrong_only)}


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
    app = open_page("errors", opened(run, "cell", int(label), int(prediction)), run=run.run_id)
    noun = "image" if len(found) == 1 else "images"
    assert heads(app)[1] == f"{label} taken for {prediction}: {len(found)} {noun}"
    shown = captions(app)[: len(found)]
    assert all(f"**{prediction}**" in caption and f"true {label}" in caption for caption in shown)


def test_errors_page__an_empty_cell_says_so(open_page, store, run):
    rows = rows_of(store, run)
    taken = set(zip(rows["label"], rows["prediction"], strict=True))
    cell = next((i, j) for i in range(10) for j in range(10) if i != j and (i, j) not in taken)
    app = open_page("errors", opened(run, "cell", *cell), run=run.run_id)
    assert any("No image of" in markdown.value for markdown in app.main.markdown) and not app.exception


def test_errors_page__a_full_cell_is_paged(open_page, store, run):
    app = open_page("errors", opened(run, "cell", 0, 0), run=run.run_id)
    rows = rows_of(store, run)
    size = int(((rows["label"] == 0) & (rows["prediction"] == 0)).sum())
    assert heads(app)[1] == f"0 recognised: {size} images" and size > 12
    assert sum("true 0" in caption and ":blue[" in caption for caption in captions(app)) == 12


def test_errors_page__a_cell_of_a_run_with_more_classes_is_forgotten(open_page, run):
    app = open_page("errors", opened(run, "cell", 77, 3), run=run.run_id)
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


def test_errors_page__a_row_is_all_images_of_the_class_the_wrong_ones_first(open_page, store, run):
    rows = rows_of(store, run)
    label = int(rows[rows["label"] != rows["prediction"]]["label"].mode()[0])
    found = rows[rows["label"] == label]
    wrong = int((found["prediction"] != label).sum())
    app = open_page("errors", opened(run, "row", label), run=run.run_id)
    assert heads(app)[1] == f"{label}: {len(found)} images, {wrong} wrong"
    shown = captions(app)[:12]
    assert len(shown) == 12 and all(f"true {label}" in caption for caption in shown)
    worst = found.sort_values("loss", ascending=False).head(12)["prediction"]
    assert [caption.split("**")[1] for caption in shown] == [str(one) for one in worst]


def test_errors_page__a_column_is_all_images_predicted_so(open_page, store, run):
    rows = rows_of(store, run)
    prediction = int(rows[rows["label"] != rows["prediction"]]["prediction"].mode()[0])
    found = rows[rows["prediction"] == prediction]
    wrong = int((found["label"] != prediction).sum())
    app = open_page("errors", opened(run, "column", -1, prediction), run=run.run_id)
    assert heads(app)[1] == f"Predicted {prediction}: {len(found)} images, {wrong} wrong"
    assert all(f"**{prediction}**" in caption for caption in captions(app)[: min(len(found), 12)])
    app = open_page("errors", opened(run, "column", -1, prediction, True), run=run.run_id)
    noun = "image" if wrong == 1 else "images"
    assert heads(app)[1] == f"Another class taken for {prediction}: {wrong} {noun}"
    shown = captions(app)[: min(wrong, 12)]
    assert all(":orange[" in one and f"true {prediction}]" not in one for one in shown)


def test_errors_page__the_wrong_ones_of_a_row(open_page, store, run):
    rows = rows_of(store, run)
    label = int(rows[rows["label"] != rows["prediction"]]["label"].mode()[0])
    wrong = int(((rows["label"] == label) & (rows["prediction"] != label)).sum())
    app = open_page("errors", opened(run, "row", label, -1, True), run=run.run_id)
    noun = "image" if wrong == 1 else "images"
    assert heads(app)[1] == f"{label} taken for another class: {wrong} {noun}"
    assert all(":orange[" in one for one in captions(app)[: min(wrong, 12)])


def test_errors_page__buttons_and_link_move_the_slider_and_keep_the_cell(open_page, store, run):
    steps = store.run_paths(run.run_id).prediction_steps("eval")
    app = open_page("errors", opened(run, "cell", 8, 1), run=run.run_id, step=str(steps[2]))
    assert app.select_slider(key="errors_epoch").value == steps[2]
    for button, expected in (("next", steps[3]), ("previous", steps[2]), ("newest", steps[-1])):
        app.button(key=f"errors_step_{button}").click().run()
        assert app.select_slider(key="errors_epoch").value == expected
        assert app.query_params["step"] in (str(expected), [str(expected)])
        rows = rows_of(store, run, step=expected)
        count = int(((rows["label"] == 8) & (rows["prediction"] == 1)).sum())
        assert heads(app)[1].startswith(f"8 taken for 1: {count} image")
        assert f"{int((rows['label'] != rows['prediction']).sum())} of 270 wrong" in app.title[0].value
    assert app.button(key="errors_step_next").disabled and app.button(key="errors_step_newest").disabled
    app.button(key="errors_step_previous").click().run()
    app.button(key="errors_step_best").click().run()
    assert app.select_slider(key="errors_epoch").value == run.best_step
    assert "step" not in app.query_params


def test_errors_page__the_first_cell_stays_open_while_scrubbing(open_page, store, run):
    app = open_page("errors", run=run.run_id)
    first = heads(app)[1].split(":")[0]
    step = store.run_paths(run.run_id).prediction_steps("eval")[0]
    app.select_slider(key="errors_epoch").set_value(step).run()
    assert heads(app)[1].split(":")[0] == first
    rows = rows_of(store, run, step=step)
    pairs = rows[rows["label"] != rows["prediction"]].groupby(["label", "prediction"]).size()
    assert first != "{} taken for {}".format(*pairs.idxmax()), "the epochs do not differ"


@pytest.mark.parametrize("step", ["7", "x", "-40", "newest"])
def test_errors_page__a_link_to_no_evaluation_shows_the_best(open_page, store, run, step):
    app = open_page("errors", run=run.run_id, step=step)
    expected = store.run_paths(run.run_id).prediction_steps("eval")[-1] if step == "newest" else run.best_step
    assert app.select_slider(key="errors_epoch").value == expected and not app.exception
    assert ("step" in app.query_params) == (step == "newest")


def test_errors_page__the_open_tab_stays_open_while_scrubbing(open_page, store, run):
    app = open_page("errors", {"errors_view": ":material/history: Epochs"}, run=run.run_id)
    app.button(key="errors_step_previous").click().run()
    assert "What became of each image" in heads(app) and "Confusion matrix" not in heads(app)


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


def test_errors_page__a_run_that_trains_can_be_followed(open_page, store):
    run = make_running_run(store, epochs_done=2)
    app = open_page("errors", run=run.run_id)
    app.toggle(key="errors_follow").set_value(True).run()
    assert app.query_params["step"] in ("newest", ["newest"])
    epochs = continue_run(store, run.run_id)
    for number in (3, 4):
        next(epochs)
        app.run()
        slider = app.select_slider(key="errors_epoch")
        assert slider.value == store.run_paths(run.run_id).prediction_steps("eval")[number - 1]
    app.button(key="errors_step_previous").click().run()
    assert not app.toggle(key="errors_follow").value
    next(epochs)
    stays = app.select_slider(key="errors_epoch").value
    assert app.run().select_slider(key="errors_epoch").value == stays


def test_errors_page__following_ends_where_one_looked(open_page, store):
    run = make_running_run(store, epochs_done=3)
    app = open_page("errors", run=run.run_id, step="newest")
    step = app.select_slider(key="errors_epoch").value
    app.toggle(key="errors_follow").set_value(False).run()
    assert app.query_params["step"] in (str(step), [str(step)])


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
    tables = {len(frame.value): frame.value for frame in app.dataframe}
    assert 1000 in tables, "every class has its row"
    assert len(tables[MAX_PAIRS]) == MAX_PAIRS, "of the pairs the first"
    rows = rows_of(store, run)
    num_pairs = len(rows[rows["label"] != rows["prediction"]].drop_duplicates(["label", "prediction"]))
    assert any(f"the first {MAX_PAIRS} of {num_pairs:,}" in one.value for one in app.main.markdown)


def test_errors_page__a_thousand_classes_are_looked_at_around_some(open_page, store):
    run = make_many_classes_run(store)
    app = open_page("errors", opened(run, "cell", 3, 10), run=run.run_id)
    boxes = [app.selectbox(key=f"errors_around{end}_{run.run_id}") for end in ("", "_with")]
    assert [box.value for box in boxes] == [3, 10]
    assert boxes[0].options[:3] == ["–", "class number 0000", "class number 0001"]
    app.segmented_control(key="errors_zoom").set_value("Range").run()
    assert app.slider(key=f"errors_range_{run.run_id}").value == (1, 20)
    app.segmented_control(key="errors_zoom").set_value("All").run()
    assert not app.exception


@pytest.mark.parametrize("order", ["given", "name", "support", "confusions"])
@pytest.mark.parametrize("cells", ["Counts", "Row shares", "Column shares"])
def test_errors_page__every_look_at_the_matrix(open_page, run, order, cells):
    session = {"errors_order": order, "errors_cells": cells, "errors_at_least": 3}
    app = open_page("errors", session | {"errors_hide_diagonal": True}, run=run.run_id)
    assert not app.exception and app.selectbox(key="errors_order").value == order
    assert any("with mistakes not drawn" in one.value for one in app.main.markdown)


NAMES = ["cat", "dog", "emu"]


@pytest.mark.parametrize(
    ("case", "labels", "predictions", "words"),
    [
        ("all right", [0, 1, 2], [0, 1, 2], "None: every image of this evaluation was recognised."),
        ("all wrong", [0, 1, 2], [1, 2, 0], "1 image"),
        ("one wrong class", [0, 0, 1, 2], [0, 1, 1, 2], "cat taken for dog: 1 image"),
        ("no image of a class", [0, 0, 1], [0, 1, 1], "cat taken for dog: 1 image"),
    ],
)
def test_errors_page__small_cases(open_page, store, case, labels, predictions, words):
    logits = np.full((len(labels), 3), -3.0, dtype=np.float32)
    logits[np.arange(len(labels)), predictions] = 2
    run = make_run_of(store, case, class_names=NAMES, labels=np.array(labels), logits=[logits])
    app = open_page("errors", run=run.run_id)
    assert not app.exception
    assert any(words in one.value for one in [*app.subheader, *app.main.markdown])


def test_errors_page__a_class_without_images_says_so(open_page, store):
    logits = np.eye(3, dtype=np.float32)[[0, 1]]
    run = make_run_of(store, "no emu", class_names=NAMES, labels=np.array([0, 1]), logits=[logits])
    for chosen, words in (
        (("row", 2), "eval has no image of emu."), (("column", -1, 2), "No image was taken for emu."),
        (("cell", 2, 2), "eval has no image of emu."),
        (("row", 0, -1, True), "None: every image of cat was recognised."),
    ):  # fmt: skip
        app = open_page("errors", opened(run, *chosen), run=run.run_id)
        assert any(words in one.value for one in app.main.markdown) and not app.exception


def test_errors_page__probabilities_that_are_no_numbers(open_page, store):
    logits = np.eye(3, dtype=np.float32)[[0, 1, 2, 0]]
    logits[3] = np.nan
    run = make_run_of(
        store, "not a number", class_names=NAMES, labels=np.array([0, 1, 2, 1]), logits=[logits]
    )
    app = open_page("errors", run=run.run_id)
    assert any("1 image got no probabilities" in one.value for one in app.main.markdown)
    assert not app.exception


def test_errors_page__two_classes_with_names_of_sixty_letters(open_page, store):
    names = [f"{'a very long name ' * 3}{number}" for number in range(2)]
    logits = np.eye(2, dtype=np.float32)[[0, 1, 1, 0]]
    run = make_run_of(store, "long", class_names=names, labels=np.array([0, 1, 0, 1]), logits=[logits])
    app = open_page("errors", run=run.run_id)
    assert not app.exception and len(heads(app)[1]) < 80


def test_errors_page__no_mistake_at_all():
    rows = pd.DataFrame({"label": [0, 1], "prediction": [0, 1]})
    record = type("Record", (), {"name": "perfect"})()
    assert headlines.of_errors(record, "eval", rows, ("a", "b")).endswith("none of 2 wrong.")
