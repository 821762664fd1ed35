"""The process behind a ready worker: `python -m superft_hf.training.ready DESCRIPTOR`.

It imports what every run imports, waits for its run, and then is that run's worker. Until then nothing of it
depends on a run: no seed is set, no device is used.
"""

import contextlib
import importlib
import sys

from superft_hf.engine.ready import take_run
from superft_hf.training import worker

_MODULES = (
    "superft_hf.training.run",
    "timm",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.image_processing_auto",
    "transformers.models.timm_wrapper.modeling_timm_wrapper",
    "transformers.models.timm_wrapper.image_processing_timm_wrapper",
    "torchvision.transforms.v2",
)
"""What a run imports, also that which libraries put off until it is needed."""


def main(descriptor: int) -> int:
    """Waits for a run and trains it. Returns the exit status."""
    # Whatever is wrong with an import, the run's own says it, in the run's log.
    with contextlib.suppress(Exception):
        for name in _MODULES:
            importlib.import_module(name)
        _name_tables()
    folder = take_run(descriptor)
    return worker.main(str(folder)) if folder is not None else 0


def _name_tables() -> None:
    """Makes the tables of the names of weights, which the first model that is loaded waits for otherwise."""
    from transformers.conversion_mapping import get_checkpoint_conversion_mapping

    get_checkpoint_conversion_mapping("timm_wrapper")


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
