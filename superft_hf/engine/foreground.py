"""A run in the foreground: the same worker, started and watched by the command that a person waits for.

It leases its devices like any other run. The supervisor may watch it too; both settle by compare-and-set.
"""

import signal
import subprocess
import time
from collections.abc import Callable

from superft_hf.config import HardwareConfig, RunConfig
from superft_hf.engine.devices import Lease, find_devices, try_lease
from superft_hf.engine.launcher import Launcher
from superft_hf.engine.processes import send_signal, stop_processes
from superft_hf.engine.settling import ORPHAN_GRACE_S, look_at_processes, settle_dead, settle_failed
from superft_hf.errors import InterruptedRunError, SuperFTError
from superft_hf.records import ProcessRecord, RunRecord, RunState
from superft_hf.store import RunStore

BY = "command line"
_POLL_S = 0.5


def wait_for_lease(hardware: HardwareConfig, on_wait: Callable[[str], None]) -> Lease:
    """Leases the devices of a run as soon as they are free.

    Args:
        hardware: What the run asks for.
        on_wait: Hears once, in words, what is being waited for.

    Raises:
        DeviceError: If the devices are not there.
    """
    is_told = False
    while (lease := try_lease(hardware)) is None:
        if not is_told:
            on_wait(find_devices(hardware).waiting_words)
            is_told = True
        time.sleep(_POLL_S)
    return lease


class ForegroundRun:
    """A run whose worker is a child of this process.

    Args:
        store: Where the run goes.
        config: What to run.
        lease: Its devices; given back by `close`.
        launcher: Starts the worker.

    Raises:
        SuperFTError: If the worker cannot be started; the run is failed then.
    """

    def __init__(self, store: RunStore, config: RunConfig, lease: Lease, launcher: Launcher) -> None:
        self._store = store
        self._lease = lease
        self._orphaned_at: float | None = None
        self.run_id = store.create_run(config, by=BY, state=RunState.STARTING).run_id
        try:
            self._process: subprocess.Popen[bytes] = launcher.start(store, self.run_id, config, lease)
        except SuperFTError as error:
            settle_failed(store, self.run_id, error, by=BY)
            raise

    @property
    def is_at_work(self) -> bool:
        """Whether one of its processes lives."""
        return self._process.poll() is None or bool(self._living())

    def look(self) -> RunRecord:
        """The run as it is now. A run without a process is settled first, so that it is not live any more."""
        if not self.is_at_work:
            settle_dead(self._store, self.run_id, self._process.returncode, by=BY)
        elif self._process.poll() is not None:
            self._end_orphans()
        return self._store.get_run(self.run_id)

    def interrupt(self, command: str) -> RunRecord:
        """Ends the worker and marks the run as failed, unless it has ended by itself.

        Args:
            command: What starts it again, for the hint.
        """
        stop_processes(self._living)
        self._process.wait()
        record = self._store.get_run(self.run_id)
        place = f" at step {record.global_step:,} of {record.max_steps:,}" if record.max_steps else ""
        error = InterruptedRunError(f"The run was stopped{place}.", hint=f"Start it again with `{command}`.")
        settle_failed(self._store, self.run_id, error, by=BY)
        return self._store.get_run(self.run_id)

    def close(self) -> None:
        """Gives the devices back as far as this process holds them."""
        self._lease.close()

    def _living(self) -> tuple[ProcessRecord, ...]:
        return look_at_processes(self._store, self.run_id).living

    def _end_orphans(self) -> None:
        self._orphaned_at = self._orphaned_at or time.monotonic()
        if time.monotonic() - self._orphaned_at >= ORPHAN_GRACE_S:
            send_signal(self._living(), signal.SIGKILL)
