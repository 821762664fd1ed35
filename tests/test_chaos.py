"""The chaos script: that it finds what differs, and that a run gets through it."""

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from benchmarks import chaos
from benchmarks.chaos_checks import differences, state_problems
from superft_hf.checkpoints import aside_folder
from superft_hf.config import RunConfig
from superft_hf.evaluation.prediction_files import write_predictions
from superft_hf.records import Event, RunRecord, RunState
from superft_hf.store import RunStore

ROOT = Path(__file__).parents[1]


@pytest.fixture
def make_completed(store: RunStore, config_of: Callable[..., RunConfig]) -> Callable[[], RunRecord]:
    """Completed runs with weights, points and a prediction file, all equal."""

    def make() -> RunRecord:
        run = store.create_run(config_of("x", name="digits"), by="test")
        for old, new in (
            (RunState.QUEUED, RunState.STARTING),
            (RunState.STARTING, RunState.RUNNING),
            (RunState.RUNNING, RunState.COMPLETED),
        ):
            assert store.change_state(run.run_id, (old,), new, by="test")
        store.update_run(run.run_id, global_step=2, max_steps=2, best_step=2, best_value=0.5)
        for step in (1, 2):
            values = {
                "loss": 1 / step,
                "grad_norm": float("nan"),
                "train_samples_per_second": random.random(),
            }
            store.log_metrics(run.run_id, step, step / 2, values)
        paths = store.run_paths(run.run_id)
        paths.model.mkdir()
        paths.checkpoints.mkdir()
        write_weights(paths.model, 1.0)
        write_file(paths.prediction_file("eval", 2), 0.5)
        return store.get_run(run.run_id)

    return make


def write_weights(model: Path, value: float) -> None:
    save_file({"classifier.weight": np.array([[value]], dtype=np.float32)}, model / "model.safetensors")


def write_file(path: Path, logit: float) -> None:
    write_predictions(
        path, example_ids=["0" * 16], images=["a.png"], labels=np.array([0]),
        logits=np.array([[logit, 1.0]], dtype=np.float32), is_full=True, class_names=["cat", "dog"],
    )  # fmt: skip


def history(*words: str) -> list[Event]:
    return [Event(f"2026-01-01T00:00:{number:02d}+00:00", "test", what) for number, what in enumerate(words)]


def test_equal_runs_differ_in_nothing(store, make_completed):
    assert differences(store, make_completed().run_id, make_completed().run_id) == []


def test_each_difference_is_found(store, make_completed):
    alone, run = make_completed(), make_completed()
    paths = store.run_paths(run.run_id)
    write_weights(paths.model, float(np.nextafter(np.float32(1), np.float32(2))))
    write_file(paths.prediction_file("eval", 2), float(np.nextafter(np.float32(0.5), np.float32(1))))
    write_file(paths.prediction_file("eval", 1), 0.5)
    store.drop_metrics_after(run.run_id, 1)
    store.log_metrics(run.run_id, 1, 0.5, {"loss": 1.0000001})
    store.log_metrics(run.run_id, 3, 1.5, {"loss": 0.1})
    store.update_run(run.run_id, best_value=0.4)
    aside_folder(paths.checkpoints, 2).mkdir()
    assert differences(store, run.run_id, alone.run_id) == [
        "best_value is 0.4 instead of 0.5",
        "tensor classifier.weight differs by 1.2e-07",
        "no grad_norm at step 2",
        "no loss at step 2",
        "a loss too many at step 3",
        "loss at step 1 is (1.0000001, 0.5) instead of (1.0, 0.5)",
        "a file eval-1.parquet too many among the predictions",
        "the prediction file eval-2.parquet differs",
        ".checkpoint-2.writing is left beside the checkpoints",
    ]


def test_a_run_that_did_not_complete(store, make_completed, config_of):
    alone, run = make_completed(), store.create_run(config_of("x"), by="test")
    assert differences(store, run.run_id, alone.run_id) == ["the run is queued instead of completed"]


@pytest.mark.parametrize(
    ("words", "last", "problems"),
    [
        (("created", "starting", "running", "looked at test", "completed"), "completed", []),
        (("created", "starting", "failed", "resumed", "starting", "running"), "running", []),
        (("created", "starting", "running", "paused", "resumed", "starting", "completed"), "completed", []),
        (
            ("created", "starting", "running", "completed", "failed"), "failed",
            ["failed after completed at 2026-01-01T00:00:04+00:00"],
        ),
        (
            ("created", "starting", "running", "failed", "running"), "running",
            ["running after failed at 2026-01-01T00:00:04+00:00"],
        ),
        (("created", "starting"), "completed", ["its history ends with starting, and it is completed"]),
    ],
)  # fmt: skip
def test_state_problems(words, last, problems):
    assert state_problems(history(*words), RunState(last)) == problems


def test_draw_kills__each_victim_and_moment_has_its_turn():
    kills = chaos.draw_kills(10, 200, random.Random(1))
    assert kills == chaos.draw_kills(10, 200, random.Random(1))
    assert kills != chaos.draw_kills(10, 200, random.Random(2))
    assert {kill.victim for kill in kills} == {chaos.WORKER, chaos.SUPERVISOR, chaos.SERVER, chaos.ALL}
    assert {kill.moment for kill in kills} == {
        chaos.STARTING, chaos.STEP, chaos.CHECKPOINT, chaos.ENDING
    }  # fmt: skip
    assert kills[-1].moment == chaos.ENDING
    assert [kill.step for kill in kills] == sorted(kill.step for kill in kills)
    assert kills[0].step > 0 and kills[-1].step < 200


@pytest.mark.slow
def test_a_run_gets_through_chaos():
    words = ["-m", "benchmarks.chaos", "--times", "3", "--seed", "1"]
    environment = {name: value for name, value in os.environ.items() if name != "SUPERFT_HOME"}
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
        timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert "3 kills in" in done.stdout
    assert "equal to the undisturbed one" in done.stdout
