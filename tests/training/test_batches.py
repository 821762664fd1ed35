"""A batch on its way to the network: each setting in its place, nothing drawn, nothing waited for."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torchvision.transforms.v2 import functional as v2

from superft_hf.training.image_classification import augmentation
from superft_hf.training.image_classification.batches import TrainBatches
from superft_hf.training.image_classification.draws import EpochDraws
from superft_hf.training.image_classification.pixels import PixelMap
from superft_hf.training.image_classification.scales import StepSizes

SIDE = 40
EVERYTHING = {
    "preset": "strong", "vertical_flip": 0.5, "right_angles": 0.5, "auto_augment": "rand_augment",
    "mixup": 0.3, "cutmix": 1.0, "multi_scale": 0.25, "progressive_resizing": 0.5,
}  # fmt: skip
MAKERS = {
    "horizontal_flip": 0.5, "vertical_flip": 0.5, "right_angles": 0.5, "rotation": 20.0, "color_jitter": 0.3,
    "random_erasing": 0.5, "auto_augment": "rand_augment", "mixup": 0.3, "cutmix": 1.0, "multi_scale": 0.4,
    "progressive_resizing": 0.5,
}  # fmt: skip


@pytest.fixture
def make(tiny_config) -> Callable[..., TrainBatches]:
    """`make(rotation=10)`: what batches go through with this alone."""

    def made(**settings: Any) -> TrainBatches:
        config = tiny_config("resnet", augmentation={"preset": "none", **settings})
        matrix, offset = torch.diag(torch.tensor([0.02, 0.03, 0.04])), torch.tensor([-2.0, -3.0, -4.0])
        sizes = StepSizes(config.augmentation, config.training.seed, (SIDE, SIDE), 8)
        return TrainBatches(config, PixelMap(SIDE, SIDE, matrix, offset, is_diagonal=True), 5, sizes)

    return made


def batch(indices: list[int], epoch: int = 0) -> dict[str, torch.Tensor]:
    """Smooth pictures that differ by their index."""
    made = []
    for index in indices:
        noise = np.random.default_rng(index).integers(0, 256, (3, SIDE, SIDE), np.uint8)
        made.append(v2.gaussian_blur(torch.from_numpy(noise), [5, 5]))
    rows = EpochDraws(42).rows(epoch, np.array(indices))
    labels = torch.tensor([index % 5 for index in indices])
    return {"pixels": torch.stack(made), "draws": torch.from_numpy(rows), "labels": labels}


def normalised(pixels: torch.Tensor) -> torch.Tensor:
    factors = torch.tensor([0.02, 0.03, 0.04]).view(3, 1, 1)
    return pixels.float() * factors - factors * 100


def test_without_augmentation__pixel_values_are_handed_on_untouched(make):
    given = {"pixel_values": torch.rand(2, 3, SIDE, SIDE), "labels": torch.tensor([0, 1])}
    assert make()(given, step=0, max_steps=1) is given


def test_without_any_step__pixels_are_normalised_and_nothing_else(make):
    given = batch([3, 4])
    made = make()(given, step=0, max_steps=1)
    assert made.keys() == {"pixel_values", "labels"}
    assert torch.allclose(made["pixel_values"], normalised(given["pixels"]), atol=1e-5)
    assert torch.equal(made["labels"], given["labels"])


@pytest.mark.parametrize("name", MAKERS)
def test_each_setting__alone_changes_the_batch(name, make):
    given = batch(list(range(8)))
    plain = make()(given, step=0, max_steps=9)["pixel_values"]
    made = make(**{name: MAKERS[name]})(given, step=0, max_steps=9)["pixel_values"]
    assert made.shape != plain.shape or not torch.equal(made, plain)


def test_the_strength_of_rand_augment__changes_the_batch(make):
    given = batch(list(range(8)))
    weak, strong = (
        make(auto_augment="rand_augment", auto_augment_magnitude=value)(given, step=0, max_steps=9)
        for value in (3, 25)
    )
    assert not torch.equal(weak["pixel_values"], strong["pixel_values"])


def test_steps__come_in_their_order(make):
    given = batch(list(range(6)))
    rows = given["draws"]
    settings = {"horizontal_flip": 0.5, "rotation": 20.0, "color_jitter": 0.3, "random_erasing": 0.5}
    pixels = augmentation.mirror(given["pixels"], rows, 0.5)
    pixels = augmentation.jitter_colours(augmentation.rotate(pixels, rows, 20.0), rows, 0.3)
    pixels = augmentation.erase(pixels, rows, 0.5)
    made = make(**settings)(given, step=0, max_steps=1)["pixel_values"]
    assert torch.allclose(made, normalised(pixels), atol=1e-4)


def test_an_image__looks_the_same_in_whatever_batch_it_is(make):
    settings = {**EVERYTHING, "mixup": 0, "cutmix": 0}
    together = make(**settings)(batch(list(range(12))), step=5, max_steps=9)["pixel_values"]
    for indices in ([7], [11, 2], [5, 6, 7, 8]):
        made = make(**settings)(batch(indices), step=5, max_steps=9)["pixel_values"]
        assert torch.equal(made, together[indices])


def test_a_batch__is_the_same_for_equal_seed_epoch_and_step_and_no_other(make):
    maker = make(**EVERYTHING)
    first = maker(batch([4, 9, 1], epoch=2), step=7, max_steps=9)
    maker(batch([1, 2]), step=8, max_steps=9)
    torch.manual_seed(99)
    again = make(**EVERYTHING)(batch([4, 9, 1], epoch=2), step=7, max_steps=9)
    assert torch.equal(first["pixel_values"], again["pixel_values"])
    assert torch.equal(first["labels"], again["labels"])
    other = maker(batch([4, 9, 1], epoch=3), step=7, max_steps=9)
    assert not torch.equal(first["labels"], other["labels"])


def test_a_batch__uses_no_generator(make):
    before = torch.random.get_rng_state()
    make(**EVERYTHING)(batch([1, 2, 3]), step=0, max_steps=9)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_mixing__gives_shares_of_the_classes(make):
    made = make(mixup=0.3)(batch([0, 1, 2, 3]), step=0, max_steps=1)
    assert made["labels"].shape == (4, 5)
    assert made["labels"].dtype == torch.float32
    assert torch.allclose(made["labels"].sum(1), torch.ones(4))
    assert ((made["labels"] > 0).sum(1) == 2).all()


def test_sizes__follow_the_step(make):
    maker = make(progressive_resizing=0.4)
    sides = [maker(batch([0]), step=step, max_steps=9)["pixel_values"].shape[2] for step in range(9)]
    assert sides == [16, 24, 24, 32, 32, 40, 40, 40, 40]


@pytest.mark.slow
def test_loader_processes__change_no_batch(tiny_config, home, train, store):
    """Weights of whole runs: draws, sizes and mixing are those of the images and steps, wherever made."""
    weights = []
    for workers in (0, 2):
        settings = {"dataloader_num_workers": workers, "num_train_epochs": 1}
        record = train(tiny_config("vit", augmentation={**EVERYTHING, "preset": "light"}, training=settings))
        weights.append(load_file(store.run_paths(record.run_id).model / "model.safetensors"))
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_memory_format__is_that_of_the_loader(layout, make):
    given = batch([0, 1, 2])
    given["pixels"] = given["pixels"].contiguous(memory_format=layout)
    made = make(**EVERYTHING)(given, step=9, max_steps=9)["pixel_values"]
    assert made.is_contiguous(memory_format=layout)
    assert made.dtype == torch.float32


def test_no_value__is_read_back_from_the_device(make):
    # Tensors of this device have no values at all: looking at one is an error.
    given = {name: tensor.to("meta") for name, tensor in batch(list(range(6))).items()}
    with pytest.raises(RuntimeError, match="meta"):
        given["draws"].nonzero()
    made = make(**EVERYTHING)(given, step=3, max_steps=9)
    assert made["pixel_values"].device.type == made["labels"].device.type == "meta"
    assert made["pixel_values"].shape[:2] == (6, 3)


def test_on_a_gpu__the_result_is_the_same(make, monkeypatch):
    """As far as a CPU can show it: the same computations as there, on all images instead of some."""
    given = batch(list(range(8)))
    chosen_only = make(**EVERYTHING)(given, step=9, max_steps=9)
    monkeypatch.setattr(augmentation, "is_looking_free", lambda device: False)
    everywhere = make(**EVERYTHING)(given, step=9, max_steps=9)
    assert torch.equal(chosen_only["pixel_values"], everywhere["pixel_values"])
    assert torch.equal(chosen_only["labels"], everywhere["labels"])


@pytest.mark.gpu
def test_on_a_gpu__nothing_waits_and_the_result_is_the_cpus(make):
    given = batch(list(range(8)))
    maker, on_gpu = make(**EVERYTHING), {name: tensor.cuda() for name, tensor in given.items()}
    maker(on_gpu, step=9, max_steps=9)  # the tables are copied there once
    torch.cuda.set_sync_debug_mode("error")
    try:
        made = maker(on_gpu, step=9, max_steps=9)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    expected = make(**EVERYTHING)(given, step=9, max_steps=9)
    error = (made["pixel_values"].cpu() - expected["pixel_values"]).abs()
    assert error.mean() < 0.01
    assert torch.allclose(made["labels"].cpu(), expected["labels"], atol=1e-5)
