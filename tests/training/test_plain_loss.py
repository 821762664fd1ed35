"""The plain cross-entropy that is logged beside another training loss."""

import math

import pytest
import torch

from superft_hf.config import TrainingConfig
from superft_hf.train_loss import CROSS_ENTROPY
from superft_hf.training.plain_loss import PlainLoss, make_plain_loss


def test_take__sum_of_the_means_and_number_of_batches():
    plain = PlainLoss()
    plain.add(torch.zeros(3, 2), torch.tensor([0, 1, 1]))  # ln 2 for each
    plain.add(torch.tensor([[math.log(3.0), 0.0]]), torch.tensor([0]))  # -ln 3/4
    plain.add(torch.zeros(2, 2), torch.tensor([[0.7, 0.3], [1.0, 0.0]]))  # a mixed batch is left out
    total, count = plain.take(torch.device("cpu")).tolist()
    assert (total, count) == (pytest.approx(math.log(2) + math.log(4 / 3)), 2)
    assert plain.take(torch.device("cpu")).tolist() == [0, 0]


def test_state__goes_on_where_it_was():
    plain, again = PlainLoss(), PlainLoss()
    plain.add(torch.zeros(1, 2), torch.tensor([0]))
    again.restore(plain.state)
    assert again.take(torch.device("cpu")).tolist() == plain.take(torch.device("cpu")).tolist()


def test_add__no_gradient_comes_of_it():
    logits = torch.zeros(1, 2, requires_grad=True)
    plain = PlainLoss()
    plain.add(logits, torch.tensor([0]))
    assert not plain.take(torch.device("cpu")).requires_grad


@pytest.mark.parametrize(
    "changes",
    [
        {"label_smoothing_factor": 0.1},
        {"l1": 1e-4},
        {"l2": 1e-4},
        {"loss": "focal"},
        {"class_weights": "balanced"},
    ],
)
def test_make_plain_loss__only_beside_another_loss(changes):
    assert make_plain_loss(TrainingConfig(label_smoothing_factor=0.0)) is None
    assert make_plain_loss(TrainingConfig(**{"label_smoothing_factor": 0.0, **changes})) is not None


def test_a_run_logs_it_beside_its_loss(tiny_config, train, store):
    smoothed = train(tiny_config(training={"label_smoothing_factor": 0.3}))
    points = store.read_metrics(smoothed.run_id, keys=("loss", CROSS_ENTROPY))
    assert set(points["key"]) == {"loss", CROSS_ENTROPY}
    by_key = points.pivot(index="step", columns="key", values="value")
    assert (by_key["loss"] > 0).all() and (by_key[CROSS_ENTROPY] != by_key["loss"]).all()
    plain = train(tiny_config())
    assert set(store.read_metrics(plain.run_id, keys=("loss", CROSS_ENTROPY))["key"]) == {"loss"}
