"""The process that trains one run: `python -m superft_hf.training.worker HOME/RUN_ID`.

It is started by the supervisor or by `superft train`, alone or as one of several ranks under a launcher. It
records its own process, and settles its own end: completed, or failed with a reason.
"""

import ctypes
import logging
import os
import signal
import sys
from pathlib import Path

import psutil
import torch.distributed
import transformers

from superft_hf.engine.launcher import DIES_WITH_LAUNCHER
from superft_hf.records import LIVE_STATES, Failure, ProcessRecord, RunState
from superft_hf.store import RunStore
from superft_hf.training.run import RunContext, train_run

logger = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1


def main(run_folder: str) -> int:
    """Trains the run of this folder. Returns the exit status: 0 when it completed."""
    folder = Path(run_folder).absolute()
    rank = int(os.environ.get("RANK", "0"))
    _set_up_logging(rank)
    if os.environ.get(DIES_WITH_LAUNCHER) == "1":
        _die_with_launcher()
    store = RunStore(folder.parent)
    own = psutil.Process()
    store.record_process(folder.name, ProcessRecord(own.pid, own.create_time(), f"rank {rank}"))
    try:
        train_run(RunContext(store, folder.name))
    except Exception as error:  # noqa: BLE001 - the top of a process: stored for the person, logged in full
        logger.exception("the run failed")
        store.change_state(folder.name, LIVE_STATES, RunState.FAILED, by="worker", failure=Failure.of(error))
        return 1
    finally:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    return 0


def _die_with_launcher() -> None:
    """Ties a rank to its launcher's life: torch's gives each rank a session of its own."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _set_up_logging(rank: int) -> None:
    logging.basicConfig(
        level=logging.INFO if rank == 0 else logging.WARNING,
        format="%(asctime)s  %(message)s",
        datefmt="%H:%M:%S",
    )
    for noisy in ("httpx", "httpx2", "datasets", "PIL", "accelerate", "timm"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
