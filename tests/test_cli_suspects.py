import csv
import io
import json

import pytest

from superft_hf import folds, label_review
from superft_hf.engine import control
from superft_hf.evaluation.slices import COLUMNS
from superft_hf.vault import standing
from tests.factories import make_completed_run, make_queued_run

pytest_plugins = ["tests.cli_fixtures"]


@pytest.fixture
def weak_run(store):
    return make_completed_run(store, "weak", hidden=4, epochs=3)


@pytest.fixture
def unchecked(monkeypatch, no_supervisor):
    """Runs are queued without a look at model and images."""
    monkeypatch.setattr(control, "prepare", lambda config, home, progress=None, token=None: config)


def test_suspects__as_json_are_those_of_the_page(superft, store, weak_run, capsys):
    assert superft("suspects", weak_run.run_id, "--json", "--limit", 7) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    review = label_review.of_evaluation(
        store.run_paths(weak_run.run_id), weak_run.run_id, "eval", weak_run.best_step
    )
    assert found["num_images"] == 270 and found["num_issues"] == review.found.num_issues
    assert [one["example_id"] for one in found["suspects"]] == review.listed["example_id"].head(7).tolist()
    assert found["suspects"][0]["reason"] == review.listed["reason"].iloc[0]
    assert "Doubt is no proof" in captured.err


def test_suspects__as_a_table_and_as_csv(superft, weak_run, capsys):
    assert superft("suspects", weak_run.run_id, "--limit", 3) == 0
    lines = capsys.readouterr().out.splitlines()
    assert (
        lines[0].split() == ["EXAMPLE", "IMAGE", "LABEL", "SUGGESTED", "DOUBTED", "WHY"] and len(lines) == 4
    )
    assert superft("suspects", weak_run.run_id, "--csv", "--limit", 3) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == 3 and float(rows[0]["quality"]) <= float(rows[1]["quality"])
    assert rows[0]["run_id"] == weak_run.run_id and rows[0]["split"] == "eval"


def test_suspects__of_a_run_without_predictions(superft, store, capsys):
    run = make_queued_run(store)
    assert superft("suspects", run.run_id) == 1
    assert "no predictions on eval yet" in capsys.readouterr().err


def test_suspects__of_train_need_folds(superft, store, weak_run, capsys):
    assert superft("suspects", weak_run.run_id, "--train") == 1
    assert "No fold has completed yet" in capsys.readouterr().err
    make_completed_run(store, "fold", hidden=4, epochs=3, data_settings={"num_folds": 2, "fold": 1})
    assert superft("suspects", weak_run.run_id, "--train", "--json") == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert (found["num_folds"], found["num_folds_done"]) == (2, 1) and found["num_images"] in (628, 629)
    assert "Only 1 of 2 folds are done so far" in captured.err


def test_folds__tell_their_state_and_are_queued_once(superft, store, weak_run, unchecked, capsys):
    assert superft("folds", weak_run.run_id) == 0
    captured = capsys.readouterr()
    assert captured.out == "" and "has no folds yet" in captured.err
    assert superft("folds", weak_run.run_id, "-k", 3) == 0
    captured = capsys.readouterr()
    assert captured.out.count("queued") == 3 and "3 runs queued." in captured.err
    assert superft("folds", weak_run.run_id, "-k", 3, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["started"] == [] and found["num_folds"] == 3 and not found["is_complete"]
    runs = folds.fold_runs(store, weak_run.run_id).by_fold
    assert [one["run_id"] for one in found["folds"]] == [run.run_id for run in runs]
    assert [one["state"] for one in found["folds"]] == ["queued"] * 3


def test_folds__a_number_that_cannot_be_is_refused(superft, store, weak_run, unchecked, capsys):
    assert superft("folds", weak_run.run_id, "-k", 1) == 1
    assert "num_folds" in capsys.readouterr().err and len(store.list_runs()) == 1


def test_slices__of_eval_are_no_look_at_test(superft, store, weak_run, capsys):
    assert superft("slices", weak_run.run_id, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found[0]) == set(COLUMNS) and {"class", "sharpness"} <= {one["kind"] for one in found}
    assert not standing(store, weak_run).is_open


def test_slices__of_test_are_a_look_that_is_noted(superft, store, weak_run, capsys):
    assert superft("slices", weak_run.run_id, "--split", "test") == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[0].startswith("SLICE") and "test opened" in captured.err
    assert standing(store, weak_run).is_open


def test_slices__of_a_run_without_test_results_are_no_look(superft, store, capsys):
    run = make_queued_run(store)
    assert superft("slices", run.run_id, "--split", "test") == 1
    assert "no predictions on test yet" in capsys.readouterr().err
    assert not standing(store, run).is_open
