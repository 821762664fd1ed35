"""Work that a click began and another click may stop: it goes on in a thread while the page is used."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from superft_hf.errors import SuperFTError

MAX_KEPT = 16

T = TypeVar("T")


@dataclass
class Stoppable(Generic[T]):
    """Work at work or done.

    Attributes:
        future: Its result, once done.
        stop: Ends it when set.
    """

    future: Future[T] = field(default_factory=Future)
    stop: threading.Event = field(default_factory=threading.Event)

    def result(self) -> T | SuperFTError | None:
        """What came of it; None while it is at work."""
        if not self.future.done():
            return None
        error = self.future.exception()
        if error is None:
            return self.future.result()
        if isinstance(error, SuperFTError):
            return error
        raise error


W = TypeVar("W", bound=Stoppable)


def begin(kept: dict[str, W], key: str, work: W, make: Callable[[], T]) -> None:
    """Begins work in a thread of its own and keeps it; what is at work for other settings is stopped.

    Args:
        kept: Works by their settings, the oldest first; at most MAX_KEPT stay.
        key: The settings of this one.
        work: What is kept; it may be heard before it is done.
        make: Gives the result.
    """
    for other in kept.values():
        other.stop.set()
    pool = ThreadPoolExecutor(1, thread_name_prefix=type(work).__name__)
    work.future = pool.submit(make)
    pool.shutdown(wait=False)
    kept[key] = work
    while len(kept) > MAX_KEPT:
        kept.pop(next(iter(kept)))


def forget(kept: dict[str, W], key: str) -> None:
    """Ends the work for these settings if it is at work, and forgets it."""
    found = kept.pop(key, None)
    if found is not None:
        found.stop.set()
