"""Records what training does to each layer: how far its weights have moved, and how large its gradients are.

It costs next to nothing: only at logging steps and at the ends of epochs is anything reckoned, on the device,
and one small tensor is read from there. The first weights are those that the model has before any checkpoint
is loaded, so that a resumed run measures from the same place.
"""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from superft_hf.config import HardwareConfig
from superft_hf.evaluation.layer_history import LayerFile
from superft_hf.training.layer_groups import layer_groups
from superft_hf.training.memory import free_memory_bytes

logger = logging.getLogger(__name__)

FREE_SHARE = 0.25
"""Of the memory that is free before training, the most that a copy of the first weights may take."""

DEVICE_SHARE = 0.02
"""Of a GPU's memory, likewise; a larger copy stays in the machine's own memory."""

_CHUNK = 2**24
"""Numbers whose difference is held at once."""

_ROUNDING = 1.001


class LayerWatch(TrainerCallback):
    """Writes the layers' history of a run; the main process alone has one.

    Args:
        model: The base model with its new head, not wrapped, before training.
        heads: Its head.
        path: The file, see `superft_hf.evaluation.layer_history`.
    """

    def __init__(self, model: nn.Module, heads: Sequence[nn.Module], path: Path) -> None:
        groups = layer_groups(model, heads)
        self._parameters = [one for group in groups for one in group.parameters]
        self._rows = np.repeat(np.arange(len(groups)), [len(group.parameters) for group in groups])
        self._file = LayerFile(path, [group.layer for group in groups])
        self._first = self._copy_first()
        norms = torch._foreach_norm([one.detach() for one in self._parameters])
        self._first_norms = torch.stack(norms).double().numpy()
        self._has_trained = np.zeros(len(self._parameters), dtype=bool)
        self._gradients: tuple[int, list[int], torch.Tensor] | None = None
        self._is_writing = True

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Removes what is later than the checkpoint that training goes on from."""
        self._gradients = None
        self._try(lambda: self._file.begin(state.global_step, state.max_steps))
        if self._first is not None and _has_room(self._first, args.device):
            self._first = [one.to(args.device) for one in self._first]

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Takes the norms of the gradients, accumulated and clipped, of a step that will be logged."""
        step = state.global_step + 1
        if not self._is_writing or not _will_log(step, args, state) or not self._file.wants(step):
            return
        has_any = [index for index, one in enumerate(self._parameters) if one.grad is not None]
        if has_any:
            found = torch._foreach_norm([self._parameters[index].grad for index in has_any])
            self._gradients = step, has_any, torch.stack(found)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float],
        **kwargs: Any,
    ) -> None:
        """Records a point of the training curve."""
        if "loss" in logs and self._file.wants(state.global_step):
            self._record(state, logs.get("grad_norm", math.nan))

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Records the weights that are about to be evaluated; the gradients only where they are at hand."""
        self._record(state, math.nan)

    @torch.no_grad()
    def _record(self, state: TrainerState, grad_norm: float) -> None:
        step = state.global_step
        if not self._is_writing or not step or step == self._file.last_step:
            return
        trained = self._trained()
        weights = [self._parameters[index].detach() for index in trained]
        found = [torch.stack(torch._foreach_norm(weights)), self._moved(trained)] if trained else []
        indices, taken = trained, []
        if self._gradients is not None and self._gradients[0] == step:
            indices, taken = self._gradients[1], [self._gradients[2]]
        sizes = [len(one) for one in (*found, *taken)]
        read = torch.cat([one.float() for one in (*found, *taken)]).cpu() if sizes else torch.zeros(0)
        values = [one.double().numpy() for one in torch.split(read, sizes)]  # the only wait for the device
        norms, moved = self._first_norms.copy(), np.zeros(len(self._parameters))
        if trained:
            norms[trained], moved[trained] = values[:2]
        gradients = np.full(len(self._parameters), math.nan)
        if taken:
            gradients[indices] = _unclipped(values[-1], grad_norm)
        first = self._by_layer(self._first_norms)
        change = np.full_like(first, math.nan)
        np.divide(self._by_layer(moved), first, out=change, where=first > 0)
        rows = (change, self._by_layer(gradients), self._by_layer(norms))
        self._try(lambda: self._file.append(step, float(state.epoch or 0), *rows))

    def _trained(self) -> list[int]:
        """Places of the parameters that train or have trained: all others are still as they were."""
        self._has_trained |= np.array([one.requires_grad for one in self._parameters])
        return np.flatnonzero(self._has_trained).tolist()

    def _moved(self, trained: Sequence[int]) -> torch.Tensor:
        """Norms of W − W₀ of some parameters; NaN where the first weights are not kept."""
        if self._first is None:
            return torch.full((len(trained),), math.nan, device=self._parameters[trained[0]].device)
        found = []
        for places in _chunks(trained, [self._parameters[index].numel() for index in trained]):
            now = [self._parameters[index].detach() for index in places]
            first = [self._first[index].to(now[0].device, non_blocking=True) for index in places]
            found += torch._foreach_norm(torch._foreach_sub(now, first))
        return torch.stack(found)

    def _by_layer(self, values: np.ndarray) -> np.ndarray:
        """Norms of tensors as norms of layers; NaN where none of a layer's tensors has one."""
        known = np.isfinite(values)
        size = self._rows[-1] + 1
        squares = np.bincount(self._rows[known], values[known] ** 2, minlength=size)
        return np.where(np.bincount(self._rows[known], minlength=size) > 0, np.sqrt(squares), math.nan)

    def _copy_first(self) -> list[torch.Tensor] | None:
        size = sum(one.numel() * one.element_size() for one in self._parameters)
        if size > FREE_SHARE * free_memory_bytes(torch.device("cpu")):
            logger.info("too little memory to keep the first weights: how far layers move is not recorded")
            return None
        return [one.detach().clone() for one in self._parameters]

    def _try(self, write: Callable[[], None]) -> None:
        """Writes; a disk that does not take it ends the record, not the run."""
        if not self._is_writing:
            return
        try:
            write()
        except OSError as error:
            self._is_writing = False
            logger.warning("the layers are not recorded any more: %s", error)


def watch_layers(
    model: nn.Module, heads: Sequence[nn.Module], path: Path, hardware: HardwareConfig, *, is_main: bool
) -> list[LayerWatch]:
    """The callback that records the layers: for the main process, where each holds the whole network.

    Args:
        model: The base model with its new head, not wrapped, before training.
        heads: Its head.
        path: The file to write.
        hardware: How the run is spread.
        is_main: Whether this is the main process.
    """
    return [LayerWatch(model, heads, path)] if is_main and hardware.sharding == "none" else []


def _will_log(step: int, args: TrainingArguments, state: TrainerState) -> bool:
    return step % state.logging_steps == 0 or (step == 1 and args.logging_first_step)


def _unclipped(norms: np.ndarray, total: float) -> np.ndarray:
    """Norms of gradients as they were before clipping, which scaled all of them alike.

    Args:
        norms: After clipping, by parameter.
        total: Norm of the whole gradient before it, as the trainer logs it; NaN where it is not known.
    """
    clipped = float(np.sqrt(np.square(norms).sum()))
    if math.isfinite(total) and 0 < clipped * _ROUNDING < total:
        return norms * (total / clipped)
    return norms


def _has_room(first: Sequence[torch.Tensor], device: torch.device) -> bool:
    """Whether a GPU has memory to spare for the first weights."""
    if device.type == "cpu":
        return False
    size = sum(one.numel() * one.element_size() for one in first)
    return size <= DEVICE_SHARE * torch.accelerator.get_memory_info(device)[1]


def _chunks(places: Sequence[int], sizes: Sequence[int]) -> Iterator[list[int]]:
    """Places in their order, so many at once that their sizes are not much more than a chunk."""
    ends = [total // _CHUNK for total in accumulate(sizes)]
    for _, pairs in groupby(zip(ends, places, strict=True), key=lambda pair: pair[0]):
        yield [place for _, place in pairs]
