"""Averaged weights: their formula, and that the model which a run keeps has them."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForImageClassification

from superft_hf import checkpoints
from superft_hf.config import TrainingConfig
from superft_hf.evaluation.prediction_files import read_predictions
from superft_hf.sources.images import open_rgb
from superft_hf.sources.load import load_images
from superft_hf.training.averaging import (
    AVERAGE_FILE,
    align_statistics,
    make_average,
    optimizers_average,
)
from superft_hf.training.image_classification.model import load_model
from superft_hf.training.image_classification.pixels import eval_pixels
from superft_hf.training.schedule_free import ScheduleFreeSGD


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def moving(model, decay):
    return make_average(model, TrainingConfig(ema_decay=decay))


def move(model, seed):
    """Other weights and statistics, as after an update."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for one in (*model.parameters(), model[1].running_mean, model[1].running_var):
            one.add_(torch.randn(one.shape, generator=generator))
        model[1].num_batches_tracked.add_(1)


def tensors(model):
    return {name: one.clone() for name, one in model.state_dict().items()}


def equal(first, second):
    return all(torch.equal(one, second[name]) for name, one in first.items())


def test_the_average_by_hand():
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(0.0)
    average = moving(model, 0.25)
    found = []
    for step, value in ((1, 11.0), (2, 20.0), (3, 40.0)):
        with torch.no_grad():
            model.weight.fill_(value)
        average.update(step)
        average.update(step)  # after an epoch it is called again
        with average.applied():
            found.append(model.weight.item())
    # d = 2/11, then 3/12 = 0.25 and from then on 0.25, since 4/13 is more
    assert found == pytest.approx([9.0, 0.25 * 9 + 0.75 * 20, 0.25 * 17.25 + 0.75 * 40])


def test_batch_norm_statistics_are_averaged_and_counters_are_not():
    model = network()
    average = moving(model, 0.9)
    before = tensors(model)
    move(model, 1)
    average.update(1)
    own = tensors(model)
    with average.applied():
        for name in ("1.running_mean", "1.running_var", "1.weight", "0.weight"):
            torch.testing.assert_close(model.state_dict()[name], 2 / 11 * before[name] + 9 / 11 * own[name])
        assert model[1].num_batches_tracked == 1


def test_an_evaluation_leaves_the_training_weights_to_the_bit():
    model = network()
    average = moving(model, 0.9)
    for step in range(1, 20):
        move(model, step)
        average.update(step)
        own = tensors(model)
        with pytest.raises(KeyError), average.applied():
            assert not equal(tensors(model), own)
            raise KeyError  # such as an evaluation that fails
        assert equal(tensors(model), own)


def test_tied_weights_are_averaged_once():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    average = moving(model, 0.9)
    with torch.no_grad():
        model[0].weight.add_(1.0)
    own = model[0].weight.clone()
    average.update(1)
    with average.applied():
        torch.testing.assert_close(model[0].weight, own - 2 / 11)
    assert torch.equal(model[0].weight, own)


def test_a_resumed_average_goes_on_to_the_bit(tmp_path):
    alone, model = network(), network()
    first, second = moving(alone, 0.9), moving(model, 0.9)
    for step in (1, 2, 3):
        for one, average in ((alone, first), (model, second)):
            move(one, step)
            average.update(step)
    second.save(tmp_path)
    again = network()
    again.load_state_dict(model.state_dict())
    resumed = moving(again, 0.9)
    resumed.resume(tmp_path)
    resumed.update(3)  # it has been taken in
    for one, average in ((alone, first), (again, resumed)):
        move(one, 4)
        average.update(4)
    with first.applied(), resumed.applied():
        assert equal(tensors(alone), tensors(again))


def test_the_kept_average_is_that_of_the_checkpoint(tmp_path):
    model = network()
    average = moving(model, 0.9)
    move(model, 1)
    average.update(1)
    average.save(tmp_path)
    with average.applied():
        best = tensors(model)
    for step in (2, 3):
        move(model, step)
        average.update(step)
    average.keep(tmp_path)
    del best["1.num_batches_tracked"]
    assert equal(best, tensors(model))


def test_a_schedule_free_optimizers_statistics_are_averaged_too(tmp_path):
    model = network()
    optimizer = ScheduleFreeSGD(model.parameters(), lr=0.1)
    average = optimizers_average(model, optimizer)
    before = tensors(model)["1.running_mean"]

    def update(step):
        optimizer.train()
        move(model, step)  # statistics and, at will, weights
        for one in model.parameters():
            one.grad = torch.ones_like(one)
        optimizer.step()
        average.update(step)

    update(1)
    own = tensors(model)
    with average.applied():
        torch.testing.assert_close(model[1].running_mean, 2 / 11 * before + 9 / 11 * own["1.running_mean"])
        best = tensors(model)
    assert equal(tensors(model), own)
    average.save(tmp_path)
    torch.save(copy.deepcopy(optimizer.state_dict()), tmp_path / "optimizer.pt")
    update(2)
    model.load_state_dict(own)
    average.keep(tmp_path)
    assert equal(best, tensors(model))


def test_none_is_made_without_a_decay():
    assert make_average(network(), TrainingConfig(ema_decay=0.0)) is None
    assert make_average(network(), TrainingConfig(ema_decay=0.9)) is not None
    assert optimizers_average(network(), torch.optim.SGD(network().parameters())) is None


AVERAGES = {
    "moving average": {"ema_decay": 0.8},
    "schedule-free SGD": {"optim": "schedule_free_sgd", "learning_rate": 0.1},
    "schedule-free AdamW": {"optim": "schedule_free_adamw"},
}


@pytest.mark.parametrize("training", AVERAGES.values(), ids=AVERAGES)
def test_what_was_evaluated_is_what_is_kept(store, tiny_config, train, training):
    """The saved model gives the logits of the best evaluation; the weights that trained do not."""
    config = tiny_config("resnet", training={**training, "num_train_epochs": 3})
    record = train(config)
    paths = store.run_paths(record.run_id)
    _, processor = load_model(config.model, ["a", "b", "c"])
    split = load_images(config.data, store.home).splits["eval"]
    pixels = torch.stack(
        [eval_pixels(processor, open_rgb(split.encoded(index))) for index in range(len(split))]
    )

    def logits_of(folder: Path) -> np.ndarray:
        model = AutoModelForImageClassification.from_pretrained(folder).eval()
        with torch.no_grad():
            return model(pixel_values=pixels).logits.numpy()

    file = paths.prediction_file("eval", record.best_step)
    evaluated = np.stack(read_predictions(file, with_logits=True)["logits"])
    np.testing.assert_allclose(logits_of(paths.model), evaluated, rtol=1e-4, atol=1e-5)
    best = checkpoints.checkpoint_folder(paths.checkpoints, record.best_step)
    assert np.abs(logits_of(best) - evaluated).max() > 1e-3  # it has those to go on with


def test_the_published_weights_are_the_averaged_ones(store, tiny_config, train):
    record = train(tiny_config("timm", training={"ema_decay": 0.8}))
    paths = store.run_paths(record.run_id)
    best = checkpoints.checkpoint_folder(paths.checkpoints, record.best_step)
    average, kept = load_file(best / AVERAGE_FILE), load_file(paths.model / "model.safetensors")
    assert average.keys() == {name for name in kept if "num_batches" not in name}
    assert equal(average, kept)


def _rank(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    model = network()
    average = moving(model, 0.9)
    with torch.no_grad():  # each process has the statistics of its own images
        model[1].running_mean.fill_(1.0 + rank)
    average.update(1)
    with average.applied():
        align_statistics(model)
        torch.save(tensors(model), Path(folder) / f"{rank}.pt")
    assert model[1].running_mean[0] == 1.0 + rank
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_evaluate_the_same_model(tmp_path):
    torch.multiprocessing.spawn(_rank, (str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert equal(first, second)
    torch.testing.assert_close(first["1.running_mean"], torch.full((4,), 9 / 11))


@pytest.mark.gpu
def test_the_average_lies_where_the_model_trains(tiny_config, train, store):
    record = train(tiny_config("resnet", training={"ema_decay": 0.8}, hardware={"devices": "auto"}))
    assert record.best_step is not None
