"""`superft push` and `superft export`: what they refuse and write; the Hub is in tests/publish/."""

import json

import pytest

from superft_hf import cli
from superft_hf.records import LOOKED_AT_TEST
from tests.factories import make_completed_run, make_running_run
from tests.publish.conftest import give_model


@pytest.fixture
def run(store):
    record = make_completed_run(store, "digits", hidden=8)
    give_model(store.run_paths(record.run_id).model, list(record.facts["class_names"]))
    return record


@pytest.fixture
def call(store, capsys):
    """`call("export", …)`: exit code, stdout, stderr."""

    def make(*words: str) -> tuple[int, str, str]:
        code = cli.main(["--home", str(store.home), *words])
        told = capsys.readouterr()
        return code, told.out, told.err

    return make


def test_export_writes_what_a_push_would_send(call, store, run, tmp_path):
    folder = tmp_path / "out" / "digits"
    code, out, err = call(
        "export", run.run_id, str(folder), "--limits", "Only digits.", "--misclassified", "2"
    )
    assert code == 0, err
    assert out.strip() == str(folder) and "Wrote 11 files" in err
    assert "Only digits." in (folder / "README.md").read_text()
    assert (folder / "model.safetensors").stat().st_size > 200_000
    assert len(list((folder / "misclassified").iterdir())) == 2
    assert [path.name for path in folder.parent.iterdir()] == ["digits"]  # nothing left aside
    looks = [event for event in store.read_events(run.run_id) if event.what == LOOKED_AT_TEST]
    assert len(looks) == 1 and looks[0].by == "command line"


def test_export_into_an_empty_folder_as_json(call, run, tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    code, out, _ = call("export", run.run_id, str(folder), "--json")
    told = json.loads(out)
    assert code == 0 and told["folder"] == str(folder) and told["format"] == "hub"
    assert told["files"]["README.md"] == (folder / "README.md").stat().st_size


def test_export_refuses_a_folder_that_holds_something_and_a_file(call, run, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name, words in (("full", "is not empty"), ("file", "is a file")):
        code, out, err = call("export", run.run_id, str(tmp_path / name))
        assert code == 1 and words in err and "Hint:" in err and out == ""
    assert (tmp_path / "full" / "a.txt").read_text() == "mine" and len(list(tmp_path.glob("full/*"))) == 1


def test_a_failed_export_leaves_nothing(call, store, run, tmp_path):
    (store.run_paths(run.run_id).model / "pytorch_model.bin").write_bytes(b"x")
    code, _, err = call("export", run.run_id, str(tmp_path / "out"))
    assert code == 1 and "pytorch_model.bin" in err
    assert not (tmp_path / "out").exists()


def test_both_refuse_runs_that_are_not_finished_or_not_there(call, store, tmp_path):
    running = make_running_run(store)
    for words in (("push", running.run_id, "acme/x"), ("export", running.run_id, str(tmp_path / "out"))):
        code, _, err = call(*words)
        assert code == 1 and "is running, so there is nothing to publish yet" in err
    code, _, err = call("push", "20260101-0000-none", "acme/x")
    assert code == 1 and "There is no run" in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--licence", "mine"), "no licence that the Hub knows"),
        (("--misclassified", "100"), "100 misclassified pictures cannot go in"),
    ],
)
def test_push_refuses_what_a_card_cannot_hold(call, run, words, told):
    code, _, err = call("push", run.run_id, "acme/x", *words)
    assert code == 1 and told in err and "Hint:" in err


def test_push_refuses_a_name_that_cannot_be(call, run):
    code, _, err = call("push", run.run_id, "acme x", "--dry-run")
    assert code == 1 and "cannot be the name of a repository" in err


def test_a_dry_run_without_a_hub_shows_files_and_card(call, run):
    code, out, err = call("push", run.run_id, "acme/digits", "--dry-run", "--json")
    told = json.loads(out)
    assert code == 0 and told["action"] == "unknown" and told["card"].startswith("---")
    assert told["total_bytes"] == sum(told["files"].values()) and "could not be asked" in err
    code, out, err = call("push", run.run_id, "acme/digits", "--dry-run")
    assert "model.safetensors" in out and "## Results" in out and "Nothing was sent." in err
