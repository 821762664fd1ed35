"""`superft show` and `superft runs` beside the vault: test figures stay folded until they are asked for."""

import json

import pytest

from superft_hf.errors import HomeError
from superft_hf.evaluation import decision
from superft_hf.evaluation.decision import ChosenOn, Decision
from superft_hf.records import LOOKED_AT_TEST, Failure, RunState
from superft_hf.store import RunStore
from tests.factories import held_supervisor

pytest_plugins = ["tests.cli_fixtures"]


def looks(store: RunStore, run_id: str) -> list[str]:
    return [event.by for event in store.read_events(run_id) if event.what == LOOKED_AT_TEST]


@pytest.fixture
def run(store, completed_run):
    store.log_metrics(completed_run.run_id, 10, 1.0, {"eval_accuracy": 0.75, "test_accuracy": 0.5})
    return completed_run


def test_show__test_stays_folded_until_it_is_opened_and_then_open(superft, store, run, home, capsys):
    assert superft("show", run.run_id) == 0
    text = capsys.readouterr().out
    assert text.startswith("complete completed: 75.0 % on eval (95 % interval 40.9 – 92.9 %); test sealed.\n")
    assert "50.0 %" not in text and "on test" not in text
    assert f"`superft --home {home} show {run.run_id} --test` opens it" in text
    assert looks(store, run.run_id) == []

    assert superft("show", run.run_id, "--test") == 0
    text = capsys.readouterr().out
    assert "50.0 % on test (95 % interval 21.5 – 78.5 %)" in text and "accuracy  75.0 %  50.0 %" in text
    assert "no run had been opened on" in text
    assert looks(store, run.run_id) == ["show"]

    assert superft("show", run.run_id) == 0  # reading again is no look
    assert "accuracy  75.0 %  50.0 %" in capsys.readouterr().out
    assert superft("show", run.run_id, "--without-test") == 0
    assert "50.0 % on test" not in capsys.readouterr().out
    assert looks(store, run.run_id) == ["show"]


def test_show_json__is_a_look_unless_it_is_without_test(superft, store, run, capsys):
    assert superft("show", run.run_id, "--json", "--without-test") == 0
    shown = json.loads(capsys.readouterr().out)
    assert set(shown["evaluation"]) == {"eval"} and shown["metrics"] == {"eval_accuracy": 0.75}
    assert shown["vault"]["is_open"] is False and looks(store, run.run_id) == []

    assert superft("show", run.run_id, "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["evaluation"]["test"]["accuracy"] == 0.5
    assert shown["metrics"] == {"eval_accuracy": 0.75, "test_accuracy": 0.5}
    assert shown["vault"]["is_open"] and shown["vault"]["num_earlier"] == 0
    assert looks(store, run.run_id) == ["show --json"]


def test_show_json__of_a_run_without_test_figures_notes_nothing(superft, store, config_of, capsys):
    live = store.create_run(config_of("x"), by="test", state=RunState.STARTING)
    with held_supervisor(store):
        assert superft("show", live.run_id, "--json") == 0
    assert json.loads(capsys.readouterr().out)["vault"] is None and looks(store, live.run_id) == []


def test_show__a_look_that_cannot_be_noted_shows_nothing(superft, store, run, monkeypatch, capsys):
    def refuse(*_: object, **__: object) -> None:
        raise HomeError("The folder can only be read.", hint="Change its permissions.")

    monkeypatch.setattr(RunStore, "look_at_test", refuse)
    assert superft("show", run.run_id, "--json") == 0
    out, err = capsys.readouterr()
    assert set(json.loads(out)["evaluation"]) == {"eval"} and "cannot be noted" in err
    assert superft("show", run.run_id, "--test") == 1
    out, err = capsys.readouterr()
    assert out == "" and "can only be read" in err


def test_show__the_log_of_a_failure_tells_no_test_figure(superft, store, config_of, capsys):
    run = store.create_run(config_of("x"), by="test", state=RunState.STARTING)
    failure = Failure("E", "It broke.", "", log=("{'test_loss': 0.123, 'eval_loss': 0.456}",))
    store.change_state(run.run_id, (RunState.STARTING,), RunState.FAILED, by="worker", failure=failure)
    store.log_metrics(run.run_id, 1, 1.0, {"test_loss": 0.123, "eval_loss": 0.456})
    assert superft("show", run.run_id) == 0
    text = capsys.readouterr().out
    assert "0.456" in text and "0.123" not in text


def test_runs_json__has_test_figures_of_opened_runs_only(superft, store, run, complete, config_of, capsys):
    complete(config_of("x", name="other"))
    store.look_at_test(run.run_id, by="page")
    assert superft("runs", "--json") == 0
    shown = {one["name"]: set(one["evaluation"]) for one in json.loads(capsys.readouterr().out)}
    assert shown == {"complete": {"eval", "test"}, "other": {"eval"}}


def test_show__says_how_answers_are_chosen(superft, store, run, capsys):
    path = store.run_paths(run.run_id).decision
    path.parent.mkdir(exist_ok=True)
    chosen = Decision(("cat", "dog"), ChosenOn(run.run_id, "eval", 40, 120), 1.5, (0.2, 0.8))
    decision.write(path, chosen)
    assert superft("show", run.run_id) == 0
    assert "Thresholds: cat at 0.200, dog at 0.800." in capsys.readouterr().out
    assert superft("show", run.run_id, "--json", "--without-test") == 0
    assert json.loads(capsys.readouterr().out)["decision"]["thresholds"] == [0.2, 0.8]
    path.write_text("{")
    assert superft("show", run.run_id) == 0
    assert "Operating point: " in capsys.readouterr().out
