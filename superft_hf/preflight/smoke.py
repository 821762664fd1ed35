"""The smoke run as seen from outside: it trains in a child process, since only that may import torch."""

import threading
from dataclasses import dataclass
from pathlib import Path

from superft_hf.config import RunConfig
from superft_hf.preflight.child import ask

MODULE = "superft_hf.training.smoke"


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
    return SmokeResult(**ask(MODULE, config, home, "The smoke run", stop=stop))
