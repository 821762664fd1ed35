"""Schedule-free optimizers (Defazio et al. 2024, arXiv:2405.15682), so that a run can be left and resumed.

They train at a point y and are evaluated at a point x, an average of where the weights have been. The package
keeps only z besides the weights, and computes x from y and z, and y from x and z, which rounds each time.
Here `eval` keeps y and `train` puts it back: an evaluation leaves the training weights to the bit.
"""

from collections.abc import Callable
from typing import Any

import torch
from schedulefree import AdamWScheduleFree, SGDScheduleFree


class _Exact(torch.optim.Optimizer):
    """Mixed into an optimizer of the schedulefree package; begins in training mode."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._own: list[tuple[torch.Tensor, torch.Tensor]] | None = None
        self.train()

    @property
    def is_training(self) -> bool:
        """Whether the weights are y, those that train."""
        return bool(self.param_groups[0]["train_mode"])

    @torch.no_grad()
    def eval(self) -> None:
        """Makes the weights x; takes the memory of one more copy of them until `train`."""
        if self.is_training:
            weights = [one for group in self.param_groups for one in group["params"]]
            self._own = [(one, one.detach().clone()) for one in weights if "z" in self.state.get(one, {})]
            super().eval()

    @torch.no_grad()
    def train(self) -> None:
        """Makes the weights y again."""
        super().train()
        for one, own in self._own or ():
            one.copy_(own)
        self._own = None

    def settle(self) -> None:
        """Makes the weights x for good: y is forgotten, and `eval` changes nothing any more."""
        self.eval()
        self._own = None

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One update, which counts only for groups of which any weight has a gradient.

        The average of a group is weighed by the steps it has made: layers that are freed later begin theirs
        then, rather than with a long past in which they did not move.
        """
        everything = self.param_groups
        self.param_groups = [
            group for group in everything if any(one.grad is not None for one in group["params"])
        ]
        try:
            return super().step(closure) if self.param_groups else None
        finally:
            self.param_groups = everything


class ScheduleFreeAdamW(_Exact, AdamWScheduleFree):
    """AdamW; its first moment is replaced by the averaging."""


class ScheduleFreeSGD(_Exact, SGDScheduleFree):
    """SGD; `momentum` says how far y lies from z towards x."""
