"""A worker that is asked to pause at certain steps: `python asking_worker.py HOME/RUN_ID`.

`ASKS` holds `{"5": "pause", "9": "signal"}`: while step 5 is made a person asks for a pause, and at step 9
the last rank gets SIGTERM.
"""

import json
import os
import signal
import sys
from typing import Any

from superft_hf.records import Request
from superft_hf.training import run, stopping, worker
from superft_hf.training.callbacks import StoreCallback

ASKS = json.loads(os.environ.get("ASKS", "{}"))  # pytest imports this file too, to look for doctests


class Asking(StoreCallback):
    """Asks at the beginning of a step."""

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Asks, if this is the step and the rank."""
        super().on_step_begin(args, state, control, **kwargs)
        ask = ASKS.get(str(state.global_step + 1))
        if ask == "pause" and args.process_index == 0:
            self._store.set_request(self._run_id, Request.PAUSE, by="test")
        elif ask == "signal" and args.process_index == args.world_size - 1:
            os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    run.StoreCallback = Asking
    stopping.POLL_S = 0.0
    sys.exit(worker.main(sys.argv[1]))
