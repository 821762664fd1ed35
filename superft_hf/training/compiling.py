"""torch.compile, for the training steps of whole batches alone.

The network is compiled in place, so that its tensors keep their names: checkpoints, the best model and a
resumed run know nothing of it. Whatever is no step of a whole batch runs as it is written: evaluations, whose
hooks the compiled code would pass over, and the smaller last batch of an epoch, for which it would have to be
compiled again.
"""

from contextlib import AbstractContextManager

import torch
from torch import nn


def compile_in_place(model: nn.Module) -> None:
    """Lets the next call of the model compile it, for the shape of that call."""
    model.compile(dynamic=False)


def as_written() -> AbstractContextManager[None]:
    """Within it nothing runs compiled."""
    return torch.compiler.set_stance("force_eager")
