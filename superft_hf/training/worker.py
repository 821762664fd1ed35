"""The process that trains one run: `python -m superft_hf.training.worker HOME/RUN_ID`.

It is started by the supervisor or by `superft train`, alone or as one of several ranks under a launcher. It
records its own process, and settles its own end: completed, or failed with a reason.
"""

import ctypes
import gc
import logging
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from superft_hf.doctor import diagnose
from superft_hf.engine.launcher import DIES_WITH_LAUNCHER
from superft_hf.engine.machines import this_machine
from superft_hf.engine.processes import describe_process
from superft_hf.errors import OutOfMemoryError, WorkerDiedError, is_disk_full
from superft_hf.recipe.decided import decided_config
from superft_hf.records import LIVE_STATES, PauseReason, RunState
from superft_hf.store import RunStore

if TYPE_CHECKING:
    from superft_hf.training.stopping import ShutdownSignal

logger = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1
_LOST_PEER = ("gloo", "nccl", "connection closed by peer", "connection reset by peer", "tcpstore")


def main(run_folder: str) -> int:
    """Trains the run of this folder. Returns the exit status: 0 when it completed or is paused."""
    folder = Path(run_folder).absolute()
    rank = int(os.environ.get("RANK", "0"))
    if os.environ.get(DIES_WITH_LAUNCHER) == "1":
        _die_with_launcher()
    store = RunStore(folder.parent)
    if this_machine() == 0:  # nobody here could tell whether a process of another machine lives
        store.record_process(folder.name, describe_process(os.getpid(), f"rank {rank}"))
    # Only now, since it takes seconds: until a process is recorded, nobody can tell whether it lives.
    from superft_hf.training.stopping import RunPaused, ShutdownSignal

    shutdown = ShutdownSignal()
    try:
        shutdown.install()
        return _train(store, folder.name, rank, shutdown)
    except RunPaused as pause:
        shutdown.is_closing = True  # from here on a signal must not keep the end from being noted
        if rank == 0:
            _settle_paused(store, folder.name, pause.reason, pause.note)
        return 0


def _train(store: RunStore, run_id: str, rank: int, shutdown: "ShutdownSignal") -> int:
    import torch.distributed

    from superft_hf.training.run import RunContext, train_run

    gc.freeze()  # a million objects of libraries, through which Trainer's own collection would go
    _set_up_logging(rank)
    try:
        train_run(RunContext(store, run_id), shutdown)
    except Exception as error:  # noqa: BLE001 - the top of a process: stored for the person, logged in full
        shutdown.is_closing = True
        logger.exception("the run failed")
        if isinstance(error, OutOfMemoryError) and _has_smaller_batch(store, run_id):
            logger.info("starts again with fewer images a step")
            os.execv(
                sys.executable, [sys.executable, "-m", __spec__.name, str(store.run_paths(run_id).folder)]
            )
        _settle_failed(store, run_id, error)
        return 1
    finally:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    return 0


def _settle_paused(store: RunStore, run_id: str, reason: PauseReason, note: str) -> None:
    if note:
        store.add_event(run_id, by="worker", what=str(reason), detail=note)
    store.change_state(run_id, LIVE_STATES, RunState.PAUSED, by="worker", pause_reason=str(reason))


def _settle_failed(store: RunStore, run_id: str, error: Exception) -> None:
    """A full disk only pauses the run, from its last complete checkpoint; anything else fails it."""
    if is_disk_full(error):
        _settle_paused(store, run_id, PauseReason.DISK, "Free some space on the disk of the runs.")
        return
    paths = store.run_paths(run_id)
    config = decided_config(paths)
    failure = diagnose(_explained(error), config, paths.log)
    store.change_state(run_id, LIVE_STATES, RunState.FAILED, by="worker", failure=failure)


def _has_smaller_batch(store: RunStore, run_id: str) -> bool:
    """Whether the run is to go on with a smaller batch, which its resolved.yaml has then."""
    from superft_hf.training import resolve

    paths = store.run_paths(run_id)
    config = resolve.read_resolved(paths)
    smaller = resolve.shrink_batch(config) if config is not None else None
    if smaller is None:
        return False
    resolve.write_resolved(paths, smaller)
    training = smaller.training
    words = f"{training.per_device_train_batch_size} images × {training.gradient_accumulation_steps}"
    store.add_event(run_id, by="worker", what="out of memory", detail=f"goes on with {words} a step")
    return True


def _explained(error: Exception) -> Exception:
    """What lies behind an error of the library that connects the processes of a run: one of them is gone."""
    is_distributed = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if is_distributed and any(mark in str(error).lower() for mark in _LOST_PEER):
        return WorkerDiedError(
            "Another process of this run is gone.",
            hint="The log may say why; the system may have ended it for want of memory.",
        )
    return error


def _die_with_launcher() -> None:
    """Ties a rank to its launcher's life: torch's gives each rank a session of its own."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == 1:  # it was gone before the call
            sys.exit(1)


def _set_up_logging(rank: int) -> None:
    import transformers

    level = logging.INFO if rank == 0 else logging.WARNING
    logging.basicConfig(level=level, format="%(asctime)s  %(message)s", datefmt="%H:%M:%S")
    for noisy in ("httpx", "httpx2", "datasets", "PIL", "accelerate", "timm"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
