"""What one update does to the weights: clipping, accumulation, the rate that is logged."""

import numpy as np
import pytest
import torch

from superft_hf.paths import RunPaths
from superft_hf.sources.load import load_images
from superft_hf.sources.scan import scan_images
from superft_hf.training.arguments import training_arguments
from superft_hf.training.image_classification.task import ImageClassification
from superft_hf.training.run import make_trainer
from superft_hf.training.strategy import Strategy

PLAIN_SGD = {"optim": "sgd", "momentum": 0.0, "weight_decay": 0.0, "lr_scheduler_type": "constant"}


@pytest.fixture
def trained(tiny_config, home, monkeypatch):
    """`trained("vit", learning_rate=0.1)`: weights before and after one epoch of 8 images, and the log."""

    def run(network, **training):
        settings = {**PLAIN_SGD, "num_train_epochs": 1, "per_device_train_batch_size": 8, **training}
        config = tiny_config(
            network, training=settings, augmentation={"preset": "none"}, data={"max_train_samples": 8}
        )
        scan = scan_images(load_images(config.data, home), config.data)
        torch.manual_seed(0)
        task = ImageClassification(config, scan)
        before = [one.detach().clone() for one in task.model.parameters()]
        args = training_arguments(config, home / "out")
        strategy = Strategy(task.model, task.heads, config.model, 1)
        trainer = make_trainer(config, task, args, strategy, RunPaths(home).prediction_file, [])
        monkeypatch.setattr(trainer, "_load_best_model", lambda: None)
        trainer.train()
        return before, [one.detach().clone() for one in task.model.parameters()], trainer.state.log_history

    return run


def distance(before, after):
    return np.sqrt(sum((one - other).square().sum().item() for one, other in zip(before, after, strict=True)))


def test_gradients_are_clipped_to_the_norm_and_not_at_all_with_0(trained):
    before, after, log = trained("vit", learning_rate=0.1, max_grad_norm=0.0)
    norm = log[0]["grad_norm"]
    assert norm > 0.5 and distance(before, after) == pytest.approx(0.1 * norm, rel=1e-3)
    before, after, log = trained("vit", learning_rate=0.1, max_grad_norm=0.25)
    assert log[0]["grad_norm"] == pytest.approx(norm)  # what is logged is the norm before
    assert distance(before, after) == pytest.approx(0.1 * 0.25, rel=1e-3)


def test_accumulated_batches_update_as_one_large_batch(trained):
    whole = trained("vit", learning_rate=0.1)
    parts = trained("vit", learning_rate=0.1, per_device_train_batch_size=2, gradient_accumulation_steps=4)
    for one, other in zip(whole[1], parts[1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    assert distance(whole[0], whole[1]) > 0.01


def test_penalties_are_added_once_whatever_is_accumulated(trained):
    penalised = {"learning_rate": 0.1, "l1": 0.001, "l2": 0.01}
    whole = trained("vit", **penalised)
    parts = trained("vit", **penalised, per_device_train_batch_size=2, gradient_accumulation_steps=4)
    plain = trained("vit", learning_rate=0.1)
    for one, other in zip(whole[1], parts[1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    assert distance(whole[1], plain[1]) > 1e-4


def test_the_logged_rate_is_the_runs_not_that_of_its_lowest_layer(trained):
    factors = {"layer_decay": 0.5, "head_learning_rate_factor": 10.0}
    assert trained("vit", learning_rate=0.1, **factors)[2][0]["learning_rate"] == pytest.approx(0.1)
