"""`superft compare`, `superft seeds`, `superft pin`."""

import json

import pytest

from superft_hf import vault
from superft_hf.engine import control
from superft_hf.evaluation.comparison import compare_predictions
from superft_hf.evaluation.prediction_files import read_predictions
from superft_hf.records import RunState
from tests.factories import make_completed_run, make_queued_run

pytest_plugins = ["tests.cli_fixtures"]


@pytest.fixture(autouse=True)
def _nothing_starts(no_supervisor):
    """Queued runs stay queued."""


@pytest.fixture
def pair(store):
    return (
        make_completed_run(store, "small", hidden=10, learning_rate=0.002),
        make_completed_run(store, "large", learning_rate=0.006),
    )


def compared(store, pair):
    files = [store.run_paths(run.run_id).prediction_file("eval", run.best_step) for run in pair]
    return compare_predictions(*[read_predictions(path) for path in files])


def test_compare__in_words_with_counts_and_figures(superft, store, pair, capsys):
    found = compared(store, pair)
    assert superft("compare", pair[0].run_id, pair[1].run_id) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("large is better than small: +") and "on 270 images" in lines[0]
    assert f"{100 * pair[0].accuracy:.1f} %" in lines[3] and lines[3].startswith("A  small")
    last = lines[-1].split()
    assert last[:4] == ["large", str(len(found.fixed)), str(len(found.broken)), str(len(found.both_wrong))]


def test_compare__json_has_the_ids_of_the_images(superft, store, pair, capsys):
    found = compared(store, pair)
    assert superft("compare", pair[0].run_id, pair[1].run_id, "--json") == 0
    out = json.loads(capsys.readouterr().out)
    one = out["comparisons"][0]
    assert (one["a"], one["b"], out["split"]) == (pair[0].run_id, pair[1].run_id, "eval")
    assert (one["fixed"], one["broken"]) == (list(found.fixed), list(found.broken))
    assert one["difference"] == pytest.approx(found.difference) and one["is_shown"] is True
    assert one["p_value"] == pytest.approx(found.p_value) and one["f1_macro"]["low"] < one["f1_macro"]["high"]
    assert out["runs"][1]["step"] == pair[1].best_step and out["warnings"] == []


def test_compare__several_against_the_first_are_corrected(superft, store, pair, capsys):
    third = make_completed_run(store, "third", hidden=12, epochs=3)
    assert superft("compare", *(run.run_id for run in (*pair, third)), "--json") == 0
    out = json.loads(capsys.readouterr().out)
    values = [one["p_value"] for one in out["comparisons"]]
    assert [one["p_value_holm"] for one in out["comparisons"]] == pytest.approx(
        [min(1, value * (2 if value == min(values) else 1)) for value in values], rel=1e-6
    )
    assert superft("compare", *(run.run_id for run in (*pair, third))) == 0
    printed = capsys.readouterr()
    assert "by Holm" in printed.out and "hold" in printed.err


def test_compare__test_notes_the_look_and_warns(superft, store, pair, capsys):
    assert superft("compare", pair[0].run_id, pair[1].run_id, "--split", "test") == 0
    printed = capsys.readouterr()
    assert "of test accuracy" in printed.out
    assert "spoils the test set. The best of them on eval is large" in printed.err
    assert all(vault.standing(store, run).is_open for run in pair)


def test_compare__eval_opens_no_test(superft, store, pair):
    superft("compare", pair[0].run_id, pair[1].run_id)
    assert not any(vault.standing(store, run).is_open for run in pair)


def test_compare__differing_test_sets_only_on_request(superft, store, pair, capsys, tmp_path):
    other = make_completed_run(store, "textures", data="sample:textures", epochs=1)
    assert superft("compare", pair[0].run_id, other.run_id, "--split", "test") == 1
    assert "have no test image in common" in capsys.readouterr().err
    assert not vault.standing(store, pair[0]).is_open  # nothing was shown


def test_compare__part_of_the_test_set(superft, store, pair, capsys):
    paths = store.run_paths(pair[1].run_id)
    path = paths.prediction_file("test", paths.prediction_steps("test")[0])
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    pq.write_table(table.slice(0, 100), path)
    words = ["compare", pair[0].run_id, pair[1].run_id, "--split", "test"]
    assert superft(*words) == 1
    assert "--common compares them on the 100 images in common" in capsys.readouterr().err
    assert superft(*words, "--common") == 0
    printed = capsys.readouterr()
    assert "on 100 images" in printed.out and "have 100 images in common, of 270 and 100" in printed.err


def test_compare__what_cannot_be_compared(superft, store, pair, capsys):
    waiting = make_queued_run(store, "waiting")
    for words, message in (
        ((pair[0].run_id, waiting.run_id), "waiting has no evaluation to compare yet"),
        ((pair[0].run_id, pair[0].run_id), "cannot be compared with itself"),
        ((pair[0].run_id, "20260101-0000-none"), "There is no run"),
        ((pair[0].run_id, waiting.run_id, "--split", "test"), "has no test results"),
    ):
        assert superft("compare", *words) == 1
        printed = capsys.readouterr()
        assert message in printed.err and printed.out == ""


def test_seeds__queues_more_and_prints_their_ids(superft, store, pair, capsys, monkeypatch):
    monkeypatch.setattr(control, "prepare", lambda config, *_, **__: config)
    assert superft("seeds", pair[0].run_id, "-n", "3") == 0
    printed = capsys.readouterr()
    made = [store.get_run(run_id) for run_id in printed.out.split()]
    assert [run.state for run in made] == [RunState.QUEUED] * 3
    assert [store.read_config(run.run_id).training.seed for run in made] == [43, 44, 45]
    assert "Queued 3 runs of about" in printed.err


def test_seeds__a_number_that_makes_no_sense(superft, store, pair, capsys):
    assert superft("seeds", pair[0].run_id, "-n", "0") == 1
    assert "Ask for 1 to 20" in capsys.readouterr().err
    assert len(store.list_runs()) == 2


def test_pin__pins_lists_and_removes(superft, store, pair, capsys):
    assert superft("pin") == 0
    assert "No baseline is pinned" in capsys.readouterr().err
    assert superft("pin", pair[0].run_id) == 0
    assert superft("pin", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"sample:digits": pair[0].run_id}
    assert superft("pin") == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["sample:digits", pair[0].run_id, "small"]
    assert superft("pin", pair[1].run_id, "--remove") == 0
    assert store.read_baselines() == {}
    assert superft("pin", pair[1].run_id, "--remove") == 1
    assert "No baseline of sample:digits is pinned" in capsys.readouterr().err


def test_pin__looking_creates_no_home(superft, home, capsys):
    assert superft("pin", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {} and not home.exists()
