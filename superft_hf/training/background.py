"""Work that nothing waits for while it is done, such as writing a prediction file: by one thread, in order.

Whoever depends on it waits with `join`, which also raises what went wrong. So an error is never lost, and a
checkpoint never counts before the files of its evaluation are there.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class Background:
    """One thread that does what it is given, one after the other."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="background")
        self._pending: list[Future[None]] = []

    def begin(self, work: Callable[[], None]) -> None:
        """Does something as soon as what was given before is done."""
        self._pending.append(self._pool.submit(work))

    def join(self) -> None:
        """Waits until all is done. Raises whatever the first failure was."""
        pending, self._pending = self._pending, []
        for one in pending:
            one.result()
