"""The figures above the views of the Errors page, and what they are held against."""

import numpy as np
import pytest

from superft_hf import vault
from superft_hf.engine import control
from superft_hf.evaluation.intervals import wilson_interval
from superft_hf.evaluation.prediction_files import read_numbers, write_predictions
from superft_hf.records import RunState
from tests.factories import make_completed_run, make_many_classes_run, make_running_run

TEST = {"errors_split": "test"}
OPEN = {"errors_all_figures": True}


def words(app) -> str:
    return "\n".join(one.value for one in app.markdown)


def metrics(app) -> dict[str, tuple[str, str]]:
    return {one.label: (one.value, one.delta) for one in app.metric}


def test_four_figures_each_with_its_interval(open_page, store):
    run = make_completed_run(store)
    app = open_page("errors", run=run.run_id)
    found, figures = metrics(app), run.evaluation["eval"]
    assert list(found) == ["Accuracy", "F1, macro", "Balanced accuracy", "Loss"]
    low, high = wilson_interval(round(270 * figures["accuracy"]), 270)
    accuracy = f"{100 * figures['accuracy']:.1f} %"
    assert found["Accuracy"] == (accuracy, f"{100 * low:.1f} – {100 * high:.1f} %")
    assert found["F1, macro"][0] == f"{100 * figures['f1_macro']:.1f} %"
    low, high = (float(one) for one in found["Loss"][1].split(" – "))
    assert low < figures["loss"] < high and not app.exception


def test_another_epoch_has_other_figures(open_page, store):
    run = make_completed_run(store)
    first = store.run_paths(run.run_id).prediction_steps("eval")[0]
    app = open_page("errors", run=run.run_id)
    app.select_slider(key="errors_epoch").set_value(first).run()
    rows = read_numbers(store.run_paths(run.run_id).prediction_file("eval", first))
    assert metrics(app)["Accuracy"][0] == f"{100 * (rows['label'] == rows['prediction']).mean():.1f} %"


def test_the_baseline_is_one_click_away_and_then_stands_there(open_page, store, monkeypatch):
    monkeypatch.setattr(control, "prepare", lambda config, home, progress=None, **_: config)
    run = make_completed_run(store)
    app = open_page("errors", run=run.run_id)
    assert "10.0 % :small[:gray[always “1”]]" in words(app)
    app.button(key="errors_train_baseline").click().run()
    assert not app.exception
    queued = next(one for one in store.list_runs() if one.state is RunState.QUEUED)
    assert store.read_config(queued.run_id).model.strategy == "head"
    assert "frozen backbone: queued" in words(app)
    assert "errors_train_baseline" not in [one.key for one in app.button]
    store.change_state(queued.run_id, [RunState.QUEUED], RunState.DISCARDED, by="test")
    frozen = make_completed_run(store, "frozen", hidden=4, strategy="head")
    app = open_page("errors", run=run.run_id)
    assert f"{100 * frozen.evaluation['eval']['accuracy']:.1f} % :small[:gray[frozen backbone]]" in words(app)
    app = open_page("errors", run=frozen.run_id)
    assert "this run is the frozen backbone" in words(app)


def test_the_sealed_test_figures_of_a_baseline_stay_sealed(open_page, store):
    run, frozen = make_completed_run(store), make_completed_run(store, "f", hidden=4, strategy="head")
    vault.open_test(store, run, by="page")
    shown = f"{100 * frozen.evaluation['test']['accuracy']:.1f} %"
    app = open_page("errors", run=run.run_id, session=TEST)
    assert "frozen backbone: its test is sealed" in words(app) and shown not in words(app)
    assert "no run had been opened on this same test set before" in words(app) + "".join(
        one.value for one in app.caption
    )
    vault.open_test(store, frozen, by="page")
    assert shown in words(open_page("errors", run=run.run_id, session=TEST))


def test_a_sealed_test_set_shows_no_figure(open_page, store):
    run = make_completed_run(store)
    app = open_page("errors", run=run.run_id, session=TEST)
    assert not app.metric and not app.exception


def test_all_figures_are_drawn_on_request_with_downloads(open_page, store):
    run = make_completed_run(store)
    app = open_page("errors", run=run.run_id)
    closed = len(app.dataframe)
    app = open_page("errors", run=run.run_id, session=OPEN)
    assert not app.exception and len(app.dataframe) == closed + 2
    table, classes = app.dataframe[0].value, app.dataframe[1].value
    assert {"F1, macro", "F1, weighted", "Precision, weighted", "Top-5 accuracy"} <= set(table["Metric"])
    assert list(table.columns) == ["Metric", "Value", "95 % interval", "By", "always “1”", "Gain"]
    assert table.set_index("Metric").loc["Accuracy", "Gain"].endswith("points")
    assert classes["Images"].sum() == 270 and classes["Recall"].is_monotonic_increasing
    assert [one.key for one in app.get("download_button")][:2] == ["errors_figures_csv", "errors_classes_csv"]


def test_a_thousand_classes_and_a_live_run(open_page, store):
    app = open_page("errors", run=make_many_classes_run(store).run_id, session=OPEN)
    assert not app.exception and "off to one side" in words(app)
    live = open_page("errors", run=make_running_run(store, epochs_done=1).run_id)
    assert not live.exception and len(live.metric) == 4


@pytest.mark.parametrize(("kind", "accuracy"), [("right", "100.0 %"), ("wrong", "0.0 %"), ("nan", None)])
def test_odd_evaluations(open_page, store, kind, accuracy):
    run = make_completed_run(store)
    path = store.run_paths(run.run_id).prediction_file("eval", run.best_step)
    labels = read_numbers(path)["label"].to_numpy()
    logits = 5.0 * np.eye(10)[(labels + (kind != "right")) % 10]
    if kind == "nan":
        logits[:] = np.nan
    write_predictions(
        path, example_ids=[f"{one:016x}" for one in range(len(labels))], images=["x"] * len(labels),
        labels=labels, logits=logits, is_full=True, class_names=[str(one) for one in range(10)],
    )  # fmt: skip
    app = open_page("errors", run=run.run_id, session=OPEN)
    assert not app.exception
    if accuracy is None:
        assert metrics(app)["Loss"] == ("–", "–") and "is no number" in words(app)
    else:
        assert metrics(app)["Accuracy"][0] == accuracy
