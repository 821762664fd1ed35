"""How much memory this process has taken at most, and how much is free."""

import resource
import sys
from pathlib import Path

import psutil
import torch

_STATUS = Path("/proc/self/status")


def peak_memory_bytes(device: torch.device) -> int:
    """The largest memory so far: of the process on a CPU, of the device's tensors on a GPU.

    On Linux the kernel's mark of this program (VmHWM) is read: `getrusage` would also count what the process
    was before it became this program, such as a copy of the dashboard.
    """
    if device.type != "cpu":
        return int(torch.accelerator.max_memory_allocated(device))
    if _STATUS.exists():
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def used_memory_bytes(device: torch.device) -> int:
    """The memory in use now, measured as peak_memory_bytes is."""
    if device.type != "cpu":
        return int(torch.accelerator.memory_allocated(device))
    return int(psutil.Process().memory_info().rss)


def free_memory_bytes(device: torch.device) -> int:
    """Memory that a process may still take there."""
    if device.type != "cpu":
        return int(torch.accelerator.get_memory_info(device)[0])
    return int(psutil.virtual_memory().available)
