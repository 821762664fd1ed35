"""Which layers train when: all, the head alone, first the one and then the other, or block after block.

What is frozen is frozen altogether: it gets no gradient, and its batch-norm statistics, dropout and
stochastic depth stand in evaluation mode.
"""

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from superft_hf.config import ModelConfig
from superft_hf.errors import NothingTrainedError
from superft_hf.training.blocks import blocks

MIN_CHANGED_SHARE = 0.5
"""Some parameters may rightly stay (a mask token that no loss reaches), but not half of them."""


class Strategy:
    """Freezes and frees the body of a model.

    Args:
        model: The model.
        heads: Its head; everything else is the body.
        config: The `model:` group, with its strategy decided.
        num_epochs: Of the run; `gradual` has freed everything in half of them.
    """

    def __init__(
        self, model: nn.Module, heads: Sequence[nn.Module], config: ModelConfig, num_epochs: int
    ) -> None:
        self.model = model
        self._heads = list(heads)
        self._name = config.strategy
        self._head_epochs = config.head_epochs
        self._num_epochs = num_epochs
        in_head = {id(one) for head in heads for one in head.parameters()}
        body = [one for one in model.parameters() if id(one) not in in_head]
        parts = [part for _, part in blocks(model)] if config.strategy == "gradual" else [body]
        # What the architecture itself keeps as it is, such as fixed positions, is never freed.
        self._blocks = [[one for one in part if one.requires_grad] for part in parts]
        self._head = [one for one in model.parameters() if id(one) in in_head and one.requires_grad]
        in_heads = {id(module) for head in heads for module in head.modules()}
        self._norms = [
            one for one in model.modules()
            if isinstance(one, _BatchNorm) and id(one) not in in_heads and config.batch_norm == "frozen"
        ]  # fmt: skip
        self._frozen_modules: list[nn.Module] = []
        self._is_head_only = False
        if config.strategy == "head":  # before the optimizer is made, so that it never sees the body
            self.begin_epoch(0)

    @property
    def is_head_only(self) -> bool:
        """Whether the whole body is frozen at present."""
        return self._is_head_only

    def begin_epoch(self, epoch: int) -> None:
        """Freezes and frees what the epoch that begins asks for (0 is the first)."""
        num_free = self._num_free(epoch)
        for number, block in enumerate(reversed(self._blocks)):  # the last block is the first to be freed
            for one in block:
                one.requires_grad_(number < num_free)
        self._is_head_only = num_free == 0
        self._frozen_modules = _frozen(self.model) if 0 < num_free < len(self._blocks) else []

    def set_modes(self) -> None:
        """Puts what is frozen into evaluation mode; after `model.train()`, before each forward pass."""
        if self._is_head_only:
            self.model.eval()
            for head in self._heads:
                head.train()
        for module in (*self._frozen_modules, *self._norms):
            module.eval()

    def num_trained(self, after_epochs: int) -> int:
        """Parameters that train in a run of so many epochs."""
        num_free = self._num_free(max(0, after_epochs - 1))
        free = [one for block in self._blocks[len(self._blocks) - num_free :] for one in block]
        return sum(one.numel() for one in (*self._head, *free))

    def frozen_tensors(self) -> set[str]:
        """Names of the parameters and statistics that are frozen at present, and so never trained before."""
        frozen = {name for name, one in self.model.named_parameters() if not one.requires_grad}
        still = {id(module) for module in self._norms}
        for outer in self._still_modules():
            still |= {id(module) for module in outer.modules()}
        for name, module in self.model.named_modules():
            if id(module) in still:
                frozen |= {f"{name}.{key}".lstrip(".") for key, _ in module.named_buffers(recurse=False)}
        return frozen

    def _still_modules(self) -> list[nn.Module]:
        """Modules that are in evaluation mode altogether."""
        return _frozen(self.model) if self._is_head_only else self._frozen_modules

    def _num_free(self, epoch: int) -> int:
        """Blocks of the body that train in an epoch, counted from the head downwards.

        `gradual` frees one more each epoch (Howard and Ruder 2018, section 3.3), or as many as it takes for
        all of them to train from half of the epochs on.
        """
        total, waits = len(self._blocks), self._head_epochs
        if self._name == "head" or (self._name != "full" and epoch < waits):
            return 0
        if self._name != "gradual":
            return total
        step, steps = epoch - waits + 1, max(0, self._num_epochs // 2 - waits) + 1
        return min(total, max(step, math.ceil(total * step / steps)))


class ChangeCheck:
    """Proves that what should train did change, and that nothing else did.

    Args:
        model: The model before training.
        heads: Its head.
    """

    def __init__(self, model: nn.Module, heads: Sequence[nn.Module]) -> None:
        self._model = model
        in_head = {id(tensor) for head in heads for tensor in head.parameters()}
        self._in_head = {name for name, one in model.named_parameters() if id(one) in in_head}
        self._parameters = {name for name, _ in model.named_parameters()}
        self._before = _fingerprints(model)

    def unchanged(self, frozen: set[str]) -> list[str]:
        """Names of parameters that should have changed but did not.

        Args:
            frozen: Names of the tensors that never trained, see `Strategy.frozen_tensors`.

        Raises:
            NothingTrainedError: If head or body did not train at all, or something frozen changed.
        """
        after = _fingerprints(self._model)
        same = {name for name, value in self._before.items() if value == after[name]}
        moved = sorted(frozen - same)
        if moved:
            raise NothingTrainedError(
                f"{len(moved)} tensors of the frozen layers changed, among them {moved[0]}.",
                hint="Report this: the strategy was not kept.",
            )
        expected = self._parameters - frozen
        for part, names in (("head", expected & self._in_head), ("body", expected - self._in_head)):
            still = names & same
            if len(still) > MIN_CHANGED_SHARE * len(names):
                raise NothingTrainedError(
                    f"{len(still)} of {len(names)} weight tensors of the {part} did not change in training.",
                    hint="Raise training.learning_rate, or train for more epochs.",
                )
        return sorted(expected & same)


def _frozen(model: nn.Module) -> list[nn.Module]:
    """The outermost modules whose parameters are all frozen; those without any go by what is around them."""
    weights = list(model.parameters())
    if weights and not any(one.requires_grad for one in weights):
        return [model]
    return [found for child in model.children() for found in _frozen(child)] if weights else []


def _tensors(model: nn.Module) -> list[tuple[str, torch.Tensor]]:
    return [*model.named_parameters(), *model.named_buffers()]


def _fingerprints(model: nn.Module) -> dict[str, tuple[float, float]]:
    """Two sums a tensor, in float64: equal tensors give equal sums, and a change moves at least one."""
    found = {}
    for name, tensor in _tensors(model):
        values = tensor.detach().double().flatten()
        found[name] = (values.sum().item(), values.square().sum().item())
    return found
