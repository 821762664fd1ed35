"""A worker whose memory holds four images a step: `python hungry_worker.py HOME/RUN_ID`."""

import sys
from typing import Any

from transformers import Trainer

from superft_hf.training import worker

HELD = 4
_step = Trainer.training_step


def step(self: Trainer, model: Any, inputs: dict[str, Any], *rest: Any) -> Any:
    """One step, if it fits."""
    if len(inputs["labels"]) > HELD:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    return _step(self, model, inputs, *rest)


if __name__ == "__main__":
    Trainer.training_step = step
    sys.exit(worker.main(sys.argv[1]))
