"""How a run is stopped without loss: what persons, signals and the disk ask for, agreed by all ranks.

A decision is taken at the end of an optimizer step and never elsewhere, so that a checkpoint always stands
between two steps. A pause never evaluates, unless its step ends the epoch: then it waits for that evaluation.
"""

import os
import shutil
import signal
import time
from enum import IntEnum
from pathlib import Path
from types import FrameType
from typing import Any

import psutil
import torch
import torch.distributed
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from superft_hf.errors import MemoryLimitError
from superft_hf.records import PauseReason, Request
from superft_hf.store import RunStore

POLL_S = 0.25
WATCH_S = 5.0


class Decision(IntEnum):
    """What all ranks do at the end of a step; of several the largest counts."""

    GO_ON = 0
    FINISH = 1
    PAUSE_FOR_SHUTDOWN = 2
    PAUSE_FOR_DISK = 3
    PAUSE = 4  # whoever asks for a pause does not want the run to go on by itself afterwards

    @property
    def pause_reason(self) -> PauseReason | None:
        """Why the run is paused by it; None when it is not."""
        return _PAUSES.get(self)


_PAUSES = {
    Decision.PAUSE: PauseReason.PERSON,
    Decision.PAUSE_FOR_DISK: PauseReason.DISK,
    Decision.PAUSE_FOR_SHUTDOWN: PauseReason.SHUTDOWN,
}


class RunPaused(BaseException):
    """Ends the work on a run that is to be paused.

    No Exception: it is raised by a signal too, in the middle of whatever runs then, and nothing may catch it
    but the top of the process.

    Args:
        reason: Why.
        note: What a person should know besides, such as how little space is left.
    """

    def __init__(self, reason: PauseReason, note: str = "") -> None:
        super().__init__(str(reason))
        self.reason = reason
        self.note = note


class ShutdownSignal:
    """SIGTERM: a machine that shuts down. While steps are made it is a wish, before that it ends the work."""

    def __init__(self) -> None:
        self.is_set = False
        self.is_stepping = False
        self.is_closing = False
        self._pid = os.getpid()

    def install(self) -> None:
        """Listens from now on; only the main thread may call this."""
        signal.signal(signal.SIGTERM, self._hear)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:  # a loader process, which inherited this
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        is_first, self.is_set = not self.is_set, True
        if is_first and not self.is_stepping and not self.is_closing:
            raise RunPaused(PauseReason.SHUTDOWN)


class Wishes:
    """What is asked of the run in this process.

    Args:
        store: Where a person's request stands; None on ranks that do not ask it.
        run_id: Which run.
        shutdown: Hears SIGTERM.
        disk_needed: The folder of checkpoints, and the free bytes without which the run is paused.
        memory_limit: Bytes that this process and its loaders may take; None: no limit.
    """

    def __init__(
        self,
        store: RunStore | None,
        run_id: str,
        shutdown: ShutdownSignal,
        disk_needed: tuple[Path, int] | None = None,
        memory_limit: int | None = None,
    ) -> None:
        self._store = store
        self._run_id = run_id
        self._shutdown = shutdown
        self._disk_needed = disk_needed
        self._memory_limit = memory_limit
        self._asked_at = self._watched_at = -1e9
        self._found = Decision.GO_ON

    def read(self) -> Decision:
        """What is asked now. The store is asked four times a second at most, disk and memory less often.

        Raises:
            MemoryLimitError: If this process and its loaders take more than their share.
        """
        moment = time.monotonic()
        if self._store is not None and moment - self._asked_at >= POLL_S:
            self._asked_at = moment
            request = self._store.get_run(self._run_id).request
            self._found = {Request.FINISH: Decision.FINISH, Request.PAUSE: Decision.PAUSE}.get(
                request, Decision.GO_ON
            )
        wishes = [self._found]
        if moment - self._watched_at >= WATCH_S:
            self._watched_at = moment
            self._watch_memory()
            if self._disk_needed is not None and free_bytes(self._disk_needed[0]) < self._disk_needed[1]:
                wishes.append(Decision.PAUSE_FOR_DISK)
        if self._shutdown.is_set:
            wishes.append(Decision.PAUSE_FOR_SHUTDOWN)
        return max(wishes)

    def _watch_memory(self) -> None:
        if self._memory_limit is None:
            return
        own = psutil.Process()
        taken = 0
        for process in (own, *own.children(recursive=True)):
            try:
                taken += process.memory_info().rss
            except psutil.Error:  # it has ended meanwhile
                continue
        if taken > self._memory_limit:
            raise MemoryLimitError(taken, self._memory_limit)


def free_bytes(folder: Path) -> int:
    """Free space on the disk of a folder that may not exist yet."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


class Agreement:
    """One decision for all ranks: an all-reduce over the CPU, which waits for no GPU."""

    def __init__(self) -> None:
        self._group: Any = None
        self._is_alone = not (torch.distributed.is_available() and torch.distributed.is_initialized())
        if not self._is_alone and torch.distributed.get_backend() != "gloo":
            self._group = torch.distributed.new_group(backend="gloo")

    def largest(self, value: int) -> int:
        """The largest value of any rank; every rank has to call this."""
        if self._is_alone:
            return value
        tensor = torch.tensor([value], dtype=torch.int64)
        torch.distributed.all_reduce(tensor, op=torch.distributed.ReduceOp.MAX, group=self._group)
        return int(tensor.item())


class StopCallback(TrainerCallback):
    """Takes the decision at the end of each step, and steers Trainer accordingly.

    Args:
        wishes: What is asked in this process.
        shutdown: Told when steps are made.
        save_steps: Steps between two checkpoints within an epoch; None: at its end only.
    """

    def __init__(self, wishes: Wishes, shutdown: ShutdownSignal, save_steps: int | None) -> None:
        self.decision = Decision.GO_ON
        self.agreement = Agreement()
        self._wishes = wishes
        self._shutdown = shutdown
        self._save_steps = save_steps
        self._is_within_epoch = False

    def pause_before_training(self) -> None:
        """Leaves before the first step if a pause is asked for by then. Raises RunPaused."""
        decision = Decision(self.agreement.largest(self._wishes.read()))
        if decision.pause_reason is not None:
            raise RunPaused(decision.pause_reason)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """From the first step on SIGTERM is a wish."""
        self._shutdown.is_stepping = True

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Decides."""
        ends_epoch = _ends_epoch(state)
        if self._save_steps and state.global_step % self._save_steps == 0 and not ends_epoch:
            control.should_save = True
        self.decision = Decision(self.agreement.largest(self._wishes.read()))
        self._is_within_epoch = self.decision is not Decision.GO_ON and not ends_epoch
        if self._is_within_epoch:
            control.should_training_stop = control.should_save = True
            control.should_log |= self.decision is Decision.FINISH
            control.should_evaluate = self.decision is Decision.FINISH

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """An epoch that was broken off is not evaluated; one that is complete is, and then the run stops."""
        if self._is_within_epoch:
            control.should_evaluate = control.should_save = control.should_log = False
        elif self.decision is not Decision.GO_ON:
            control.should_training_stop = True


def _ends_epoch(state: TrainerState) -> bool:
    """Whether this step was the last of its epoch: `state.epoch` is a whole number then, to the bit."""
    return float(state.epoch or 0).is_integer()
