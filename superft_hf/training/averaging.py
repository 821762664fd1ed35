"""An exponential moving average of the weights, which is what is evaluated, kept and published.

The weights that train stay as they are, so a checkpoint holds both: `model.safetensors` to go on with, and
AVERAGE_FILE, the state of the average.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from superft_hf.config import TrainingConfig

AVERAGE_FILE = "average.safetensors"
"""Under the model's own names of its tensors, not the Hub's."""


class WeightAverage:
    """Averages the parameters of a model; buffers, such as batch-norm statistics, likewise.

    After update t the average is d·average + (1 − d)·weights with d = min(decay, (1 + t) / (10 + t)), so that
    the first weights, whose head is random, are soon forgotten (as in timm's ModelEmaV3).

    Args:
        model: Not wrapped.
        decay: `training.ema_decay`, above 0.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._model = model
        self._decay = decay
        self._seen = -1
        self._average = {name: tensor.detach().clone() for name, tensor in self._tensors().items()}

    def _tensors(self) -> dict[str, torch.Tensor]:
        return dict(self._model.state_dict(keep_vars=False))

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Takes the weights after update `step` in; a second call for the same step does nothing."""
        if step == self._seen:
            return
        self._seen = step
        decay = min(self._decay, (1 + step) / (10 + step))
        for name, tensor in self._tensors().items():
            if tensor.is_floating_point():
                self._average[name].lerp_(tensor, 1 - decay)
            else:
                self._average[name].copy_(tensor)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within it the model has the averaged weights; afterwards its own again, to the bit."""
        own = {name: tensor.detach().clone() for name, tensor in self._tensors().items()}
        self._put(self._average)
        try:
            yield
        finally:
            self._put(own)

    def keep(self) -> None:
        """Gives the model the averaged weights for good."""
        self._put(self._average)

    def save(self, folder: Path) -> None:
        """Writes the average into a checkpoint."""
        save_file(
            {name: tensor.contiguous().clone() for name, tensor in self._average.items()},
            folder / AVERAGE_FILE,
        )

    def load(self, folder: Path) -> None:
        """Reads the average of a checkpoint."""
        for name, tensor in load_file(folder / AVERAGE_FILE).items():
            self._average[name].copy_(tensor)

    @torch.no_grad()
    def _put(self, values: dict[str, torch.Tensor]) -> None:
        for name, tensor in self._tensors().items():
            tensor.copy_(values[name])


def make_average(model: nn.Module, config: TrainingConfig) -> WeightAverage | None:
    """The average that `training.ema_decay` asks for; None for 0."""
    return WeightAverage(model, config.ema_decay) if config.ema_decay else None
