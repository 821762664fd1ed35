"""Times steps, batches and evaluations of a run before it trains: its own batches, loss and optimizer.

All is done on a copy of the model that is thrown away, and torch's, numpy's and Python's generators are put
back afterwards, so that a run that was measured trains as one that was not, to the bit.
"""

import copy
import math
import random
import statistics
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from superft_hf.config import RunConfig
from superft_hf.training.arguments import PREFETCH
from superft_hf.training.averaging import make_average
from superft_hf.training.compiling import as_written, compile_in_place
from superft_hf.training.optimizers import make_optimizer
from superft_hf.training.penalties import make_penalty
from superft_hf.training.sampling import ExampleKey
from superft_hf.training.strategy import Strategy
from superft_hf.training.tasks import TaskRun

TIMED_STEPS = 4
"""Steps that are timed to tell ways of computing apart, after one that allocates."""

PACE_STEPS = 12
"""Steps that are timed to tell how long a run will take: the first ones are slower than the rest."""

ENOUGH_S = 2.0
"""When steps have taken so long together, no more are timed."""

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Variant:
    """A way to compute a step.

    Attributes:
        precision: As `hardware.mixed_precision`, decided.
        memory_format: As `hardware.memory_format`, decided.
        is_compiled: Whether torch compiles the network.
    """

    precision: str
    memory_format: str
    is_compiled: bool = False


class Bench:
    """A copy of a run's model, on which its steps are timed; it is made when the first is.

    Args:
        config: The run; what is left to a measurement does not matter.
        task: Its model, which stays as it is, and its data.
        device: Where it will train.
    """

    def __init__(self, config: RunConfig, task: TaskRun, device: torch.device) -> None:
        self.config = config
        self.task = task
        self.device = device
        self._copy: _Copy | None = None
        self._times: dict[Variant, list[float]] = {}
        self._batches: dict[str, dict[str, Any]] = {}

    @cached_property
    def train_images(self) -> Dataset:
        """The training images of the run."""
        return self.task.train_dataset()

    def step_s(self, variant: Variant) -> float:
        """Seconds of an update by its batch, which is in memory already: of the fastest of a few.

        Whatever else the machine does makes a step slower, never faster. Each way is timed once.

        Raises:
            RuntimeError: If the device cannot compute so, or has too little memory.
        """
        return min(self._step_times(variant))

    def usual_step_s(self, variant: Variant) -> float:
        """Seconds of an update as most will be. Raises RuntimeError."""
        return statistics.median(self._step_times(variant, PACE_STEPS))

    def first_step_s(self, variant: Variant) -> float:
        """Seconds of the first step in this way: those of the compilation, where there is one."""
        with self._using(variant) as (model, batch):
            return self._timed_step(model, batch, variant)

    def _step_times(self, variant: Variant, count: int = TIMED_STEPS) -> list[float]:
        """Seconds of so many updates, or of as many as there is time for."""
        times = self._times.setdefault(variant, [])
        if not times or (len(times) < count and sum(times) < ENOUGH_S):
            with self._using(variant) as (model, batch):
                spent_s = sum(times) + self._timed_step(model, batch, variant)
                while not times or (len(times) < count and spent_s < ENOUGH_S):
                    times.append(self._timed_step(model, batch, variant))
                    spent_s += times[-1]
        return times

    def load_s(self, num_workers: int = 0, batches: int = 2, skipped: int = 1) -> float:
        """Seconds until the loader has the next batch of images that were seen before.

        Args:
            num_workers: Loader processes.
            batches: How many are timed.
            skipped: How many come before them: they start the processes, or open the images.
        """
        size, images = self.config.training.per_device_train_batch_size, self.train_images
        positions = range((skipped + batches) * size)
        if not num_workers:  # the first batches again, so that the timed ones were seen
            positions = [number % (skipped * size) for number in positions]
        keys = [ExampleKey(position % len(images), 0) for position in positions]
        times = list(_laps(self._loader(images, keys, size, num_workers)))
        return sum(times[skipped:]) / batches

    def first_load_s(self) -> tuple[float, float]:
        """Seconds to load a batch that nobody has seen yet, and the same one again."""
        size = self.config.training.per_device_train_batch_size
        return self._twice(self.train_images, size, as_keys=True)

    def eval_s(self, variant: Variant) -> tuple[float, float]:
        """Seconds of an evaluation batch, loading included: of one that nobody has seen yet, and again."""
        dataset, size = self.task.eval_dataset("eval"), self.config.training.per_device_eval_batch_size
        first_s, again_s = self._twice(dataset, size)
        positions = list(range(min(len(dataset), size)))
        batch = next(iter(self._loader(dataset, positions, size, 0, variant.memory_format)))
        times = []
        with self._using(variant) as (model, _):
            model.network.eval()
            for _ in range(2):
                begun = time.perf_counter()
                with torch.no_grad(), self._autocast(variant):
                    pixels = batch["pixel_values"].to(self.device)
                    self.task.views(model.network, pixels).float().cpu()
                times.append(time.perf_counter() - begun)
        return min(times) + first_s, min(times) + again_s

    def close(self) -> None:
        """Frees the copy."""
        self._copy = None
        self._batches.clear()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)  # the run's own peak is what is asked for later

    def _twice(self, dataset: Dataset, size: int, *, as_keys: bool = False) -> tuple[float, float]:
        end = len(dataset)
        positions = list(range(max(0, end - size), end))  # from the end: the first ones were looked at before
        keys = [ExampleKey(position, 0) for position in positions] if as_keys else positions
        first_s, again_s = (next(_laps(self._loader(dataset, keys, size, 0))) for _ in range(2))
        return first_s, min(first_s, again_s)

    def _batch(self, memory_format: str) -> dict[str, Any]:
        if memory_format not in self._batches:
            size, images = self.config.training.per_device_train_batch_size, self.train_images
            keys = [ExampleKey(position % len(images), 0) for position in range(size)]
            found = next(iter(self._loader(images, keys, size, 0, memory_format)))
            self._batches = {memory_format: {name: one.to(self.device) for name, one in found.items()}}
        return self._batches[memory_format]

    def _loader(
        self,
        dataset: Dataset,
        keys: list[Any],
        size: int,
        num_workers: int,
        memory_format: str = "contiguous",
    ) -> DataLoader:
        return DataLoader(
            dataset, size, sampler=keys, num_workers=num_workers,
            collate_fn=self.task.collator(memory_format), pin_memory=self.device.type == "cuda",
            prefetch_factor=PREFETCH if num_workers else None,
        )  # fmt: skip

    def _timed_step(self, model: "_Copy", batch: dict[str, Any], variant: Variant) -> float:
        begun = time.perf_counter()
        model.set_modes()
        if model.make_batch is not None:
            batch = model.make_batch(batch, step=1, max_steps=1)  # the last step has the whole size
        with self._autocast(variant):
            logits = model.network(pixel_values=batch["pixel_values"]).logits
        model.update(self.task.loss(logits.float(), batch["labels"]))
        if self.device.type != "cpu":
            torch.accelerator.synchronize(self.device)
        return time.perf_counter() - begun

    def _autocast(self, variant: Variant) -> AbstractContextManager[Any]:
        dtype = _DTYPES.get(variant.precision)
        return torch.autocast(self.device.type, dtype) if dtype is not None else nullcontext()

    @contextmanager
    def _using(self, variant: Variant) -> Iterator[tuple["_Copy", dict[str, Any]]]:
        """Prepares the copy for a way to compute; gives it and a batch."""
        if self._copy is None:
            self._copy = _Copy(self.config, self.task, self.device)
        model = self._copy
        model.network.to(memory_format=_layout(variant.memory_format))
        model.scaler = torch.amp.GradScaler(self.device.type, enabled=variant.precision == "fp16")
        if variant.is_compiled and not model.is_compiled:
            model.is_compiled = True
            compile_in_place(model.network)
        with nullcontext() if variant.is_compiled or not model.is_compiled else as_written():
            yield model, self._batch(variant.memory_format)


class _Copy:
    """A copy of a run's model, and all that an update of it takes."""

    def __init__(self, config: RunConfig, task: TaskRun, device: torch.device) -> None:
        training = config.training
        self.network, self._heads = copy.deepcopy((task.model, list(task.heads)))
        self.network.to(device)
        self.make_batch = task.batch_maker()
        self.scaler = torch.amp.GradScaler(device.type, enabled=False)
        self.is_compiled = False
        self._strategy = Strategy(self.network, self._heads, config.model, training.num_train_epochs)
        self._strategy.begin_epoch(max(0, training.num_train_epochs - 1))  # the last one trains the most
        self._optimizer = make_optimizer(self.network, self._heads, config)
        self._average = make_average(self.network, training)
        self._penalty = make_penalty(self.network, training)
        self._max_norm = training.max_grad_norm or math.inf
        self._num_updates = 0

    def set_modes(self) -> None:
        """Before each forward pass."""
        self.network.train()
        self._strategy.set_modes()

    def update(self, loss: torch.Tensor) -> None:
        """The rest of a step, from the loss of its batch on."""
        if self._penalty is not None:
            loss = loss + self._penalty()
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self._optimizer)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self._max_norm)
        self.scaler.step(self._optimizer)
        self.scaler.update()
        self._optimizer.zero_grad()
        self._num_updates += 1
        if self._average is not None:
            self._average.update(self._num_updates)


def _layout(memory_format: str) -> torch.memory_format:
    return torch.channels_last if memory_format == "channels_last" else torch.contiguous_format


def _laps(loader: DataLoader) -> Iterator[float]:
    """Seconds until each batch."""
    batches = iter(loader)
    while True:
        begun = time.perf_counter()
        if next(batches, None) is None:
            return
        yield time.perf_counter() - begun


@contextmanager
def undisturbed_randomness(device: torch.device) -> Iterator[None]:
    """Puts the generators that training draws from back to where they were."""
    devices = [device] if device.type == "cuda" else []
    python, arrays = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(arrays)


def leaf_layers(model: nn.Module) -> int:
    """Modules of a model that compute and contain no others."""
    return sum(1 for module in model.modules() if next(module.children(), None) is None)
