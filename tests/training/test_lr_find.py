"""The range test trains the run's own way, and leaves nothing behind."""

import json
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch

from superft_hf import cli
from superft_hf.config_file import dump_config, make_config
from superft_hf.errors import SuperFTError
from superft_hf.preflight import lr_find as outside
from superft_hf.recipe import lr_range
from superft_hf.recipe.lr_range import rate_at, smoothed
from superft_hf.training import lr_find
from superft_hf.training.trainer import RunTrainer


@pytest.fixture
def updates(monkeypatch):
    """What the optimizer had at each update: the rate of each group."""
    seen = []
    made = RunTrainer.create_optimizer

    def create(self, model=None):
        if self.optimizer is not None:
            return self.optimizer
        optimizer = made(self, model)
        optimizer.register_step_pre_hook(
            lambda one, *_: seen.append([group["lr"] for group in one.param_groups])
        )
        return optimizer

    monkeypatch.setattr(RunTrainer, "create_optimizer", create)
    return seen


@pytest.mark.parametrize("network", ["resnet", "vit", "timm"])
def test_the_loss_falls_and_then_diverges(network, tiny_config, home):
    heard = []
    found = lr_find.find(tiny_config(network), home, heard.append)
    # 42 training images in batches of 8: 6 updates an epoch, so 50 of a test.
    assert len(found.learning_rates) <= 50 and found.batch_size == 8
    assert found.learning_rates == pytest.approx([rate_at(step, 50) for step in range(len(heard))])
    assert found.smoothed == pytest.approx(smoothed(found.losses, 0.8))
    assert found.valley == lr_range.valley(found.learning_rates, found.losses, 0.8)
    assert found.steepest == lr_range.steepest(found.learning_rates, found.losses, 0.8)
    assert found.family == ("transformer" if network == "vit" else "convnet")
    assert found.learning_rate == 3e-3
    assert [one["step"] for one in heard] == list(range(1, len(heard) + 1))
    assert [one["loss"] for one in heard] == pytest.approx(found.smoothed)
    assert not home.exists() or not list(home.iterdir()), "the home gets no run"


def test_the_first_loss_is_that_of_the_runs_first_batch(tiny_config, home, train, store):
    config = tiny_config("resnet", training={"logging_steps": 1})
    found = lr_find.find(config, home)
    record = train(config)
    points = store.read_metrics(record.run_id)
    first = points[(points["key"] == "loss") & (points["step"] == 1)]["value"].item()
    assert found.losses[0] == pytest.approx(first, rel=1e-5)


def test_every_group_rises_from_its_own_rate(tiny_config, home, updates):
    config = tiny_config("resnet", training={"head_learning_rate_factor": 10.0})
    found = lr_find.find(config, home)
    rates = np.array(updates)
    assert rates[:, 0] == pytest.approx(found.learning_rates)
    ratios = rates / rates[:, :1]
    assert ratios == pytest.approx(np.repeat(ratios[:1], len(rates), axis=0))
    assert set(ratios[0].round(6)) == {1.0, 10.0}


def test_the_settings_of_a_step_act_and_those_of_a_whole_run_do_not(tiny_config, home):
    plain = lr_find.find(tiny_config("resnet"), home)
    with_l2 = lr_find.find(tiny_config("resnet", training={"l2": 0.01}), home)
    assert with_l2.losses[0] > plain.losses[0]
    other_schedule = tiny_config(
        "resnet",
        training={
            "learning_rate": 0.5,
            "lr_scheduler_type": "constant",
            "num_train_epochs": 7,
            "ema_decay": 0.9,
        },
        augmentation={"progressive_resizing": 0.5},
        early_stopping={"patience": None},
    )
    assert lr_find.find(other_schedule, home).losses == plain.losses


def test_several_processes_are_one_with_the_batch_of_all(tiny_config, home):
    config = tiny_config(
        "resnet",
        hardware={"num_processes": 2},
        training={"per_device_train_batch_size": 4, "linear_lr_scaling": True},
    )
    found = lr_find.find(config, home)
    assert found.batch_size == 8
    assert found.learning_rates[0] == pytest.approx(lr_range.LOWEST / 2), "the run multiplies it by two"


def test_a_frozen_body_stays_frozen_and_phases_are_left_out():
    def strategy(asked):
        config = make_config(
            {"model": {"name_or_path": "x", "strategy": asked}, "data": {"name_or_path": "y"},
             "training": {"gradient_accumulation_steps": 2}}
        )  # fmt: skip
        return lr_find._for_test(config).model.strategy

    assert [strategy(one) for one in ("head", "full", "head-then-full", "gradual")] == [
        "head", "full", "full", "full",
    ]  # fmt: skip


def test_a_loss_that_is_no_number_ends_the_test(tiny_config, home, monkeypatch):
    real = RunTrainer.compute_loss
    calls = []

    def compute_loss(self, model, inputs, *args, **rest):
        calls.append(1)
        loss = real(self, model, inputs, *args, **rest)
        return loss * torch.nan if len(calls) > 20 else loss

    monkeypatch.setattr(RunTrainer, "compute_loss", compute_loss)
    found = lr_find.find(tiny_config("resnet"), home)
    assert found.is_diverged and len(found.losses) == 20 and np.isfinite(found.losses).all()


@pytest.mark.slow
def test_the_child_prints_a_line_an_update_and_then_the_answer(tiny_config, home):
    asked = json.dumps({"config": tiny_config("resnet").model_dump(mode="json"), "home": str(home)})
    command = [sys.executable, "-m", outside.MODULE]
    done = subprocess.run(command, input=asked, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *points, answer = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["step"] for one in points] == list(range(1, len(points) + 1))
    assert len(answer["losses"]) == len(points) and answer["duration_s"] > 0


@pytest.mark.slow
def test_outside__hears_every_update_and_gets_the_same(tiny_config, home):
    heard = []
    found = outside.find(tiny_config("resnet"), home, heard.append)
    assert len(heard) == len(found.losses)
    assert found.losses == pytest.approx(lr_find.find(tiny_config("resnet"), home).losses, rel=1e-4)


@pytest.mark.slow
def test_outside__a_stop_ends_the_child_at_once(tiny_config, home):
    stop, heard = threading.Event(), []

    def hear(point):
        heard.append(point)
        stop.set()

    begun = time.monotonic()
    with pytest.raises(SuperFTError):
        outside.find(tiny_config("vit", model={"image_size": 256}), home, hear, stop)
    assert len(heard) < 50 and time.monotonic() - begun < 120


@pytest.mark.slow
def test_outside__an_error_of_the_child_keeps_its_words(tiny_config, home):
    with pytest.raises(SuperFTError, match="no-such-folder") as caught:
        outside.find(tiny_config("resnet", data={"name_or_path": "./no-such-folder"}), home)
    assert caught.value.hint


@pytest.mark.slow
def test_the_command(tiny_config, home, tmp_path, capsys):
    path = tmp_path / "run.yaml"
    path.write_text(dump_config(tiny_config("resnet")))
    assert cli.main(["--home", str(home), "lr-find", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["suggestion"] == outside.rounded(found["valley"]) and found["learning_rate"] == 3e-3
    assert not home.exists()
