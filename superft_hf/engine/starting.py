"""The queue: which run is next, whether its devices are free, and the start of its worker."""

import logging
import signal
import subprocess
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from superft_hf.config import RunConfig
from superft_hf.engine.devices import Lease, find_devices, try_lease
from superft_hf.engine.launcher import Launcher
from superft_hf.engine.processes import send_signal
from superft_hf.engine.ready import ReadyPlace
from superft_hf.engine.settling import look_at_processes
from superft_hf.records import RunRecord, RunState
from superft_hf.store import RunStore

logger = logging.getLogger(__name__)

LEFTOVER_GRACE_S = 30.0
"""How long processes of a run may outlive its pause or failure before it is started again."""

WAITS_FOR_PROCESSES = "waits for the processes of its last start, which have not ended yet"

HasLasted = Callable[[RunRecord, str, float], bool]


@dataclass
class Child:
    """A worker that this supervisor started, and the devices it was given."""

    process: "subprocess.Popen[bytes]"
    lease: Lease


def in_order(runs: Sequence[RunRecord]) -> list[RunRecord]:
    """The queued runs among these, which come newest first, in the order in which they start."""
    queued = [run for run in reversed(runs) if run.state is RunState.QUEUED]
    return sorted(queued, key=lambda run: (-run.priority, run.queued_at or run.created_at))


class Starter:
    """Starts queued runs and holds their devices.

    Args:
        store: Where the runs are.
        launcher: Starts the workers.
        by: Who starts them, for the runs' events.
        ready: Where a worker waits for its run; None: every run starts a new one.
    """

    def __init__(self, store: RunStore, launcher: Launcher, by: str, ready: ReadyPlace | None = None) -> None:
        self.children: dict[str, Child] = {}
        self._store = store
        self._launcher = launcher
        self._by = by
        self._ready = ready
        self._configs: dict[str, RunConfig] = {}

    def keep(self, run_ids: Collection[str]) -> None:
        """Forgets the configurations of all runs but these."""
        self._configs = {key: config for key, config in self._configs.items() if key in run_ids}

    def knows(self, run: RunRecord) -> bool:
        """Whether the configuration of a run has been read."""
        return run.run_id in self._configs

    def start_or_wait(self, run: RunRecord, wanted: set[str], slots: int, has_lasted: HasLasted) -> set[str]:
        """Starts a run if its devices are free.

        Args:
            run: A queued run.
            wanted: Devices that an earlier run waits for, which it must not take.
            slots: How many runs may train at once on the CPU.
            has_lasted: Tells since when something is seen of a run.

        Returns:
            The names of the devices it waits for; empty when it waits for none.
        """
        if self._has_leftovers(run, has_lasted):
            self._wait(run, WAITS_FOR_PROCESSES)
            return set()
        if run.run_id not in self._configs:  # written once, and slow to parse
            self._configs[run.run_id] = self._store.read_config(run.run_id)
        config = self._configs[run.run_id]
        devices = find_devices(config.hardware, slots)
        lease = None if wanted & set(devices.names) else try_lease(config.hardware, slots)
        if lease is None:
            self._wait(run, devices.waiting_words)
            return set(devices.names)
        try:
            self._start(run, config, lease)
        finally:
            if run.run_id not in self.children:
                lease.close()
        return set()

    def hold(self, run: RunRecord) -> None:
        """Takes back the words about what a held run waits for: it is not that."""
        self._wait(run, None)

    def release_ended(self) -> None:
        """Gives devices on once every process of their run is gone, and waits for our own children."""
        for run_id, child in list(self.children.items()):
            if child.process.poll() is None or look_at_processes(self._store, run_id).living:
                continue
            if self._store.has_run(run_id) and self._store.get_run(run_id).is_live:
                continue  # it ended in the middle of this pass; the next one settles it by its exit code
            child.lease.close()
            del self.children[run_id]

    def _has_leftovers(self, run: RunRecord, has_lasted: HasLasted) -> bool:
        """Whether processes of an earlier start still live; if not, they are forgotten.

        A run that is queued again must never be trained by two workers. Its state is not live, so whatever
        is left has nothing to do any more, and is ended after a while.
        """
        if run.started_at is None:
            return False
        left = look_at_processes(self._store, run.run_id).living
        if left and has_lasted(run, "leftover", LEFTOVER_GRACE_S):
            send_signal(left, signal.SIGKILL)
        if left or run.run_id in self.children:
            return True
        # Else the dead ones of before would make the new start look as if it had ended already.
        if self._store.read_processes(run.run_id):
            self._store.forget_processes(run.run_id)
        return False

    def _wait(self, run: RunRecord, words: str | None) -> None:
        if run.waiting_for != words:
            self._store.update_run(run.run_id, waiting_for=words)

    def _start(self, run: RunRecord, config: RunConfig, lease: Lease) -> None:
        # Compare-and-set: it may have been discarded since it was read.
        if self._store.change_state(run.run_id, (RunState.QUEUED,), RunState.STARTING, by=self._by):
            process = self._launcher.start(self._store, run.run_id, config, lease, self._ready)
            self.children[run.run_id] = Child(process, lease)
            logger.info("%s starts on %s as process %s", run.run_id, lease.devices.words, process.pid)
