"""One truth: record, prediction file and plain transformers agree on what a finished run can do."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoImageProcessor, AutoModelForImageClassification, pipeline

from superft_hf.config_file import read_config
from superft_hf.errors import DivergedError
from superft_hf.evaluation.prediction_files import read_predictions
from superft_hf.records import RunState
from superft_hf.training.image_classification.losses import ClassificationLoss


def predict_plainly(model_folder: Path, paths: list[str]) -> np.ndarray:
    """Logits (N, C) by transformers alone."""
    model = AutoModelForImageClassification.from_pretrained(model_folder).eval()
    processor = AutoImageProcessor.from_pretrained(model_folder)
    inputs = processor(images=[Image.open(path).convert("RGB") for path in paths], return_tensors="pt")
    with torch.no_grad():
        return model(**inputs).logits.numpy()


@pytest.mark.parametrize("image_size", [None, 48])
@pytest.mark.parametrize("name", ["resnet", "vit", "timm"])
def test_record_prediction_file_and_plain_transformers_agree(name, image_size, tiny_config, train, store):
    record = train(tiny_config(name, model={"image_size": image_size}))
    paths = store.run_paths(record.run_id)
    (step,) = paths.prediction_steps("test")
    rows = read_predictions(paths.prediction_file("test", step), with_logits=True)
    logits = predict_plainly(paths.model, rows["image"].tolist())
    assert record.state == RunState.COMPLETED
    assert np.array_equal(logits.argmax(axis=1), rows["prediction"])
    assert np.allclose(logits, np.stack(rows["logits"]), atol=1e-4)
    accuracy = float((rows["label"] == rows["prediction"]).mean())
    assert record.evaluation["test"]["accuracy"] == pytest.approx(accuracy, abs=1e-12)
    assert record.evaluation["test"]["loss"] == pytest.approx(rows["loss"].mean(), abs=1e-9)
    assert record.facts["image_size"] == (image_size or 32)


@pytest.mark.parametrize("name", ["resnet", "vit", "timm"])
def test_the_pipeline_loads_the_model_and_names_the_classes(name, tiny_config, train, store):
    record = train(tiny_config(name))
    paths = store.run_paths(record.run_id)
    rows = read_predictions(paths.prediction_file("test", paths.prediction_steps("test")[0]))
    answers = pipeline("image-classification", model=str(paths.model))(rows["image"].tolist(), top_k=1)
    names = record.facts["class_names"]
    assert [answer[0]["label"] for answer in answers] == [names[one] for one in rows["prediction"]]
    assert [answer[0]["score"] for answer in answers] == pytest.approx(rows["confidence"].tolist(), abs=1e-4)


def test_a_vit_is_restored_to_its_best_epoch_in_every_tensor(tiny_config, train, store):
    config = tiny_config(
        "vit", early_stopping={"patience": None},
        training={"num_train_epochs": 6, "learning_rate": 0.02, "lr_scheduler_type": "constant"},
    )  # fmt: skip
    record = train(config)
    paths = store.run_paths(record.run_id)
    assert record.best_step < record.global_step, "the best epoch must not be the last, or this shows nothing"
    saved = load_file(paths.model / "model.safetensors")
    best = load_file(paths.checkpoints / f"checkpoint-{record.best_step}" / "model.safetensors")
    last = load_file(paths.checkpoints / f"checkpoint-{record.global_step}" / "model.safetensors")
    assert saved.keys() == best.keys()
    assert all(torch.equal(saved[key], best[key]) for key in best)
    assert not all(torch.equal(saved[key], last[key]) for key in last)
    history = store.read_metrics(record.run_id, keys=["eval_loss"])
    assert record.best_value == history["value"].min() == record.evaluation["eval"]["loss"]


def test_every_evaluation_has_a_file_and_test_has_one(tiny_config, train, store):
    record = train(tiny_config())
    paths = store.run_paths(record.run_id)
    assert paths.prediction_steps("eval") == [6, 12]  # 42 training images in batches of 8
    assert paths.prediction_steps("test") == [record.global_step]
    assert [event.what for event in store.read_events(record.run_id)].count("evaluated test") == 1


def test_equal_seeds_give_equal_bits_and_another_seed_does_not(tiny_config, train, store):
    strong = {"preset": "strong"}
    first, again = (train(tiny_config(augmentation=strong, model={"dropout": 0.3})) for _ in range(2))
    other = train(tiny_config(augmentation=strong, model={"dropout": 0.3}, training={"seed": 7}))
    losses = {
        one.run_id: store.read_metrics(one.run_id, keys=["loss"])["value"].tolist()
        for one in (first, again, other)
    }
    assert losses[first.run_id] == losses[again.run_id] != losses[other.run_id]
    logits = [_test_logits(store, one) for one in (first, again, other)]
    assert np.array_equal(logits[0], logits[1]) and not np.array_equal(logits[0], logits[2])


def test_loader_processes_do_not_change_a_run(tiny_config, train, store):
    strong = {"preset": "strong"}
    alone = train(tiny_config(augmentation=strong))
    helped = train(tiny_config(augmentation=strong, training={"dataloader_num_workers": 2}))
    assert np.array_equal(_test_logits(store, alone), _test_logits(store, helped))


@pytest.mark.parametrize(
    "settings",
    [
        *({"optim": name} for name in ("sgd", "rmsprop", "adagrad", "adafactor")),
        *(
            {"lr_scheduler_type": name}
            for name in ("linear", "constant", "constant_with_warmup", "polynomial")
        ),
        {"gradient_accumulation_steps": 4, "max_grad_norm": 0.0},
        {"l1": 1e-4, "l2": 1e-4, "class_weights": "balanced", "label_smoothing_factor": 0.1},
        {"warmup_steps": 3.0, "logging_steps": 5, "max_grad_norm": 0.5},
    ],
    ids=str,
)
def test_every_way_to_train_ends_completed(settings, tiny_config, train):
    assert train(tiny_config(training=settings)).state == RunState.COMPLETED


def test_bf16_on_the_cpu(tiny_config, train):
    assert train(tiny_config("vit", hardware={"mixed_precision": "bf16"})).state == RunState.COMPLETED


def test_a_time_budget_chooses_the_epochs_and_resolved_yaml_keeps_them(tiny_config, train, store):
    record = train(tiny_config(training={"time_budget_s": 10.0}, early_stopping={"patience": 1}))
    resolved = read_config(store.run_paths(record.run_id).resolved)
    assert resolved.training.time_budget_s is None
    assert resolved.training.num_train_epochs == record.num_train_epochs > 2


def test_resolved_yaml_repeats_the_run_to_the_bit(tiny_config, train, store):
    first = train(tiny_config("timm"))
    resolved = read_config(store.run_paths(first.run_id).resolved)
    again = train(resolved)
    assert resolved.model.image_size == 32
    assert resolved.hardware.memory_format == "channels_last"
    assert resolved.training.logging_steps == 1
    assert np.array_equal(_test_logits(store, first), _test_logits(store, again))
    assert read_config(store.run_paths(again.run_id).resolved) == resolved


def test_the_environment_is_written_down(tiny_config, train, store):
    record = train(tiny_config())
    environment = json.loads(store.run_paths(record.run_id).environment.read_text())
    assert environment["versions"]["torch"] == torch.__version__.split("+")[0]
    assert environment["data_fingerprint"] == record.facts["fingerprint"]
    assert environment["devices"] == record.facts["device"] == "1 CPU core"


def test_early_stopping_ends_the_run(tiny_config, train, store):
    config = tiny_config(
        training={"num_train_epochs": 30, "learning_rate": 0.05}, early_stopping={"patience": 1}
    )
    record = train(config)
    losses = store.read_metrics(record.run_id, keys=["eval_loss"])["value"].tolist()
    assert record.epoch == len(losses) < 30
    assert min(losses) == losses[-2]


def test_the_best_epoch_is_chosen_by_the_metric_asked_for(tiny_config, train, store):
    config = tiny_config(
        training={"num_train_epochs": 5, "learning_rate": 0.02},
        early_stopping={"metric": "eval_accuracy", "patience": None},
    )
    record = train(config)
    history = store.read_metrics(record.run_id, keys=["eval_accuracy"])
    assert record.best_metric == "eval_accuracy"
    assert record.best_value == history["value"].max()
    assert record.best_step == history.loc[history["value"].idxmax(), "step"]


def test_a_loss_that_is_no_number_fails_with_the_step_and_a_lower_rate(tiny_config, train, monkeypatch):
    monkeypatch.setattr(
        ClassificationLoss, "__call__", lambda self, logits, labels: logits.sum() * float("inf")
    )
    with pytest.raises(DivergedError, match="step 1") as caught:
        train(tiny_config(training={"learning_rate": 1.0}))
    assert "0.1" in caught.value.hint


def test_unreadable_images_are_left_out_and_counted(tiny_config, train, images):
    (images / "a" / "broken.png").write_bytes(b"no image")
    record = train(tiny_config(data={"on_bad_image": "skip"}))
    assert record.facts["skipped"] == 1
    assert sum(record.facts["counts"].values()) == 60


def _test_logits(store, record):
    paths = store.run_paths(record.run_id)
    rows = read_predictions(
        paths.prediction_file("test", paths.prediction_steps("test")[0]), with_logits=True
    )
    return np.stack(rows["logits"])
