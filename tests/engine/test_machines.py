"""Who meets where, and what each machine runs."""

import socket
from pathlib import Path

import pytest

from superft_hf.config import HardwareConfig
from superft_hf.engine.devices import Devices
from superft_hf.engine.launcher import DIES_WITH_LAUNCHER, Launcher
from superft_hf.engine.machines import Machines, join_commands, this_machine
from superft_hf.errors import ConfigError
from superft_hf.paths import RunPaths

TWO = HardwareConfig(num_machines=2, main_address="10.0.0.1:29511", devices="cpu")


def test_of__the_first_machine_and_its_address():
    assert Machines.of(TWO) == Machines(2, "10.0.0.1:29511", 0)
    assert Machines.of(HardwareConfig(num_machines=3)).address == f"{socket.gethostname()}:29500"


@pytest.mark.parametrize("rank", [-1, 2])
def test_of__there_is_no_such_machine(rank):
    with pytest.raises(ConfigError, match=f"no machine {rank} among 2"):
        Machines.of(TWO, rank)


def test_launch_words__a_fixed_meeting_so_that_rank_0_is_on_the_first_machine():
    words = Machines.of(TWO, 1).launch_words(4)
    assert words == [
        "-m", "torch.distributed.run", "--nproc_per_node", "4", "--nnodes", "2", "--node_rank", "1",
        "--rdzv_backend", "static", "--master_addr", "10.0.0.1", "--master_port", "29511",
    ]  # fmt: skip
    alone = Machines().launch_words(2)
    assert alone[alone.index("--nnodes") + 1] == "1" and "127.0.0.1:0" in alone


def test_command__even_one_process_a_machine_has_a_launcher():
    devices, paths = Devices("cpu", (), 1), RunPaths(Path("/home/runs/20260101-0000-abcd"))
    launcher = Launcher()
    alone, spread = launcher.command(paths, devices), launcher.command(paths, devices, Machines.of(TWO))
    assert "torch.distributed.run" not in alone and "torch.distributed.run" in spread
    made = launcher.environment(paths.folder.parent, _config(), devices, Machines.of(TWO))
    assert made[DIES_WITH_LAUNCHER] == "1"
    gpus = launcher.command(paths, Devices("cuda", (0, 1), 2), Machines.of(TWO))
    assert "torch.distributed.run" in gpus and "accelerate.commands.launch" not in gpus


def test_join_commands__one_for_each_other_machine():
    assert join_commands(HardwareConfig(), Path("/runs"), "r") == []
    assert join_commands(HardwareConfig(num_machines=3), Path("/my runs"), "r") == [
        "superft --home '/my runs' join r --machine 1",
        "superft --home '/my runs' join r --machine 2",
    ]


def test_this_machine(monkeypatch):
    assert this_machine() == 0
    monkeypatch.setenv("GROUP_RANK", "3")
    assert this_machine() == 3


def _config():
    from superft_hf.config_file import make_config

    return make_config(
        {"model": {"name_or_path": "m"}, "data": {"name_or_path": "d"}, "hardware": TWO.model_dump()}
    )
