"""`superft layers`: the last values in words, every recorded step as JSON."""

import json

import pytest

from tests.factories import make_completed_run, make_queued_run, write_layers

pytest_plugins = ["tests.cli_fixtures"]


@pytest.fixture
def run(store):
    run = make_completed_run(store, "cells", epochs=1)
    write_layers(store, run.run_id, num_steps=3)
    return run


def test_layers__a_sentence_and_a_row_a_layer(superft, run, capsys):
    assert superft("layers", run.run_id) == 0
    sentence, _, head, *rows = capsys.readouterr().out.splitlines()
    assert sentence == (
        "block.1, the last one before the head, has changed most: by 4.3 %; the first by 0.20 %, the last by "
        "4.3 %; the head by 20 %."
    )
    assert head.split("  ")[0] == "layer"
    assert [row.split()[0] for row in rows] == ["stem", "block.0", "block.1", "head"]
    assert rows[-1].split()[:5] == ["head", "(head)", "400", "20", "%"]


def test_layers__json_has_every_step(superft, run, capsys):
    assert superft("layers", run.run_id, "--json") == 0
    out = json.loads(capsys.readouterr().out)
    assert out["steps"] == [1, 2, 3] and out["epochs"][-1] == 1.0
    assert out["layers"][-1] == {"name": "head", "num_parameters": 400, "is_head": True}
    assert out["relative_change"][-1] == pytest.approx([0.002, 0.0092832, 0.043089, 0.2])
    assert out["weight_norm"] == [[3.0] * 4] * 3 and len(out["gradient_norm"][0]) == 4


def test_layers__what_is_frozen_has_no_gradient(superft, store, run, capsys):
    write_layers(store, run.run_id, is_body_frozen=True, num_steps=2)
    superft("layers", run.run_id, "--json")
    out = json.loads(capsys.readouterr().out)
    assert out["gradient_norm"][0][:3] == [None] * 3 and out["relative_change"][0][:3] == [0.0] * 3
    assert out["words"].startswith("Only the head trained: it has changed by 20 %")


def test_layers__a_run_without_a_record(superft, store, capsys):
    run = make_queued_run(store, "waits")
    assert superft("layers", run.run_id) == 1
    printed = capsys.readouterr()
    assert "waits has no record of its layers" in printed.err and "first point" in printed.err
    assert printed.out == ""
