"""What to do: every rule at both sides of its limit."""

from dataclasses import replace
from datetime import UTC, datetime

import pandas as pd
import pytest

from dashboard import findings, headlines
from superft_hf.config_file import make_config
from superft_hf.records import RunRecord, RunState

CONFIG = {"model": {"name_or_path": "m"}, "data": {"name_or_path": "d"}}
RECORD = RunRecord(
    "20261124-0000-aaaa", "r", RunState.RUNNING, "image-classification", "m", "d",
    created_at="2026-11-24T00:00:00+00:00", best_metric="eval_loss",
)  # fmt: skip


def points(train, evals):
    """Two train points and one evaluation an epoch, 10 steps each."""
    rows = []
    for epoch, (loss, eval_loss) in enumerate(zip(train, evals, strict=True), start=1):
        rows += [(10 * epoch - 5, epoch - 0.5, "loss", loss), (10 * epoch, float(epoch), "loss", loss)]
        rows.append((10 * epoch, float(epoch), "eval_loss", eval_loss))
    return pd.DataFrame(rows, columns=["step", "epoch", "key", "value"])


def titles(record, frame, **training):
    config = make_config({**CONFIG, "training": training})
    return [advice.title for advice in findings.find(record, config, frame)]


def test_find__before_the_first_evaluation():
    assert titles(RECORD, points([], [])) == ["Nothing to say yet."]


def test_find__eval_loss_far_above_train_loss():
    record = replace(RECORD, best_step=30)
    assert titles(record, points([1, 0.5, 0.25], [1, 0.8, 0.75]))[0] == "Eval loss is 3.0 × train loss."


@pytest.mark.parametrize(
    "training", [{"label_smoothing_factor": 0.1}, {"l2": 0.001}, {"class_weights": "balanced"}]
)
def test_find__losses_that_are_different_quantities_are_not_compared(training):
    record = replace(RECORD, best_step=30)
    found = titles(record, points([1, 0.5, 0.25], [1, 0.8, 0.75]), **training)
    assert not any("train loss" in title for title in found)


def test_find__still_improving_while_it_trains_and_at_the_end():
    frame = points([1, 0.8, 0.7], [1, 0.9, 0.8])
    assert titles(replace(RECORD, best_step=30), frame) == ["Still improving."]
    done = replace(RECORD, best_step=30, state=RunState.COMPLETED)
    assert titles(done, frame) == ["Still improving at the end: the best epoch is 3 of 3."]


def test_find__best_epoch_long_ago():
    frame = points([1, 0.8, 0.7, 0.6, 0.55], [0.9, 0.8, 0.85, 0.9, 0.95])
    found = findings.find(replace(RECORD, best_step=20), make_config(CONFIG), frame)
    assert found[0].title == "The best epoch is 2 of 5."


def test_find__early_stopping_is_announced():
    frame = points([1, 0.8, 0.7, 0.6], [0.9, 0.8, 0.85, 0.9])
    config = make_config({**CONFIG, "early_stopping": {"patience": 3}})
    found = findings.find(replace(RECORD, best_step=20), config, frame)
    assert found[0].text.endswith("early stopping ends the run after 1 more epoch.")


def test_find__train_loss_that_does_not_fall():
    assert titles(replace(RECORD, best_step=20), points([2.3, 2.3], [2.3, 2.3]))[0] == (
        "Train loss has not fallen in 2 epochs."
    )
    assert "rose by 50 %" in titles(replace(RECORD, best_step=10), points([2, 3], [2, 3]))[0]


def test_find__a_small_eval_split():
    record = replace(RECORD, best_step=20, accuracy=0.8, facts={"counts": {"eval": 20}})
    assert titles(record, points([1, 0.8], [1, 0.9]))[-1] == "Eval has only 20 images."


def test_seconds_left__follows_the_pace_and_does_not_run_down_when_a_run_stalls():
    record = replace(RECORD, max_steps=100)
    times = [datetime(2026, 11, 24, 0, 0, second, tzinfo=UTC).isoformat() for second in (0, 10, 20)]
    frame = pd.DataFrame({"step": [10, 20, 30], "time": times})
    now = datetime(2026, 11, 24, 0, 0, 24, tzinfo=UTC)
    assert headlines.seconds_left(record, frame, now) == pytest.approx(66)
    late = datetime(2026, 11, 24, 1, 0, 0, tzinfo=UTC)
    assert headlines.seconds_left(record, frame, late) == pytest.approx(60)


def test_seconds_left__unknown_at_first():
    assert headlines.seconds_left(RECORD, pd.DataFrame({"step": [], "time": []})) is None
