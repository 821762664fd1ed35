"""Several machines that train one run: who meets where, and the command that each of them runs.

The machines share the home by a network file system; the first one hosts the meeting (torch's static
rendezvous, so that rank 0, which alone writes, is there) and its disk holds the database. The others only
read. Each prepares the images for itself, so the images lie at the same path everywhere.
"""

import os
import shlex
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from superft_hf.config import HardwareConfig
from superft_hf.errors import ConfigError

PORT = 29500
"""torch's usual one."""

MACHINE_VARIABLE = "GROUP_RANK"
"""Set by torch's launcher: the number of the machine, 0 for the first."""


@dataclass(frozen=True)
class Machines:
    """The machines of a run.

    Attributes:
        count: How many.
        address: Host and port of the first one.
        rank: Which of them this is, 0 for the first.
    """

    count: int = 1
    address: str = ""
    rank: int = 0

    @classmethod
    def of(cls, hardware: HardwareConfig, rank: int = 0) -> "Machines":
        """The machines that a run asks for.

        Raises:
            ConfigError: If there is no machine of this number.
        """
        if not 0 <= rank < hardware.num_machines:
            raise ConfigError(
                f"There is no machine {rank} among {hardware.num_machines}.",
                hint=f"They are numbered from 0 to {hardware.num_machines - 1}; the first starts the run.",
            )
        address = hardware.main_address or f"{socket.gethostname()}:{PORT}"
        return cls(hardware.num_machines, address, rank)

    @property
    def is_first(self) -> bool:
        """Whether this machine writes."""
        return self.rank == 0

    def launch_words(self, num_processes: int) -> list[str]:
        """The words after `python` that start this machine's processes with torch's launcher.

        Args:
            num_processes: Of this machine.
        """
        launch = ["-m", "torch.distributed.run", "--nproc_per_node", str(num_processes)]
        if self.count == 1:  # any free port will do
            launch += ["--nnodes", "1", "--local_addr", "127.0.0.1"]
            return [*launch, "--rdzv_backend", "c10d", "--rdzv_endpoint", "127.0.0.1:0"]
        host, _, port = self.address.rpartition(":")
        launch += ["--nnodes", str(self.count), "--node_rank", str(self.rank)]
        return [*launch, "--rdzv_backend", "static", "--master_addr", host, "--master_port", port]


def this_machine() -> int:
    """The number of this machine in the run of this process, by its environment; 0 for the first."""
    return int(os.environ.get(MACHINE_VARIABLE, "0"))


def join_commands(hardware: HardwareConfig, home: Path, run_id: str) -> list[str]:
    """The command for each machine but the first, as one types it."""
    return [
        shlex.join(["superft", "--home", str(home), "join", run_id, "--machine", str(rank)])
        for rank in range(1, hardware.num_machines)
    ]


def run_here(words: list[str], environment: dict[str, str], log: Path, descriptors: tuple[int, ...]) -> int:
    """Runs this machine's part and waits for its end. Returns its exit status.

    Args:
        words: The words after `python`.
        environment: Of the processes.
        log: Where their output is added.
        descriptors: Of the leased devices.
    """
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, *words], env=environment, stdin=subprocess.DEVNULL, stdout=file,
            stderr=subprocess.STDOUT, pass_fds=descriptors,
        )  # fmt: skip
        try:
            return process.wait()
        except KeyboardInterrupt:
            process.terminate()
            process.wait()
            raise
