"""`superft history`, against the prediction files."""

import csv
import json

import numpy as np
import pytest

from superft_hf.evaluation.prediction_files import read_predictions
from tests.factories import make_completed_run, make_queued_run, make_run_of, make_running_run

pytest_plugins = ["tests.cli_fixtures"]


def scripted(store, *epochs):
    """Cat, dog and emu in turn, predicted as the letters say."""
    logits = []
    for letters in epochs:
        values = np.full((len(letters), 3), -2.0, dtype=np.float32)
        values[np.arange(len(letters)), ["cde".index(letter) for letter in letters]] = 2.0
        logits.append(values)
    labels = np.arange(len(epochs[0])) % 3
    names = ["cat", "dog", "emu"]
    return make_run_of(store, "scripted", class_names=names, labels=labels, logits=logits)


@pytest.fixture
def run(store):
    # cat always, dog early, emu late, cat forgotten, dog never.
    return scripted(store, "cccce", "cdccc", "cddde", "cdedc")


def said(capsys):
    out, err = capsys.readouterr()
    return out, err


def test_history__the_summary(superft, run, capsys):
    assert superft("history", run.run_id) == 0
    out, _ = said(capsys)
    lines = [line.split() for line in out.splitlines()]
    assert out.startswith("scripted: 5 eval images over 4 evaluations, 1 image learned and then forgotten.")
    for words in ("always right", "learned early", "learned late", "forgotten", "never learned"):
        assert [*words.split(), "1", "20.0", "%"] in lines
    assert ["100", "40.0", "%", "0", "0"] in lines and ["200", "60.0", "%", "1", "0"] in lines
    assert ["300", "40.0", "%", "0", "1"] in lines and ["400", "60.0", "%", "1", "0"] in lines


def test_history__json_has_the_same(superft, run, capsys):
    assert superft("history", run.run_id, "--json") == 0
    found = json.loads(said(capsys)[0])
    assert found["num_images"] == 5 and found["late_share"] == 0.5 and found["run_id"] == run.run_id
    assert {name: one["count"] for name, one in found["groups"].items()} == {
        "always-right": 1, "learned-early": 1, "learned-late": 1, "forgotten": 1, "never-learned": 1,
    }  # fmt: skip
    assert found["evaluations"][2] == {"step": 300, "accuracy": 0.4, "gained": 0, "lost": 1}
    assert "images" not in found


@pytest.mark.parametrize(
    ("name", "row", "learned_at", "events"),
    [
        ("always-right", 0, 100, 0), ("learned-early", 1, 200, 0), ("learned-late", 2, 400, 0),
        ("forgotten", 3, None, 1), ("never-learned", 4, None, 0),
    ],
)  # fmt: skip
def test_history__a_list(superft, store, run, capsys, name, row, learned_at, events):
    assert superft("history", run.run_id, "--list", name, "--json") == 0
    (image,) = json.loads(said(capsys)[0])["images"]
    stored = read_predictions(store.run_paths(run.run_id).prediction_file("eval", 400)).iloc[row]
    assert (image["example_id"], image["image"]) == (stored["example_id"], stored["image"])
    assert image["label"] == ["cat", "dog", "emu"][stored["label"]]
    assert image["prediction"] == ["cat", "dog", "emu"][stored["prediction"]]
    assert (image["learned_at_step"], image["forgetting_events"]) == (learned_at, events)
    assert image["group"] == name.replace("-", " ")


def test_history__a_list_in_the_terminal_and_an_empty_one(superft, store, run, capsys):
    assert superft("history", run.run_id, "--list", "forgotten") == 0
    out, _ = said(capsys)
    assert out.splitlines()[1].split()[-6:] == ["cat", "dog", "2", "of", "4", "1"]
    other = scripted(store, "cde", "cde")
    assert superft("history", other.run_id, "--list", "forgotten") == 0
    out, err = said(capsys)
    assert out == "" and "No image is in the list forgotten." in err


def test_history__until_another_epoch(superft, run, capsys):
    assert superft("history", run.run_id, "--until", "300", "--json") == 0
    found = json.loads(said(capsys)[0])
    assert [one["step"] for one in found["evaluations"]] == [100, 200, 300]
    assert found["groups"]["never-learned"]["count"] == 2
    assert superft("history", run.run_id, "--until", "best", "--json") == 0
    assert len(json.loads(said(capsys)[0])["evaluations"]) == 4


@pytest.mark.parametrize("until", ["7", "-1", "first"])
def test_history__until_no_epoch_is_a_sentence(superft, run, capsys, until):
    assert superft("history", run.run_id, f"--until={until}") == 1
    out, err = said(capsys)
    assert out == "" and "There is no evaluation at step" in err and "100, 200, 300, 400" in err


def test_history__csv_has_every_image(superft, store, tmp_path, capsys):
    run = make_completed_run(store, hidden=6, epochs=3)
    path = tmp_path / "images.csv"
    assert superft("history", run.run_id, "--csv", path) == 0
    out, err = said(capsys)
    assert out == "" and "270 images written" in err
    rows = list(csv.DictReader(path.open()))
    paths = store.run_paths(run.run_id)
    steps = paths.prediction_steps("eval")
    files = [read_predictions(paths.prediction_file("eval", step)) for step in steps]
    rights = np.stack([(one["label"] == one["prediction"]).to_numpy() for one in files])
    assert [row["example_id"] for row in rows] == files[-1]["example_id"].tolist()
    assert [int(row["num_right"]) for row in rows] == rights.sum(axis=0).tolist()
    assert [row["learned_at_step"] == "" for row in rows] == (~rights[-1]).tolist()
    assert superft("history", run.run_id, "--csv", path, "--list", "never-learned") == 0
    assert len(list(csv.DictReader(path.open()))) == (~rights.any(axis=0)).sum()


def test_history__a_csv_that_cannot_be_written(superft, run, tmp_path, capsys):
    assert superft("history", run.run_id, "--csv", tmp_path) == 1
    assert "cannot be written" in said(capsys)[1]


def test_history__too_early(superft, store, capsys):
    for run, words in (
        (make_queued_run(store), "has not been evaluated yet"),
        (make_running_run(store, epochs_done=1), "Two evaluations are needed"),
    ):
        assert superft("history", run.run_id, "--json") == 1
        out, err = said(capsys)
        assert out == "" and words in err and "Hint: " in err
