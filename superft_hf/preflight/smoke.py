"""The smoke run as seen from outside: it trains in a child process, since only that may import torch."""

import json
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from superft_hf.config import RunConfig
from superft_hf.engine.devices import find_devices, try_lease
from superft_hf.engine.launcher import Launcher
from superft_hf.errors import DeviceError, OutOfMemoryError, SuperFTError, WorkerDiedError

MODULE = "superft_hf.training.smoke"
_POLL_S = 0.2


@dataclass(frozen=True)
class SmokeResult:
    """What a few steps in a child process showed of a run, by the run's own code.

    Attributes:
        device: In words, as the run would say it.
        peak_memory_bytes: Largest memory that the run is expected to take: of the process on a CPU, of the
            device on a GPU.
        free_memory_bytes: Memory that was free there before the start.
        images_per_second: Training throughput of all processes.
        step_s: Seconds an update.
        eval_batch_s: Seconds an evaluation batch.
        checkpoint_bytes: Size of one checkpoint on disk.
        total_steps: Updates in the whole run.
        duration_s: Expected seconds of the whole run, start-up, evaluations and test included.
        device_hours: Expected hours times devices.
        largest_batch_size: Largest power of two of `per_device_train_batch_size` that fits into the memory.
        disk_bytes: Expected size of the run's folder.
        free_disk_bytes: Free space where the home lies.
    """

    device: str
    peak_memory_bytes: int
    free_memory_bytes: int
    images_per_second: float
    step_s: float
    eval_batch_s: float
    checkpoint_bytes: int
    total_steps: int
    duration_s: float
    device_hours: float
    largest_batch_size: int
    disk_bytes: int
    free_disk_bytes: int


def measure(config: RunConfig, home: Path, stop: threading.Event | None = None) -> SmokeResult:
    """Trains a few batches of a run, and tells its memory, time and disk space.

    The child takes the devices of the run for that time, so that it never presses a run that trains on a GPU.

    Args:
        config: The run, as asked.
        home: Where zips are unpacked; its disk is looked at.
        stop: Ends the measurement when set.

    Raises:
        DeviceError: If another run uses the GPUs, or they are not there.
        OutOfMemoryError: If not even these steps fit into the memory.
        WorkerDiedError: If the child ended without a word, or was stopped.
        SuperFTError: What would make the run fail as well.
    """
    one = config.hardware.model_copy(update={"num_processes": 1})
    devices = find_devices(one)
    lease = try_lease(one) if devices.kind == "cuda" else None
    if devices.kind == "cuda" and lease is None:
        raise DeviceError(
            "The memory cannot be measured now: another run uses the GPU.",
            hint="Try again when it has ended; the start itself waits its turn.",
        )
    held = lease.devices if lease else devices
    environment = Launcher().environment(home, config, held)
    # Not the launcher's command: whatever the number of processes, one is measured.
    command = [sys.executable, "-P", "-m", MODULE]
    asked = json.dumps({"config": config.model_dump(mode="json"), "home": str(home)})
    try:
        with subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, start_new_session=True,
        ) as child:  # fmt: skip
            answer, words = _talk(child, asked, stop)
            code = child.wait()
    finally:
        if lease:
            lease.close()
    return _read(answer, words, code, config)


def _talk(child: "subprocess.Popen[str]", asked: str, stop: threading.Event | None) -> tuple[str, str]:
    text: str | None = asked
    while True:
        try:
            return child.communicate(text, timeout=_POLL_S)
        except subprocess.TimeoutExpired:
            text = None
            if stop is not None and stop.is_set():
                child.kill()


def _read(answer: str, words: str, code: int, config: RunConfig) -> SmokeResult:
    lines = answer.strip().splitlines()
    try:
        found = json.loads(lines[-1]) if lines else {}
    except json.JSONDecodeError:
        found = {}
    if "error" in found:
        raise SuperFTError(found["error"]["message"], hint=found["error"]["hint"])
    if found:
        return SmokeResult(**found)
    if code == -signal.SIGKILL:
        # The system ends the largest process when memory runs out; a person's stop looks the same.
        raise OutOfMemoryError(config.training.per_device_train_batch_size, config.hardware.devices)
    said = [line for line in words.splitlines() if line.strip()] or ["no reason given"]
    raise WorkerDiedError(
        f"The smoke run ended with exit code {code}: {said[-1][:300]}",
        hint="Check with `superft doctor` that the installation is complete.",
    )
