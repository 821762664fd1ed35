"""`superft trio`, and what `superft compare` says of the three."""

import json

import pytest

from superft_hf.engine import control
from superft_hf.records import RunState
from tests.factories import make_completed_run

pytest_plugins = ["tests.cli_fixtures"]

PARTS = ["full", "head only", "from scratch"]


@pytest.fixture(autouse=True)
def _nothing_starts(no_supervisor, monkeypatch):
    """Queued runs stay queued, and model and images are not looked at."""
    monkeypatch.setattr(control, "prepare", lambda config, home, progress=None, token=None: config)


@pytest.fixture
def config_file(tmp_path):
    path = tmp_path / "cells.yaml"
    path.write_text(
        "name: cells\nmodel: {name_or_path: sample:efficientnet-lite0}\ndata: {name_or_path: sample:digits}\n"
    )
    return path


def test_trio__three_ids_of_a_configuration(superft, store, config_file, capsys):
    assert superft("trio", config_file) == 0
    printed = capsys.readouterr()
    names = [store.get_run(run_id).name for run_id in printed.out.split()]
    assert names == [f"cells, {part}" for part in PARTS]
    assert "Queued 3 runs." in printed.err and "What full training buys: `superft" in printed.err


def test_trio__only_the_missing_ones_of_a_run(superft, store, config_file, capsys):
    superft("trio", config_file)
    ids = capsys.readouterr().out.split()
    store.change_state(ids[2], [RunState.QUEUED], RunState.DISCARDED, by="test")
    assert superft("trio", ids[0], "--json") == 0
    out = json.loads(capsys.readouterr().out)
    assert [out["runs"][part] for part in PARTS[:2]] == ids[:2]
    assert out["queued"] == [out["runs"]["from scratch"]] and out["queued"] != [ids[2]]
    assert out["accuracy"] is None and out["words"] is None and out["gains"] == []


def test_trio__says_what_came_out_and_queues_nothing_again(superft, store, capsys):
    runs = [
        make_completed_run(store, "cells", epochs=6),
        make_completed_run(store, "cells, head only", epochs=6, hidden=4, strategy="head"),
        make_completed_run(store, "cells, from scratch", epochs=6, hidden=4, pretrained=False),
    ]
    ids = [run.run_id for run in runs]
    assert superft("trio", ids[2]) == 0
    printed = capsys.readouterr()
    assert printed.out.split() == ids and "Queued" not in printed.err
    sentence = next(line for line in printed.err.splitlines() if line.startswith("Full training:"))
    assert f"{100 * runs[0].accuracy:.1f} %" in sentence and "above from scratch" in sentence
    assert superft("compare", ids[1], ids[0], ids[2]) == 0
    assert capsys.readouterr().out.splitlines()[0] == sentence
    assert superft("compare", ids[1], ids[2]) == 0
    assert not capsys.readouterr().out.startswith("Full training")


@pytest.mark.parametrize("source", ["nowhere.yaml", "20260101-0000-abcd"])
def test_trio__what_is_not_there(superft, store, source, capsys):
    assert superft("trio", source) == 1
    assert "Error:" in capsys.readouterr().err and store.list_runs() == []
