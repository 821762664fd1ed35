"""Three updates of every optimizer against its formula, and what it keeps."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

from superft_hf.config_file import make_config
from superft_hf.optimizer_states import STATES, values_per_weight
from superft_hf.settings import find_setting
from superft_hf.training.optimizers import make_optimizer

RATE, DECAY, HEAD = 0.02, 0.5, 3.0
START = np.array([[1.0, -2.0, 0.5], [0.3, 1.5, -0.8]])
SLOPE = np.array([[0.4, 1.0, -0.6], [2.0, -0.5, 0.7]])
"""The gradient at W is SLOPE · W, element by element."""


class OneLayer(nn.Module):
    """A body of one matrix with a bias, and a head of another."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(3, 2), nn.Linear(2, 2)
        with torch.no_grad():
            self.body.weight.copy_(torch.tensor(START))
            self.head.weight.fill_(1.0)
            self.body.bias.fill_(1.0)


def config_of(**training):
    given = {
        "learning_rate": RATE, "weight_decay": DECAY, "layer_decay": 1.0, "head_learning_rate_factor": HEAD,
        "lr_scheduler_type": "constant", "ema_decay": 0.0,
    }  # fmt: skip
    model = {"name_or_path": "any", "strategy": "full"}
    return make_config({"model": model, "data": {"name_or_path": "any"}, "training": {**given, **training}})


def was_evaluated(optimizer):
    return not getattr(optimizer, "is_training", True)


def updates(model, optimizer, count=3) -> Iterator[np.ndarray]:
    """The body's matrix after each update."""
    slope = torch.tensor(SLOPE, dtype=torch.float32)
    for _ in range(count):
        if was_evaluated(optimizer):
            optimizer.train()
        model.body.weight.grad = slope * model.body.weight.detach()
        model.body.bias.grad = torch.ones(2)
        optimizer.step()
        yield model.body.weight.detach().numpy().copy()


# The formulas. Each yields the weights after an update; decay comes first, apart from the gradient.


def sgd(momentum=0.9, nesterov=False):
    weight, history = START, 0.0
    while True:
        gradient = SLOPE * weight
        history = momentum * history + gradient
        weight = weight * (1 - RATE * DECAY)
        weight = weight - RATE * (gradient + momentum * history if nesterov else history)
        yield weight


def adamw():
    weight, first, second, count = START, 0.0, 0.0, 0
    while True:
        gradient, count = SLOPE * weight, count + 1
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        unbiased = first / (1 - 0.9**count), second / (1 - 0.999**count)
        weight = weight * (1 - RATE * DECAY) - RATE * unbiased[0] / (np.sqrt(unbiased[1]) + 1e-8)
        yield weight


def nadam():
    """Dozat 2016, with torch's schedule of the momentum."""
    weight, first, second, product, count = START, 0.0, 0.0, 1.0, 0
    while True:
        gradient, count = SLOPE * weight, count + 1
        now, following = (0.9 * (1 - 0.5 * 0.96 ** (at * 0.004)) for at in (count, count + 1))
        product *= now
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        ahead = (1 - now) * gradient / (1 - product) + following * first / (1 - product * following)
        weight = weight * (1 - RATE * DECAY)
        weight = weight - RATE * ahead / (np.sqrt(second / (1 - 0.999**count)) + 1e-8)
        yield weight


def rmsprop(momentum=0.9):
    weight, second, history = START, 0.0, 0.0
    while True:
        gradient = SLOPE * weight
        second = 0.99 * second + 0.01 * gradient**2
        history = momentum * history + gradient / (np.sqrt(second) + 1e-8)
        weight = weight * (1 - RATE * DECAY) - RATE * history
        yield weight


def adagrad():
    weight, total = START, 0.0
    while True:
        gradient = SLOPE * weight
        total = total + gradient**2
        weight = weight * (1 - RATE * DECAY) - RATE * gradient / (np.sqrt(total) + 1e-10)
        yield weight


def lion():
    """Chen et al. 2023, algorithm 2."""
    weight, history = START, 0.0
    while True:
        gradient = SLOPE * weight
        step = np.sign(0.9 * history + 0.1 * gradient)
        history = 0.99 * history + 0.01 * gradient
        weight = weight * (1 - RATE * DECAY) - RATE * step
        yield weight


def adafactor():
    """Shazeer and Stern 2018, algorithm 4, with a rate of our own."""
    weight, rows, columns, count = START, 0.0, 0.0, 0
    while True:
        gradient, count = SLOPE * weight, count + 1
        keep = 1 - count**-0.8
        square = gradient**2 + 1e-30
        rows = keep * rows + (1 - keep) * square.mean(axis=1)
        columns = keep * columns + (1 - keep) * square.mean(axis=0)
        update = gradient / np.sqrt(np.outer(rows, columns) / rows.mean())
        update = update / max(1.0, np.sqrt(np.mean(update**2)))
        weight = weight * (1 - RATE * DECAY) - RATE * update
        yield weight


def schedule_free(direction, interpolation):
    """Defazio et al. 2024, section 3.1: the gradient at y, a step of z, and x its average.

    At a constant rate the average is a plain one: of its weights the last is 1 / t. Yields (y, x).
    """
    base = average = at = START
    count = 0
    while True:
        count += 1
        base = base - RATE * (direction(SLOPE * at, count) + DECAY * at)
        average = average + (base - average) / count
        at = (1 - interpolation) * base + interpolation * average
        yield at, average


def schedule_free_adamw():
    second = 0.0

    def direction(gradient, count):
        nonlocal second
        second = 0.999 * second + 0.001 * gradient**2
        return gradient / (np.sqrt(second / (1 - 0.999**count)) + 1e-8)

    return schedule_free(direction, 0.9)


def schedule_free_sgd(momentum=0.9):
    return schedule_free(lambda gradient, count: gradient, momentum)


PLAIN = {
    "adamw_torch": (adamw(), {}),
    "sgd": (sgd(), {}),
    "sgd, less momentum": (sgd(0.5), {"momentum": 0.5}),
    "sgd, no momentum": (sgd(0.0), {"momentum": 0.0}),
    "sgd, nesterov": (sgd(nesterov=True), {"nesterov": True}),
    "rmsprop": (rmsprop(), {}),
    "rmsprop, less momentum": (rmsprop(0.5), {"momentum": 0.5}),
    "adagrad": (adagrad(), {}),
    "nadam": (nadam(), {}),
    "lion": (lion(), {}),
    "adafactor": (adafactor(), {}),
}
FREE = {
    "schedule_free_adamw": (schedule_free_adamw(), {}),
    "schedule_free_sgd": (schedule_free_sgd(), {}),
    "schedule_free_sgd, less momentum": (schedule_free_sgd(0.5), {"momentum": 0.5}),
}


def made(case, training):
    model = OneLayer()
    return model, make_optimizer(model, [model.head], config_of(optim=case.split(",")[0], **training))


@pytest.mark.parametrize("case", PLAIN)
def test_three_updates_by_the_formula(case):
    formula, training = PLAIN[case]
    model, optimizer = made(case, training)
    for found in updates(model, optimizer):
        np.testing.assert_allclose(found, next(formula), rtol=2e-5)


@pytest.mark.parametrize("case", FREE)
def test_three_updates_of_both_points_by_the_formula(case):
    formula, training = FREE[case]
    model, optimizer = made(case, training)
    for found in updates(model, optimizer):
        trains, average = next(formula)
        np.testing.assert_allclose(found, trains, rtol=2e-5)
        optimizer.eval()
        np.testing.assert_allclose(model.body.weight.detach().numpy(), average, rtol=2e-5)


def test_every_choice_is_tested_here():
    names = {case.split(",")[0] for case in (*PLAIN, *FREE)}
    assert names == set(find_setting("training.optim").choices) == set(STATES)


@pytest.mark.parametrize("optim", sorted(STATES))
def test_what_it_keeps_is_what_is_reckoned_with(optim):
    """Of a large matrix, so that rows, columns and counters do not matter."""
    model = nn.Module()
    model.body, model.head = nn.Linear(300, 200, bias=False), nn.Linear(2, 2)
    optimizer = make_optimizer(model, [model.head], config_of(optim=optim))
    model.body.weight.grad = torch.ones(200, 300)
    optimizer.step()
    kept = sum(one.numel() for one in optimizer.state[model.body.weight].values() if torch.is_tensor(one))
    assert kept / 60_000 == pytest.approx(values_per_weight(optim, 0.9, "vit"), abs=0.02)


def test_adafactor_keeps_more_of_kernels():
    model = nn.Module()
    model.body, model.head = nn.Conv2d(64, 64, 1, bias=False), nn.Linear(2, 2)
    optimizer = make_optimizer(model, [model.head], config_of(optim="adafactor"))
    model.body.weight.grad = torch.ones_like(model.body.weight)
    optimizer.step()
    state = optimizer.state[model.body.weight]
    rows, columns = (state[f"exp_avg_sq_{name}"].numel() for name in ("row", "col"))
    assert rows + columns == 2 * 64 * 64
    assert values_per_weight("adafactor", 0.9, "resnet18") == 1.5


@pytest.mark.parametrize("optim", ["sgd", "rmsprop", "adagrad", "adamw_torch"])
def test_weights_without_a_gradient_do_not_decay(optim):
    model = OneLayer()
    optimizer = make_optimizer(model, [model.head], config_of(optim=optim))
    list(updates(model, optimizer, 1))
    assert torch.equal(model.head.weight, torch.ones(2, 2))  # it has no gradient here
    model.head.weight.grad = torch.zeros(2, 2)
    list(updates(model, optimizer, 1))
    torch.testing.assert_close(model.head.weight, torch.full((2, 2), 1 - RATE * HEAD * DECAY))


def test_one_kernel_for_all_weights_updates_channels_last_ones_alike():
    """That kernel reads memory in its order, whatever the strides: they must be those of the gradient."""
    torch.manual_seed(0)
    pixels = torch.randn(4, 3, 8, 8)
    found = []
    for memory_format in (torch.contiguous_format, torch.channels_last):
        torch.manual_seed(1)
        model = nn.Module()
        model.body, model.head = nn.Conv2d(3, 5, 3), nn.Linear(2, 2)
        model.to(memory_format=memory_format)
        optimizer = make_optimizer(model, [model.head], config_of())
        for _ in range(3):
            optimizer.zero_grad()
            model.body(pixels.contiguous(memory_format=memory_format)).square().sum().backward()
            optimizer.step()
        found.append(model.body.weight.detach())
    torch.testing.assert_close(*found)
