"""`superft errors`: every line is one of the prediction file."""

import csv
import io
import json

import pytest

from superft_hf.evaluation.prediction_files import read_predictions
from superft_hf.records import LOOKED_AT_TEST, Mark, MarkKind
from tests.factories import make_completed_run, make_queued_run, make_running_run

pytest_plugins = ["tests.cli_fixtures"]


@pytest.fixture
def run(store):
    return make_completed_run(store, hidden=10, learning_rate=0.002)


def rows_of(store, run, split="eval", step=None):
    return read_predictions(store.run_paths(run.run_id).prediction_file(split, step or run.best_step))


def asked(superft, capsys, run, *words):
    """What the command prints as JSON."""
    assert superft("errors", run.run_id, "--json", *words) == 0
    return json.loads(capsys.readouterr().out)


def failed(superft, capsys, *words):
    assert superft("errors", *words) == 1
    out, err = capsys.readouterr()
    assert out == "" and "Hint: " in err and "Traceback" not in err
    return err


def test_errors__the_worst_mistakes_by_default(superft, capsys, store, run):
    rows = rows_of(store, run)
    wrong = rows[rows["label"] != rows["prediction"]].sort_values("loss", ascending=False, kind="stable")
    found = asked(superft, capsys, run)
    assert (found["found"], found["total"], found["step"], found["split"]) == (
        len(wrong), len(rows), run.best_step, "eval",
    )  # fmt: skip
    worst = wrong.head(20)
    assert [one["example_id"] for one in found["images"]] == worst["example_id"].tolist()
    assert [one["loss"] for one in found["images"]] == worst["loss"].tolist()
    assert [one["label"] for one in found["images"]] == [str(label) for label in worst["label"]]


def test_errors__filters_and_order_as_pandas(superft, capsys, store, run):
    rows = rows_of(store, run)
    label = int(rows[rows["label"] != rows["prediction"]]["label"].mode()[0])
    words = ["--true", str(label), "--outcome", "all", "--min-confidence", "0.3", "--max-confidence", "0.8"]
    found = asked(superft, capsys, run, *words, "--sort", "confidence", "--ascending", "--limit", "500")
    fits = rows[(rows["label"] == label) & rows["confidence"].between(0.3, 0.8)]
    expected = fits.sort_values("confidence", kind="stable")
    assert [one["example_id"] for one in found["images"]] == expected["example_id"].tolist() != []
    right = asked(superft, capsys, run, "--outcome", "right", "--predicted", "3", "--limit", "1")
    assert right["found"] == ((rows["label"] == 3) & (rows["prediction"] == 3)).sum()
    assert len(right["images"]) == 1


def test_errors__text_is_no_pattern(superft, capsys, store, run):
    image = rows_of(store, run)["image"].iloc[0]
    found = asked(superft, capsys, run, "--outcome", "all", "--text", image.upper(), "--limit", "999")
    assert image in [one["image"] for one in found["images"]]
    assert asked(superft, capsys, run, "--outcome", "all", "--text", ".*")["found"] == 0


def test_errors__another_epoch(superft, capsys, store, run):
    first = store.run_paths(run.run_id).prediction_steps("eval")[0]
    rows = rows_of(store, run, step=first)
    found = asked(superft, capsys, run, "--epoch-step", first)
    assert found["found"] == (rows["label"] != rows["prediction"]).sum() and found["step"] == first
    assert f"{first}, " in failed(superft, capsys, run.run_id, "--epoch-step", "1")


def test_errors__a_table_for_people_with_marks(superft, capsys, store, run):
    rows = rows_of(store, run)
    worst = rows[rows["label"] != rows["prediction"]].nlargest(1, "loss").iloc[0]
    store.set_mark(
        Mark(
            run.data, worst["example_id"], MarkKind.AMBIGUOUS, None, str(worst["label"]), "eval", "x",
            run.run_id,
        )
    )  # fmt: skip
    assert superft("errors", run.run_id, "--limit", "3") == 0
    out, err = capsys.readouterr()
    head, first, *others = out.splitlines()
    assert head.split() == ["example_id", "true", "predicted", "confidence", "loss", "mark", "image"]
    assert first.startswith(worst["example_id"]) and "ambiguous" in first and len(others) == 2
    assert f"{worst['loss']:.3f}" in first and f"{100 * worst['confidence']:.1f} %" in first
    assert "The first 3 are shown." in err


def test_errors__csv_has_all_that_are_found(superft, capsys, store, run, tmp_path):
    rows = rows_of(store, run)
    wrong = rows[rows["label"] != rows["prediction"]].sort_values("loss", ascending=False, kind="stable")
    target = tmp_path / "wrong.csv"
    assert superft("errors", run.run_id, "--csv", target) == 0
    assert capsys.readouterr().out == ""
    read = list(csv.DictReader(target.open(encoding="utf-8")))
    assert [row["example_id"] for row in read] == wrong["example_id"].tolist()
    assert [float(row["loss"]) for row in read] == wrong["loss"].tolist()
    assert superft("errors", run.run_id, "--csv", "-", "--limit", "2") == 0
    printed = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert printed == read[:2]
    assert "cannot be written" in failed(superft, capsys, run.run_id, "--csv", tmp_path / "no" / "x.csv")
    assert "both write" in failed(superft, capsys, run.run_id, "--csv", "-", "--json")


def test_errors__test_is_a_look_and_is_noted_once(superft, capsys, store, run):
    def looks():
        return [one for one in store.read_events(run.run_id) if one.what == LOOKED_AT_TEST]

    assert "no class" in failed(superft, capsys, run.run_id, "--split", "test", "--true", "cat")
    assert asked(superft, capsys, run)["split"] == "eval" and not looks()
    rows = rows_of(store, run, "test")
    for _ in range(2):
        found = asked(superft, capsys, run, "--split", "test")
        assert found["found"] == (rows["label"] != rows["prediction"]).sum() > 0
    assert [one.by for one in looks()] == ["command line"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--true", "33"], "There is no class '33'"),
        (["--min-confidence", "95"], "95 is no share"),
        (["--max-confidence", "nan"], "nan is no share"),
        (["--min-confidence", "0.9", "--max-confidence", "0.1"], "is above"),
        (["--limit", "0"], "--limit 0"),
    ],
)
def test_errors__refuses_with_a_sentence(superft, capsys, run, words, said):
    assert said in failed(superft, capsys, run.run_id, *words)


def test_errors__nothing_evaluated_yet(superft, capsys, store):
    queued = make_queued_run(store)
    assert "has not been evaluated on eval" in failed(superft, capsys, queued.run_id)
    running = make_running_run(store, epochs_done=1)
    assert asked(superft, capsys, running)["total"] == 270
    assert "has not been evaluated on test" in failed(superft, capsys, running.run_id, "--split", "test")


def test_errors__nothing_that_fits_is_no_failure(superft, capsys, run):
    assert superft("errors", run.run_id, "--true", "3", "--predicted", "3") == 0
    out, err = capsys.readouterr()
    assert out == "" and "fits. What was recognised is with --outcome right." in err
