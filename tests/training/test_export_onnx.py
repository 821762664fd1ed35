"""ONNX export of the three kinds of networks, checked against PyTorch; what its README says is run."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoImageProcessor, BitImageProcessor, ConvNextImageProcessor, ViTImageProcessor

from superft_hf.engine.launcher import Launcher
from superft_hf.errors import PublishError, StateError
from superft_hf.evaluation.prediction_files import read_predictions
from superft_hf.publish.export import export_onnx
from superft_hf.sources.images import open_rgb
from superft_hf.training import export_onnx as onnx
from superft_hf.training.image_classification.pixels import eval_pixels

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("network", ["vit", "resnet", "timm"])
def test_the_exported_network_predicts_what_the_run_predicted(network, tiny_config, train, store, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    record = train(tiny_config(network, training={"num_train_epochs": 1}))
    folder = tmp_path / "exported"
    folder.mkdir()
    check = onnx.export(store, record.run_id, folder)
    assert check["are_real"] and check["num_images"] == 8
    assert check["max_abs_difference"] <= check["tolerance"] == pytest.approx(1e-3, rel=30)
    assert json.loads((folder / "labels.json").read_text()) == ["a", "b", "c"]
    paths = store.run_paths(record.run_id)
    rows = read_predictions(paths.prediction_file("eval", record.best_step), with_logits=True)
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    processor = AutoImageProcessor.from_pretrained(paths.model)
    pixels = torch.stack(
        [eval_pixels(processor, open_rgb(Path(path).read_bytes())) for path in rows["image"]]
    ).numpy()
    for start, size in ((0, 1), (0, 5), (2, 3)):  # any batch size
        (logits,) = session.run(["logits"], {"pixel_values": pixels[start : start + size]})
        np.testing.assert_allclose(logits, np.stack(rows["logits"][start : start + size]), atol=1e-4)


def test_a_run_with_several_views_of_an_image_says_that_its_network_looks_once(
    tiny_config, train, store, tmp_path
):
    record = train(tiny_config("resnet", augmentation={"test_time": "crops"}))
    (tmp_path / "exported").mkdir()
    onnx.export(store, record.run_id, tmp_path / "exported")
    text = (tmp_path / "exported" / "README.md").read_text()
    assert "averaged over each image, its enlarged centre and the mirror images of both" in text
    assert "looks at what it is given once" in text


def test_what_the_readme_says_runs_and_says_the_same(tiny_config, train, store, tmp_path):
    record = train(tiny_config("vit"))
    found = export_onnx(store, record.run_id, tmp_path / "exported", Launcher())
    assert found.check["are_real"]
    assert "test-time augmentation" not in (found.folder / "README.md").read_text()
    assert sorted(found.files) == ["README.md", "labels.json", "model.onnx", "preprocessing.json"]
    rows = read_predictions(store.run_paths(record.run_id).prediction_file("eval", record.best_step))
    row = rows.iloc[0]
    text = (found.folder / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    script = tmp_path / "use.py"
    script.write_text(code.replace('"photo.jpg"', repr(row["image"])))
    done = subprocess.run([sys.executable, script], cwd=found.folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    label, share = done.stdout.splitlines()[0].split(": ")
    assert label == ["a", "b", "c"][row["prediction"]]
    assert float(share.rstrip("%")) == pytest.approx(100 * row["confidence"], abs=1.0)
    assert str(store.home) not in text and str(tmp_path) not in text


PROCESSORS = {
    "plain": lambda _: ViTImageProcessor(size={"height": 32, "width": 32}),
    "cut from the middle": lambda _: BitImageProcessor(
        size={"shortest_edge": 35}, crop_size={"height": 32, "width": 32}
    ),
    "small ConvNext": lambda _: ConvNextImageProcessor(size={"shortest_edge": 32}),
    "large ConvNext": lambda _: ConvNextImageProcessor(size={"shortest_edge": 384}),
    "timm": lambda models: AutoImageProcessor.from_pretrained(models["timm"]),
}


@pytest.mark.parametrize("kind", PROCESSORS)
def test_the_described_preprocessing_is_the_processors(kind, models, make_folder, tmp_path):
    processor = PROCESSORS[kind](models)
    if kind != "timm":  # as it is saved with a run
        processor.save_pretrained(tmp_path)
        processor = AutoImageProcessor.from_pretrained(tmp_path)
    spec = onnx.describe_preprocessing(processor)
    image = open_rgb(next(make_folder({"a": 1}).rglob("*.png")).read_bytes()).resize((97, 61))
    mine = onnx.pixel_values(image, spec)[0]
    theirs = eval_pixels(processor, image).numpy()
    assert mine.shape == theirs.shape
    # Pillow's and torchvision's filters differ by rounding only.
    assert np.abs(mine - theirs).mean() < 0.02


def test_a_network_that_computes_something_else_is_refused(tmp_path):
    torch.manual_seed(0)
    exported = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 3)).eval()
    pixels = torch.randn(4, 3, 4, 4)
    onnx.write_network(_named(exported), pixels, tmp_path / "model.onnx")
    assert onnx.compare(exported, pixels, tmp_path / "model.onnx")["max_abs_difference"] < 1e-5
    with torch.no_grad():
        exported[1].weight[0, 0] += 0.5
    with pytest.raises(PublishError, match="differs from the one in PyTorch"):
        onnx.compare(exported, pixels, tmp_path / "model.onnx")


def test_images_that_are_gone_are_replaced_by_random_ones(tiny_config, train, store, images, tmp_path):
    record = train(tiny_config("resnet"))
    for path in images.rglob("*.png"):
        path.unlink()
    found = export_onnx(store, record.run_id, tmp_path / "exported", Launcher())
    assert found.check["are_real"] is False
    assert "on random pixels" in (found.folder / "README.md").read_text()


def test_a_queued_run_has_nothing_to_export(tiny_config, store, tmp_path):
    run_id = store.create_run(tiny_config("resnet"), by="test").run_id
    with pytest.raises(StateError, match="nothing to publish yet"):
        export_onnx(store, run_id, tmp_path / "exported", Launcher())
    assert not (tmp_path / "exported").exists()


def _named(network: torch.nn.Module) -> torch.nn.Module:
    class Named(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, pixel_values):
            return self.network(pixel_values)

    return Named().eval()
