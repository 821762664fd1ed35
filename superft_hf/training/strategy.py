"""Which layers train when: all of them, the head alone, or first the one and then the other.

A frozen body is frozen altogether: it gets no gradient, and its batch-norm statistics and dropout stand in
evaluation mode.
"""

from collections.abc import Sequence

import torch
from torch import nn

from superft_hf.config import ModelConfig
from superft_hf.errors import NothingTrainedError

MIN_CHANGED_SHARE = 0.5
"""Some parameters may rightly stay (a mask token that no loss reaches), but not half of them."""


class Strategy:
    """Freezes and frees the body of a model.

    Args:
        model: The model.
        heads: Its head; everything else is the body.
        config: The `model:` group, with its strategy decided.
    """

    def __init__(self, model: nn.Module, heads: Sequence[nn.Module], config: ModelConfig) -> None:
        name = config.strategy
        self.model = model
        self._heads = list(heads)
        self._name = name
        self._head_epochs = config.head_epochs
        self._in_head = {id(parameter) for head in heads for parameter in head.parameters()}
        self._is_head_only = False
        if name == "head":  # before the optimizer is made, so that it never sees the body
            self._set_body(trains=False)

    @property
    def is_head_only(self) -> bool:
        """Whether the body is frozen at present."""
        return self._is_head_only

    def begin_epoch(self, epoch: int) -> None:
        """Freezes or frees the body for the epoch that begins (0 is the first)."""
        if self._name == "head-then-full":
            self._set_body(trains=epoch >= self._head_epochs)

    def set_modes(self) -> None:
        """Puts a frozen body into evaluation mode; called after `model.train()`, before each forward pass."""
        if self._is_head_only:
            self.model.eval()
            for head in self._heads:
                head.train()

    def num_trained(self, after_epochs: int) -> int:
        """Parameters that train in a run of so many epochs."""
        is_full = self._name == "full" or (
            self._name == "head-then-full" and after_epochs > self._head_epochs
        )
        return sum(one.numel() for one in self.model.parameters() if is_full or id(one) in self._in_head)

    def _set_body(self, *, trains: bool) -> None:
        self._is_head_only = not trains
        for parameter in self.model.parameters():
            if id(parameter) not in self._in_head:
                parameter.requires_grad_(trains)


class ChangeCheck:
    """Proves that what should train did change, and that nothing else did.

    Args:
        model: The model before training.
        heads: Its head.
    """

    def __init__(self, model: nn.Module, heads: Sequence[nn.Module]) -> None:
        self._model = model
        in_head = {id(tensor) for head in heads for tensor in (*head.parameters(), *head.buffers())}
        self._is_head = {name: id(tensor) in in_head for name, tensor in _tensors(model)}
        self._parameters = {name for name, _ in model.named_parameters()}
        self._before = _fingerprints(model)

    def unchanged(self, *, is_body_trained: bool) -> list[str]:
        """Names of parameters that should have changed but did not.

        Raises:
            NothingTrainedError: If head or body did not train at all, or a frozen body changed.
        """
        after = _fingerprints(self._model)
        same = {name for name, value in self._before.items() if value == after[name]}
        body = {name for name, is_head in self._is_head.items() if not is_head}
        moved = sorted(body - same)
        if not is_body_trained and moved:
            raise NothingTrainedError(
                f"{len(moved)} tensors of the frozen layers changed, among them {moved[0]}.",
                hint="Report this: the strategy was not kept.",
            )
        for part, names in (("head", self._parameters - body), ("body", self._parameters & body)):
            if part == "body" and not is_body_trained:
                continue
            still = names & same
            if names and len(still) > MIN_CHANGED_SHARE * len(names):
                raise NothingTrainedError(
                    f"{len(still)} of {len(names)} weight tensors of the {part} did not change in training.",
                    hint="Raise training.learning_rate, or train for more epochs.",
                )
        expected = self._parameters if is_body_trained else self._parameters - body
        return sorted(expected & same)


def _tensors(model: nn.Module) -> list[tuple[str, torch.Tensor]]:
    return [*model.named_parameters(), *model.named_buffers()]


def _fingerprints(model: nn.Module) -> dict[str, tuple[float, float]]:
    """Two sums a tensor, in float64: equal tensors give equal sums, and a change moves at least one."""
    found = {}
    for name, tensor in _tensors(model):
        values = tensor.detach().double().flatten()
        found[name] = (values.sum().item(), values.square().sum().item())
    return found
