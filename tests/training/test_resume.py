"""A run that is paused and resumed is the run that was left alone: weights, metrics, prediction files."""

import json
import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from superft_hf import checkpoints
from superft_hf.config import RunConfig
from superft_hf.engine.devices import Devices
from superft_hf.engine.launcher import Launcher
from superft_hf.errors import DataChangedError
from superft_hf.evaluation.prediction_files import read_predictions
from superft_hf.records import PauseReason, Request, RunRecord, RunState
from superft_hf.store import RunStore
from superft_hf.training import run as runs
from superft_hf.training import stopping
from superft_hf.training.callbacks import StoreCallback
from superft_hf.training.run import RunContext, train_run
from superft_hf.training.stopping import RunPaused

TIMES = ("train_samples_per_second",)


@pytest.fixture(autouse=True)
def _ask_at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "POLL_S", 0.0)


@pytest.fixture
def request_at(monkeypatch: pytest.MonkeyPatch, store: RunStore) -> Callable[[dict[int, Request]], None]:
    """`request_at({5: Request.PAUSE})`: a person asks it while step 5 is made."""
    wanted: dict[int, Request] = {}

    class Asking(StoreCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            super().on_step_begin(args, state, control, **kwargs)
            request = wanted.pop(state.global_step + 1, None)
            if request is not None:
                self._store.set_request(self._run_id, request, by="test")

    monkeypatch.setattr(runs, "StoreCallback", Asking)
    return wanted.update


def start(store: RunStore, config: RunConfig) -> RunRecord:
    return go_on(store, store.create_run(config, by="test").run_id)


def go_on(store: RunStore, run_id: str) -> RunRecord:
    """Works on a queued run as a worker does."""
    assert store.change_state(run_id, [RunState.QUEUED], RunState.STARTING, by="test")
    try:
        train_run(RunContext(store, run_id))
    except RunPaused as pause:
        store.change_state(
            run_id, [RunState.STARTING, RunState.RUNNING], RunState.PAUSED, by="test",
            pause_reason=str(pause.reason),
        )  # fmt: skip
    return store.get_run(run_id)


def resume(store: RunStore, run_id: str) -> RunRecord:
    store.requeue(run_id, by="test")
    return go_on(store, run_id)


def points(store: RunStore, run_id: str) -> dict[tuple[str, int], float]:
    """Every point but those about time."""
    read = store.read_metrics(run_id)
    assert not read.duplicated(["key", "step"]).any()
    return {(row.key, row.step): (row.value, row.epoch) for row in read.itertuples() if row.key not in TIMES}


def prediction_files(folder: Path) -> Iterator[tuple[str, pd.DataFrame]]:
    for path in sorted(folder.glob("*.parquet")):
        yield path.name, read_predictions(path)


def assert_equal_runs(store: RunStore, one: str, other: str) -> None:
    first, second = store.get_run(one), store.get_run(other)
    assert first.state == second.state == RunState.COMPLETED
    weights = [load_file(store.run_paths(run_id).model / "model.safetensors") for run_id in (one, other)]
    assert weights[0].keys() == weights[1].keys()
    for name, tensor in weights[0].items():
        assert torch.equal(tensor, weights[1][name]), name
    assert points(store, one) == points(store, other)
    files = [dict(prediction_files(store.run_paths(run_id).predictions)) for run_id in (one, other)]
    assert files[0].keys() == files[1].keys() and len(files[0]) > 1
    for name, frame in files[0].items():
        pd.testing.assert_frame_equal(frame, files[1][name])
    for field in ("evaluation", "best_value", "best_step", "accuracy", "global_step", "epoch"):
        assert getattr(first, field) == getattr(second, field), field


HEAD = {"strategy": "head", "dropout": 0.3}
CASES = {
    "resnet, SGD": ("resnet", {"training": {"optim": "sgd"}}),
    "vit, dropout, AdamW": ("vit", {"model": {"dropout": 0.3}}),
    "timm, accumulation": ("timm", {"training": {"gradient_accumulation_steps": 2, "logging_steps": 2}}),
    "head, then full": ("resnet", {"model": {"strategy": "head-then-full", "head_epochs": 1}}),
    "head, kept features": ("timm", {"model": HEAD, "augmentation": {"preset": "none"}}),
    "head, kept features, loaders": (
        "vit",
        {
            "model": {"strategy": "head-then-full", "head_epochs": 2},
            "augmentation": {"preset": "none"}, "training": {"dataloader_num_workers": 1},
        },
    ),
    "gradual": ("vit", {"model": {"strategy": "gradual", "head_epochs": 1}}),
    "loaders": ("resnet", {"training": {"dataloader_num_workers": 2, "logging_steps": 3}}),
    "averaged weights, balanced": (
        "resnet",
        {"training": {"ema_decay": 0.9, "balanced_sampling": True, "lr_scheduler_type": "one_cycle"}},
    ),
    "schedule-free, block after block": (
        "vit", {
            "training": {"optim": "schedule_free_adamw", "layer_decay": 0.8},
            "model": {"strategy": "gradual", "dropout": 0.2},
        },
    ),
    "schedule-free SGD": ("resnet", {"training": {"optim": "schedule_free_sgd", "learning_rate": 0.1}}),
    "lion, focal": (
        "timm", {
            "training": {"optim": "lion", "loss": "focal", "learning_rate": 3e-4, "max_grad_norm": 0.0,
                         "lr_scheduler_type": "warmup_stable_decay", "save_steps": 2},
        },
    ),
    "mixed, drawn operations, several sizes, loaders": (
        "vit", {
            "augmentation": {"auto_augment": "trivial_augment", "mixup": 0.4, "cutmix": 1.0,
                             "multi_scale": 0.25, "progressive_resizing": 0.5},
            "training": {"dataloader_num_workers": 2},
        },
    ),
    "adafactor, strong": ("vit", {"training": {"optim": "adafactor"}, "augmentation": {"preset": "strong"}}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_three_pauses_at_random_steps_change_nothing(store, tiny_config, request_at, case):
    network, groups = CASES[case]
    groups = {**groups, "training": {"num_train_epochs": 4, **groups.get("training", {})}}
    config = tiny_config(network, **groups)
    alone = start(store, config)
    steps = sorted(random.Random(case).sample(range(1, alone.max_steps), 3))
    request_at(dict.fromkeys(steps, Request.PAUSE))
    record = start(store, config)
    for step in steps:
        assert (record.state, record.pause_reason) == (RunState.PAUSED, PauseReason.PERSON)
        assert (record.global_step, record.request) == (step, None)
        record = resume(store, record.run_id)
    assert_equal_runs(store, alone.run_id, record.run_id)


def test_pauses_at_every_single_step_change_nothing(store, tiny_config, request_at):
    config = tiny_config("vit", model={"dropout": 0.2}, early_stopping={"patience": 1})
    alone = start(store, config)
    request_at(dict.fromkeys(range(1, alone.max_steps + 1), Request.PAUSE))
    record = start(store, config)
    for _ in range(alone.max_steps):
        assert record.state == RunState.PAUSED
        record = resume(store, record.run_id)
    assert_equal_runs(store, alone.run_id, record.run_id)


def test_early_stopping_counts_on_after_a_pause(store, tiny_config, request_at):
    config = tiny_config(
        training={"num_train_epochs": 30, "learning_rate": 0.3, "optim": "sgd"},
        early_stopping={"patience": 2},
    )
    alone = start(store, config)
    assert alone.global_step < alone.max_steps
    request_at({alone.global_step - 1: Request.PAUSE})  # one epoch without a better value has passed
    record = start(store, config)
    assert record.state == RunState.PAUSED
    assert_equal_runs(store, alone.run_id, resume(store, record.run_id).run_id)


def test_early_stopping_at_the_step_of_a_pause_stays_the_end(store, tiny_config, request_at):
    config = tiny_config(
        training={"num_train_epochs": 30, "learning_rate": 0.3, "optim": "sgd"},
        early_stopping={"patience": 1},
    )
    alone = start(store, config)
    assert alone.global_step < alone.max_steps
    request_at({alone.global_step: Request.PAUSE})
    record = start(store, config)
    assert (record.state, record.global_step) == (RunState.PAUSED, alone.global_step)
    assert_equal_runs(store, alone.run_id, resume(store, record.run_id).run_id)


def test_a_pause_within_an_epoch_evaluates_nothing_and_saves_one_checkpoint(store, tiny_config, request_at):
    request_at({3: Request.PAUSE})
    record = start(store, tiny_config())
    paths = store.run_paths(record.run_id)
    assert paths.prediction_steps("eval") == []
    found = checkpoints.find_checkpoints(paths.checkpoints, is_thorough=True)
    assert (found.newest.global_step, found.newest.best_step, found.damaged) == (3, None, ())
    assert [path.name for path in paths.checkpoints.iterdir()] == ["checkpoint-3"]
    assert not paths.model.exists()


def test_finish_evaluates_keeps_the_best_and_tests_it(store, tiny_config, request_at):
    config = tiny_config(training={"num_train_epochs": 20})
    request_at({9: Request.FINISH})
    record = start(store, config)
    assert (record.state, record.global_step, record.max_steps > 9) == (RunState.COMPLETED, 9, True)
    paths = store.run_paths(record.run_id)
    assert paths.prediction_steps("eval")[-1] == 9
    assert paths.prediction_steps("test") == [9]
    assert record.best_step in paths.prediction_steps("eval")
    assert set(record.evaluation) == {"eval", "test"}
    assert paths.model.is_dir()


def test_what_a_killed_process_wrote_after_its_checkpoint_is_taken_back(store, tiny_config, request_at):
    config = tiny_config("vit")
    alone = start(store, config)
    request_at({3: Request.PAUSE})
    record = start(store, config)
    paths = store.run_paths(record.run_id)
    store.log_metrics(record.run_id, 4, 0.6, {"loss": 9.0, "never": 1.0})
    store.log_metrics(record.run_id, 6, 1.0, {"eval_loss": 9.0})
    paths.predictions.mkdir(exist_ok=True)
    paths.prediction_file("eval", 4).write_bytes(b"half")
    (paths.checkpoints / "checkpoint-6").mkdir()
    (paths.checkpoints / "checkpoint-6" / "model.safetensors").write_bytes(b"half")
    checkpoints.aside_folder(paths.checkpoints, 7).mkdir()
    record = resume(store, record.run_id)
    assert_equal_runs(store, alone.run_id, record.run_id)
    events = [(event.what, event.detail) for event in store.read_events(record.run_id)]
    assert ("goes on", "from step 3") in events
    assert ("damaged checkpoint", "checkpoint-6 does not hold what was written") in events


def test_a_damaged_checkpoint_sends_the_run_back_to_the_one_before(store, tiny_config, request_at):
    config = tiny_config("vit", training={"num_train_epochs": 3})
    alone = start(store, config)
    per_epoch = alone.max_steps // 3
    request_at({per_epoch + 2: Request.PAUSE})
    record = start(store, config)
    paths = store.run_paths(record.run_id)
    weights = paths.checkpoints / f"checkpoint-{per_epoch + 2}" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(content)
    record = resume(store, record.run_id)
    assert ("goes on", f"from step {per_epoch}") in [
        (event.what, event.detail) for event in store.read_events(record.run_id)
    ]
    assert_equal_runs(store, alone.run_id, record.run_id)


def test_without_any_checkpoint_the_run_begins_anew(store, tiny_config, request_at):
    config = tiny_config()
    alone = start(store, config)
    request_at({4: Request.PAUSE})
    record = start(store, config)
    for path in store.run_paths(record.run_id).checkpoints.iterdir():
        (path / "optimizer.pt").unlink()
    assert_equal_runs(store, alone.run_id, resume(store, record.run_id).run_id)


def test_save_steps_adds_checkpoints_within_an_epoch_and_keeps_the_best(store, tiny_config, request_at):
    config = tiny_config(training={"num_train_epochs": 3, "save_steps": 2})
    request_at({7: Request.PAUSE})
    record = start(store, config)
    found = sorted(path.name for path in store.run_paths(record.run_id).checkpoints.iterdir())
    assert f"checkpoint-{record.best_step}" in found and "checkpoint-7" in found and len(found) == 2


def test_a_disk_that_takes_no_checkpoint_pauses_the_run(store, tiny_config, monkeypatch):
    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "seal", full)
    record = start(store, tiny_config())
    assert (record.state, record.pause_reason) == (RunState.PAUSED, PauseReason.DISK)
    monkeypatch.undo()
    assert list(store.run_paths(record.run_id).checkpoints.iterdir()) == []
    assert resume(store, record.run_id).state == RunState.COMPLETED


def test_low_space_pauses_before_anything_is_broken(store, tiny_config, monkeypatch):
    monkeypatch.setattr(stopping, "free_bytes", lambda folder: 1000)
    monkeypatch.setattr(stopping, "WATCH_S", 0.0)
    record = start(store, tiny_config())
    assert (record.state, record.pause_reason) == (RunState.PAUSED, PauseReason.DISK)


def test_other_images_are_refused_and_the_checkpoint_is_kept(store, tiny_config, request_at, images):
    request_at({3: Request.PAUSE})
    record = start(store, tiny_config())
    picture = next((images / "a").glob("*.png"))
    content = picture.read_bytes()
    picture.unlink()
    with pytest.raises(DataChangedError, match="have changed since the run began"):
        resume(store, record.run_id)
    store.change_state(record.run_id, [RunState.STARTING], RunState.FAILED, by="test")
    picture.write_bytes(content)
    assert resume(store, record.run_id).state == RunState.COMPLETED


def test_other_packages_are_told(store, tiny_config, request_at):
    request_at({3: Request.PAUSE})
    record = start(store, tiny_config())
    paths = store.run_paths(record.run_id)
    first = json.loads(paths.environment.read_text())
    first["versions"]["torch"] = "1.0"
    paths.environment.write_text(json.dumps(first))
    resume(store, record.run_id)
    (detail,) = [one.detail for one in store.read_events(record.run_id) if "not to the bit" in one.what]
    assert detail.startswith("torch 1.0 → ")
    assert json.loads(paths.environment.read_text()) == first


@pytest.mark.slow
def test_two_processes__pauses_and_a_signal_to_one_of_them_change_nothing(store, tiny_config):
    training = {"num_train_epochs": 4, "gradient_accumulation_steps": 2, "logging_steps": 3}
    training["per_device_train_batch_size"] = 2
    model = {"strategy": "head-then-full", "dropout": 0.2}
    config = tiny_config("vit", hardware={"num_processes": 2}, training=training, model=model)
    alone = work(store, store.create_run(config, by="test").run_id, {})
    asks = {4: "pause", 9: "signal", 17: "pause"}
    reasons = []
    record = store.create_run(config, by="test")
    for _ in asks:
        record = work(store, record.run_id, asks)
        reasons.append((record.global_step, record.pause_reason))
        store.requeue(record.run_id, by="test")
    record = work(store, record.run_id, asks)
    assert reasons == [(4, PauseReason.PERSON), (9, PauseReason.SHUTDOWN), (17, PauseReason.PERSON)]
    assert_equal_runs(store, alone.run_id, record.run_id)


def work(store: RunStore, run_id: str, asks: dict[int, str]) -> RunRecord:
    """Works on a queued run with the real launcher and its ranks."""
    assert store.change_state(run_id, [RunState.QUEUED], RunState.STARTING, by="test")
    config, paths = store.read_config(run_id), store.run_paths(run_id)
    devices = Devices("cpu", (), config.hardware.num_processes)
    launcher = Launcher(worker=(str(Path(__file__).with_name("asking_worker.py")),))
    environment = launcher.environment(store.home, config, devices)
    with paths.log.open("ab") as log:
        done = subprocess.run(
            launcher.command(paths, devices), stdout=log, stderr=subprocess.STDOUT, timeout=300,
            env={**environment, "ASKS": json.dumps(asks), "PYTHONPATH": str(Path.cwd())},
        )  # fmt: skip
    assert done.returncode == 0, paths.log.read_text()
    return store.get_run(run_id)
