"""The head that trains from kept features learns the same, without looking at the images again."""

import copy
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import (
    AutoModelForImageClassification,
    CvtConfig,
    CvtForImageClassification,
    ViTImageProcessor,
)

from superft_hf.config import RunConfig
from superft_hf.engine.devices import Devices
from superft_hf.engine.launcher import Launcher
from superft_hf.evaluation.prediction_files import read_predictions
from superft_hf.records import RunRecord, RunState
from superft_hf.store import RunStore
from superft_hf.training import head_features
from superft_hf.training import trainer as trainers
from superft_hf.training.head_features import FeatureFile, _take_features, may_keep_features

NOTHING_RANDOM = {"preset": "none"}
HEAD = {"strategy": "head", "dropout": 0.2}


@pytest.fixture
def train_from_images(train: Callable[[RunConfig], RunRecord]) -> Callable[[RunConfig], RunRecord]:
    """Trains a run as if features could not be kept."""

    def run(config: RunConfig) -> RunRecord:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(trainers, "may_keep_features", lambda *_: False)
            return train(config)

    return run


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Images that passed the body of a run's network, by what it was there for."""
    counts: Counter[str] = Counter()

    class Counting(trainers.RunTrainer):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            body = self.model.base_model
            body.register_forward_pre_hook(self._count, with_kwargs=True)

        def _count(self, body: nn.Module, args: tuple, options: dict[str, Any]) -> None:
            pixels = args[0] if args else options["pixel_values"]
            counts["training" if torch.is_grad_enabled() else "no gradient"] += len(pixels)

    monkeypatch.setattr("superft_hf.training.run.RunTrainer", Counting)
    return counts


def assert_alike(store: RunStore, one: RunRecord, other: RunRecord) -> None:
    """Weights, curves and predictions are equal within rounding."""
    assert one.state == other.state == RunState.COMPLETED
    paths = [store.run_paths(record.run_id) for record in (one, other)]
    first, second = (load_file(path.model / "model.safetensors") for path in paths)
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        torch.testing.assert_close(tensor, second[name], rtol=1e-4, atol=1e-6)
    files = sorted(path.name for path in paths[0].predictions.iterdir())
    assert files == sorted(path.name for path in paths[1].predictions.iterdir()) and len(files) > 2
    for name in files:
        rows, others = (read_predictions(path.predictions / name, with_logits=True) for path in paths)
        assert list(rows["example_id"]) == list(others["example_id"])
        np.testing.assert_allclose(np.stack(rows["logits"]), np.stack(others["logits"]), rtol=1e-4, atol=1e-5)
    curves = [
        store.read_metrics(record.run_id).query("key in ['loss', 'eval_loss', 'grad_norm']")
        for record in (one, other)
    ]
    assert len(curves[0]) > 6
    assert curves[0]["value"].to_numpy() == pytest.approx(curves[1]["value"].to_numpy(), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("network", ["resnet", "vit", "timm"])
def test_the_head_learns_the_same(network, tiny_config, train, train_from_images, store):
    training = {"num_train_epochs": 3, "gradient_accumulation_steps": 2, "ema_decay": 0.9}
    config = tiny_config(network, model=HEAD, augmentation=NOTHING_RANDOM, training=training)
    assert_alike(store, train(config), train_from_images(config))


@pytest.mark.parametrize("strategy", ["head-then-full", "gradual"])
def test_what_follows_the_head_alone_is_the_same(strategy, tiny_config, train, train_from_images, store):
    config = tiny_config(
        "vit", model={"strategy": strategy, "head_epochs": 2}, augmentation=NOTHING_RANDOM,
        training={"num_train_epochs": 4, "dataloader_num_workers": 1}, early_stopping={"patience": None},
    )  # fmt: skip
    assert_alike(store, train(config), train_from_images(config))


def test_classes_that_are_drawn_equally_often(tiny_config, train, train_from_images, store, make_folder):
    training = {"num_train_epochs": 3, "balanced_sampling": True}
    data = {"name_or_path": str(make_folder({"a": 40, "b": 10}, name="uneven"))}
    config = tiny_config("vit", model=HEAD, augmentation=NOTHING_RANDOM, training=training, data=data)
    assert_alike(store, train(config), train_from_images(config))


def test_each_image_passes_the_body_once(tiny_config, train, passed):
    training = {"num_train_epochs": 5}
    stopping = {"patience": None}
    train(
        tiny_config(
            "vit", model=HEAD, augmentation=NOTHING_RANDOM, training=training, early_stopping=stopping
        )
    )
    # 42 train and 9 eval images, one more to learn the shape of their features, and 9 test images at the end.
    assert passed == {"no gradient": 42 + 9 + 1 + 9}


def test_the_body_is_passed_again_once_it_trains(tiny_config, train, passed):
    model = {"strategy": "head-then-full", "head_epochs": 2}
    options = {"training": {"num_train_epochs": 4}, "early_stopping": {"patience": None}}
    train(tiny_config("vit", model=model, augmentation=NOTHING_RANDOM, **options))
    assert passed == {"training": 2 * 42, "no gradient": 42 + 9 + 1 + 2 * 9 + 9}


@pytest.mark.parametrize(
    "changes",
    [
        {"augmentation": {"preset": "light"}},
        {"augmentation": {"preset": "none", "mixup": 0.2}},
        {"augmentation": {"preset": "none", "multi_scale": 0.25}},
        {"augmentation": {"preset": "none", "progressive_resizing": 0.5}},
    ],
)
def test_images_that_change_from_epoch_to_epoch_are_looked_at_each_time(changes, tiny_config, train, passed):
    options = {"training": {"num_train_epochs": 2}, "early_stopping": {"patience": None}}
    train(tiny_config("resnet", model=HEAD, **options, **changes))
    assert passed == {"training": 2 * 42, "no gradient": 2 * 9 + 9}


def test_several_views_of_an_eval_image_are_looked_at_each_time(tiny_config, train, passed):
    options = {"training": {"num_train_epochs": 2}, "early_stopping": {"patience": None}}
    train(
        tiny_config("resnet", model=HEAD, augmentation={"preset": "none", "test_time": "mirror"}, **options)
    )
    assert passed == {"no gradient": 42 + 1 + 2 * 2 * 9 + 2 * 9}


def test_full_and_what_several_machines_or_shards_hold_keep_nothing(tiny_config):
    plain = tiny_config("vit", model=HEAD, augmentation=NOTHING_RANDOM)
    head = [nn.Linear(2, 2)]
    assert may_keep_features(plain, head)
    assert not may_keep_features(plain, head * 2)
    for group, values in (("model", {"strategy": "full"}), ("hardware", {"num_machines": 2}),
                          ("hardware", {"sharding": "fsdp"})):  # fmt: skip
        changed = getattr(plain, group).model_copy(update=values)
        assert not may_keep_features(plain.model_copy(update={group: changed}), head)


def test_features_that_do_not_fit_onto_the_disk_are_not_kept(tiny_config, train, passed, monkeypatch, caplog):
    monkeypatch.setattr(head_features, "DISK_SHARE", 0.0)
    config = tiny_config("vit", model=HEAD, augmentation=NOTHING_RANDOM)
    with caplog.at_level("INFO"):
        record = train(config)
    assert record.state == RunState.COMPLETED
    assert passed["training"] == 2 * 42
    assert "do not fit onto the disk" in caplog.text


def test_a_head_in_several_parts_looks_at_the_images(tiny_config, train, tmp_path, passed):
    torch.manual_seed(0)
    sizes = {"embed_dim": [16, 16, 32], "num_heads": [1, 1, 1], "depth": [1, 2, 3]}
    CvtForImageClassification(CvtConfig(num_labels=3, **sizes)).save_pretrained(tmp_path / "cvt")
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "cvt")
    model = {**HEAD, "name_or_path": str(tmp_path / "cvt")}
    record = train(tiny_config("vit", model=model, augmentation=NOTHING_RANDOM))
    assert record.state == RunState.COMPLETED
    assert passed["training"] == 2 * 42


def test_nothing_is_left_behind(tiny_config, train, store):
    record = train(tiny_config("vit", model=HEAD, augmentation=NOTHING_RANDOM))
    checkpoints = store.run_paths(record.run_id).checkpoints
    assert all(path.name.startswith("checkpoint-") for path in checkpoints.iterdir())


@pytest.mark.slow
def test_two_processes_share_the_features(tiny_config, store):
    config = tiny_config(
        "vit", model={"strategy": "head-then-full", "head_epochs": 3}, augmentation=NOTHING_RANDOM,
        hardware={"num_processes": 2}, early_stopping={"patience": None},
        training={"num_train_epochs": 4, "per_device_train_batch_size": 4, "per_device_eval_batch_size": 4},
    )  # fmt: skip
    kept = work(store, config, Launcher())
    script = str(Path(__file__).with_name("from_images_worker.py"))
    assert_alike(store, kept, work(store, config, Launcher(worker=(script,))))
    assert "computing the features of 42 images of train" in store.run_paths(kept.run_id).log.read_text()


def work(store: RunStore, config: RunConfig, launcher: Launcher) -> RunRecord:
    """Trains a run with the real launcher and its ranks."""
    record = store.create_run(config, by="test", state=RunState.STARTING)
    paths, devices = store.run_paths(record.run_id), Devices("cpu", (), config.hardware.num_processes)
    environment = launcher.environment(store.home, config, devices) | {"PYTHONPATH": str(Path.cwd())}
    with paths.log.open("ab") as log:
        done = subprocess.run(
            launcher.command(paths, devices),
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            timeout=300,
        )
    assert done.returncode == 0, paths.log.read_text()
    return store.get_run(record.run_id)


def test_a_copy_of_the_model_has_a_head_of_its_own(models):
    model = AutoModelForImageClassification.from_pretrained(models["vit"]).eval()
    _take_features(model, model.classifier)
    copied = copy.deepcopy(model)
    with torch.no_grad():
        for weight in copied.parameters():
            weight.zero_()
    features, pixels = torch.ones(1, 32), torch.ones(1, 3, 32, 32)
    assert not copied(head_features=features).logits.any() and not copied(pixel_values=pixels).logits.any()
    assert model(head_features=features).logits.all() and model(pixel_values=pixels).logits.all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_file__gives_back_what_it_got(tmp_path, dtype):
    features = torch.randn(5, 3, 1, 1).to(dtype)
    file = FeatureFile(tmp_path / "made" / "train.bin", 5, features[0])
    assert file.missing() == [0, 1, 2, 3, 4]
    file.write([3, 1], features[[3, 1]])
    assert file.missing() == [0, 2, 4]
    again = FeatureFile(file.path, 5, features[0])
    again.write([0, 2, 4], features[[0, 2, 4]])
    assert file.missing() == []
    read = file.read([4, 1, 1, 0])
    assert read.dtype == dtype and torch.equal(read, features[[4, 1, 1, 0]])


def test_file__a_record_that_was_written_in_part_is_missing(tmp_path):
    features = torch.randn(3, 4)
    file = FeatureFile(tmp_path / "eval.bin", 3, features[0])
    file.write([0, 1, 2], features)
    with file.path.open("r+b") as opened:
        opened.seek(20 + 4 + 8)  # of the second record, 4 bytes of sum and 16 of values, the last two values
        opened.write(bytes(8))
    assert file.missing() == [1]
    zeros = torch.zeros(1, 4)
    file.write([1], zeros)
    assert file.missing() == [] and torch.equal(file.read([1]), zeros)


def test_file__one_of_another_shape_is_begun_anew(tmp_path):
    FeatureFile(tmp_path / "eval.bin", 3, torch.zeros(4)).write([0, 1, 2], torch.randn(3, 4))
    assert FeatureFile(tmp_path / "eval.bin", 3, torch.zeros(5)).missing() == [0, 1, 2]
