"""The clock of a run: seconds at work, pauses and waiting left out."""

from collections.abc import Sequence
from datetime import datetime

import numpy as np

from superft_hf.records import LIVE_STATES, Event, RunState

_BEGINS = tuple(str(state) for state in LIVE_STATES)
_ENDS = tuple(str(state) for state in RunState if state not in LIVE_STATES)


def seconds_at_work(events: Sequence[Event], moments: Sequence[str]) -> np.ndarray:
    """How long a run had been at work at some moments.

    Args:
        events: Its history, oldest first.
        moments: UTC, ISO 8601, such as the times of its metric points.

    Returns:
        Seconds, one a moment. Where the history tells of no start, they count from the first moment.

    Example:
        >>> history = [Event("2026-01-01T00:00:00+00:00", "", "starting"),
        ...            Event("2026-01-01T00:01:00+00:00", "", "paused"),
        ...            Event("2026-01-01T02:00:00+00:00", "", "starting")]
        >>> seconds_at_work(history, ["2026-01-01T00:00:30+00:00", "2026-01-01T02:00:10+00:00"]).tolist()
        [30.0, 70.0]
    """
    times = np.array([_seconds(one) for one in moments], dtype=np.float64)
    if not len(times):
        return times
    ends: list[float] = []
    worked: list[float] = []
    is_at_work = False
    for event in events:
        if event.what not in (*_BEGINS, *_ENDS) or (event.what in _BEGINS) == is_at_work:
            continue
        moment = _seconds(event.time)
        worked.append((worked[-1] if worked else 0.0) + (moment - ends[-1] if is_at_work else 0.0))
        ends.append(moment)
        is_at_work = not is_at_work
    if not ends:
        return times - times.min()
    found = np.interp(times, ends, worked)
    # After the last change, time goes on only if the run does.
    return found + (np.maximum(times - ends[-1], 0.0) if is_at_work else 0.0)


def _seconds(iso: str) -> float:
    return datetime.fromisoformat(iso).timestamp()
