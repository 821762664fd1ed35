"""Errors, view Thresholds: curves, what can be chosen, and what comes of it."""

import threading

import numpy as np
import pytest
from scipy.special import softmax

from dashboard import examples
from dashboard.error_views import calibration_work, thresholds, thresholds_data, thresholds_work
from superft_hf.errors import DataNotFoundError
from superft_hf.evaluation import decision as decisions
from superft_hf.evaluation.decision import ChosenOn, Decision
from superft_hf.evaluation.prediction_files import (
    read_class_names,
    read_logits,
    read_predictions,
    write_predictions,
)
from superft_hf.evaluation.threshold_search import suggest_thresholds
from tests.factories import (
    make_completed_run,
    make_image_folder,
    make_many_classes_run,
    make_running_run,
)

VIEW = {"errors_view": ":material/tune: Thresholds"}


@pytest.fixture
def run(store):
    made = make_completed_run(store, hidden=8, learning_rate=0.002)
    store.run_paths(made.run_id).model.mkdir(exist_ok=True)
    return made


@pytest.fixture
def two_classes(store, tmp_path):
    """A run that tells cats from dogs, with 24 eval images half of which are hard."""
    folder = make_image_folder(tmp_path / "pets", count=80)
    made = make_completed_run(store, "pets", data=str(folder), epochs=1)
    store.run_paths(made.run_id).model.mkdir(exist_ok=True)
    generator = np.random.default_rng(3)
    for split, step in (("eval", made.best_step), ("test", made.best_step)):
        rewrite(store, made, split, step, lambda labels: _overlapping(generator, labels))
    return made


def _overlapping(generator, labels):
    logits = generator.normal(size=(len(labels), 2))
    logits[np.arange(len(labels)), labels] += 1
    return logits


def rewrite(store, run, split, step, make_logits, *, is_full=True):
    """The same images with other logits."""
    path = store.run_paths(run.run_id).prediction_file(split, step)
    rows, names = read_predictions(path), read_class_names(path)
    labels = rows["label"].to_numpy()
    write_predictions(
        path, example_ids=rows["example_id"].tolist(), images=rows["image"].tolist(), labels=labels,
        logits=make_logits(labels).astype(np.float32), is_full=is_full, class_names=names,
    )  # fmt: skip


def words(app):
    return " ".join(markdown.value for markdown in app.main.markdown).replace("\\", "")


def figures(app):
    """The table of consequences, by its rows."""
    (found,) = [one.value for one in app.dataframe if one.value.columns[0] == ""]
    return found.set_index("")


def decision_of(store, run):
    return decisions.read(store.run_paths(run.run_id).decision)


def test_view__shows_the_class_that_is_missed_most(open_page, store, run):
    app = open_page("errors", VIEW, run=run.run_id)
    rows = read_predictions(store.run_paths(run.run_id).prediction_file("eval", run.best_step))
    missed = rows[rows["label"] != rows["prediction"]].groupby("label").size()
    assert app.selectbox(key="thresholds_class").value == missed.idxmax() and not app.exception
    assert app.slider(key="thresholds_limit").value == 0.1  # of ten classes: the likeliest one
    table = figures(app)
    assert list(table.columns) == ["eval before, 270 images", "eval after, 270 images"]
    assert (table.iloc[:, 0] == table.iloc[:, 1]).all()


def test_view__a_threshold_moves_the_consequences(open_page, store, run):
    app = open_page("errors", VIEW, run=run.run_id)
    app.selectbox(key="thresholds_class").set_value(3).run()
    app.slider(key="thresholds_limit").set_value(0.9).run()
    table = figures(app)
    limits = [0.1] * 10
    limits[3] = 0.9
    decision = Decision(tuple("0123456789"), ChosenOn("", "", 0, 0), 1.0, tuple(limits))
    path = store.run_paths(run.run_id).prediction_file("eval", run.best_step)
    answers = decisions.decide(read_logits(path).values, decision)
    unsure = int((answers == -1).sum())
    assert table.loc["Not sure"].tolist() == ["0", str(unsure)] and unsure > 0
    labels = read_predictions(path)["label"].to_numpy()
    recall = np.mean(answers[labels == 3] == 3)
    assert table.loc["Recall of 3"].iloc[1] == f"{100 * recall:.1f} %"
    assert "threshold 0.900" in words(app)


def test_view__keeps_the_logits_only_where_all_are_needed_at_once(open_page, store, run, monkeypatch):
    monkeypatch.setattr(thresholds, "EXACT_SCORES", 0)  # as with many images: no averages at first
    read = []
    monkeypatch.setattr(thresholds_data, "read_logits", lambda path: read.append(path) or read_logits(path))
    app = open_page("errors", VIEW, run=run.run_id)
    app.selectbox(key="thresholds_class").set_value(3).run()
    app.slider(key="thresholds_limit").set_value(0.9).run()
    from_file = figures(app)
    assert from_file.loc["Not sure"].iloc[1] != "0" and not read
    app.toggle(key="thresholds_averages").set_value(True).run()
    assert len(read) == 1
    app.slider(key="thresholds_limit").set_value(0.1).run()
    app.slider(key="thresholds_limit").set_value(0.9).run()
    assert figures(app).equals(from_file) and len(read) == 1 and not app.exception


def test_view__suggests_from_logits_that_were_not_kept_yet(open_page, store, run, monkeypatch):
    monkeypatch.setattr(thresholds, "EXACT_SCORES", 0)
    app = open_page("errors", VIEW, run=run.run_id)
    app.button(key="thresholds_suggest_all").click().run()
    assert not app.exception and not app.button(key="thresholds_save").disabled


@pytest.fixture
def large(monkeypatch):
    """Every evaluation counts as large: what needs all logits waits until it is let go."""
    may_go = threading.Event()

    def read(path):
        assert may_go.wait(60)
        return read_logits(path)

    def finish(app):
        may_go.set()
        calibration_work._pool().submit(lambda: None).result(60)  # one works at a time
        return app.run()

    monkeypatch.setattr(calibration_work, "INLINE_VALUES", 0)
    monkeypatch.setattr(thresholds, "EXACT_SCORES", 0)
    monkeypatch.setattr(thresholds_data, "read_logits", read)
    yield finish
    may_go.set()


def test_view__a_search_among_many_logits_goes_on_beside_the_page(open_page, store, run, large):
    app = open_page("errors", VIEW, run=run.run_id)
    app.button(key="thresholds_suggest_all").click().run()
    assert thresholds_work.SEARCHING in words(app) and not app.exception
    assert app.button(key="thresholds_suggest").disabled and app.button(key="thresholds_save").disabled
    app.selectbox(key="thresholds_class").set_value(3).run()  # the page is used meanwhile
    assert thresholds_work.SEARCHING in words(app)
    large(app)
    assert thresholds_work.SEARCHING not in words(app)
    app.button(key="thresholds_save").click().run()
    one = examples.evaluation(run.run_id, "eval", run.best_step)
    logits, labels = read_logits(one.path).values, one.rows["label"].to_numpy()
    plain = decisions.plain_decision(one.class_names, ChosenOn(run.run_id, "eval", run.best_step, 270))
    assert decision_of(store, run).thresholds == suggest_thresholds(logits, labels, plain)


def test_view__what_was_found_for_another_operating_point_is_not_taken(open_page, run, large):
    app = open_page("errors", VIEW, run=run.run_id)
    app.selectbox(key="thresholds_class").set_value(3).run()
    app.button(key="thresholds_suggest_all").click().run()
    app.slider(key="thresholds_limit").set_value(0.9).run()
    assert thresholds_work.SEARCHING not in words(app)
    large(app)
    assert app.slider(key="thresholds_limit").value == 0.9 and not app.exception


def test_view__averages_of_many_logits_follow(open_page, run, large):
    app = open_page("errors", VIEW, run=run.run_id)
    app.toggle(key="thresholds_averages").set_value(True).run()
    assert thresholds_work.AVERAGING in words(app) and len(app.get("plotly_chart")) == 2
    large(app)
    assert thresholds_work.AVERAGING not in words(app) and not app.exception
    assert "macro" in app.get("plotly_chart")[0].proto.spec


def test_scores__of_a_class_are_those_of_all_logits(open_page, store, run):
    one = examples.evaluation(run.run_id, "eval", run.best_step)
    logits = read_logits(one.path).values.astype(np.float64)
    for temperature in (1.0, 2.5):
        scores = thresholds_data.read(one)
        expected = softmax(logits / temperature, axis=1)[:, 3]
        assert scores.of_class(3, temperature) == pytest.approx(expected, rel=1e-5)
    assert scores.plain_answers.tolist() == logits.argmax(axis=1).tolist()


def test_scores__a_file_that_was_written_anew_is_not_mixed_with_the_old_numbers(open_page, store, run):
    scores = thresholds_data.read(examples.evaluation(run.run_id, "eval", run.best_step))
    rewrite(store, run, "eval", run.best_step, lambda labels: np.zeros((len(labels), 10)))
    for ask in (lambda: scores.of_class(0, 1.0), thresholds_data.logits_reader(scores)):
        with pytest.raises(DataNotFoundError, match="written anew"):
            ask()


def test_view__two_classes_have_one_threshold(open_page, store, two_classes):
    app = open_page("errors", VIEW, run=two_classes.run_id)
    app.selectbox(key="thresholds_class").set_value(1).run()
    app.slider(key="thresholds_limit").set_value(0.3).run()
    app.button(key="thresholds_save").click().run()
    assert decision_of(store, two_classes).thresholds == pytest.approx((0.7, 0.3))
    assert figures(app).loc["Not sure"].tolist() == ["0", "0"]
    app.selectbox(key="thresholds_class").set_value(0).run()
    assert app.slider(key="thresholds_limit").value == 0.7


def test_view__suggest_lowers_the_cost_and_save_keeps_it(open_page, store, run):
    app = open_page("errors", VIEW, run=run.run_id)
    app.selectbox(key="thresholds_class").set_value(8).run()
    app.number_input(key="thresholds_cost_fn").set_value(20.0).run()
    before = float(figures(app).loc["Cost"].iloc[0].replace(",", ""))
    app.button(key="thresholds_suggest").click().run()
    table = figures(app)
    assert float(table.loc["Cost"].iloc[1].replace(",", "")) <= before
    assert app.slider(key="thresholds_limit").value < 0.1  # a miss is dear: the class is taken sooner
    app.button(key="thresholds_save").click().run()
    kept = decision_of(store, run)
    assert kept.costs_fn[8] == 20 and kept.costs_fn[7] == 1 and kept.thresholds[8] < 0.1
    assert kept.chosen_on == ChosenOn(run.run_id, "eval", run.best_step, 270)
    assert f"{kept.figures['eval']['cost']:,.6g}" == table.loc["Cost"].iloc[1]
    assert "test" not in kept.figures  # nobody has looked at it
    assert app.button(key="thresholds_save").disabled and "Saved:" in words(app)
    assert any(event.what == "set the operating point" for event in store.read_events(run.run_id))


def test_view__suggest_for_all_and_reset(open_page, store, run):
    app = open_page("errors", VIEW, run=run.run_id)
    app.button(key="thresholds_suggest_all").click().run()
    app.button(key="thresholds_save").click().run()
    assert len(set(decision_of(store, run).thresholds)) > 3
    app.button(key="thresholds_reset").click().run()
    assert decision_of(store, run) is None and not app.exception
    assert app.slider(key="thresholds_limit").value == 0.1
    assert "Nothing is saved" in words(app)


def test_view__reset_keeps_the_temperature(open_page, store, run):
    names = tuple("0123456789")
    decisions.write(
        store.run_paths(run.run_id).decision,
        Decision(names, ChosenOn(run.run_id, "eval", run.best_step, 270), 1.5, (0.2,) * 10, 0.1),
    )
    app = open_page("errors", VIEW, run=run.run_id)
    assert "calibrated by temperature 1.50" in words(app)
    assert app.slider(key="thresholds_band").value == 0.1
    app.button(key="thresholds_reset").click().run()
    kept = decision_of(store, run)
    assert (kept.temperature, kept.thresholds, kept.abstain_band) == (1.5, None, 0.0)


def test_view__an_abstain_band_leaves_images_unanswered(open_page, run):
    app = open_page("errors", VIEW, run=run.run_id)
    app.slider(key="thresholds_band").set_value(0.6).run()
    table = figures(app)
    assert int(table.loc["Not sure"].iloc[1]) > 0
    right = [float(one.split(" ")[0]) for one in table.loc["Right, of the answered"]]
    assert right[1] > right[0]


def test_view__test_is_shown_once_opened_and_never_chosen_on(open_page, store, run):
    store.look_at_test(run.run_id, by="test")
    app = open_page("errors", VIEW, run=run.run_id)
    assert list(figures(app).columns)[2:] == ["test before, 270 images", "test after, 270 images"]
    assert "chosen on eval, applied to test" in words(app)
    app.slider(key="thresholds_band").set_value(0.3).run()
    app.button(key="thresholds_save").click().run()
    assert decision_of(store, run).figures["test"]["num_images"] == 270
    app.segmented_control(key="errors_split").set_value("test").run()
    assert "It is chosen on eval, and only applied to test." in words(app)
    assert "thresholds_save" not in {button.key for button in app.button}
    assert list(figures(app).columns) == ["test before, 270 images", "test after, 270 images"]
    assert int(figures(app).loc["Not sure"].iloc[1]) > 0


@pytest.mark.parametrize("kind", ["running", "other epoch", "model gone"])
def test_view__where_nothing_can_be_chosen_the_curves_are_shown(open_page, store, kind):
    query = {}
    if kind == "running":
        made = make_running_run(store, epochs_done=1)
        expected = "once the run is completed"
    else:
        made = make_completed_run(store, hidden=8, learning_rate=0.002)
        expected = "The model of this run is gone"
        if kind == "other epoch":
            store.run_paths(made.run_id).model.mkdir()
            query = {"step": str(store.run_paths(made.run_id).prediction_steps("eval")[0])}
            expected = "It is chosen on the best epoch"
    app = open_page("errors", VIEW, run=made.run_id, **query)
    assert expected in words(app) and not app.exception
    assert len(app.get("plotly_chart")) == 2
    assert not {"thresholds_save", "thresholds_suggest_all"} & {button.key for button in app.button}


def test_view__a_damaged_operating_point_is_a_sentence(open_page, store, run):
    store.run_paths(run.run_id).decision.write_text("{")
    app = open_page("errors", VIEW, run=run.run_id)
    assert "operating point in decision.json cannot be used" in words(app) and not app.exception
    app.slider(key="thresholds_band").set_value(0.2).run()
    app.button(key="thresholds_save").click().run()
    assert decision_of(store, run).abstain_band == 0.2


def test_view__only_the_highest_logits_are_kept(open_page, store):
    made = make_many_classes_run(store, num_classes=120)
    app = open_page("errors", VIEW, run=made.run_id)
    assert "keeps the 20 highest logits" in words(app) and "This run kept no more" in words(app)
    assert not app.exception and not app.get("plotly_chart")


def test_view__offers_the_best_epoch_where_only_that_has_all_logits(open_page, store):
    made = make_many_classes_run(store, num_classes=120)
    path = store.run_paths(made.run_id).prediction_file("eval", made.best_step)
    rows, names = read_predictions(path), read_class_names(path)
    logits = np.random.default_rng(0).normal(size=(len(rows), 120))
    values = {
        "example_ids": rows["example_id"].tolist(), "images": rows["image"].tolist(),
        "labels": rows["label"].to_numpy(), "logits": logits, "class_names": names,
    }  # fmt: skip
    write_predictions(path.with_name("eval-50.parquet"), is_full=False, **values)
    write_predictions(path, is_full=True, **values)
    app = open_page("errors", VIEW, run=made.run_id, step="50")
    assert "The best epoch keeps those of every class" in words(app)
    app.button(key="curves_best_epoch").click().run()
    assert len(app.get("plotly_chart")) == 2 and not app.exception
    assert len(app.selectbox(key="thresholds_class").options) == 120


def test_view__a_class_without_images_has_no_curve(open_page, store, run):
    path = store.run_paths(run.run_id).prediction_file("eval", run.best_step)
    rows, logits = read_predictions(path), read_logits(path).values
    kept = (rows["label"] != 4).to_numpy()
    write_predictions(
        path, example_ids=rows["example_id"][kept].tolist(), images=rows["image"][kept].tolist(),
        labels=rows["label"].to_numpy()[kept], logits=logits[kept], is_full=True,
        class_names=list("0123456789"),
    )  # fmt: skip
    app = open_page("errors", VIEW | {"thresholds_class": 4}, run=run.run_id)
    assert "4 has no image in this evaluation, so it has no curve." in words(app) and not app.exception
    app.button(key="thresholds_suggest_all").click().run()
    assert app.slider(key="thresholds_limit").value == 0.1  # it keeps its threshold
    assert "macro leaves out 1 class without a curve" in words(app)


@pytest.mark.parametrize("kind", ["all right", "all wrong", "not a number", "one wrong class"])
def test_view__odd_evaluations_do_not_break_it(open_page, store, two_classes, kind):
    def make(labels):
        logits = np.zeros((len(labels), 2))
        if kind == "not a number":
            return np.full_like(logits, np.nan)
        taken = {"all right": labels, "all wrong": 1 - labels, "one wrong class": labels * 0}[kind]
        logits[np.arange(len(labels)), taken] = 4
        return logits

    rewrite(store, two_classes, "eval", two_classes.best_step, make)
    app = open_page("errors", VIEW, run=two_classes.run_id)
    assert not app.exception
    if kind == "not a number":
        assert figures(app).loc["Answered"].tolist() == ["0.0 % (0)"] * 2
        return
    app.button(key="thresholds_suggest_all").click().run()
    assert not app.exception
    if kind == "all right":
        assert app.slider(key="thresholds_limit").value == 0.5  # in the middle between the two
