"""Which devices this machine has, found without importing torch, and their leases.

A device is leased by locking its file in the cache that all homes of a user share, so that two homes never
train on one GPU. The lock's file descriptor is handed down to the worker: the lease lasts as long as any
process that holds it, whatever becomes of the supervisor.
"""

import fcntl
import os
import platform
import shutil
import subprocess
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import psutil

from superft_hf.config import HardwareConfig
from superft_hf.errors import DeviceError
from superft_hf.paths import leases_dir

_CPU_SLOT = "cpu-"


@dataclass(frozen=True)
class Gpu:
    """A GPU: its index, name and memory in bytes."""

    index: int
    name: str
    memory_bytes: int


@dataclass(frozen=True)
class Devices:
    """What a run may use.

    Attributes:
        kind: `cuda`, `mps` or `cpu`.
        indices: Indices of the GPUs it may use; empty unless `cuda`.
        num_processes: How many processes train.
        slots: How many runs may train at once on this machine's CPU; 1 unless `cpu`.
    """

    kind: str
    indices: tuple[int, ...]
    num_processes: int
    slots: int = 1

    @property
    def names(self) -> tuple[str, ...]:
        """What is leased, one name a device: of GPUs a run needs `num_processes`, of CPU slots one."""
        if self.kind == "cpu":
            return tuple(f"{_CPU_SLOT}{slot}" for slot in range(self.slots))
        return tuple(f"cuda-{index}" for index in self.indices) or (self.kind,)

    @property
    def words(self) -> str:
        """Such as `the CPU` or `2 GPUs`, for sentences."""
        if self.kind == "cuda":
            return "a GPU" if self.num_processes == 1 else f"{self.num_processes} GPUs"
        return "the CPU" if self.kind == "cpu" else "the GPU"

    @property
    def waiting_words(self) -> str:
        """Why a run does not start yet while others hold its devices."""
        if self.slots > 1:
            return f"waits for one of the CPU's {self.slots} slots, which other runs use"
        others = "other runs use" if self.num_processes > 1 and self.indices else "another run uses"
        return f"waits for {self.words}, which {others}"


def list_gpus() -> tuple[Gpu, ...]:
    """The machine's NVIDIA GPUs that CUDA_VISIBLE_DEVICES leaves visible; empty when there are none."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    try:
        found = _query_gpus(program)
    except subprocess.TimeoutExpired:  # a slow driver is not remembered as a machine without GPUs
        return ()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return tuple(gpu for gpu, _ in found)
    allowed = [part.strip() for part in visible.split(",") if part.strip()]
    return tuple(gpu for gpu, uuid in found if any(_names_gpu(part, gpu, uuid) for part in allowed))


@lru_cache(maxsize=1)
def _query_gpus(program: str) -> tuple[tuple[Gpu, str], ...]:
    """Each GPU with its UUID. The answer is kept, since it takes a second and machines do not change."""
    query = [program, "--query-gpu=index,uuid,memory.total,name", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, check=False, timeout=20)
    except OSError:
        return ()
    if done.returncode:
        return ()
    rows = [line.split(", ", 3) for line in done.stdout.splitlines() if line.count(", ") >= 3]
    return tuple(
        (Gpu(int(index), name, int(memory) * 2**20 if memory.isdigit() else 0), uuid)
        for index, uuid, memory, name in rows
    )


def _names_gpu(part: str, gpu: Gpu, uuid: str) -> bool:
    """Whether a part of CUDA_VISIBLE_DEVICES means this GPU: its number, or the beginning of its UUID."""
    return part == str(gpu.index) or (part.startswith("GPU-") and uuid.startswith(part))


def cpu_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share_of_cores(num_processes: int, slots: int = 1) -> int:
    """CPU threads for each process of a run, when `slots` runs train at once; at least one.

    Example:
        >>> share_of_cores(64, slots=2)
        1
    """
    return max(1, cpu_cores() // (slots * num_processes))


def share_of_memory(slots: int = 1) -> int:
    """Bytes of memory for a run, when `slots` runs train at once."""
    return psutil.virtual_memory().total // slots


def find_devices(hardware: HardwareConfig, slots: int = 1) -> Devices:
    """Decides which devices a run may use.

    Args:
        hardware: What the run asks for.
        slots: How many runs may train at once on the CPU.

    Raises:
        DeviceError: If GPUs are named that are not there, or fewer than the processes asked for.
    """
    gpus = {gpu.index: gpu for gpu in list_gpus()}
    wanted = hardware.num_processes
    if hardware.devices in ("auto", "cpu"):
        if hardware.devices == "cpu" or not gpus:
            is_apple = (
                hardware.devices == "auto" and platform.system() == "Darwin" and platform.machine() == "arm64"
            )
            if is_apple and wanted == 1:
                return Devices("mps", (), wanted)
            return Devices("cpu", (), wanted, slots)
        indices = tuple(gpus)
    else:
        indices = tuple(dict.fromkeys(int(part) for part in hardware.devices.split(",")))
        missing = [index for index in indices if index not in gpus]
        if missing:
            raise DeviceError(
                f"hardware.devices names GPU {missing[0]}, but this machine has {_count(len(gpus))}.",
                hint="Set it to auto, cpu, or numbers that `superft doctor` lists.",
            )
    if wanted > len(indices):
        raise DeviceError(
            f"hardware.num_processes is {wanted}, but only {_count(len(indices))} may be used.",
            hint="Lower it, or allow more GPUs with hardware.devices.",
        )
    return Devices("cuda", indices, wanted)


class Lease:
    """Devices that are held until it is closed, or until every process that inherited it has ended."""

    def __init__(self, devices: Devices, descriptors: Sequence[int]) -> None:
        self.devices = devices
        self.descriptors = tuple(descriptors)

    def close(self) -> None:
        """Gives the devices back as far as this process is concerned."""
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.descriptors = ()


def try_lease(hardware: HardwareConfig, slots: int = 1) -> Lease | None:
    """Leases as many of the allowed devices as the run needs, or none.

    Args:
        hardware: What the run asks for.
        slots: How many runs may train at once on the CPU, of all homes of this user together.

    Returns:
        The lease, or None when too few are free at the moment.

    Raises:
        DeviceError: As find_devices; or if the locks cannot be written.
    """
    devices = find_devices(hardware, slots)
    needed = devices.num_processes if devices.indices else 1
    held: dict[str, int] = {}
    for name in devices.names:
        descriptor = _try_lock(name)
        if descriptor is not None:
            held[name] = descriptor
        if len(held) == needed:
            break
    if len(held) < needed or (devices.kind == "cpu" and _count_others(held) >= slots):
        for descriptor in held.values():
            os.close(descriptor)
        return None
    chosen = tuple(index for index in devices.indices if f"cuda-{index}" in held)
    return Lease(replace(devices, indices=chosen), tuple(held.values()))


def _count_others(held: Collection[str]) -> int:
    """CPU slots that other runs have, also those beyond our number: it may have been larger before."""
    others = [path.stem for path in leases_dir().glob(f"{_CPU_SLOT}*.lock") if path.stem not in held]
    free = [descriptor for name in others if (descriptor := _try_lock(name, fcntl.LOCK_SH)) is not None]
    for descriptor in free:
        os.close(descriptor)
    return len(others) - len(free)


def _try_lock(name: str, how: int = fcntl.LOCK_EX) -> int | None:
    try:
        leases_dir().mkdir(parents=True, exist_ok=True)
        descriptor = os.open(leases_dir() / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DeviceError(
            f"The folder {leases_dir()} for the locks of devices cannot be written to: {error.strerror}.",
            hint="Change its permissions, or choose another with SUPERFT_CACHE.",
        ) from error
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _count(number: int) -> str:
    return "no GPU" if number == 0 else "1 GPU" if number == 1 else f"{number} GPUs"
