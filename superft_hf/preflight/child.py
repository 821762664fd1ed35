"""Asking a child process to train a little of a run, since only a child may import torch.

The child gets `{"config", "home"}` as JSON on stdin. Of the lines of JSON that it prints, those with a `step`
tell how far it is, and the last is its answer, or `{"error": …}`. It takes the devices of the run for that
time, so that it never presses a run that trains on a GPU.
"""

import json
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from superft_hf.config import RunConfig
from superft_hf.engine.devices import Lease, find_devices, try_lease
from superft_hf.engine.launcher import Launcher
from superft_hf.errors import DeviceError, OutOfMemoryError, SuperFTError, WorkerDiedError
from superft_hf.recipe.decided import roughly

Hear = Callable[[dict[str, Any]], None]

_POLL_S = 0.2


def ask(
    module: str,
    config: RunConfig,
    home: Path,
    title: str,
    *,
    hear: Hear | None = None,
    stop: threading.Event | None = None,
) -> dict[str, Any]:
    """Runs a module of superft_hf.training in one process, and waits for its answer.

    Args:
        module: As `python -m` names it.
        config: The run, as asked.
        home: Where zips are unpacked.
        title: What it is, for sentences, such as `The smoke run`.
        hear: Told what the child says of its progress.
        stop: Ends the child when set.

    Raises:
        DeviceError: If another run uses the GPUs, or they are not there.
        OutOfMemoryError: If the system ended the child, as it does when memory runs out.
        WorkerDiedError: If the child ended without a word, or was stopped.
        SuperFTError: What the child says went wrong.
    """
    # One process, whatever the run's number of them: not the launcher's command, but its environment.
    one = config.hardware.model_copy(update={"num_processes": 1})
    lease = _lease(config, title)
    environment = Launcher().environment(home, config, lease.devices if lease else find_devices(one))
    asked = json.dumps({"config": config.model_dump(mode="json"), "home": str(home)})
    try:
        with (
            tempfile.TemporaryFile() as said,
            subprocess.Popen(
                [sys.executable, "-P", "-m", module], env=environment, stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=said, start_new_session=True, text=True,
            ) as child,
        ):  # fmt: skip
            try:
                answer = _listen(child, asked, hear, stop)
                code = child.wait()
            finally:
                child.kill()  # an interrupt; a child that has ended is left alone
            said.seek(0)
            words = said.read().decode(errors="replace")
    finally:
        if lease:
            lease.close()
    return _checked(answer, words, code, config, title)


def _lease(config: RunConfig, title: str) -> Lease | None:
    """The GPUs for one process; None where there are none. Raises DeviceError."""
    one = config.hardware.model_copy(update={"num_processes": 1})
    if find_devices(one).kind != "cuda":
        return None
    lease = try_lease(one)
    if lease is None:
        raise DeviceError(
            f"{title} cannot be made now: another run uses the GPU.",
            hint="Try again when it has ended; the start itself waits its turn.",
        )
    return lease


def _listen(
    child: "subprocess.Popen[str]", asked: str, hear: Hear | None, stop: threading.Event | None
) -> dict[str, Any]:
    """Follows what the child prints until it ends; its answer, empty when there is none."""
    if stop is not None:
        threading.Thread(target=_end_on, args=(stop, child), daemon=True, name="stop-child").start()
    try:
        child.stdin.write(asked)
        child.stdin.close()
    except OSError:  # it has ended already, and its exit code says more
        return {}
    answer: dict[str, Any] = {}
    for line in child.stdout:
        try:
            found = json.loads(line)
        except json.JSONDecodeError:  # a library that writes to stdout
            continue
        if isinstance(found, dict) and "step" not in found:
            answer = found
        elif isinstance(found, dict) and hear is not None:
            hear(found)
    return answer


def _end_on(stop: threading.Event, child: "subprocess.Popen[str]") -> None:
    while child.poll() is None:
        if stop.wait(_POLL_S):
            child.kill()
            return


def _checked(answer: dict[str, Any], words: str, code: int, config: RunConfig, title: str) -> dict[str, Any]:
    if "error" in answer:
        raise SuperFTError(answer["error"]["message"], hint=answer["error"]["hint"])
    if answer:
        return answer
    if code == -signal.SIGKILL:
        # The system ends the largest process when memory runs out; a person's stop looks the same.
        raise OutOfMemoryError(roughly(config).training.per_device_train_batch_size, config.hardware.devices)
    said = [line for line in words.splitlines() if line.strip()] or ["no reason given"]
    raise WorkerDiedError(
        f"{title} ended with exit code {code}: {said[-1][:300]}",
        hint="Check with `superft doctor` that the installation is complete.",
    )
