"""Whether the system has ended a process for want of memory: it says so to nobody but its own records.

Three places are looked at, as far as they may be read: the kernel's messages, which say when and whom; the
counter of the container (cgroup); the counter of the machine. A counter tells that it happened, not when.
"""

import os
import re
import time
from pathlib import Path
from typing import NamedTuple

KERNEL_MESSAGES = Path("/dev/kmsg")
COUNTERS = (
    Path("/sys/fs/cgroup/memory.events"),
    Path("/sys/fs/cgroup/memory/memory.oom_control"),
    Path("/proc/vmstat"),
)
RECENT_S = 120.0
"""A death is noticed within 15 s; two minutes leave room for a busy machine, and for no older death."""

_MAX_MESSAGES = 20_000
_KILLED = re.compile(r"(?:Out of memory|Memory cgroup out of memory).*?[Kk]illed? process \d+ \(([^)]*)\)")
_COUNT = re.compile(r"^oom_kill (\d+)", re.MULTILINE)


class KillsFound(NamedTuple):
    """What was found.

    Attributes:
        is_recent: Whether a Python process was ended in the last two minutes.
        count: Processes ended since the start of the machine or container; 0 when none or unknown.
    """

    is_recent: bool = False
    count: int = 0


def find_kills(messages: Path = KERNEL_MESSAGES, counters: tuple[Path, ...] = COUNTERS) -> KillsFound:
    """Looks at the records of the system.

    Args:
        messages: The kernel's messages; they are seldom readable for everybody.
        counters: Files with a line `oom_kill 3`.
    """
    return KillsFound(_has_recent(messages), max(map(_count, counters), default=0))


def _count(path: Path) -> int:
    try:
        found = _COUNT.search(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return 0
    return int(found[1]) if found else 0


def _has_recent(messages: Path) -> bool:
    """The lines are `priority,number,microseconds since the start,flags;text`."""
    now = time.monotonic()
    for line in _read_messages(messages):
        head, _, text = line.partition(";")
        found = _KILLED.search(text)
        parts = head.split(",")
        if found is None or "python" not in found[1] or len(parts) < 3 or not parts[2].isdigit():
            continue
        if 0 <= now - int(parts[2]) / 1e6 <= RECENT_S:
            return True
    return False


def _read_messages(path: Path) -> list[str]:
    """One read gives one message of /dev/kmsg, and would wait for the next one after the last."""
    lines: list[str] = []
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return lines
    try:
        while len(lines) < _MAX_MESSAGES:
            block = os.read(descriptor, 8192)
            if not block:
                break
            lines += block.decode("utf-8", errors="replace").splitlines()
    except OSError:  # the end of the messages, or one that was overwritten meanwhile
        pass
    finally:
        os.close(descriptor)
    return lines
