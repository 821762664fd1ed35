"""Features of the images: what plain transformers computes, in the order of the predictions, and no cost."""

import logging
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from transformers import AutoImageProcessor, AutoModelForImageClassification

from superft_hf.engine.devices import Devices
from superft_hf.engine.launcher import Launcher
from superft_hf.evaluation.prediction_files import read_predictions, read_texts
from superft_hf.paths import RunPaths
from superft_hf.records import RunState
from superft_hf.training import embeddings, resume, smoke
from superft_hf.training import run as runs
from superft_hf.training.embeddings import FeatureCatcher, normalized

HALF = 2e-3
"""float16 has 11 bits, and values of a vector of length 1 are below 1."""


def features_plainly(model_folder: Path, files: list[str]) -> np.ndarray:
    """What the head reads, (N, D), asked of the parts of the model rather than of a hook; length 1."""
    model = AutoModelForImageClassification.from_pretrained(model_folder).eval()
    processor = AutoImageProcessor.from_pretrained(model_folder)
    pixels = processor(images=[Image.open(file).convert("RGB") for file in files], return_tensors="pt")
    pixels = pixels["pixel_values"]
    with torch.no_grad():
        if hasattr(model, "timm_model"):
            network = model.timm_model
            found = network.forward_head(network.forward_features(pixels), pre_logits=True)
        elif hasattr(model, "vit"):
            found = model.vit(pixels).last_hidden_state[:, 0]
        else:
            found = model.resnet(pixels).pooler_output.flatten(1)
    found = found.numpy()
    return found / np.linalg.norm(found, axis=1, keepdims=True)


@pytest.mark.parametrize("name", ["resnet", "vit", "timm"])
def test_the_best_evaluation_and_test_have_the_features_that_transformers_computes(
    name, tiny_config, train, store
):
    record = train(tiny_config(name, training={"num_train_epochs": 3}))
    paths = store.run_paths(record.run_id)
    assert paths.embeddings_steps("eval") == [record.best_step]
    assert paths.embeddings_steps("test") == paths.prediction_steps("test")
    for split, step in (("eval", record.best_step), ("test", record.global_step)):
        kept = np.load(paths.embeddings_file(split, step))
        files = read_texts(paths.prediction_file(split, step))["image"].tolist()
        assert kept.dtype == np.float16
        np.testing.assert_allclose(kept, features_plainly(paths.model, files), atol=HALF)


def test_catching_them_changes_no_bit_of_the_run(tiny_config, train, store, monkeypatch):
    config = tiny_config("vit", model={"dropout": 0.3})
    with_features = train(config)
    monkeypatch.setattr(runs, "FeatureCatcher", lambda layer, paths: None)
    without = train(config)
    first, second = store.run_paths(with_features.run_id), store.run_paths(without.run_id)
    assert first.embeddings_steps("eval") and not second.embeddings_steps("eval")
    weights = [load_file(paths.model / "model.safetensors") for paths in (first, second)]
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())
    assert with_features.evaluation == without.evaluation
    for split in ("eval", "test"):
        for step in first.prediction_steps(split):
            one, other = first.prediction_file(split, step), second.prediction_file(split, step)
            rows = [read_predictions(path, with_logits=True) for path in (one, other)]
            assert np.array_equal(np.stack(rows[0]["logits"]), np.stack(rows[1]["logits"]))


@pytest.mark.slow
def test_two_processes_gather_every_image_once_and_in_order(tiny_config, store):
    config = tiny_config("resnet", hardware={"num_processes": 2})
    record = store.create_run(config, by="test", state=RunState.STARTING)
    paths, devices = store.run_paths(record.run_id), Devices("cpu", (), 2)
    launcher = Launcher()
    environment = launcher.environment(store.home, config, devices)
    with paths.log.open("ab") as log:
        done = subprocess.run(
            launcher.command(paths, devices), stdout=log, stderr=subprocess.STDOUT, timeout=300,
            env={**environment, "PYTHONPATH": str(Path.cwd())},
        )  # fmt: skip
    assert done.returncode == 0, paths.log.read_text()
    (step,) = paths.embeddings_steps("test")
    files = read_texts(paths.prediction_file("test", step))["image"].tolist()
    assert len(files) % 2 == 1, "the last batch is filled up with images that were seen already"
    expected = features_plainly(paths.model, files)
    np.testing.assert_allclose(np.load(paths.embeddings_file("test", step)), expected, atol=HALF)


@pytest.mark.slow
def test_the_smoke_run_writes_none(tiny_config, home, monkeypatch):
    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("the smoke run caught features")

    monkeypatch.setattr(embeddings.FeatureCatcher, "listening", refuse)
    monkeypatch.setattr(embeddings.FeatureCatcher, "write", refuse)
    assert smoke.measure(tiny_config("resnet"), home).total_steps > 0


def test_going_back_removes_what_is_later_than_the_checkpoint(store, tiny_config):
    record = store.create_run(tiny_config(), by="test")
    paths = store.run_paths(record.run_id)
    for split, step in (("eval", 4), ("test", 8)):
        file = paths.embeddings_file(split, step)
        file.parent.mkdir(exist_ok=True)
        np.save(file, np.zeros((2, 2), np.float16))
    assert resume.go_back(resume.RunContext(store, record.run_id)) is None
    assert (paths.embeddings_steps("eval"), paths.embeddings_steps("test")) == ([], [])


# The catcher alone


@pytest.fixture
def catch(tmp_path: Path) -> Callable[..., tuple[FeatureCatcher, RunPaths]]:
    """`catch(layer, batches)`: a catcher after an evaluation of these batches, and where it writes to."""

    def make(layer: nn.Module | None, *batches: torch.Tensor) -> tuple[FeatureCatcher, RunPaths]:
        paths = RunPaths(tmp_path)
        catcher = FeatureCatcher(layer, paths)
        evaluate(catcher, layer, *batches)
        return catcher, paths

    return make


def evaluate(catcher: FeatureCatcher, layer: nn.Module | None, *batches: torch.Tensor) -> None:
    with catcher.listening(sum(len(batch) for batch in batches)):
        for batch in batches:
            if layer is not None:
                layer(batch)
            found = catcher.take(len(batch))
            if found is not None:
                catcher.keep(found)


def test_only_the_best_and_the_one_before_it_stay(catch):
    layer = nn.Identity()
    catcher, paths = catch(layer, torch.eye(3))
    catcher.write("eval", 10, former=None)
    evaluate(catcher, layer, torch.ones(3, 2))
    catcher.discard()  # 20 was worse
    for step, former in ((30, 10), (40, 30)):
        evaluate(catcher, layer, torch.eye(3))
        catcher.write("eval", step, former=former)
    assert paths.embeddings_steps("eval") == [30, 40]
    evaluate(catcher, layer, torch.eye(3))
    catcher.write("test", 50, former=40)
    catcher.keep_best(40)
    assert (paths.embeddings_steps("eval"), paths.embeddings_steps("test")) == ([40], [50])
    assert not list(paths.embeddings_file("eval", 0).parent.glob("*.writing"))


def test_pooled_maps_are_features_and_whole_maps_are_not(catch, caplog):
    caplog.set_level(logging.INFO)
    catcher, paths = catch(nn.Identity(), torch.arange(1.0, 7).view(2, 3, 1, 1))
    catcher.write("eval", 1, former=None)
    expected = normalized(np.arange(1.0, 7).reshape(2, 3))
    assert np.array_equal(np.load(paths.embeddings_file("eval", 1)), expected)
    catcher, paths = catch(nn.Identity(), torch.ones(2, 3, 4, 4))
    catcher.write("eval", 2, former=1)
    assert paths.embeddings_steps("eval") == [1]
    assert "the features of a batch have the shape (2, 3, 4, 4)" in caplog.text


def test_too_many_values_are_not_written_and_that_is_said(catch, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(embeddings, "MAX_BYTES", 2 * 3 * 4)
    catcher, paths = catch(nn.Identity(), torch.ones(3, 4))
    catcher.write("eval", 1, former=None)
    assert paths.embeddings_steps("eval") == [1]
    catcher, paths = catch(nn.Identity(), torch.ones(3, 5))
    catcher.write("eval", 2, former=1)
    assert paths.embeddings_steps("eval") == [1]
    assert "no features of eval are kept: 3 × 5 values are over" in caplog.text


def test_a_layer_that_is_unknown_or_never_passed_is_no_error(catch, caplog):
    caplog.set_level(logging.INFO)
    catcher, paths = catch(None, torch.ones(3, 4))
    catcher.write("eval", 1, former=None)
    catcher = FeatureCatcher(nn.Identity(), paths)
    with catcher.listening(3):
        assert catcher.take(3) is None
    catcher.write("eval", 1, former=None)
    assert paths.embeddings_steps("eval") == []
    assert "the layer that makes the logits is not known" in caplog.text
    assert "the layer that makes the logits was not passed" in caplog.text


def test_a_disk_that_takes_none_does_not_end_the_run(catch, caplog):
    catcher, paths = catch(nn.Identity(), torch.eye(2))
    paths.embeddings_file("eval", 1).parent.write_text("a file where the folder should be")
    catcher.write("eval", 1, former=None)
    assert "the features of eval cannot be written" in caplog.text


def test_nothing_is_caught_while_nobody_listens(catch):
    layer = nn.Identity()
    catcher, _ = catch(layer, torch.eye(2))
    layer(torch.ones(2, 2))
    assert catcher.take(2) is None


def test_rows_without_length_stay_zero_and_broken_ones_are_nan():
    found = normalized(np.array([[3.0, 4.0], [0.0, 0.0], [np.inf, 1.0], [np.nan, 1.0], [1e30, 1e30]]))
    np.testing.assert_allclose(found[0], [0.6, 0.8], atol=HALF)
    assert not found[1].any() and np.isnan(found[2:4]).all()
    np.testing.assert_allclose(found[4], [0.5**0.5] * 2, atol=HALF)
