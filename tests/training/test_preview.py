"""The preview of the first batch is the first batch."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from superft_hf.sources.load import load_images
from superft_hf.sources.scan import scan_images
from superft_hf.training.preview import as_png, augmented_batch
from superft_hf.training.tasks import make_task_run


def first_training_batch(config, home, monkeypatch, train):
    """The `pixel_values` and labels of the very first step of a run."""
    from superft_hf.training.trainer import RunTrainer

    seen = []
    step = RunTrainer.training_step

    def watch(self, model, inputs, *rest):
        seen.append({name: value.clone() for name, value in inputs.items()})
        return step(self, model, inputs, *rest)

    monkeypatch.setattr(RunTrainer, "training_step", watch)
    train(config)
    return seen[0]


@pytest.mark.parametrize("preset", ["none", "strong"])
@pytest.mark.parametrize("network", ["vit", "timm"])
def test_preview__shows_what_the_first_step_trains_on(network, preset, tiny_config, home, monkeypatch, train):
    config = tiny_config(network, augmentation={"preset": preset}, training={"num_train_epochs": 1})
    shown = augmented_batch(config.model_dump_json(), str(home))
    batch = first_training_batch(config, home, monkeypatch, train)
    task = make_task_run(config, scan_images(load_images(config.data, home), config.data))
    assert len(shown) == len(batch["labels"]) == 8
    assert [name for _, name in shown] == ["abc"[label] for label in batch["labels"].tolist()]
    for (encoded, _), pixels in zip(shown, batch["pixel_values"], strict=True):
        assert encoded == as_png(pixels, task.pixel_map)


def test_preview__undoes_the_normalisation_exactly(tiny_config, home):
    config = tiny_config("timm", augmentation={"preset": "none"})
    task = make_task_run(config, scan_images(load_images(config.data, home), config.data))
    colours = torch.arange(3 * 32 * 32, dtype=torch.int64).remainder(256).to(torch.uint8).view(3, 32, 32)
    png = as_png(task.pixel_map(colours[None])[0], task.pixel_map)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png))), colours.permute(1, 2, 0).numpy())


def test_preview__another_epoch_draws_anew_and_the_limit_holds(tiny_config, home):
    text = tiny_config("vit", augmentation={"preset": "strong"}).model_dump_json()
    first, second = (augmented_batch(text, str(home), limit=3, epoch=epoch) for epoch in (0, 1))
    assert len(first) == len(second) == 3
    assert first != second
    assert first == augmented_batch(text, str(home), limit=3)
