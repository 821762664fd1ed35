"""The processes of a run: are they alive, and how they are ended.

A pid alone proves nothing, since the system gives it to another process later: a process is the same one only
if it also began at the same moment. Groups are of no use either, because torch's launcher starts every rank
in a session of its own. So each process is known, and signalled, by itself.
"""

import os
import signal
import time
from collections.abc import Callable, Sequence

import psutil

from superft_hf.records import ProcessRecord

STOP_GRACE_S = 10.0
"""How long a process may take to end by itself after SIGTERM."""

_SAME_START_S = 2.0
"""The moment of a start is counted from the boot time, which moves a little when the clock is set."""


def describe_process(pid: int, role: str) -> ProcessRecord:
    """The record of a process that is there now; its role is `launcher`, or `rank 0`, `rank 1` and so on."""
    try:
        started = psutil.Process(pid).create_time()
    except psutil.Error:  # it has ended already
        started = time.time()
    return ProcessRecord(pid, started, role)


def is_alive(process: ProcessRecord) -> bool:
    """Whether this very process still works. One that has ended but was not waited for does not."""
    try:
        found = psutil.Process(process.pid)
        is_same = abs(found.create_time() - process.started) < _SAME_START_S
        return is_same and found.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def processes_naming(argument: str) -> list[ProcessRecord]:
    """Every process that was started with exactly this argument, such as the folder of a run."""
    return [
        ProcessRecord(process.pid, process.info["create_time"], "rank")
        for process in psutil.process_iter(["cmdline", "create_time"])
        if argument in (process.info["cmdline"] or ())
    ]


def living(processes: Sequence[ProcessRecord]) -> list[ProcessRecord]:
    """Those that still work."""
    return [process for process in processes if is_alive(process)]


def send_signal(processes: Sequence[ProcessRecord], number: signal.Signals) -> None:
    """Signals those that still work; one that ends meanwhile is no error."""
    for process in living(processes):
        try:
            os.kill(process.pid, number)
        except ProcessLookupError:
            continue


def stop_processes(read: Callable[[], Sequence[ProcessRecord]], grace_s: float = STOP_GRACE_S) -> None:
    """Ends processes and returns when they are gone: SIGTERM first, SIGKILL after a grace.

    Args:
        read: Reads the processes anew, since a rank may record itself while it is being waited for.
        grace_s: How long they may take to end by themselves.
    """
    send_signal(read(), signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while left := living(read()):
        if time.monotonic() >= deadline:
            send_signal(left, signal.SIGKILL)
        time.sleep(0.05)
