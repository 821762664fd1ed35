"""Starts the worker of a run: its command, its environment, and the detached process.

A worker is connected to nothing of the process that starts it: it has a session of its own, reads from
/dev/null and writes to the run's log. It inherits the lease of its devices, so that they stay taken for as
long as it lives, whatever becomes of its parent.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from superft_hf.config import DataConfig, ModelConfig, RunConfig
from superft_hf.config_file import read_config
from superft_hf.engine.devices import Devices, Lease, share_of_cores
from superft_hf.engine.machines import Machines
from superft_hf.engine.processes import RUN_VARIABLE, describe_process
from superft_hf.engine.ready import ReadyPlace
from superft_hf.engine.settling import LAUNCHER
from superft_hf.errors import HomeError
from superft_hf.paths import CACHE_VARIABLE, HOME_VARIABLE, RunPaths, cache_dir
from superft_hf.store import RunStore

DIES_WITH_LAUNCHER = "SUPERFT_DIES_WITH_LAUNCHER"
"""Set to 1 for ranks: each must end when its launcher does. A worker alone outlives its parent."""

ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": "8589934592",
    "MALLOC_TRIM_THRESHOLD_": "34359738368",
    "MALLOC_TOP_PAD_": "268435456",
}
"""glibc keeps its memory instead of giving it back after every step: 1.5 × the speed of a step on a CPU."""

ALONE = Machines()
"""A run of this machine only."""

_USUAL = RunConfig(model=ModelConfig(name_or_path="any"), data=DataConfig(name_or_path="any"))
"""A run whose hardware is left to the machine."""


@dataclass(frozen=True)
class Launcher:
    """Starts local processes.

    Attributes:
        worker: What Python is told to run, before the run's folder: a module (`-m`, its name) or a script.
        ready: What Python is told to run as a worker that waits for its run, see `superft_hf.engine.ready`;
            empty: none is prepared.
    """

    worker: tuple[str, ...] = ("-m", "superft_hf.training.worker")
    ready: tuple[str, ...] = ()

    def command(self, paths: RunPaths, devices: Devices, machines: Machines = ALONE) -> list[str]:
        """The command that trains a run on these devices of this machine."""
        worker = [*self.worker, str(paths.folder)]
        if devices.kind == "cuda" and machines.count == 1:
            launch = ["-m", "accelerate.commands.launch", "--config_file", str(paths.accelerate_config)]
            return [sys.executable, *launch, *worker]
        if self._has_launcher(devices, machines):
            # accelerate starts a single process on a CPU, whatever it is asked for, and does not say so.
            return [sys.executable, *machines.launch_words(devices.num_processes), *worker]
        return [sys.executable, *worker]

    def environment(
        self, home: Path, config: RunConfig, devices: Devices, machines: Machines = ALONE
    ) -> dict[str, str]:
        """The environment of the worker: ours, and what must be set before a process begins."""
        made = {
            **os.environ,
            **ALLOCATOR,
            HOME_VARIABLE: str(home),
            CACHE_VARIABLE: str(cache_dir()),
            "OMP_NUM_THREADS": str(num_threads(config, devices)),
            "PYTHONUNBUFFERED": "1",
            "PYTHONSAFEPATH": "1",  # a file of the user's, such as datasets.py, must not stand for a library
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # the numbering of nvidia-smi, by which GPUs are leased
            "CUDA_VISIBLE_DEVICES": ",".join(str(index) for index in devices.indices),
        }
        if self._has_launcher(devices, machines):
            made[DIES_WITH_LAUNCHER] = "1"
        else:
            made.pop(DIES_WITH_LAUNCHER, None)
        return made

    def start(
        self, store: RunStore, run_id: str, config: RunConfig, lease: Lease, ready: ReadyPlace | None = None
    ) -> subprocess.Popen[bytes]:
        """Starts the worker of a run that is in state `starting`, and records its process.

        Args:
            store: Where the run is.
            run_id: The run.
            config: Its configuration.
            lease: The devices it trains on; the caller's copy stays open.
            ready: Where a worker may wait that takes the run at once; None: nowhere.

        Returns:
            The worker, or its launcher.

        Raises:
            HomeError: If a file of the run cannot be written, or the process cannot be started.
        """
        paths, devices = store.run_paths(run_id), lease.devices
        if devices.kind == "cpu":  # the worker shares out by the same number when it resolves its settings
            devices = replace(devices, slots=store.read_settings().cpu_slots)
        config = read_config(paths.resolved) if paths.resolved.exists() else config
        machines = Machines.of(config.hardware)
        try:
            if devices.kind == "cuda":
                write_accelerate_config(paths.accelerate_config, config, devices)
            environment = {
                **self.environment(store.home, config, devices, machines),
                RUN_VARIABLE: str(paths.folder),
            }
            with paths.log.open("ab") as log:
                process = None
                if ready is not None and not self._has_launcher(devices, machines):
                    process = ready.give(
                        paths.folder, environment, (log.fileno(), *lease.descriptors),
                        lambda pid: store.record_process(run_id, describe_process(pid, "rank 0")),
                    )  # fmt: skip
                process = process or subprocess.Popen(
                    self.command(paths, devices, machines),
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    close_fds=True,
                    pass_fds=lease.descriptors,
                )
        except OSError as error:
            raise HomeError(
                f"The worker could not be started: {error}.",
                hint="Look after free disk space and memory, then start the run again.",
            ) from error
        role = LAUNCHER if self._has_launcher(devices, machines) else "rank 0"
        try:
            store.record_process(run_id, describe_process(process.pid, role))
        except BaseException:  # nobody would watch it
            process.kill()
            raise
        return process

    def ready_place(self, home: Path) -> ReadyPlace | None:
        """A place for one ready worker of a home; None where none is to be prepared."""
        return ReadyPlace(self.ready, partial(self.ready_environment, home)) if self.ready else None

    def ready_environment(
        self, home: Path, devices: Devices, config: RunConfig | None = None
    ) -> dict[str, str] | None:
        """What a ready worker is started with; None where runs need a launcher of their own.

        Args:
            home: Where its run will be.
            devices: With the number of slots by which runs share the CPU.
            config: Of its run; None: of one that leaves its hardware to the machine.
        """
        return None if self._has_launcher(devices) else self.environment(home, config or _USUAL, devices)

    @staticmethod
    def _has_launcher(devices: Devices, machines: Machines = ALONE) -> bool:
        return devices.kind == "cuda" or devices.num_processes > 1 or machines.count > 1


def num_threads(config: RunConfig, devices: Devices) -> int:
    """CPU threads of each process: as asked, else its share of the cores, at least one."""
    return config.hardware.threads or share_of_cores(devices.num_processes, devices.slots)


def write_accelerate_config(path: Path, config: RunConfig, devices: Devices) -> None:
    """Writes what `accelerate launch` would otherwise take from the user's own default configuration."""
    precision = config.hardware.mixed_precision
    values = {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": "MULTI_GPU" if devices.num_processes > 1 else "NO",
        "num_machines": 1,
        "num_processes": devices.num_processes,
        "machine_rank": 0,
        "main_process_port": 0,  # a free one
        "gpu_ids": "all",  # of those that CUDA_VISIBLE_DEVICES leaves
        "mixed_precision": "no" if precision == "auto" else precision,  # auto: the worker decides
        "main_training_function": "main",
        "rdzv_backend": "static",
        "same_network": True,
        "use_cpu": False,
        "debug": False,
    }
    # As JSON, which is YAML with every text in quotes: accelerate reads YAML 1.1, where a bare NO is false.
    path.write_text(json.dumps(values, indent=2), encoding="utf-8")
