"""How many epochs fit into a time budget, by a short measurement before training."""

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.data import Dataset

from superft_hf.training.sampling import ExampleKey
from superft_hf.training.trainer import BatchMaker

PROBE_STEPS = 3
MAX_EPOCHS = 10_000


@dataclass(frozen=True)
class Pace:
    """Measured seconds: of an update's batch, and of an evaluation batch."""

    train_batch_s: float
    eval_batch_s: float


def measure_pace(
    model: nn.Module,
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    train: tuple[Dataset, int],
    evaluation: tuple[Dataset, int],
    collate: Callable[[list], Mapping[str, torch.Tensor]],
    make_batch: BatchMaker | None,
    device: torch.device,
) -> Pace:
    """Times a few steps on a copy of the model, which is thrown away.

    Args:
        model: Stays as it is.
        loss: Of logits and labels.
        train: Data set and batch size of training.
        evaluation: Data set and batch size of evaluation.
        collate: Makes a batch.
        make_batch: Makes the network's input of a training batch; None: it is that already.
        device: Where to run.
    """
    probe = copy.deepcopy(model).to(device).train()
    optimizer = torch.optim.SGD(probe.parameters(), lr=1e-6, momentum=0.9)
    times = []
    for step in range(PROBE_STEPS + 1):
        begun = time.perf_counter()
        batch = _batch(train, collate, device, step, lambda index: ExampleKey(index, 0))
        if make_batch is not None:
            batch = make_batch(batch, step=PROBE_STEPS, max_steps=PROBE_STEPS)
        loss(probe(pixel_values=batch["pixel_values"]).logits, batch["labels"]).backward()
        optimizer.step()
        optimizer.zero_grad()
        _wait(device)
        times.append(time.perf_counter() - begun)
    probe.eval()
    begun = time.perf_counter()
    with torch.no_grad():
        probe(pixel_values=_batch(evaluation, collate, device, 0, int)["pixel_values"])
    _wait(device)
    return Pace(sum(times[1:]) / PROBE_STEPS, time.perf_counter() - begun)


def fitting_epochs(
    pace: Pace, budget_s: float, train_batches: int, eval_batches: int, test_batches: int
) -> int:
    """Epochs, each with its evaluation, that fit beside the final test; at least 1.

    Example:
        >>> fitting_epochs(Pace(train_batch_s=1.0, eval_batch_s=0.5), 100, 20, 4, 8)
        4
    """
    epoch_s = train_batches * pace.train_batch_s + eval_batches * pace.eval_batch_s
    left = budget_s - test_batches * pace.eval_batch_s
    return max(1, min(MAX_EPOCHS, int(left / epoch_s)))


def _batch(
    source: tuple[Dataset, int],
    collate: Callable[[list], Mapping[str, torch.Tensor]],
    device: torch.device,
    number: int,
    key: Callable[[int], object],
) -> dict[str, torch.Tensor]:
    dataset, size = source
    indices = [(number * size + position) % len(dataset) for position in range(min(size, len(dataset)))]
    return {
        name: tensor.to(device)
        for name, tensor in collate([dataset[key(index)] for index in indices]).items()
    }


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
