"""Errors, view Calibration: the diagrams, the temperature, and where it cannot be fitted."""

import os
import sys
import threading

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from scipy.special import softmax
from sklearn import metrics as sk

from dashboard.error_views import calibration, calibration_work
from superft_hf.evaluation import decision as decisions
from superft_hf.evaluation.calibration import fit_temperature
from superft_hf.evaluation.decision import ChosenOn, Decision
from superft_hf.evaluation.prediction_files import read_logit_blocks, read_logits, read_predictions
from tests.dashboard.test_thresholds import decision_of, rewrite, words
from tests.factories import make_completed_run, make_many_classes_run, make_running_run

VIEW = {"errors_view": ":material/balance: Calibration"}


@pytest.fixture
def run(store):
    made = make_completed_run(store, hidden=8, learning_rate=0.002)
    store.run_paths(made.run_id).model.mkdir(exist_ok=True)
    return made


def files(store, run, split="eval"):
    path = store.run_paths(run.run_id).prediction_file(split, run.best_step)
    return read_logits(path).values, read_predictions(path)["label"].to_numpy()


def figures(app):
    (found,) = [one.value for one in app.dataframe if one.value.columns[0] == ""]
    return found.set_index("")


def test_view__figures_before_and_after_are_those_of_sklearn(open_page, store, run):
    app = open_page("errors", VIEW, run=run.run_id)
    logits, labels = files(store, run)
    fitted = fit_temperature(logits, labels)
    table = figures(app)
    assert list(table.columns) == ["eval before, 270 images", "eval after"] and not app.exception
    for column, temperature in zip(table.columns, (1.0, fitted.value), strict=True):
        probabilities = softmax(logits.astype(float) / temperature, axis=1)
        log_loss = sk.log_loss(labels, probabilities, labels=range(10))
        brier = sk.brier_score_loss(labels, probabilities, labels=range(10), scale_by_half=False)
        assert table.loc["Log loss", column] == f"{log_loss:.4f}"
        assert table.loc["Brier score", column] == f"{brier:.4f}"
    assert f"Temperature {fitted.value:.2f}" in [head.value for head in app.subheader]
    assert len(app.get("plotly_chart")) == 2


def test_view__save_and_reset(open_page, store, run):
    app = open_page("errors", VIEW, run=run.run_id)
    assert app.button(key="calibration_reset").disabled
    app.button(key="calibration_save").click().run()
    kept = decision_of(store, run)
    assert kept.temperature == fit_temperature(*files(store, run)).value and kept.takes_likeliest
    assert kept.figures["eval"]["log_loss"] < kept.figures["eval"]["plain_log_loss"]
    assert set(kept.figures) == {"eval"}
    assert app.button(key="calibration_save").disabled and "Saved: temperature" in words(app)
    app.button(key="calibration_reset").click().run()
    assert decision_of(store, run) is None and "No temperature is saved" in words(app)
    assert not app.exception


def test_view__another_temperature_takes_thresholds_back_and_says_so_before(open_page, store, run):
    before = Decision(
        tuple("0123456789"), ChosenOn(run.run_id, "eval", run.best_step, 270), 1.0, (0.2,) * 10,
        costs_fn=(4.0,) * 10,
    )  # fmt: skip
    decisions.write(store.run_paths(run.run_id).decision, before)
    app = open_page("errors", VIEW, run=run.run_id)
    assert "Another one takes them back" in words(app)
    app.button(key="calibration_save").click().run()
    kept = decision_of(store, run)
    assert kept.thresholds is None and kept.costs_fn == before.costs_fn and kept.temperature != 1


def test_view__test_is_judged_once_opened(open_page, store, run):
    sealed = open_page("errors", VIEW, run=run.run_id)
    assert not any("test" in column for column in figures(sealed).columns)
    store.look_at_test(run.run_id, by="test")
    app = open_page("errors", VIEW, run=run.run_id)
    assert list(figures(app).columns)[2:] == ["test before, 270 images", "test after"]
    assert "on test**: log loss" in words(app) and "95 % interval" in words(app)
    app.button(key="calibration_save").click().run()
    assert set(decision_of(store, run).figures) == {"eval", "test"}


def test_view__test_split_applies_what_is_saved_and_fits_nothing(open_page, store, run):
    store.look_at_test(run.run_id, by="test")
    app = open_page("errors", VIEW | {"errors_split": "test"}, run=run.run_id)
    assert "No temperature is applied. It is chosen on eval" in words(app)
    assert list(figures(app).columns) == ["test, 270 images"]
    decisions.write(
        store.run_paths(run.run_id).decision,
        Decision(tuple("0123456789"), ChosenOn(run.run_id, "eval", run.best_step, 270), 1.4),
    )
    app = open_page("errors", VIEW | {"errors_split": "test"}, run=run.run_id)
    assert "The saved temperature 1.40 is applied" in words(app)
    assert list(figures(app).columns) == ["test before, 270 images", "test after"]
    assert "calibration_save" not in {button.key for button in app.button}


def test_view__a_run_in_its_first_epochs(open_page, store):
    made = make_running_run(store, epochs_done=1)
    app = open_page("errors", VIEW, run=made.run_id)
    assert "once the run is completed" in words(app) and len(app.get("plotly_chart")) == 2
    assert not app.exception


def test_view__only_the_highest_logits_are_kept(open_page, store):
    made = make_many_classes_run(store, num_classes=120)
    app = open_page("errors", VIEW, run=made.run_id)
    assert "keeps the 20 highest logits" in words(app) and not app.exception
    table = figures(app)
    assert table.loc["Expected calibration error"].iloc[0].endswith("points")
    assert pd.isna(table.loc["Brier score"].iloc[0])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("all right", "every image is recognised"),
        ("not a number", "There is no confidence to look at."),
        ("some not a number", "27 images left out: the probabilities are no numbers"),
        ("equal", "No temperature is fitted"),
    ],
)
def test_view__odd_evaluations_say_what_cannot_be_shown(open_page, store, run, kind, expected):
    def make(labels):
        logits = np.zeros((len(labels), 10))
        if kind == "not a number":
            return np.full_like(logits, np.nan)
        if kind != "equal":
            logits[np.arange(len(labels)), labels] = 4
        if kind == "some not a number":
            logits[::10] = np.nan
            logits[1::10, 3] = 9
        return logits

    rewrite(store, run, "eval", run.best_step, make)
    app = open_page("errors", VIEW, run=run.run_id)
    assert expected in words(app) and not app.exception


def test_view__a_damaged_operating_point_is_a_sentence(open_page, store, run):
    store.run_paths(run.run_id).decision.write_text("[]")
    app = open_page("errors", VIEW, run=run.run_id)
    assert "operating point in decision.json cannot be used" in words(app) and not app.exception


@pytest.fixture
def large(monkeypatch):
    """Every evaluation counts as large. The work waits until it is let go, and tells what it went through."""

    class Held:
        gone: list = []
        may_go = threading.Event()

        def finish(self, app):
            self.may_go.set()
            calibration_work._pool().submit(lambda: None).result(60)  # one works at a time
            return app.run()

    held = Held()
    held.gone, held.may_go = [], threading.Event()

    def read(path, take):
        held.gone.append(path.name)
        assert held.may_go.wait(60)
        read_logit_blocks(path, take)

    monkeypatch.setattr(calibration_work, "INLINE_VALUES", 0)
    monkeypatch.setattr(calibration_work, "read_logit_blocks", read)
    yield held
    held.may_go.set()


def spoil_logits(path):
    """Writes over where the logits begin; other columns, size and time stay. Returns what mends it."""
    about, times, whole = pq.read_metadata(path), path.stat(), path.read_bytes()
    group = about.row_group(0)
    columns = [group.column(index) for index in range(group.num_columns)]
    (start,) = [one.data_page_offset for one in columns if one.path_in_schema.startswith("logits")]

    def write(content):
        path.write_bytes(content)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    write(whole[:start] + b"\xff" * 64 + whole[start + 64 :])
    return lambda: write(whole)


def test_view__of_many_logits_what_the_file_says_is_there_at_once(open_page, store, run, large):
    app = open_page("errors", VIEW, run=run.run_id)
    early = figures(app)
    assert calibration.WAITING in words(app) and not app.exception and len(app.get("plotly_chart")) == 2
    assert list(early.columns) == ["eval before, 270 images", "eval after"]
    assert set(early["eval after"]) == {calibration.DOTS}
    assert early.loc["Brier score"].iloc[0] == calibration.DOTS
    assert app.button(key="calibration_save").disabled
    app = large.finish(app)
    late = figures(app)
    assert calibration.WAITING not in words(app) and list(late.columns) == list(early.columns)
    assert list(late.index) == list(early.index)  # nothing moves
    known = early.index[early.iloc[:, 0] != calibration.DOTS]
    assert len(known) == 4 and (late.loc[known].iloc[:, 0] == early.loc[known].iloc[:, 0]).all()
    assert calibration.DOTS not in late.to_numpy() and not app.button(key="calibration_save").disabled
    assert f"Temperature {fit_temperature(*files(store, run)).value:.2f}" in [
        one.value for one in app.subheader
    ]


def test_view__nothing_is_gone_through_twice(open_page, store, run, large):
    app = open_page("errors", VIEW, run=run.run_id)
    other = open_page("errors", VIEW, run=run.run_id)  # somebody else, meanwhile
    app = large.finish(app.run())
    (name,) = set(large.gone)
    assert large.gone == [name] * 2  # at temperature 1, and at the one found
    assert calibration.WAITING not in words(other.run()) + words(app.run())
    store.look_at_test(run.run_id, by="test")
    app = large.finish(app.run())
    assert "on test**: log loss" in words(app)
    assert large.gone[:2] == [name] * 2 and name not in large.gone[2:] and len(large.gone) == 4


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere threads have no priority of their own")
def test_view__the_work_gives_way_to_pages():
    def priority():
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    assert calibration_work._pool().submit(priority).result(60) == min(19, priority() + 10)


def test_view__small_evaluations_are_computed_while_the_page_waits(open_page, run, monkeypatch):
    monkeypatch.setattr(calibration_work, "_pool", lambda: pytest.fail("nothing is left for later"))
    app = open_page("errors", VIEW, run=run.run_id)
    assert not app.exception and calibration.DOTS not in figures(app).to_numpy()


@pytest.mark.parametrize("is_large", [True, False])
def test_view__logits_that_cannot_be_read_are_a_sentence(open_page, store, run, request, is_large):
    spoil_logits(store.run_paths(run.run_id).prediction_file("eval", run.best_step))
    large = request.getfixturevalue("large") if is_large else None
    app = open_page("errors", VIEW, run=run.run_id)
    if large:
        assert calibration.WAITING in words(app)
        app = large.finish(app)
    assert not app.exception and len(app.get("plotly_chart")) == 2  # what the file says is still shown
    assert "cannot be read" in words(app) and calibration.WAITING not in words(app)
    assert "calibration_save" not in {button.key for button in app.button}


def test_view__a_file_that_is_mended_is_read_again(open_page, store, run, large):
    mend = spoil_logits(store.run_paths(run.run_id).prediction_file("eval", run.best_step))
    app = large.finish(open_page("errors", VIEW, run=run.run_id))
    assert "cannot be read" in words(app)
    mend()
    app = large.finish(app.run())
    assert "cannot be read" not in words(app) and calibration.DOTS not in figures(app).to_numpy()
