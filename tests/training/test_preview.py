"""The preview of the first batch is the first batch."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from superft_hf.sources.load import load_images
from superft_hf.sources.scan import scan_images
from superft_hf.training.preview import as_png, augmented_batch, label_words
from superft_hf.training.tasks import make_task_run


def first_network_input(config, monkeypatch, train):
    """What the network and the loss are given in the very first step of a run."""
    from superft_hf.training.trainer import RunTrainer

    seen = []
    compute_loss = RunTrainer.compute_loss

    def watch(self, model, inputs, *args, **options):
        seen.append({name: value.clone() for name, value in inputs.items()})
        return compute_loss(self, model, inputs, *args, **options)

    monkeypatch.setattr(RunTrainer, "compute_loss", watch)
    train(config)
    return seen[0]


AUGMENTATIONS = {
    "none": {"preset": "none"},
    "strong": {"preset": "strong", "auto_augment": "rand_augment"},
    "mixup": {"preset": "light", "mixup": 1.0},
    "cutmix and sizes": {"preset": "light", "cutmix": 1.0, "multi_scale": 0.3, "progressive_resizing": 0.75},
}


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize(("network", "limit"), [("vit", 16), ("timm", 5)])
def test_preview__shows_what_the_first_step_trains_on(
    network, limit, name, tiny_config, home, monkeypatch, train
):
    config = tiny_config(
        network,
        augmentation=AUGMENTATIONS[name],
        training={"num_train_epochs": 1},
        hardware={"memory_format": "channels_last" if network == "timm" else "contiguous"},
    )
    shown = augmented_batch(config.model_dump_json(), str(home), limit=limit)
    given = first_network_input(config, monkeypatch, train)
    task = make_task_run(config, scan_images(load_images(config.data, home), config.data))
    assert len(given["labels"]) == 8
    assert len(shown) == min(limit, 8)
    for (encoded, words), pixels, label in zip(shown, given["pixel_values"], given["labels"], strict=False):
        assert encoded == as_png(pixels, task.pixel_map)
        assert words == label_words(label, "abc")
    assert any(" % " in words for _, words in shown) == ("mix" in name)


def test_label_words__of_ids_and_of_shares():
    names = ["cat", "dog", "owl"]
    assert label_words(torch.tensor(1), names) == "dog"
    assert label_words(torch.tensor([0.7, 0.3, 0.0]), names) == "70 % cat, 30 % dog"
    assert label_words(torch.tensor([0.004, 0.0, 0.996]), names) == "owl"
    assert label_words(torch.tensor([0.0, 1.0, 0.0]), names) == "dog"


def test_preview__balanced_classes_are_drawn_as_in_training(tiny_config, home, monkeypatch, train):
    config = tiny_config("resnet", training={"num_train_epochs": 1, "balanced_sampling": True})
    shown = augmented_batch(config.model_dump_json(), str(home))
    labels = first_network_input(config, monkeypatch, train)["labels"]
    assert [words for _, words in shown] == ["abc"[label] for label in labels.tolist()]


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
