"""A worker that is ready before there is a run for it: it has imported what takes seconds, and waits.

It takes one run, by one message over a socket, and from then on is that run's worker as if it had been
started for it: a session of its own, the log as its output, the lease of the devices in its hands. Until then
it belongs to whoever started it and ends with it, since the socket closes when that process is gone.

A process's memory allocator and threads are settled when it begins, so a ready worker only takes a run whose
whole environment is the one that it was started with.
"""

import contextlib
import json
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from superft_hf.config import HardwareConfig
from superft_hf.engine.devices import Devices, try_lease
from superft_hf.engine.processes import RUN_VARIABLE
from superft_hf.errors import DeviceError

logger = logging.getLogger(__name__)

READY_WORKER = ("-m", "superft_hf.training.ready")
"""What Python is told to run, before the descriptor of the socket."""

MEMORY_TO_PREPARE = 4e9
"""Bytes that must be free before a worker is prepared: several times the 0.6 GB that it takes."""

MEMORY_TO_KEEP = 1.5e9
"""Free bytes below which one that waits is let go."""

LOOK_AGAIN_S = 5.0
"""How often it is asked whether the devices are free, by which other homes may train."""

AFTER_DEATH_S = 60.0
"""How long none is prepared after one has ended by itself."""

_MAX_MESSAGE = 16_384
_MAX_DESCRIPTORS = 128


@dataclass(frozen=True)
class ReadyWorker:
    """A process that waits for its run.

    Attributes:
        process: The process.
        environment: What it was started with.
        line: The socket to it.
    """

    process: "subprocess.Popen[bytes]"
    environment: Mapping[str, str]
    line: socket.socket

    def fits(self, environment: Mapping[str, str]) -> bool:
        """Whether it still waits, and a run with this environment may be given to it."""
        asked = {key: value for key, value in environment.items() if key != RUN_VARIABLE}
        return self.process.poll() is None and asked == dict(self.environment)

    def give(self, folder: Path, descriptors: Sequence[int]) -> bool:
        """Gives it the run of a folder; returns whether it could be told.

        Args:
            folder: The run's.
            descriptors: The run's log, open for writing, and the lease; the caller's copies stay open.
        """
        message = json.dumps({"folder": str(folder)}).encode() + b"\n"
        try:
            return socket.send_fds(self.line, [message], list(descriptors)) == len(message)
        except OSError:  # it has just ended
            return False
        finally:
            self.line.close()

    def close(self) -> None:
        """Ends it without a run."""
        self.line.close()
        self.process.kill()
        self.process.wait()


def prepare(command: Sequence[str], environment: Mapping[str, str]) -> ReadyWorker:
    """Starts a process that makes itself ready.

    Args:
        command: Python and what it runs; the descriptor of the socket is added.
        environment: Of the runs that it may take.

    Raises:
        OSError: If it cannot be started.
    """
    ours, theirs = socket.socketpair()
    try:
        process = subprocess.Popen(
            [*command, str(theirs.fileno())],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # until it has the log of its run
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            close_fds=True,
            pass_fds=[theirs.fileno()],
        )
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
    return ReadyWorker(process, dict(environment), ours)


def take_run(descriptor: int) -> Path | None:
    """Waits for a run, and makes its log and its lease those of this process; called by the ready worker.

    Args:
        descriptor: Of the socket, which is closed.

    Returns:
        The run's folder; None when whoever started this process is gone.
    """
    message, received = b"", []
    with socket.socket(fileno=descriptor) as line:
        while not message.endswith(b"\n"):
            part, descriptors, _, _ = socket.recv_fds(line, _MAX_MESSAGE, _MAX_DESCRIPTORS)
            received += descriptors
            if not part:
                return None
            message += part
    log, *lease = received
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    for one in lease:  # loader processes, and this one if it starts itself anew, hold it as well
        os.set_inheritable(one, True)
    folder = Path(json.loads(message)["folder"])
    os.environ[RUN_VARIABLE] = str(folder)
    return folder


class ReadyPlace:
    """The place of at most one ready worker.

    Args:
        worker: What Python is told to run, such as READY_WORKER.
        environment: The environment of a usual run on these devices; None where such a run needs a launcher.
    """

    def __init__(
        self, worker: Sequence[str], environment: Callable[[Devices], Mapping[str, str] | None]
    ) -> None:
        self._command = [sys.executable, *worker]
        self._environment = environment
        self._waiting: ReadyWorker | None = None
        self._slots = 1
        self._not_before = 0.0

    def look_after(self, slots: int, *, is_idle: bool) -> None:
        """Prepares a worker when the machine has nothing else to do, and lets it go when memory is short.

        Args:
            slots: How many runs may train at once on the CPU.
            is_idle: Whether no run of this home trains or is about to.
        """
        if self._waiting is not None:
            self._let_go_if_due(slots)
            return
        if not is_idle or time.monotonic() < self._not_before:
            return
        self._not_before = time.monotonic() + LOOK_AGAIN_S
        if psutil.virtual_memory().available >= MEMORY_TO_PREPARE:
            devices = _free_devices(slots)
            environment = self._environment(devices) if devices is not None else None
            if environment is not None:
                self._slots = slots
                self.put(environment)

    def put(self, environment: Mapping[str, str]) -> None:
        """Prepares a worker at once; a failure is no more than a warning."""
        self.close()
        try:
            self._waiting = prepare(self._command, environment)
        except OSError as error:
            logger.warning("no worker can be prepared: %s", error)
            self._not_before = time.monotonic() + AFTER_DEATH_S

    def give(
        self,
        folder: Path,
        environment: Mapping[str, str],
        descriptors: Sequence[int],
        record: Callable[[int], None],
    ) -> "subprocess.Popen[bytes] | None":
        """Gives the run of a folder to the worker that waits, if there is one that fits.

        Args:
            folder: The run's.
            environment: That its worker needs.
            descriptors: The run's log, and the lease.
            record: Notes the process as the run's, before it hears of it: a worker that nobody knows of must
                never be at work.

        Returns:
            The worker; None when a new one has to be started.
        """
        worker = self._waiting
        if worker is None or not worker.fits(environment):
            return None
        self._waiting, self._not_before = None, 0.0
        record(worker.process.pid)
        if worker.give(folder, descriptors):
            return worker.process
        worker.close()
        return None

    def close(self) -> None:
        """Ends the worker that waits."""
        if self._waiting is not None:
            self._waiting.close()
            self._waiting = None

    def _let_go_if_due(self, slots: int) -> None:
        if self._waiting.process.poll() is not None:
            logger.warning("the worker that was ready has ended: %s", self._waiting.process.returncode)
        elif psutil.virtual_memory().available < MEMORY_TO_KEEP:
            logger.info("the worker that was ready is let go: memory is short")
        else:
            if slots != self._slots:  # it has the threads of another share of the cores
                self.close()
            return
        self.close()
        self._not_before = time.monotonic() + AFTER_DEATH_S


def _free_devices(slots: int) -> Devices | None:
    """The devices that a usual run would get at this moment; None when others train on them."""
    with contextlib.suppress(DeviceError):
        lease = try_lease(HardwareConfig(), slots)
        if lease is not None:
            lease.close()
            return lease.devices
    return None
