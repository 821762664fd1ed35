"""The processes of a run: are they alive, and how they are ended.

A pid alone proves nothing, since the system gives it to another process later: a process is the same one only
if it also began at the same moment. Groups are of no use either, because torch's launcher starts every rank
in a session of its own. So each process is known, and signalled, by itself.
"""

import contextlib
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from superft_hf.records import ProcessRecord

RUN_VARIABLE = "SUPERFT_RUN"
"""The folder of the run, in the environment of its launcher and ranks."""

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


def processes_of_run(folder: Path) -> list[ProcessRecord]:
    """Every process that was started to train the run of this folder, also those that are not recorded.

    Both its arguments and its environment must name the folder: an editor that has it open is none of ours.
    """
    found = []
    for process in psutil.process_iter(["cmdline", "create_time"]):
        if str(folder) not in (process.info["cmdline"] or ()):
            continue
        with contextlib.suppress(psutil.Error):
            if process.environ().get(RUN_VARIABLE) == str(folder):
                found.append(ProcessRecord(process.pid, process.info["create_time"], "rank"))
    return found


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
