"""Disk, downloads and licences."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from superft_hf.preflight import resources
from superft_hf.records import DataInfo, ModelInfo

HUB_MODEL = ModelInfo("acme/net", "net", "", "hub", size_bytes=100_000_000, licence="apache-2.0")
OWN_IMAGES = DataInfo("images", "images", "", "local")


def found(make, home, model=HUB_MODEL, data=OWN_IMAGES):
    config = make("images", model={"name_or_path": "acme/net"})
    return {one.code: one for one in resources.find(config, home, model, data)}


def need(make, data=None, **groups):
    model_group = {"name_or_path": "acme/net", **groups.pop("model", {})}
    config = make("images", model=model_group, training=groups)
    return resources.disk_need(config, HUB_MODEL, data)


@pytest.mark.parametrize(
    ("training", "checkpoint_mb"),
    [
        ({}, 300),  # adamw keeps two values for each weight
        ({"optim": "sgd"}, 200),
        ({"optim": "sgd", "momentum": 0.0}, 100),
        ({"optim": "rmsprop"}, 300),
        ({"optim": "rmsprop", "momentum": 0.0}, 200),
        ({"optim": "adagrad"}, 200),
        ({"optim": "adafactor"}, 250),  # rows and columns of the kernels of a network that is not known
        ({"optim": "nadam"}, 300),
        ({"optim": "lion"}, 200),
        ({"optim": "schedule_free_adamw"}, 300),
        ({"optim": "schedule_free_sgd"}, 200),
        ({"ema_decay": 0.99}, 400),  # and one more copy of the weights
        ({"ema_decay": 0.0}, 300),
        ({"ema_decay": 0.99, "model": {"strategy": "head"}}, 200),
        ({"model": {"strategy": "head"}}, 100),
        ({"model": {"strategy": "head-then-full"}}, 300),
    ],
)
def test_three_checkpoints_and_the_model_by_optimizer_and_strategy(make, training, checkpoint_mb):
    found = need(make, **training)
    assert found.checkpoints == 3 * checkpoint_mb * 10**6
    assert (found.model, found.predictions) == (10**8, 0)
    assert found.total == found.checkpoints + 10**8


def test_adafactor_keeps_nothing_to_speak_of_for_a_transformer(make):
    config = make("images", model={"name_or_path": "acme/net"}, training={"optim": "adafactor"})
    assert resources.disk_need(config, replace(HUB_MODEL, architecture="vit")).checkpoints == 3 * 10**8


def images_of(num_classes):
    counts = {"train": {"0": 999}, "eval": {"0": 100}, "test": {"0": 10}}
    names = tuple(str(one) for one in range(num_classes))
    return replace(OWN_IMAGES, class_names=names, counts=counts)


def test_a_row_of_predictions_for_each_evaluation(make):
    # 10 classes: 150 + 40 bytes a row; 100 rows in each of 7 evaluations, and 10 rows of test
    assert need(make, images_of(10), num_train_epochs=7).predictions == 190 * 710
    # 1,000 classes: all logits of the best evaluation and of test only, else the 20 highest with their ids
    assert need(make, images_of(1000), num_train_epochs=7).predictions == 100 * (6 * 390 + 4150) + 10 * 4150


def test_a_disk_that_has_room_is_fine(make, home):
    assert found(make, home)["disk"].level == "fine"
    assert "disk" not in found(make, home, replace(HUB_MODEL, size_bytes=None))


def test_a_full_disk_blocks(make, home, monkeypatch):
    monkeypatch.setattr(resources.shutil, "disk_usage", lambda path: SimpleNamespace(free=50_000_000))
    report = found(make, home)
    assert (report["disk"].level, report["disk"].kind) == ("blocks", "HomeError")
    assert "has 50.0 MB left." in report["disk"].title and "about 1.3 GB" in report["disk"].text
    # AdamW's two values, and the average that the rule asks for, beside the weights
    assert "3 checkpoints while one is written, 1.2 GB; the model, 100.0 MB" in report["disk"].text
    assert report["download"].level == "blocks"


@pytest.mark.parametrize(
    ("free", "level"), [(1299, "blocks"), (1301, "know"), (1624, "know"), (1626, "fine")]
)
def test_a_disk_with_little_room_is_tight(make, home, monkeypatch, free, level):
    monkeypatch.setattr(resources.shutil, "disk_usage", lambda path: SimpleNamespace(free=free * 10**6))
    finding = found(make, home)["disk"]
    assert finding.level == level and not finding.title.startswith("The run")
    assert (level == "know") == ("is paused, and goes on when there is room" in finding.text)


def test_a_download_is_told_before_it_happens(make, home):
    assert found(make, home)["download"].title == "The model is downloaded before the start: 100.0 MB"
    assert "download" not in found(make, home, replace(HUB_MODEL, source="local"))


@pytest.mark.parametrize(
    ("model", "data", "level", "words"),
    [
        ("apache-2.0", "cc0", "fine", "model apache-2.0, images cc0"),
        ("apache-2.0", "cc-by-nc-sa-4.0", "know", "That of the images speaks of non-commercial use."),
        ("cc-by-nc-4.0", "CC BY-NC 4.0", "know", "That of the model and the images speaks"),
        ("", "mit", "know", "The authors of the model name none."),
        ("bigscience-openrail-m", "mit", "fine", "model bigscience-openrail-m"),
    ],
)
def test_licences_stand_side_by_side(make, home, model, data, level, words):
    images = replace(OWN_IMAGES, source="hub", licence=data)
    finding = found(make, home, replace(HUB_MODEL, licence=model), images)["licences"]
    assert finding.level == level and words in f"{finding.title} {finding.text}"


def test_own_files_need_no_licence(make, home):
    finding = found(make, home, replace(HUB_MODEL, source="local", licence=""))["licences"]
    assert (finding.level, finding.title) == ("fine", "Licences: model your own, images your own")
