"""Runs made of other runs: continued from their weights, repeated with a remedy."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from superft_hf import cli_again
from superft_hf.errors import ConfigError
from superft_hf.records import Failure, Remedy, RunRecord, RunState
from superft_hf.store import RunStore

pytest_plugins = ["tests.cli_fixtures"]

HALVED = Remedy(
    "Halve the batch",
    {"training.per_device_train_batch_size": 16, "training.gradient_accumulation_steps": 2},
)
SLOWER = Remedy("Train slower", {"training.learning_rate": 2e-5})


@pytest.fixture(autouse=True)
def _nothing_starts(no_supervisor: list[Path]) -> None:
    """Queued runs stay queued."""


@pytest.fixture
def finished(store: RunStore, complete: Callable, cli_config: Callable, model_folder: Path) -> RunRecord:
    """A completed run with a model."""
    run = complete(cli_config("cats"))
    shutil.copytree(model_folder, store.run_paths(run.run_id).model)
    return run


@pytest.fixture
def failed(store: RunStore, cli_config: Callable[..., object]) -> RunRecord:
    """A run that failed for want of memory."""
    run = store.create_run(cli_config("cats"), by="test")
    failure = Failure(
        "OutOfMemoryError", "Out of memory with 32 images a step.", "Take fewer.",
        ("first", "step 3", "RuntimeError: \x1b[31mno memory"), (HALVED, SLOWER),
    )  # fmt: skip
    store.change_state(run.run_id, (RunState.QUEUED,), RunState.FAILED, by="test", failure=failure)
    return store.get_run(run.run_id)


def queued(store: RunStore, capsys: pytest.CaptureFixture[str]) -> RunRecord:
    """The run whose id was printed alone on the last line."""
    return store.get_run(capsys.readouterr().out.splitlines()[-1])


def test_continue__weights_of_the_one_settings_of_the_same(superft, store, finished, capsys):
    changes = ["training.learning_rate=1e-5", "training.seed=7", "name=second, longer"]
    assert superft("continue", finished.run_id, "--set", *changes, "--priority", "2") == 0
    run = queued(store, capsys)
    assert (run.state, run.name, run.priority) == (RunState.QUEUED, "second, longer", 2)
    config, before = store.read_config(run.run_id), store.read_config(finished.run_id)
    assert config.model.name_or_path == str(store.run_paths(finished.run_id).model.absolute())
    assert config.model.revision == "main"
    assert (config.training.learning_rate, config.training.seed) == (1e-5, 7)
    assert config.data == before.data
    assert config.training.num_train_epochs == before.training.num_train_epochs
    assert store.get_run(finished.run_id) == finished


def test_continue__has_a_name_of_its_own(superft, store, finished, capsys):
    assert superft("continue", finished.run_id) == 0
    assert queued(store, capsys).name == "cats, continued"
    assert superft("continue", finished.run_id, "--name", "dogs") == 0
    assert queued(store, capsys).name == "dogs"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("training.learning_rat=1", "training.learning_rat is not a setting; did you mean"),
        ("training=1", "training is not a setting."),
        ("nonsense.seed=1", "nonsense is not a setting."),
        ("seed", "'seed' is no change of a setting."),
        ("=1", "'=1' is no change of a setting."),
        ("training.seed=many", "training.seed is 'many', but must be a whole number."),
        ("training.learning_rate=7", "training.learning_rate is 7, but must be at most 1."),
        ("data.exclude=[1", "The value '[1' of data.exclude cannot be read."),
    ],
)
@pytest.mark.parametrize("verb", ["continue", "repeat"])
def test_a_change_that_is_refused(superft, store, finished, verb, change, message, capsys):
    assert superft(verb, finished.run_id, "--set", change) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert "\nHint: " in err
    assert len(store.list_runs()) == 1


def test_changes_are_read_as_in_the_yaml(cli_config):
    pairs = [
        "data.merge_classes={cat: pet, dog: pet}", "hardware.devices=0,1", "name=123", "data.eval_split=null",
        "hardware.mixed_precision=no", "training.report_to=[tensorboard]",
    ]  # fmt: skip
    config = cli_again.changed(cli_config("x"), cli_again._parse(pairs))
    assert config.data.merge_classes == {"cat": "pet", "dog": "pet"}
    assert (config.hardware.devices, config.hardware.mixed_precision) == ("0,1", "no")
    assert (config.name, config.data.eval_split) == ("123", None)
    assert config.training.report_to == ["tensorboard"]


@pytest.mark.parametrize(
    ("state", "hint"),
    [(RunState.FAILED, " resume "), (RunState.PAUSED, " resume "), (RunState.DISCARDED, "--state completed")],
)
def test_continue__needs_a_completed_run(superft, store, config_of, state, hint, capsys):
    run = store.create_run(config_of("x", name="a"), by="test")
    store.change_state(run.run_id, (RunState.QUEUED,), state, by="test")
    assert superft("continue", run.run_id) == 1
    err = capsys.readouterr().err
    assert f"Error: The run a is {state}, so it has no model yet." in err
    assert hint in err.split("Hint: ")[1]


def test_continue__model_folder_that_is_gone(superft, completed_run, capsys):
    assert superft("continue", completed_run.run_id) == 1
    assert "is gone" in capsys.readouterr().err


def test_show__a_failed_run_lists_log_and_remedies(superft, home, failed, capsys):
    assert superft("show", failed.run_id) == 0
    text = capsys.readouterr().out
    assert text.startswith("cats failed: Out of memory with 32 images a step.\nHint: Take fewer.\n")
    assert (
        "Remedy: Halve the batch (training.per_device_train_batch_size=16, "
        "training.gradient_accumulation_steps=2)\n"
        f"  superft --home {home} repeat {failed.run_id} --remedy 1\n"
    ) in text
    assert f"repeat {failed.run_id} --remedy 2" in text
    assert "  | step 3\n  | RuntimeError:  [31mno memory\n" in text, (
        "no control character reaches the terminal"
    )
    assert superft("show", failed.run_id, "--json") == 0
    failure = json.loads(capsys.readouterr().out)["failure"]
    assert failure["log"][-1] == "RuntimeError: \x1b[31mno memory"
    assert failure["remedies"][1] == {"title": "Train slower", "changes": {"training.learning_rate": 2e-5}}


def test_advice__is_shown_and_its_remedy_can_be_taken(superft, home, store, complete, cli_config, capsys):
    run = complete(cli_config("cats"))
    for epoch in range(1, 9):  # the train loss falls on, the eval loss turns and trebles
        store.log_metrics(run.run_id, 25 * epoch, float(epoch), {"loss": 1 / epoch, "eval_loss": 0.3 * epoch})
    store.update_run(run.run_id, best_step=25, best_value=0.3, global_step=200, max_steps=200)
    assert superft("show", run.run_id, "--json") == 0
    advice = json.loads(capsys.readouterr().out)["advice"]
    (found,) = (one for one in advice if one["code"] == "over-fitting")
    assert superft("show", run.run_id) == 0
    text = capsys.readouterr().out
    assert f"Advice: {found['title']}" in text
    assert f"superft --home {home} repeat {run.run_id} --remedy over-fitting" in text
    assert superft("repeat", run.run_id, "--remedy", "over-fitting") == 0
    config = store.read_config(queued(store, capsys).run_id)
    for key, value in found["remedy"]["changes"].items():
        group, name = key.split(".")
        assert getattr(getattr(config, group), name) == value


def test_repeat__with_a_remedy_and_changes(superft, store, failed, capsys):
    assert superft("repeat", failed.run_id, "--remedy", "1", "--set", "training.seed=3") == 0
    run = queued(store, capsys)
    training = store.read_config(run.run_id).training
    assert (training.per_device_train_batch_size, training.gradient_accumulation_steps) == (16, 2)
    assert (training.seed, training.learning_rate) == (3, None)
    assert run.name == "cats, again"


def test_repeat__without_changes(superft, store, finished, capsys):
    assert superft("repeat", finished.run_id, "--name", "twin") == 0
    run = queued(store, capsys)
    config = store.read_config(run.run_id).model_copy(update={"name": "cats"})
    assert (run.name, config) == ("twin", store.read_config(finished.run_id))


def test_repeat__a_remedy_that_is_not_there(superft, store, failed, finished, capsys):
    assert superft("repeat", failed.run_id, "--remedy", "3") == 1
    err = capsys.readouterr().err
    assert "Error: The run cats has no remedy '3'.\nHint: It has 1, 2; " in err
    assert superft("repeat", finished.run_id, "--remedy", "1") == 1
    assert "has no remedy '1'" in capsys.readouterr().err
    assert len(store.list_runs()) == 2


def test_train__a_failure_names_its_remedies(superft, store, config_file, capsys):
    assert superft("train", config_file("fail")) == 1
    err = capsys.readouterr().err
    (run,) = store.list_runs()
    assert "Error: Out of memory with 32 images a step.\nHint: Take 16.\n" in err
    assert f" resume {run.run_id}`" in err


def test_changed__refuses_a_group():
    with pytest.raises(ConfigError):
        cli_again._parse(["training"])
