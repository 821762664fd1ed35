"""`superft report` and `superft baseline`."""

import csv

import pytest

from superft_hf.records import LOOKED_AT_TEST, RunState
from tests.factories import make_completed_run, make_queued_run

pytest_plugins = ["tests.cli_fixtures"]


def looks(store, run_id: str) -> list[str]:
    return [event.by for event in store.read_events(run_id) if event.what == LOOKED_AT_TEST]


def test_report__writes_one_file_and_says_where(superft, store, tmp_path, monkeypatch, capsys):
    run = make_completed_run(store)
    monkeypatch.chdir(tmp_path)
    assert superft("report", run.run_id) == 0
    assert capsys.readouterr().out == f"report-{run.run_id}.html\n"
    page = (tmp_path / f"report-{run.run_id}.html").read_text()
    assert page.startswith("<!DOCTYPE html>") and "on eval (95 % interval" in page
    assert looks(store, run.run_id) == []  # test is sealed, and not in it


def test_report__test_is_a_look_at_each_run(superft, store, tmp_path, capsys):
    runs = [make_completed_run(store), make_completed_run(store, "other", hidden=8)]
    ids = [run.run_id for run in runs]
    path = tmp_path / "both.html"
    assert superft("report", *ids, "--test", "-o", path) == 0
    assert capsys.readouterr().out == f"{path}\n"
    assert [looks(store, one) for one in ids] == [["report"], ["report"]]
    assert "Choose between runs on eval" in path.read_text()


def test_report__no_look_when_a_run_is_not_there(superft, store, tmp_path, capsys):
    run = make_completed_run(store)
    assert superft("report", run.run_id, "20260101-0000-aaaa", "--test", "-o", tmp_path / "x.html") == 1
    assert "20260101-0000-aaaa" in capsys.readouterr().err
    assert looks(store, run.run_id) == [] and not (tmp_path / "x.html").exists()


def test_report__tables_as_csv(superft, store, tmp_path, capsys):
    run = make_completed_run(store)
    assert superft("report", run.run_id, "--csv", tmp_path / "tables") == 0
    paths = capsys.readouterr().out.split()
    assert len(paths) == 5 and not any("-test-figures" in path for path in paths)
    with (tmp_path / "tables" / f"{run.run_id}-eval-figures.csv").open() as opened:
        rows = {row["metric"]: row for row in csv.DictReader(opened)}
    accuracy = rows["accuracy"]
    assert float(accuracy["value"]) == run.evaluation["eval"]["accuracy"]
    assert float(accuracy["low"]) < float(accuracy["value"]) < float(accuracy["high"])
    assert accuracy["method"] == "Wilson" and rows["loss"]["method"] == "bootstrap"


def test_report__refusals(superft, store, tmp_path, capsys):
    waiting = make_queued_run(store)
    assert superft("report", waiting.run_id) == 1
    assert "has not been evaluated" in capsys.readouterr().err
    run = make_completed_run(store)
    (tmp_path / "file").write_text("")
    assert superft("report", run.run_id, "-o", tmp_path / "file" / "x.html") == 1
    assert "cannot be written" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        superft("report", run.run_id, "--pictures", "-1")
    assert stopped.value.code == 2


def test_baseline__queues_the_head_alone_once(superft, store, no_supervisor, cli_config, complete, capsys):
    run = complete(cli_config("complete"))
    assert superft("baseline", run.run_id) == 0
    out, err = capsys.readouterr()
    run_id = out.strip()
    assert store.get_run(run_id).state is RunState.QUEUED and "is queued" in err
    assert store.read_config(run_id).model.strategy == "head"
    assert superft("baseline", run.run_id) == 0
    assert capsys.readouterr().out.strip() == run_id and len(store.list_runs()) == 2
    assert superft("baseline", run_id) == 1
    assert "is a frozen-backbone baseline itself" in capsys.readouterr().err
