"""The lines of the table of `benchmarks/predictions.py`, and how they are timed."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPEATS = 5
INTERACTION_S, MEMORY_BYTES = 0.5, 2**30


@dataclass(frozen=True)
class Figure:
    """One line of the table: a time in seconds, and the limit for it if there is one.

    `cpu_seconds` is the time that the process computed, all its threads together: on a busy machine it says
    more than the time that passed. `memory_bytes` is the highest memory so far.
    """

    what: str
    seconds: float
    cpu_seconds: float
    limit: float | None = None
    memory_bytes: int = field(default_factory=lambda: highest_memory())


def timed(
    what: str, call: Callable[[], Any], repeats: int = REPEATS, limit: float | None = INTERACTION_S
) -> Figure:
    """Calls it some times; the median counts."""
    return made_of(what, [clocked(call) for _ in range(repeats)], limit)


def made_of(what: str, times: list[tuple[float, float]], limit: float | None = INTERACTION_S) -> Figure:
    """The median of pairs of seconds that passed and seconds of computing."""
    seconds, cpu_seconds = (statistics.median(column) for column in zip(*times, strict=True))
    return Figure(what, seconds, cpu_seconds, limit)


def clocked(call: Callable[[], Any]) -> tuple[float, float]:
    """Seconds that pass, and seconds of computing."""
    begun, begun_cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - begun, time.process_time() - begun_cpu


def as_row(figure: Figure, plain: Figure) -> str:
    """A line of the Markdown table.

    Args:
        figure: What it tells.
        plain: What its time is compared with.
    """
    is_slow = figure.limit is not None and figure.seconds > figure.limit
    is_large = figure.limit is not None and figure.memory_bytes > MEMORY_BYTES
    cells = [
        figure.what,
        _ms(figure.seconds) + (" **over**" if is_slow else ""),
        _ms(figure.cpu_seconds),
        f"{figure.seconds / plain.seconds:.2f}",
        "" if figure.limit is None else _ms(figure.limit),
        f"{figure.memory_bytes / 2**20:,.0f} MiB" + (" **over**" if is_large else ""),
    ]
    return f"| {' | '.join(cells)} |"


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:,.0f} ms"


def highest_memory() -> int:
    """The most memory that this process held, in bytes; getrusage would tell of its parent's as well."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
