"""What the curves of a run suggest: a good one is left alone, and each kind of a bad one is told."""

import doctest
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from superft_hf import advice
from superft_hf.advice import advise
from superft_hf.config import RunConfig
from superft_hf.config_file import make_config
from superft_hf.recipe.decided import roughly
from superft_hf.records import RunRecord, RunState
from superft_hf.settings import find_setting
from tests import factories

STEPS = 30
"""An epoch; the train loss is logged ten times in it."""

GOOD_TRAIN = [1.6, 0.9, 0.62, 0.48, 0.40, 0.36, 0.34, 0.33]
GOOD_EVAL = [1.2, 0.85, 0.66, 0.57, 0.52, 0.50, 0.495, 0.497]
EVEN = {"cat": 250, "dog": 240, "hen": 260, "owl": 250}


def config_of(**groups: Any) -> RunConfig:
    plain = {"label_smoothing_factor": 0.0}  # else the train loss is no such quantity as the eval loss
    groups["training"] = {**plain, **groups.get("training", {})}
    return roughly(make_config({"model": {"name_or_path": "m"}, "data": {"name_or_path": "d"}, **groups}))


def points_of(train, evals, scores=()) -> pd.DataFrame:
    """Ten train points an epoch, each a little off the mean, and an evaluation at its end."""
    rows = []
    for epoch, (mean, eval_loss) in enumerate(zip(train, evals, strict=True), start=1):
        begin = (epoch - 1) * STEPS
        for place in range(10):
            wave = 0.9 if place % 2 else 1.1
            step = begin + 3 * (place + 1)
            rows.append((step, step / STEPS, "loss", mean * wave))
        rows.append((epoch * STEPS, float(epoch), "eval_loss", eval_loss))
    rows += [(epoch * STEPS, float(epoch), "eval_accuracy", score) for epoch, score in enumerate(scores, 1)]
    return pd.DataFrame(rows, columns=["step", "epoch", "key", "value"])


def record_of(evals, accuracy: float = 0.86, **changes: Any) -> RunRecord:
    """A completed run whose best checkpoint is the one of the lowest eval loss."""
    done = len(evals)
    base = RunRecord(
        "20261124-0000-aaaa", "r", RunState.COMPLETED, "image-classification", "m", "d",
        created_at="2026-11-24T00:00:00+00:00", best_metric="eval_loss", accuracy=accuracy,
        best_step=(evals.index(min(evals)) + 1) * STEPS if evals else None, global_step=done * STEPS,
        epoch=float(done), num_train_epochs=float(done),
        facts={
            "counts": {"train": 5000, "eval": 1000}, "counts_by_class": {"train": EVEN, "eval": EVEN},
            "is_cut": ["eval", "test"],
        },
    )  # fmt: skip
    return replace(base, **changes)


def told(record, config, points) -> dict[str, advice.Advice]:
    return {one.code: one for one in advise(record, config, points)}


def changed(one: advice.Advice) -> dict[str, Any]:
    return dict(one.remedy.changes)


def test_advice__examples():
    assert doctest.testmod(advice).failed == 0


def test_a_good_run_is_left_alone():
    assert advise(record_of(GOOD_EVAL), config_of(), points_of(GOOD_TRAIN, GOOD_EVAL)) == []


@pytest.mark.parametrize("state", [RunState.QUEUED, RunState.RUNNING, RunState.DISCARDED])
def test_only_runs_that_ended_are_judged(state):
    record = record_of([2.0, 2.0], 0.25, state=state)
    assert advise(record, config_of(), points_of([1.4, 1.4], [1.4, 1.4])) == []


def test_a_run_without_points_or_facts():
    nothing = pd.DataFrame({"row": [], "step": [], "epoch": [], "key": [], "value": [], "time": []})
    record = record_of([], None, state=RunState.FAILED, facts={}, best_metric=None)
    assert advise(record, config_of(), nothing) == []
    assert advise(replace(record, best_step=30), config_of(), points_of(GOOD_TRAIN, GOOD_EVAL)) == []


# Over-fitting

RISING = [0.9, 0.60, 0.50, 0.55, 0.62, 0.70]
LEARNED = [1.2, 0.70, 0.45, 0.28, 0.15, 0.08]


def test_over_fitting__eval_rose_while_train_fell():
    one = told(record_of(RISING), config_of(), points_of(LEARNED, RISING))["over-fitting"]
    assert one.title == "Over-fitting: eval loss rose from 0.500 to 0.700 while train loss fell to 0.080."
    assert (one.setting, changed(one)) == ("augmentation.preset", {"augmentation.preset": "strong"})


@pytest.mark.parametrize(
    ("groups", "changes"),
    [
        ({"augmentation": {"preset": "none"}}, {"augmentation.preset": "light"}),
        ({"augmentation": {"preset": "strong"}}, {"model.dropout": 0.2}),
        (
            {"augmentation": {"preset": "strong"}, "model": {"name_or_path": "m", "dropout": 0.3}},
            {"training.weight_decay": 0.1},
        ),
    ],
)
def test_over_fitting__the_next_step_of_the_ladder(groups, changes):
    assert changed(
        told(record_of(RISING), config_of(**groups), points_of(LEARNED, RISING))["over-fitting"]
    ) == (changes)


def test_over_fitting__the_ladder_has_an_end():
    config = config_of(
        augmentation={"preset": "strong"},
        model={"name_or_path": "m", "dropout": 0.3},
        training={"weight_decay": 0.1},
    )
    assert told(record_of(RISING), config, points_of(LEARNED, RISING))["over-fitting"].remedy is None


def test_over_fitting__a_wavering_eval_loss_is_none():
    wavers = [0.9, 0.60, 0.50, 0.53, 0.51, 0.54]
    train = [1.2, 0.70, 0.50, 0.45, 0.42, 0.40]
    assert "over-fitting" not in told(record_of(wavers), config_of(), points_of(train, wavers))


def test_over_fitting__tiny_losses_mean_nothing():
    tiny = [0.05, 0.020, 0.010, 0.015, 0.018, 0.020]
    train = [0.2, 0.05, 0.02, 0.01, 0.005, 0.002]
    assert "over-fitting" not in told(record_of(tiny, 0.998), config_of(), points_of(train, tiny))


def test_over_fitting__a_gap_without_a_rise():
    evals = [0.9, 0.70, 0.62, 0.60, 0.601]
    train = [1.0, 0.60, 0.35, 0.20, 0.10]
    one = told(record_of(evals), config_of(), points_of(train, evals))["over-fitting"]
    assert one.title == "Over-fitting: eval loss is 0.601, train loss 0.100."
    smoothed = config_of(training={"label_smoothing_factor": 0.1})  # another quantity
    assert "over-fitting" not in told(record_of(evals), smoothed, points_of(train, evals))


def test_over_fitting__of_a_smoothed_loss_is_seen_in_the_plain_cross_entropy():
    evals = [0.9, 0.70, 0.62, 0.60, 0.601]
    plain = points_of([1.0, 0.60, 0.35, 0.20, 0.10], evals)
    plain["key"] = plain["key"].replace("loss", "cross_entropy")
    smoothed = points_of([1.2, 0.90, 0.75, 0.68, 0.65], evals)
    points = pd.concat([smoothed, plain[plain["key"] == "cross_entropy"]])
    config = config_of(training={"label_smoothing_factor": 0.1})
    one = told(record_of(evals), config, points)["over-fitting"]
    assert one.title == "Over-fitting: eval loss is 0.601, train loss 0.100."


def test_over_fitting__not_while_the_metric_that_chooses_still_improves():
    scores = [0.60, 0.75, 0.82, 0.84, 0.855, 0.86]
    record = record_of(RISING, best_metric="eval_accuracy", best_step=6 * STEPS)
    config = config_of(early_stopping={"metric": "eval_accuracy"})
    assert "over-fitting" not in told(record, config, points_of(LEARNED, RISING, scores))


# Under-fitting and learning rates


def test_under_fitting__the_head_alone_cannot_do_it():
    train, evals = [1.35, 1.20, 1.15, 1.149], [1.30, 1.21, 1.18, 1.178]
    config = config_of(model={"name_or_path": "m", "strategy": "head"})
    one = told(record_of(evals, 0.45), config, points_of(train, evals))["under-fitting"]
    assert one.title == (
        "The train images themselves were not learned: 45.0 % on eval, where always naming the largest class "
        "gives 26.0 %."
    )
    assert (one.setting, changed(one)) == ("model.strategy", {"model.strategy": "full"})


def test_under_fitting__strong_augmentation_then_more_epochs():
    train, evals = [1.35, 1.10, 0.92, 0.9], [1.30, 1.1, 0.98, 0.979]
    record, points = record_of(evals, 0.5), points_of(train, evals)
    strong = config_of(augmentation={"preset": "strong"}, training={"num_train_epochs": 4})
    assert changed(told(record, strong, points)["under-fitting"]) == {"augmentation.preset": "light"}
    plain = config_of(training={"num_train_epochs": 4})
    assert changed(told(record, plain, points)["under-fitting"]) == {"training.num_train_epochs": 8}


@pytest.mark.parametrize(("rate", "new"), [(1e-6, 1e-5), (0.05, 0.005)])
def test_under_fitting__nothing_learned_is_a_matter_of_the_learning_rate(rate, new):
    train, evals = [1.39, 1.388, 1.387], [1.388, 1.387, 1.3875]
    config = config_of(training={"learning_rate": rate})
    one = told(record_of(evals, 0.27), config, points_of(train, evals))["under-fitting"]
    assert one.title.startswith("Nothing was learned: 27.0 % on eval")
    assert changed(one) == {"training.learning_rate": new}


def test_under_fitting__a_run_that_over_fits_does_not():
    evals = [1.3, 1.25, 1.30, 1.4]
    codes = told(record_of(evals, 0.45), config_of(), points_of([1.2, 0.7, 0.4, 0.2], evals))
    assert "under-fitting" not in codes and "over-fitting" in codes


def test_learning_rate__too_low():
    train, evals = [1.37, 1.30, 1.24, 1.19], [1.34, 1.28, 1.23, 1.20]
    config = config_of(training={"learning_rate": 1e-5})
    found = told(record_of(evals, 0.42), config, points_of(train, evals))
    assert list(found) == ["learning-rate-low"]
    assert found["learning-rate-low"].title == (
        "The train loss falls steadily, but only from 1.370 to 1.190."
    )
    assert changed(found["learning-rate-low"]) == {"training.learning_rate": 1e-4}


def test_learning_rate__too_high_when_the_loss_jumps():
    points = points_of(GOOD_TRAIN, GOOD_EVAL)
    jumps = points["step"].isin([66, 129]) & (points["key"] == "loss")
    points.loc[jumps, "value"] = 2.4
    config = config_of(training={"learning_rate": 3e-3})
    one = told(record_of(GOOD_EVAL), config, points)["learning-rate-high"]
    assert one.title == "The train loss jumped up 2 times, at first in step 66."
    assert changed(one) == {"training.learning_rate": 1e-3}

    points.loc[points["step"] == 129, "value"] = 0.4  # a single one may be an odd batch
    assert told(record_of(GOOD_EVAL), config, points) == {}


def test_learning_rate__single_small_batches_waver_and_are_averaged():
    rows = []
    for epoch in range(1, 5):
        for place in range(100):
            loss = 0.8 * (3.0 if place % 10 == 7 else 0.7)
            rows.append((100 * (epoch - 1) + place + 1, epoch - 1 + place / 100, "loss", loss))
        rows.append((100 * epoch, float(epoch), "eval_loss", 0.9 - 0.001 * epoch))
    points = pd.DataFrame(rows, columns=["step", "epoch", "key", "value"])
    assert "learning-rate-high" not in told(record_of([0.9], best_step=400), config_of(), points)


def test_learning_rate__too_high_when_the_loss_rises():
    train, evals = [1.4, 1.0, 1.3, 1.5], [1.3, 1.1, 1.3, 1.4]
    one = told(record_of(evals, 0.5), config_of(), points_of(train, evals))["learning-rate-high"]
    assert one.title == "The train loss rose from 1.000 to 1.500."


# The length of a run

FALLING = [1.2, 0.9, 0.75, 0.66, 0.60]


def test_still_improving__more_epochs():
    config = config_of(training={"num_train_epochs": 5})
    one = told(record_of(FALLING), config, points_of([1.3, 1.0, 0.8, 0.7, 0.6], FALLING))["still-improving"]
    assert one.title == "Still improving at the end: the best epoch is the last of 5."
    assert "went from 0.750 to 0.600" in one.text
    assert changed(one) == {"training.num_train_epochs": 10}


def test_still_improving__a_time_budget_is_doubled_instead():
    config = config_of(training={"time_budget_s": 60.0})
    one = told(record_of(FALLING), config, points_of([1.3, 1.0, 0.8, 0.7, 0.6], FALLING))["still-improving"]
    assert (one.setting, changed(one)) == ("training.time_budget_s", {"training.time_budget_s": 120.0})


@pytest.mark.parametrize(
    "changes",
    [
        {"num_train_epochs": 8.0},  # somebody finished it
        {"state": RunState.PAUSED},
        {"accuracy": 0.996},
        {"best_step": 4 * STEPS},
    ],
)
def test_still_improving__is_not_said_of(changes):
    record = replace(record_of(FALLING), **changes)
    assert "still-improving" not in told(record, config_of(), points_of([1.3, 1, 0.8, 0.7, 0.6], FALLING))


def test_still_improving__a_flat_end_is_none():
    flat = [1.2, 0.8, 0.700, 0.695, 0.690]
    assert told(record_of(flat), config_of(), points_of([1.3, 0.9, 0.7, 0.66, 0.65], flat)) == {}


def test_still_improving__scores_count_in_points():
    config = config_of(early_stopping={"metric": "eval_accuracy"})
    record = record_of(GOOD_EVAL[:4], best_metric="eval_accuracy", best_step=4 * STEPS)
    steep = points_of(GOOD_TRAIN[:4], GOOD_EVAL[:4], [0.6, 0.8, 0.84, 0.86])
    assert "went from 80.0 % to 86.0 %" in told(record, config, steep)["still-improving"].text
    flat = points_of(GOOD_TRAIN[:4], GOOD_EVAL[:4], [0.6, 0.857, 0.858, 0.86])
    assert "still-improving" not in told(record, config, flat)


def test_few_steps():
    record = record_of([1.2, 0.9], global_step=24)
    config = config_of(training={"num_train_epochs": 2})
    one = told(record, config, points_of([1.3, 1.0], [1.2, 0.9]))["few-steps"]
    assert one.title == "The weights were updated only 24 times."
    assert changed(one) == {"training.num_train_epochs": 17}
    assert "few-steps" not in told(replace(record, global_step=50), config, points_of([1.3, 1.0], [1.2, 0.9]))
    finished_early = replace(record, max_steps=1600)
    assert "few-steps" not in told(finished_early, config, points_of([1.3, 1.0], [1.2, 0.9]))


LATE = [0.9, 0.6, 0.50, 0.505, 0.51, 0.506, 0.508, 0.507, 0.51]
LATE_TRAIN = [1.2, 0.7, 0.5, 0.48, 0.47, 0.465, 0.462, 0.461, 0.46]


def test_stopped_late__the_best_epoch_is_long_ago():
    config = config_of(early_stopping={"patience": None})
    found = told(record_of(LATE), config, points_of(LATE_TRAIN, LATE))
    assert list(found) == ["stopped-late"]
    assert found["stopped-late"].title == "The best epoch is 3 of 9."
    assert found["stopped-late"].text.startswith("The 6 epochs after it took 66.7 % of the time")
    assert changed(found["stopped-late"]) == {"early_stopping.patience": 3}


def test_stopped_late__not_with_the_usual_patience_nor_soon_after_the_best():
    assert told(record_of(LATE), config_of(), points_of(LATE_TRAIN, LATE)) == {}
    config = config_of(early_stopping={"patience": None})
    assert told(record_of(LATE[:7]), config, points_of(LATE_TRAIN[:7], LATE[:7])) == {}


def test_stopped_soon__eval_only_wavered():
    evals, train = [0.9, 0.70, 0.71], [1.2, 0.8, 0.6]
    record = record_of(evals, num_train_epochs=10.0)
    config = config_of(early_stopping={"patience": 1}, training={"num_train_epochs": 10})
    one = told(record, config, points_of(train, evals))["stopped-soon"]
    assert one.title == "Early stopping ended it in epoch 3 of 10."
    assert changed(one) == {"early_stopping.patience": 5}


def test_stopped_soon__not_when_eval_had_turned_or_the_end_was_near():
    config = config_of(early_stopping={"patience": 1}, training={"num_train_epochs": 10})
    record = record_of([0.9, 0.70, 0.80], num_train_epochs=10.0)
    assert "stopped-soon" not in told(record, config, points_of([1.2, 0.8, 0.6], [0.9, 0.70, 0.80]))
    record = record_of([0.9, 0.70, 0.71], num_train_epochs=5.0)
    assert "stopped-soon" not in told(record, config, points_of([1.2, 0.8, 0.6], [0.9, 0.70, 0.71]))


# Images

UNEVEN = {"train": {"cat": 900, "dog": 300, "hen": 0}, "eval": {"cat": 600, "dog": 400}}


def uneven_record(**changes: Any) -> RunRecord:
    facts = {"counts": {"train": 1200, "eval": 1000}, "counts_by_class": UNEVEN}
    return record_of(GOOD_EVAL, facts=facts, **changes)


def test_imbalance__chosen_by_accuracy():
    record = uneven_record(best_metric="eval_accuracy")
    config = config_of(early_stopping={"metric": "eval_accuracy"})
    one = told(record, config, points_of(GOOD_TRAIN, GOOD_EVAL, [0.8] * 8))["imbalance"]
    assert one.title == "Class cat has 3.0 × the training images of class dog."
    assert changed(one) == {"training.class_weights": "balanced", "early_stopping.metric": "eval_f1_macro"}


def test_imbalance__macro_f1_far_below_accuracy():
    record = uneven_record(evaluation={"eval": {"accuracy": 0.86, "f1_macro": 0.74}})
    one = told(record, config_of(), points_of(GOOD_TRAIN, GOOD_EVAL))["imbalance"]
    assert one.text.endswith("Macro F1 is 74.0 %, accuracy 86.0 %.")
    assert changed(one) == {"training.class_weights": "balanced"}


def test_imbalance__not_when_weighted_nor_when_it_does_no_harm():
    points = points_of(GOOD_TRAIN, GOOD_EVAL)
    weighted = config_of(training={"class_weights": "balanced"}, early_stopping={"metric": "eval_accuracy"})
    assert "imbalance" not in told(uneven_record(), weighted, points)
    harmless = uneven_record(evaluation={"eval": {"accuracy": 0.86, "f1_macro": 0.85}})
    assert "imbalance" not in told(harmless, config_of(), points)


def test_small_eval__more_of_it_where_it_was_cut():
    facts = {"counts": {"eval": 40}, "is_cut": ["eval"]}
    record = record_of(GOOD_EVAL, facts=facts)
    one = told(record, config_of(), points_of(GOOD_TRAIN, GOOD_EVAL))["small-eval"]
    assert one.title == "Eval has only 40 images." and "70.9 – 92.9 %" in one.text
    assert (one.setting, changed(one)) == ("data.eval_fraction", {"data.eval_fraction": 0.3})

    given = replace(record, facts={"counts": {"eval": 40}, "is_cut": []})
    one = told(given, config_of(), points_of(GOOD_TRAIN, GOOD_EVAL))["small-eval"]
    assert (one.setting, one.remedy) == ("data.eval_split", None)

    fold = config_of(data={"name_or_path": "d", "num_folds": 5})
    assert "small-eval" not in told(record, fold, points_of(GOOD_TRAIN, GOOD_EVAL))


# Real runs


def test_a_real_run_that_learned_is_not_called_bad(store):
    run = factories.make_completed_run(store, epochs=12)
    found = told(run, store.read_config(run.run_id), store.read_metrics(run.run_id))
    assert set(found) <= {"still-improving"}, found


def test_a_real_run_with_a_tiny_learning_rate(store):
    run = factories.make_completed_run(store, learning_rate=3e-6, epochs=4)
    found = told(run, store.read_config(run.run_id), store.read_metrics(run.run_id))
    assert next(iter(found.values())).setting == "training.learning_rate", found


def all_advice() -> list[tuple[RunConfig, advice.Advice]]:
    """One run for each rule."""
    slow, stuck = [1.37, 1.30, 1.24, 1.19], [1.39, 1.388, 1.387, 1.387]
    cases = [
        (record_of(RISING), config_of(), points_of(LEARNED, RISING)),
        (record_of(slow, 0.42), config_of(training={"learning_rate": 0.5}), points_of(slow, slow)),
        (record_of(stuck, 0.27), config_of(training={"learning_rate": 1e-300}), points_of(stuck, stuck)),
        (
            record_of([0.9], global_step=1),
            config_of(training={"num_train_epochs": 9999}),
            points_of([1], [1]),
        ),
        (record_of(FALLING), config_of(training={"num_train_epochs": 9999}), points_of(FALLING, FALLING)),
        (record_of(LATE), config_of(early_stopping={"patience": 9}), points_of(LATE_TRAIN, LATE)),
    ]
    return [(config, one) for record, config, points in cases for one in advise(record, config, points)]


def test_every_remedy_makes_another_valid_configuration():
    found = all_advice()
    assert len(found) >= 6
    for config, one in found:
        find_setting(one.setting)
        values = config.model_dump(mode="json")
        for key, value in changed(one).items():
            group, _, name = key.rpartition(".")
            values[group][name] = value
        assert make_config(values) != config, one
