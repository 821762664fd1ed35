"""The Epochs view of the Errors page, against the prediction files of every epoch; and its figures."""

import numpy as np
import pandas as pd
import pytest

from dashboard import history_charts
from dashboard.confusion_part import ink
from dashboard.history_charts import Epochs
from superft_hf.evaluation.history import Group
from superft_hf.evaluation.prediction_files import read_predictions
from tests.factories import make_completed_run, make_run_of, make_running_run

EPOCHS = {"errors_view": ":material/history: Epochs"}
NAMES = ["cat", "dog", "emu"]


@pytest.fixture
def run(store):
    return make_completed_run(store, hidden=6, learning_rate=0.004, epochs=6)


def rights_of(store, run):
    """Whether each image is right in each epoch, shape (E, N), from whole files."""
    paths = store.run_paths(run.run_id)
    files = [read_predictions(paths.prediction_file("eval", step)) for step in paths.prediction_steps("eval")]
    return np.stack([(rows["label"] == rows["prediction"]).to_numpy() for rows in files])


def forgotten(rights):
    return rights.any(axis=0) & ~rights[-1]


def heads(app):
    return [head.value for head in app.subheader]


def texts(app):
    return [one.value for one in app.main.markdown]


def captions(app):
    return [one for one in texts(app) if "true " in one]


def scripted(store, *epochs, is_live=False):
    """A run of cat, dog and emu whose images are predicted as the letters say: c, d or e."""
    logits = []
    for letters in epochs:
        values = np.full((len(letters), 3), -2.0, dtype=np.float32)
        values[np.arange(len(letters)), ["cde".index(letter) for letter in letters]] = 2.0
        logits.append(values)
    labels = np.arange(len(epochs[0])) % 3
    return make_run_of(store, "scripted", class_names=NAMES, labels=labels, logits=logits, is_live=is_live)


def test_epochs__the_sentence_is_the_files_truth(open_page, store, run):
    rights = rights_of(store, run)
    app = open_page("errors", EPOCHS, run=run.run_id)
    (sentence,) = [one for one in texts(app) if one.startswith("Over 6 evaluations")]
    assert f"{rights.all(axis=0).sum()} of 270 images" in sentence
    assert f"**{forgotten(rights).sum()} image" in sentence
    assert f"{(~rights.any(axis=0)).sum()} never learned" in sentence
    assert forgotten(rights).sum() > 1, "the case is too easy"


def test_epochs__a_list_shows_exactly_its_images(open_page, store, run):
    rights = rights_of(store, run)
    app = open_page("errors", EPOCHS, run=run.run_id, step="newest")
    app.segmented_control(key="errors_epochs_group").set_value("forgotten").run()
    count = int(forgotten(rights).sum())
    assert f"Learned and then forgotten: {count} image" in heads(app)[-3]
    rows = read_predictions(
        store.run_paths(run.run_id).prediction_file(
            "eval", store.run_paths(run.run_id).prediction_steps("eval")[-1]
        )
    )
    found = np.flatnonzero(forgotten(rights))
    order = found[np.argsort(-rights[:, found].sum(axis=0), kind="stable")][:15]
    assert [one.split("true ")[1].rstrip("]") for one in captions(app)] == [
        str(label) for label in rows["label"].iloc[order]
    ]
    assert all(":orange[" in one for one in captions(app))


def test_epochs__the_gallery_shows_the_epoch_of_the_slider(open_page, store):
    run = scripted(store, "cde", "cdd", "cdc")
    app = open_page("errors", EPOCHS, run=run.run_id)
    app.segmented_control(key="errors_epochs_group").set_value("forgotten").run()
    assert "**cat**" in captions(app)[0], "in the last epoch emu is taken for cat"
    app.button(key="errors_step_previous").click().run()
    assert "**dog**" in captions(app)[0] and len(captions(app)) == 1
    assert heads(app)[-3].startswith("Learned and then forgotten: 1 image"), "the list stays open"


@pytest.mark.parametrize(
    ("group", "words"),
    [
        ("always right", "Always right: 1 image"),
        ("learned early", "Learned early: 1 image"),
        ("learned late", "Learned late: 1 image"),
        ("forgotten", "Learned and then forgotten: 1 image"),
        ("never learned", "Never learned: 1 image"),
    ],
)
def test_epochs__each_list_has_its_image(open_page, store, group, words):
    # cat always, dog early, emu late, cat forgotten, dog never.
    run = scripted(store, "cccce", "cdccc", "cddde", "cdedc")
    app = open_page("errors", EPOCHS, run=run.run_id)
    app.segmented_control(key="errors_epochs_group").set_value(group).run()
    assert words in heads(app) and len(captions(app)) == 1 and not app.exception


def test_epochs__counted_up_to_the_epoch_shown(open_page, store):
    run = scripted(store, "cde", "cdd", "cde")
    app = open_page("errors", EPOCHS, run=run.run_id, step="200")
    assert any("**0 images were learned and then forgotten**" in one for one in texts(app))
    app.segmented_control(key="errors_epochs_until").set_value("the epoch shown").run()
    assert any("Over 2 evaluations" in one and "**1 image was learned" in one for one in texts(app))
    app.button(key="errors_step_previous").click().run()
    assert any("nothing can have changed" in one for one in texts(app)) and not app.exception


def test_epochs__a_bar_opens_the_images_that_changed_sides(open_page, store):
    run = scripted(store, "cde", "cdd", "cde")
    session = EPOCHS | {f"errors_history_{run.run_id}": (None, ("lost", 200))}
    app = open_page("errors", session, run=run.run_id)
    assert "Became wrong in evaluation 2: 1 image" in heads(app)
    assert "true emu" in captions(app)[0] and len(captions(app)) == 1
    session[f"errors_history_{run.run_id}"] = (None, ("gained", 100))
    app = open_page("errors", session, run=run.run_id)
    assert any("No image changed" in one for one in texts(app)) and not app.exception


def test_epochs__an_empty_list_says_so(open_page, store):
    run = scripted(store, "cde", "cde")
    app = open_page("errors", EPOCHS, run=run.run_id)
    assert "Always right: 3 images" in heads(app), "the only list with images is open"
    app.segmented_control(key="errors_epochs_group").set_value("forgotten").run()
    assert any("Nothing was forgotten" in one for one in texts(app)) and not app.exception


def test_epochs__one_evaluation_is_too_few(open_page, store):
    live = make_running_run(store, epochs_done=1)
    app = open_page("errors", EPOCHS, run=live.run_id)
    assert any("Two evaluations are needed" in one for one in texts(app)) and not app.exception
    ended = scripted(store, "cde")
    app = open_page("errors", EPOCHS, run=ended.run_id)
    assert any("evaluated once, so there is nothing to compare" in one for one in texts(app))


def test_epochs__a_run_that_trains(open_page, store):
    live = make_running_run(store, epochs_done=2)
    app = open_page("errors", EPOCHS, run=live.run_id)
    assert any("Over 2 evaluations" in one for one in texts(app)) and not app.exception


def test_epochs__test_has_one_evaluation(open_page, store, run):
    store.look_at_test(run.run_id, by="page")
    app = open_page("errors", EPOCHS, run=run.run_id)
    app.segmented_control(key="errors_split").set_value("test").run()
    assert any("Test is evaluated once" in one for one in texts(app)) and not app.exception


def test_epochs__a_damaged_file_is_a_sentence(open_page, store, run):
    paths = store.run_paths(run.run_id)
    path = paths.prediction_file("eval", paths.prediction_steps("eval")[0])
    path.write_bytes(path.read_bytes()[:300])
    app = open_page("errors", EPOCHS, run=run.run_id)
    assert any("cannot be read" in one for one in texts(app)) and not app.exception


# The figures

FLOW = pd.DataFrame({"step": [10, 20, 30], "right": [2, 4, 3], "gained": [0, 2, 0], "lost": [0, 0, 1]})
SIZES = dict(zip(Group, [50, 20, 1, 9, 20], strict=True))


def test_groups_figure__parts_are_the_sizes_and_can_be_clicked():
    figure = history_charts.groups_figure(SIZES, Group.FORGOTTEN, is_dark=False)
    assert [(bar.x[0], bar.customdata[0][0]) for bar in figure.data] == [
        (50, "always right"), (20, "learned early"), (1, "learned late"), (9, "forgotten"),
        (20, "never learned"),
    ]  # fmt: skip
    assert [bar.text for bar in figure.data] == ["50 %", "20 %", "", "9 %", "20 %"]
    assert [bar.marker.line.width for bar in figure.data] == [0, 0, 0, 2, 0]


@pytest.mark.parametrize("is_dark", [False, True])
def test_groups_figure__the_numbers_read_on_their_parts(is_dark):
    for bar in history_charts.groups_figure(SIZES, None, is_dark=is_dark).data:
        assert bar.textfont.color == ink(bar.marker.color)


def test_groups_figure__no_image_at_all():
    figure = history_charts.groups_figure(dict.fromkeys(Group, 0), None, is_dark=True)
    assert [bar.x[0] for bar in figure.data] == [0] * 5


def test_accuracy_figure__marks_the_present_and_the_best():
    epochs = Epochs([1, 2, 3], present=1, best=2, total=3)
    line, ring = history_charts.accuracy_figure(FLOW, 4, epochs, is_dark=False).data
    assert list(line.y) == [50, 100, 75] and [data[0] for data in line.customdata] == [10, 20, 30]
    assert line.marker.size[0] > line.marker.size[1] == line.marker.size[2]
    assert (ring.x[0], ring.y[0]) == (2, 100)


def test_accuracy_figure__a_best_epoch_that_was_not_read():
    epochs = Epochs([1, 5, 9], present=5, best=4, total=9)
    assert len(history_charts.accuracy_figure(FLOW, 4, epochs, is_dark=True).data) == 1


def test_flow_figure__gained_above_and_lost_below():
    epochs = Epochs([1, 2, 3], present=3, best=None, total=3)
    up, down = history_charts.flow_figure(FLOW, epochs, ("lost", 30), is_dark=False).data
    assert list(up.y) == [0, 2, 0] and list(down.y) == [0, 0, -1]
    assert list(up.customdata[1]) == ["gained", 20, 2] and list(down.customdata[2]) == ["lost", 30, 1]
    assert list(down.marker.line.width) == [0, 0, 2] and list(up.marker.line.width) == [0, 0, 0]
