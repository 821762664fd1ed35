"""A run in the foreground: the same worker, started and watched by the command that a person waits for.

It leases its devices like any other run. The supervisor may watch it too; both settle by compare-and-set.
"""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import psutil

from superft_hf.config import HardwareConfig, RunConfig
from superft_hf.engine.devices import Lease, find_devices, try_lease
from superft_hf.engine.launcher import Launcher
from superft_hf.engine.ready import MEMORY_TO_PREPARE, ReadyPlace
from superft_hf.engine.settling import look_at_processes, settle_failed
from superft_hf.engine.watching import Watch
from superft_hf.errors import DeviceError, StateError, SuperFTError
from superft_hf.records import Request, RunRecord, RunState
from superft_hf.store import RunStore

BY = "command line"
_POLL_S = 0.5


def wait_for_lease(hardware: HardwareConfig, on_wait: Callable[[str], None], slots: int = 1) -> Lease:
    """Leases the devices of a run as soon as they are free.

    Args:
        hardware: What the run asks for.
        on_wait: Hears once, in words, what is being waited for.
        slots: How many runs may train at once on the CPU; the home's `cpu_slots`.

    Raises:
        DeviceError: If the devices are not there.
    """
    is_told = False
    while (lease := try_lease(hardware, slots)) is None:
        if not is_told:
            on_wait(find_devices(hardware, slots).waiting_words)
            is_told = True
        time.sleep(_POLL_S)
    return lease


@contextmanager
def getting_ready(launcher: Launcher, store: RunStore, config: RunConfig) -> Iterator[ReadyPlace | None]:
    """Lets a worker import what takes seconds while its run is still checked; one that is not used ends.

    Args:
        launcher: Says what a ready worker is.
        store: Where the run goes.
        config: What is to be run, not checked yet.
    """
    place = launcher.ready_place(store.home)
    if place is None or psutil.virtual_memory().available < MEMORY_TO_PREPARE:
        yield None
        return
    with suppress(DeviceError):  # the check has the words for it
        devices = find_devices(config.hardware, store.read_settings().cpu_slots)
        devices = replace(devices, indices=devices.indices[: devices.num_processes])
        environment = launcher.ready_environment(store.home, devices, config)
        if environment is not None:
            place.put(environment)
    try:
        yield place
    finally:
        place.close()


class ForegroundRun:
    """A run whose worker is a child of this process.

    Args:
        store: Where the run goes.
        config: What to run.
        lease: Its devices; given back by `close`.
        launcher: Starts the worker.
        ready: Where one may wait for it, see `getting_ready`.

    Raises:
        SuperFTError: If the worker cannot be started; the run is failed then.
    """

    def __init__(
        self,
        store: RunStore,
        config: RunConfig,
        lease: Lease,
        launcher: Launcher,
        ready: ReadyPlace | None = None,
    ) -> None:
        self._store = store
        self._lease = lease
        self._watch = Watch(store, BY)
        self.run_id = store.create_run(config, by=BY, state=RunState.STARTING).run_id
        try:
            self._process: subprocess.Popen[bytes] = launcher.start(store, self.run_id, config, lease, ready)
        except SuperFTError as error:
            settle_failed(store, self.run_id, error, by=BY)
            raise

    @property
    def is_at_work(self) -> bool:
        """Whether one of its processes lives."""
        return self._process.poll() is None or bool(look_at_processes(self._store, self.run_id).living)

    def look(self) -> RunRecord:
        """The run as it is now, after whatever was due: a run without a process is settled first."""
        record = self._store.get_run(self.run_id)
        if record.is_live or self.is_at_work:
            self._watch.look(record, self._process)
        return self._store.get_run(self.run_id)

    def pause(self) -> RunRecord:
        """Asks the worker to pause at its next step; go on to call `look` until it has ended."""
        return self._ask(Request.PAUSE)

    def stop_hard(self) -> RunRecord:
        """Asks for an end at once; the following `look` ends the processes, and one after that settles."""
        return self._ask(Request.STOP_HARD)

    def close(self) -> None:
        """Gives the devices back as far as this process holds them."""
        self._lease.close()

    def _ask(self, request: Request) -> RunRecord:
        try:
            return self._store.set_request(self.run_id, request, by=BY)
        except StateError:  # it has ended meanwhile
            return self._store.get_run(self.run_id)
