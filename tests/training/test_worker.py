"""The worker as a process of its own: alone, and as two ranks under torch's launcher."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification

from superft_hf.config_file import read_config
from superft_hf.engine.devices import Devices
from superft_hf.engine.launcher import Launcher
from superft_hf.evaluation import decision as decisions
from superft_hf.evaluation.classification import classification_metrics
from superft_hf.evaluation.decision import ChosenOn, Decision
from superft_hf.evaluation.prediction_files import read_predictions
from superft_hf.records import RunRecord, RunState

pytestmark = pytest.mark.slow


def run_worker(store, config, script: str | None = None) -> tuple[RunRecord, int]:
    """Starts the worker, or a script beside this file in its place, as the engine does, and waits for it."""
    record = store.create_run(config, by="test", state=RunState.STARTING)
    paths, devices = store.run_paths(record.run_id), Devices("cpu", (), config.hardware.num_processes)
    launcher = Launcher(worker=(str(Path(__file__).with_name(script)),)) if script else Launcher()
    with paths.log.open("ab") as log:
        done = subprocess.run(
            launcher.command(paths, devices),
            env=launcher.environment(store.home, config, devices) | {"PYTHONPATH": str(Path.cwd())},
            stdout=log,
            stderr=subprocess.STDOUT,
            timeout=300,
        )
    return store.get_run(record.run_id), done.returncode


@pytest.mark.parametrize("strategy", ["full", "head-then-full", "gradual"])
def test_two_processes__each_example_once_and_the_figures_of_one(strategy, tiny_config, store):
    config = tiny_config(
        "vit",
        hardware={"num_processes": 2},
        model={"strategy": strategy},
        training={"per_device_eval_batch_size": 4},
    )
    record, status = run_worker(store, config)
    paths = store.run_paths(record.run_id)
    assert (record.state, status) == (RunState.COMPLETED, 0), paths.log.read_text()
    assert {one.role for one in store.read_processes(record.run_id)} == {"rank 0", "rank 1"}
    assert record.max_steps == 6  # 42 images, 8 on each of 2 processes: 3 updates an epoch
    rows = read_predictions(paths.prediction_file("test", record.global_step), with_logits=True)
    assert len(rows) == 9 and rows["example_id"].is_unique
    model = AutoModelForImageClassification.from_pretrained(paths.model).eval()
    processor = AutoImageProcessor.from_pretrained(paths.model)
    images = [Image.open(path).convert("RGB") for path in rows["image"]]
    with torch.no_grad():
        logits = model(**processor(images=images, return_tensors="pt")).logits.numpy()
    assert np.allclose(logits, np.stack(rows["logits"]), atol=1e-5)
    alone = classification_metrics(logits, rows["label"].to_numpy())
    assert record.evaluation["test"] == pytest.approx(alone, abs=1e-5)


def test_a_worker_that_cannot_go_on_says_why_and_exits_1(tiny_config, store, images):
    config = tiny_config()
    (images / "a" / "broken.png").write_bytes(b"no image")
    record, status = run_worker(store, config)
    assert (record.state, status) == (RunState.FAILED, 1)
    assert record.failure.kind == "BadImageError" and "broken.png" in record.failure.message
    assert "Traceback" in store.run_paths(record.run_id).log.read_text()


def test_out_of_memory__the_batch_is_halved_and_the_same_process_goes_on(tiny_config, store):
    config = tiny_config(training={"auto_find_batch_size": True, "gradient_accumulation_steps": 2})
    record, status = run_worker(store, config, "hungry_worker.py")
    paths = store.run_paths(record.run_id)
    assert (record.state, status) == (RunState.COMPLETED, 0), paths.log.read_text()
    training = read_config(paths.resolved).training
    assert (training.per_device_train_batch_size, training.gradient_accumulation_steps) == (4, 4)
    assert record.max_steps == 6  # 42 images, 16 an update as asked for: 3 updates an epoch
    assert ("out of memory", "goes on with 4 images × 4 a step") in [
        (event.what, event.detail) for event in store.read_events(record.run_id)
    ]
    assert len(store.read_processes(record.run_id)) == 1


def test_out_of_memory__fails_with_a_remedy_when_nothing_else_was_asked_for(tiny_config, store):
    record, status = run_worker(store, tiny_config(), "hungry_worker.py")
    assert (record.state, status) == (RunState.FAILED, 1)
    assert record.failure.kind == "OutOfMemoryError" and "8 images" in record.failure.message
    assert record.failure.remedies[0].changes == {
        "training.per_device_train_batch_size": 4,
        "training.gradient_accumulation_steps": 2,
    }
    assert any("OutOfMemoryError" in line for line in record.failure.log)


def test_inference_prints_json(tiny_config, store, images):
    record, _ = run_worker(store, tiny_config("timm"))
    command = [
        sys.executable,
        "-m",
        "superft_hf.training.inference",
        str(store.run_paths(record.run_id).model),
    ]
    picture = str(next(images.glob("a/*.png")))
    done = subprocess.run([*command, picture], capture_output=True, text=True, env=os.environ)
    answers = json.loads(done.stdout)
    assert answers[0]["image"] == picture
    assert {one["label"] for one in answers[0]["predictions"]} == {"a", "b", "c"}
    assert sum(one["probability"] for one in answers[0]["predictions"]) == pytest.approx(1, abs=1e-5)
    assert answers[0]["decision"] == answers[0]["predictions"][0]["label"]
    assert not answers[0]["abstained"] and not answers[0]["operating_point"]
    made = Decision(("a", "b", "c"), ChosenOn(record.run_id, "eval", 1, 3), 2.0, (1.0, 1.0, 1.0))
    decisions.write(store.run_paths(record.run_id).decision, made)  # never sure
    done = subprocess.run([*command, picture], capture_output=True, text=True, env=os.environ)
    unsure = json.loads(done.stdout)[0]
    assert unsure["decision"] is None and unsure["abstained"] and unsure["operating_point"]
    highest = [one["predictions"][0]["probability"] for one in (unsure, answers[0])]
    assert 1 / 3 < highest[0] < highest[1]  # a temperature above 1
    plain = [*command[:-1], "--plain", command[-1], picture]
    done = subprocess.run(plain, capture_output=True, text=True, env=os.environ)
    assert json.loads(done.stdout) == answers
    mirrored = [*command[:-1], "--plain", "--test-time", "mirror", command[-1], picture]
    done = subprocess.run(mirrored, capture_output=True, text=True, env=os.environ)
    (seen_twice,) = json.loads(done.stdout)
    assert (seen_twice["test_time"], answers[0]["test_time"]) == ("mirror", "none")
    assert seen_twice["predictions"] != answers[0]["predictions"]
    (images / "text.jpg").write_text("no picture")
    failed = subprocess.run(
        [*command, str(images / "text.jpg")], capture_output=True, text=True, env=os.environ
    )
    assert failed.returncode == 1 and json.loads(failed.stdout)["error"]["kind"] == "BadImageError"
