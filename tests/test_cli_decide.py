"""calibrate, thresholds, curves: the figures are those of independent references on the run's own files."""

import csv
import json
import subprocess

import numpy as np
import pytest
from scipy.special import softmax
from sklearn import metrics as sk

from superft_hf.evaluation import decision as decisions
from superft_hf.evaluation.decision import ChosenOn, Decision
from superft_hf.evaluation.prediction_files import read_logits, read_predictions
from tests.factories import make_completed_run, make_many_classes_run, make_queued_run

pytest_plugins = ["tests.cli_fixtures"]


@pytest.fixture
def run(store):
    made = make_completed_run(store, hidden=8, learning_rate=0.002)
    store.run_paths(made.run_id).model.mkdir(exist_ok=True)
    return made


@pytest.fixture
def told(superft, capsys):
    """`told("curves", run)`: what the command prints with --json."""

    def call(*words):
        assert superft(*words, "--json") == 0
        return json.loads(capsys.readouterr().out)

    return call


def files(store, run, split="eval"):
    path = store.run_paths(run.run_id).prediction_file(split, run.best_step)
    return read_logits(path).values, read_predictions(path)["label"].to_numpy()


def kept(store, run):
    return decisions.read(store.run_paths(run.run_id).decision)


def test_curves__are_those_of_sklearn(told, store, run):
    logits, labels = files(store, run)
    found, probabilities = told("curves", run.run_id), softmax(logits, axis=1)
    for label, row in enumerate(found["classes"]):
        assert row["class"] == str(label) and row["images"] == np.sum(labels == label)
        assert row["auc"] == pytest.approx(sk.roc_auc_score(labels == label, probabilities[:, label]))
        expected = sk.average_precision_score(labels == label, probabilities[:, label])
        assert row["average_precision"] == pytest.approx(expected)
    assert found["macro"]["auc"] == pytest.approx(
        sk.roc_auc_score(labels, probabilities / probabilities.sum(1, keepdims=True), multi_class="ovr"),
        abs=1e-6,
    )
    truth = np.eye(10)[labels]
    assert found["micro"]["auc"] == pytest.approx(
        sk.roc_auc_score(truth, probabilities, average="micro"), abs=1e-6
    )


def test_curves__of_one_class_as_csv(superft, store, run, tmp_path, capsys):
    path = tmp_path / "curve.csv"
    assert superft("curves", run.run_id, "--class", "3", "--csv", path) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("3 ")
    with path.open() as opened:
        rows = list(csv.DictReader(opened))
    logits, labels = files(store, run)
    scores = softmax(logits, axis=1)[:, 3]
    for row in rows[:: len(rows) // 5]:
        taken = scores >= float(row["threshold"]) * (1 - 1e-5)
        assert float(row["recall"]) == pytest.approx(np.mean(taken[labels == 3]))
        assert float(row["precision"]) == pytest.approx(np.mean(labels[taken] == 3))
    assert float(rows[-1]["recall"]) == float(rows[-1]["false_positive_rate"]) == 1


def test_curves__an_unknown_class_and_a_place_that_cannot_be_written(superft, run, tmp_path, capsys):
    assert superft("curves", run.run_id, "--class", "cat") == 1
    assert "has no class 'cat'" in capsys.readouterr().err
    assert superft("curves", run.run_id, "--csv", tmp_path / "no" / "where.csv") == 1
    assert "cannot be written" in capsys.readouterr().err


def test_calibrate__measures_and_saves(told, store, run):
    logits, labels = files(store, run)
    found = told("calibrate", run.run_id, "--save")
    assert found["eval"]["after"]["log_loss"] < found["eval"]["before"]["log_loss"]
    plain = softmax(logits.astype(float), axis=1)
    assert found["eval"]["before"]["log_loss"] == pytest.approx(sk.log_loss(labels, plain, labels=range(10)))
    assert found["eval"]["before"]["accuracy"] == found["eval"]["after"]["accuracy"]
    assert kept(store, run).temperature == found["temperature"] == found["saved_temperature"]
    assert "test" not in found and "test" not in kept(store, run).figures


def test_calibrate__judges_on_test_once_that_was_opened(told, store, run):
    store.look_at_test(run.run_id, by="test")
    found = told("calibrate", run.run_id)
    change = found["change_of_test_log_loss"]
    assert change["low"] <= change["difference"] <= change["high"]
    measured = found["test"]["after"]["log_loss"] - found["test"]["before"]["log_loss"]
    assert change["difference"] == pytest.approx(measured)
    assert kept(store, run) is None  # not asked to save


def test_calibrate__takes_back_thresholds_of_another_temperature(superft, store, run, capsys):
    assert superft("thresholds", run.run_id, "--threshold", "3=0.5", "--save") == 0
    assert superft("calibrate", run.run_id, "--save") == 0
    assert "taken back" in capsys.readouterr().err
    assert kept(store, run).thresholds is None


def test_thresholds__suggests_by_costs_and_never_costs_more(told, store, run):
    found = told("thresholds", run.run_id, "--cost", "8=1:20", "3=5")
    own, plain = found["eval"]["operating_point"], found["eval"]["likeliest"]
    assert own["cost"] <= plain["cost"] and own["recall"]["8"] >= plain["recall"]["8"]
    assert found["decision"]["costs"]["8"] == {"false_positive": 1, "false_negative": 20}
    assert found["decision"]["costs"]["3"] == {"false_positive": 5, "false_negative": 5}
    logits, labels = files(store, run)
    limits = np.array(list(found["decision"]["thresholds"].values()))
    probabilities = softmax(logits.astype(float), axis=1)
    answers = (probabilities / limits).argmax(axis=1)
    answers[probabilities[np.arange(len(answers)), answers] < limits[answers]] = -1
    cost_fp, cost_fn = np.ones(10), np.ones(10)
    cost_fn[8], cost_fp[3], cost_fn[3] = 20, 5, 5
    expected = sum(
        0 if answer == label else cost_fn[label] + (cost_fp[answer] if answer >= 0 else 0)
        for answer, label in zip(answers, labels, strict=True)
    )
    assert own["cost"] == pytest.approx(expected)
    assert kept(store, run) is None


def test_thresholds__by_hand_saved_shown_and_removed(superft, told, store, run, capsys):
    words = ("--threshold", "1=0.9", "--abstain-band", "0.05", "--save")
    assert superft("thresholds", run.run_id, *words) == 0
    assert "not sure" in capsys.readouterr().out
    saved = kept(store, run)
    assert saved.thresholds[1] == 0.9 and saved.abstain_band == 0.05
    assert saved.chosen_on == ChosenOn(run.run_id, "eval", run.best_step, 270)
    shown = told("thresholds", run.run_id)
    assert shown["decision"]["thresholds"]["1"] == 0.9
    assert shown["eval"]["operating_point"]["coverage"] == saved.figures["eval"]["coverage"] < 1
    assert told("thresholds", run.run_id, "--reset") == {"removed": True}
    assert kept(store, run) is None and told("thresholds", run.run_id, "--reset") == {"removed": False}


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--cost", "8"], "names no class with a value"),
        (["--cost", "8=x"], "is not a cost"),
        (["--cost", "8=-1"], "is not a cost"),
        (["--cost", "cat=1"], "has no class"),
        (["--threshold", "8=0"], "out of range"),
        (["--threshold", "8=1.5"], "out of range"),
        (["--threshold", "8=nan"], "is not a threshold"),
        (["--abstain-band", "1.2"], "out of range"),
    ],
)
def test_thresholds__refused(superft, store, run, words, reason, capsys):
    assert superft("thresholds", run.run_id, *words, "--save") == 1
    said = capsys.readouterr().err
    assert reason in said and "Hint:" in said and kept(store, run) is None


def test_a_damaged_operating_point_is_an_error_until_it_is_reset(superft, store, run, capsys):
    store.run_paths(run.run_id).decision.write_text('{"version": 1}')
    for command in ("thresholds", "calibrate"):
        assert superft(command, run.run_id) == 1
        assert "operating point in decision.json cannot be used" in capsys.readouterr().err
    assert superft("thresholds", run.run_id, "--reset") == 0
    assert superft("thresholds", run.run_id) == 0


def test_what_has_no_model_or_no_logits_says_so(superft, store, capsys):
    queued = make_queued_run(store)
    assert superft("calibrate", queued.run_id) == 1
    assert "has no eval predictions of its best epoch" in capsys.readouterr().err
    many = make_many_classes_run(store, num_classes=120)
    assert superft("curves", many.run_id) == 1
    assert "keep only the highest logits" in capsys.readouterr().err
    without = make_completed_run(store, hidden=8)
    assert superft("thresholds", without.run_id, "--threshold", "1=0.5", "--save") == 1
    assert "has no model any more" in capsys.readouterr().err


def test_predict__passes_plain_on_to_the_child(superft, store, run, monkeypatch):
    seen = []

    def child(command, **_):
        seen.append(command)
        return subprocess.CompletedProcess(command, 0, "[]", "")

    monkeypatch.setattr(subprocess, "run", child)
    assert superft("predict", run.run_id, "a.png", "--plain") == 0
    assert superft("predict", run.run_id, "a.png") == 0
    assert "--plain" in seen[0] and "--plain" not in seen[1]


def test_a_decision_for_other_classes_is_refused(superft, store, run, capsys):
    other = Decision(("cat", "dog"), ChosenOn("r", "eval", 1, 10), 1.0, (0.2, 0.8))
    decisions.write(store.run_paths(run.run_id).decision, other)
    assert superft("thresholds", run.run_id) == 1
    assert "chosen for other classes" in capsys.readouterr().err
