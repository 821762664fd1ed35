"""Curves that are read to be drawn: few points, and nothing of what a person looks for is lost."""

import math
import sqlite3
import time
from collections.abc import Sequence

import pytest

from superft_hf.config_file import make_config
from superft_hf.records import RunState
from superft_hf.store import RunStore

CONFIG = make_config({"model": {"name_or_path": "m"}, "data": {"name_or_path": "d"}})


@pytest.fixture
def run_id(store: RunStore) -> str:
    return store.create_run(CONFIG, by="page", state=RunState.RUNNING).run_id


def write_curve(store: RunStore, run_id: str, values: Sequence[float | None], key: str = "loss") -> None:
    """Points at steps 1, 2, 3, …"""
    with sqlite3.connect(store.paths.database) as connection:
        connection.executemany(
            "INSERT INTO metrics (run_id, key, step, row, value, epoch, time) "
            "VALUES (?, ?, ?, ?, ?, ? / 100.0, 't')",
            [(run_id, key, step, step, value, step) for step, value in enumerate(values, 1)],
        )
        connection.execute("INSERT OR REPLACE INTO metric_rows VALUES (?, ?, 0)", (run_id, len(values)))
    connection.close()


def test_a_short_curve_is_whole_and_in_the_order_of_the_steps(store, run_id):
    for step in (3, 1, 2):
        store.log_metrics(run_id, step, step / 10, {"loss": float(step), "other": 9.0})
    curve = store.read_curve(run_id, "loss", max_points=3)
    assert list(curve.columns) == ["row", "step", "epoch", "key", "value", "time"]
    assert curve[["step", "epoch", "value"]].values.tolist() == [[1, 0.1, 1.0], [2, 0.2, 2.0], [3, 0.3, 3.0]]


def test_of_each_range_the_least_and_the_greatest_are_kept(store, run_id):
    write_curve(store, run_id, [5, 1, 2, 9, 5, 5, 4, 8, 3, 7, 7, 5])
    # 12 points, room for 9: two ranges of six steps each
    curve = store.read_curve(run_id, "loss", max_points=9)
    assert curve[["step", "value"]].values.tolist() == [[1, 5], [2, 1], [4, 9], [8, 8], [9, 3], [12, 5]]


def test_a_long_curve_keeps_its_ends_its_spikes_and_its_gaps(store, run_id):
    values: list[float | None] = [1.0 + 0.001 * (step % 7) for step in range(50_000)]
    values[12_345], values[33_333], values[40_000], values[0], values[-1] = 99.0, -99.0, None, 3.0, 4.0
    write_curve(store, run_id, values)
    curve = store.read_curve(run_id, "loss", max_points=2000)
    by_step = dict(zip(curve["step"], curve["value"], strict=True))
    assert 1000 < len(curve) <= 2000
    assert curve["step"].is_monotonic_increasing and curve["step"].is_unique
    assert (by_step[1], by_step[50_000], by_step[12_346], by_step[33_334]) == (3.0, 4.0, 99.0, -99.0)
    assert math.isnan(by_step[40_001]) and curve["value"].isna().sum() == 1


def test_the_point_of_the_best_step_is_kept(store, run_id):
    write_curve(store, run_id, [1.0] * 5000)
    assert 1234 not in set(store.read_curve(run_id, "loss", max_points=30)["step"])
    store.update_run(run_id, best_step=1234)
    assert 1234 in set(store.read_curve(run_id, "loss", max_points=30)["step"])


def test_a_curve_of_nothing_but_gaps_and_one_that_is_not_there(store, run_id):
    write_curve(store, run_id, [None] * 100)
    curve = store.read_curve(run_id, "loss", max_points=12)
    assert 2 <= len(curve) <= 12 and curve["value"].isna().all()
    nothing = store.read_curve(run_id, "eval_loss")
    assert nothing.empty and nothing["value"].dtype == "float64"


def test_steps_far_apart_are_within_the_limit_too(store, run_id):
    for step in (1, 2, 3, 4, 5, 6, 10**9):
        store.log_metrics(run_id, step, 1.0, {"loss": float(step)})
    curve = store.read_curve(run_id, "loss", max_points=6)
    assert curve["step"].tolist() == [1, 10**9]  # one range: they are its least and greatest


def test_all_curves_of_a_run_come_in_the_order_in_which_they_were_logged(store, run_id):
    store.log_metrics(run_id, 1, 0.1, {"loss": 3.0, "a": 1.0})
    store.log_metrics(run_id, 2, 0.2, {"loss": 2.0})
    store.log_metrics(run_id, 2, 0.2, {"eval_loss": 2.5})
    curves = store.read_curves(run_id)
    assert curves[["key", "step"]].values.tolist() == [["loss", 1], ["a", 1], ["loss", 2], ["eval_loss", 2]]


def test_small_curves_are_thinned_as_well(store, run_id):
    other = store.create_run(CONFIG, by="page").run_id
    store.log_metrics(other, 1, 0.1, {"loss": 7.0})
    write_curve(store, run_id, [5, 1, 2, 9, 5, 5, 4, 8, 3, 7, 7, 5])
    assert store.sparklines([run_id, other], "loss", 9) == {run_id: [5, 1, 9, 8, 3, 5], other: [7.0]}


def test_the_version_of_the_points_says_whether_to_read_again_or_anew(store, run_id):
    assert store.metrics_version(run_id) == (0, 0)
    store.log_metrics(run_id, 1, 0.1, {"loss": 1.0, "grad_norm": 1.0})
    assert store.metrics_version(run_id) == (2, 0)
    store.log_metrics(run_id, 1, 0.1, {"loss": 0.5})
    assert store.metrics_version(run_id) == (3, 0)
    store.drop_metrics_after(run_id, 1)  # nothing is later
    assert store.metrics_version(run_id) == (3, 0)
    store.drop_metrics_after(run_id, 0)
    assert store.metrics_version(run_id) == (3, 1)
    assert store.metrics_versions([run_id, "20260101-0000-aaaa"]) == {run_id: (3, 1)}


def test_points_later_than_a_checkpoint_are_dropped_of_this_run_only(store, run_id):
    other = store.create_run(CONFIG, by="page").run_id
    for step in (10, 20, 30):
        for one in (run_id, other):
            store.log_metrics(one, step, step / 10, {"loss": 1.0, "eval_loss": 1.0})
    store.drop_metrics_after(run_id, 20)
    assert store.read_metrics(run_id)["step"].tolist() == [10, 10, 20, 20]
    assert len(store.read_metrics(other)) == 6


def test_a_million_points_are_read_fast(store, run_id):
    with sqlite3.connect(store.paths.database) as connection:
        connection.execute(
            "WITH RECURSIVE steps(step) AS (SELECT 1 UNION ALL SELECT step + 1 FROM steps WHERE step < 1e6) "
            "INSERT INTO metrics (run_id, key, step, row, value, epoch, time) "
            "SELECT ?, 'loss', step, step, step * 7919 % 10007, step / 1e4, 't' FROM steps",
            (run_id,),
        )
    connection.close()
    begun = time.process_time()
    curve = store.read_curve(run_id, "loss")
    assert time.process_time() - begun < 1.5
    assert len(curve) <= 2000 and curve["value"].max() == 10_006 and curve["value"].min() == 0
    begun = time.process_time()
    assert list(store.last_values(run_id)) == ["loss"]
    assert time.process_time() - begun < 0.05
