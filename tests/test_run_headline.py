"""The headline of a run: what is held against it, and never a sealed test figure of another."""

import pytest

from superft_hf import run_headline, vault
from superft_hf.evaluation.prediction_files import read_class_names, read_numbers
from tests.factories import make_completed_run


def headline(store, run, split, frozen=None, step=None):
    paths = store.run_paths(run.run_id)
    step = step or run_headline.evaluation_step(run, paths, split)
    path = paths.prediction_file(split, step)
    return run_headline.of_run(
        store, run, split, step, read_numbers(path), tuple(read_class_names(path)), frozen
    )


def test_figures_are_those_that_the_run_reported(store):
    run = make_completed_run(store)
    for split in ("eval", "test"):
        found = headline(store, run, split).figures
        reported = run.evaluation[split]
        assert {key: one.value for key, one in found.items() if key in reported} == pytest.approx(
            {key: reported[key] for key in found if key in reported}, abs=1e-6
        )


def test_another_epoch_has_its_own_top5(store):
    run = make_completed_run(store, hidden=4)
    first = store.run_paths(run.run_id).prediction_steps("eval")[0]
    points = store.read_metrics(run.run_id, keys=("eval_top5_accuracy",))
    expected = float(points[points["step"] == first]["value"].iloc[0])
    found = headline(store, run, "eval", step=first).figures["top5_accuracy"].value
    assert found == expected != run.evaluation["eval"]["top5_accuracy"]


def test_the_frozen_backbone_is_held_against_it_image_by_image(store):
    run, frozen = make_completed_run(store), make_completed_run(store, hidden=3, strategy="head")
    found = headline(store, run, "eval", frozen)
    assert [one.run_id for one in found.baselines] == [None, frozen.run_id]
    gain = run.evaluation["eval"]["accuracy"] - frozen.evaluation["eval"]["accuracy"]
    assert found.over_frozen.value == pytest.approx(gain)
    assert None not in found.figures["precision_weighted"].baselines  # which no run reports


def test_test_figures_of_a_baseline_are_used_once_they_were_opened(store):
    frozen = make_completed_run(store, hidden=3, strategy="head")
    assert run_headline.may_hold_against(store, frozen, "eval")
    assert not run_headline.may_hold_against(store, frozen, "test")
    vault.open_test(store, frozen, by="page")
    assert run_headline.may_hold_against(store, frozen, "test")
