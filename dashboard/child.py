"""The one long-lived process that computes with torch on behalf of pages.

Pages never import torch. They name a function by text, and only the child imports it. The child computes with
one thread at low priority, so that it takes little from a run at work; it is replaced when it dies, and ends
when the web server does. loky starts it: a fork of the threaded web server could hang, and multiprocessing's
spawn would run the page again as `__main__`.
"""

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pkgutil import resolve_name
from typing import Any

from joblib.externals.loky.process_executor import ProcessPoolExecutor, ShutdownExecutorError

from superft_hf.errors import SuperFTError
from superft_hf.records import Failure

PREDICT = "superft_hf.training.inference:predict"
_THREADS = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
_NICENESS = 10
_IDLE_S = 24 * 3600
_WATCH_S = 1.0


class ChildDiedError(SuperFTError):
    """The helper process ended in the middle of its work, twice."""

    def __init__(self) -> None:
        super().__init__(
            "The process that computes for this page ended unexpectedly.",
            hint="Try again with fewer or smaller images; the machine may be short of memory.",
        )


class Child:
    """One process, started at the first call. Safe to share between the threads of several tabs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._executor: ProcessPoolExecutor | None = None

    def call(self, function: str, *args: Any) -> Any:
        """Calls a function by its name, such as `package.module:function`, in the child.

        Args:
            function: Where it lies; only the child imports it.
            args: Picklable arguments.

        Returns:
            What the function returned.

        Raises:
            SuperFTError: With message and hint of one that the function raised.
            ChildDiedError: If the child died, and its successor as well.
        """
        for _ in range(2):
            executor = self._started()
            try:
                answer = executor.submit(_call, function, args).result()
            except (BrokenProcessPool, ShutdownExecutorError):
                self._drop(executor)
                continue
            if isinstance(answer, Failure):
                raise SuperFTError(answer.message, hint=answer.hint)
            return answer
        raise ChildDiedError

    def close(self) -> None:
        """Ends the process."""
        with self._lock:
            executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=False, kill_workers=True)

    def _started(self) -> ProcessPoolExecutor:
        with self._lock:
            if self._executor is None:
                self._executor = ProcessPoolExecutor(
                    max_workers=1, timeout=_IDLE_S, initializer=_begin, initargs=(os.getpid(),), env=_THREADS
                )
            return self._executor

    def _drop(self, executor: ProcessPoolExecutor) -> None:
        with self._lock:
            if self._executor is executor:
                self._executor = None


def _begin(server: int) -> None:
    os.nice(_NICENESS)
    # Not PR_SET_PDEATHSIG: it fires when the thread that started the child ends, and a page's threads end.
    threading.Thread(target=_leave_with, args=(server,), daemon=True).start()


def _leave_with(server: int) -> None:
    while os.getppid() == server:
        time.sleep(_WATCH_S)
    os._exit(0)


def _call(name: str, args: tuple[Any, ...]) -> Any:
    """Runs in the child. Our errors go back as records: those with own arguments do not pickle."""
    function: Callable[..., Any] = resolve_name(name)
    try:
        return function(*args)
    except SuperFTError as error:
        return Failure.of(error)
