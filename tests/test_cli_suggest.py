"""`superft suggest`: what the rule chooses, and why."""

import json

import pytest


@pytest.fixture
def run_yaml(tmp_path, make_folder):
    def make(text: str = "") -> str:
        folder = make_folder({"cat": 20, "dog": 20})
        path = tmp_path / "run.yaml"
        path.write_text(
            f"model: {{name_or_path: sample:efficientnet-lite0}}\ndata: {{name_or_path: {folder}}}\n{text}"
        )
        return str(path)

    return make


def test_suggest__every_choice_with_its_reason(superft, run_yaml, capsys):
    assert superft("suggest", run_yaml("training: {learning_rate: 0.5}")) == 0
    lines = capsys.readouterr().out.splitlines()
    (rate,) = [line for line in lines if "training.learning_rate " in line]
    assert "set: 0.5" in rate and "because" in rate
    (epochs,) = [line for line in lines if "num_train_epochs" in line]
    assert "chosen" in epochs


def test_suggest__json(superft, run_yaml, capsys):
    assert superft("suggest", run_yaml(), "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["case"]["num_classes"] == 2 and found["case"]["family"] == "convnet"
    assert {"key", "value", "reason", "is_chosen"} == set(found["suggestions"][0])
    assert all(one["is_chosen"] for one in found["suggestions"])


def test_suggest__a_file_that_is_not_there(superft, capsys):
    assert superft("suggest", "nowhere.yaml") == 1
    assert "nowhere.yaml" in capsys.readouterr().err
