import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from superft_hf.config_file import dump_config
from superft_hf.engine import devices
from superft_hf.engine.devices import Devices, Gpu, cpu_cores, find_devices, list_gpus, try_lease
from superft_hf.engine.launcher import DIES_WITH_LAUNCHER, Launcher, write_accelerate_config
from superft_hf.engine.processes import is_alive, living, processes_of_run, send_signal
from superft_hf.engine.settling import death
from superft_hf.errors import DeviceError, HomeError
from superft_hf.records import RunState

CPU = Devices("cpu", (), 1)
TWO_GPUS = Devices("cuda", (1, 3), 2)


@pytest.fixture
def paths(store, config):
    return store.run_paths(store.create_run(config("complete"), by="test", state=RunState.STARTING).run_id)


def test_command__one_cpu_process(paths):
    module = "superft_hf.training.worker"
    assert Launcher().command(paths, CPU) == [sys.executable, "-m", module, str(paths.folder)]


def test_command__two_cpu_processes(paths):
    command = Launcher().command(paths, Devices("cpu", (), 2))
    assert command[1:3] == ["-m", "torch.distributed.run"]
    assert command[command.index("--nproc_per_node") + 1] == "2"
    assert command[-3:] == ["-m", "superft_hf.training.worker", str(paths.folder)]


@pytest.mark.parametrize("gpus", [Devices("cuda", (0,), 1), TWO_GPUS])
def test_command__gpus(paths, gpus):
    command = Launcher().command(paths, gpus)
    assert command[1:] == [
        "-m", "accelerate.commands.launch", "--config_file", str(paths.accelerate_config),
        "-m", "superft_hf.training.worker", str(paths.folder),
    ]  # fmt: skip


def test_environment__cpu(home, cache, config, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    made = Launcher().environment(home, config("x"), CPU)
    expected = {
        "MALLOC_MMAP_THRESHOLD_": "8589934592", "MALLOC_TRIM_THRESHOLD_": "34359738368",
        "MALLOC_TOP_PAD_": "268435456", "OMP_NUM_THREADS": str(cpu_cores()), "PYTHONUNBUFFERED": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false", "CUDA_VISIBLE_DEVICES": "", "SUPERFT_HOME": str(home),
        "SUPERFT_CACHE": str(cache),
    }  # fmt: skip
    assert {key: made.get(key) for key in expected} == expected
    assert DIES_WITH_LAUNCHER not in made


def test_environment__threads_as_asked_else_a_share_of_at_least_one(home, config):
    many = Devices("cpu", (), 1000)
    assert Launcher().environment(home, config("x", threads=3), CPU)["OMP_NUM_THREADS"] == "3"
    assert Launcher().environment(home, config("x"), many)["OMP_NUM_THREADS"] == "1"


def test_environment__leased_gpus(home, config):
    made = Launcher().environment(home, config("x"), TWO_GPUS)
    assert made["CUDA_VISIBLE_DEVICES"] == "1,3"
    assert made["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert made[DIES_WITH_LAUNCHER] == "1"


def test_write_accelerate_config(tmp_path, config):
    path = tmp_path / "accelerate.yaml"
    write_accelerate_config(path, config("x", mixed_precision="bf16"), TWO_GPUS)
    values = yaml.safe_load(path.read_text())
    assert values["distributed_type"] == "MULTI_GPU"
    assert values["num_processes"] == 2
    assert values["mixed_precision"] == "bf16"
    assert values["main_process_port"] == 0
    write_accelerate_config(path, config("x"), Devices("cuda", (0,), 1))
    values = yaml.safe_load(path.read_text())
    assert (values["distributed_type"], values["mixed_precision"]) == ("NO", "no")


def test_start__detached_logged_recorded_and_leased(store, launcher, config, monkeypatch, until):
    monkeypatch.setenv("HF_TOKEN", "hf_never_written")
    asked = config("sleep 60")
    run_id = store.create_run(asked, by="test", state=RunState.STARTING).run_id
    lease = try_lease(asked.hardware)
    process = launcher.start(store, run_id, asked, lease)
    lease.close()
    try:
        recorded = store.read_processes(run_id)
        assert [(one.pid, one.role) for one in recorded] == [(process.pid, "rank 0")]
        assert is_alive(recorded[0])
        assert os.getsid(process.pid) == process.pid
        folder = store.run_paths(run_id).folder
        until(lambda: [one.pid for one in processes_of_run(folder)] == [process.pid])
        assert try_lease(asked.hardware) is None
        assert Path(f"/proc/{process.pid}/fd/0").resolve() == Path(os.devnull)
    finally:
        send_signal(store.read_processes(run_id), signal.SIGKILL)
        process.wait()
    assert (again := try_lease(asked.hardware)) is not None
    again.close()
    files = [path for path in store.run_paths(run_id).folder.rglob("*") if path.is_file()]
    assert all(b"hf_never_written" not in path.read_bytes() for path in files)


def test_start__what_resolved_yaml_says_wins(store, launcher, config, monkeypatch):
    asked = config("exit 1")
    run_id = store.create_run(asked, by="test", state=RunState.STARTING).run_id
    store.run_paths(run_id).resolved.write_text(dump_config(config("exit 1", threads=5)))
    seen = {}
    monkeypatch.setattr(subprocess, "Popen", lambda command, **keys: seen.update(keys) or _Started())
    lease = try_lease(asked.hardware)
    launcher.start(store, run_id, asked, lease)
    lease.close()
    assert seen["env"]["OMP_NUM_THREADS"] == "5"


def test_start__a_log_that_cannot_be_written(store, launcher, config):
    asked = config("complete")
    run_id = store.create_run(asked, by="test", state=RunState.STARTING).run_id
    store.run_paths(run_id).log.mkdir()
    lease = try_lease(asked.hardware)
    with pytest.raises(HomeError, match="could not be started"):
        launcher.start(store, run_id, asked, lease)
    lease.close()


def test_start__the_first_start_has_the_share_of_a_slot(store, launcher, config, monkeypatch):
    monkeypatch.setattr("superft_hf.engine.devices.cpu_cores", lambda: 12)
    store.change_settings(cpu_slots=3)
    asked = config("x", num_processes=2)
    run_id = store.create_run(asked, by="test", state=RunState.STARTING).run_id
    seen = {}
    monkeypatch.setattr(subprocess, "Popen", lambda command, **keys: seen.update(keys) or _Started())
    lease = try_lease(asked.hardware)
    launcher.start(store, run_id, asked, lease)
    lease.close()
    assert seen["env"]["OMP_NUM_THREADS"] == "2"


@pytest.mark.slow
def test_start__two_cpu_processes_in_sessions_of_their_own(store, launcher, config, until):
    asked = config("sleep 60", num_processes=2)
    run_id = store.create_run(asked, by="test", state=RunState.STARTING).run_id
    lease = try_lease(asked.hardware)
    process = launcher.start(store, run_id, asked, lease)
    lease.close()
    log = store.run_paths(run_id).log
    until(lambda: len(store.read_processes(run_id)) == 3)
    until(lambda: "rank 0 of 2" in log.read_text() and "rank 1 of 2" in log.read_text())
    roles = sorted(one.role for one in store.read_processes(run_id))
    assert roles == ["launcher", "rank 0", "rank 1"]
    send_signal(store.read_processes(run_id), signal.SIGTERM)
    process.wait(timeout=20)
    until(lambda: not living(store.read_processes(run_id)))


@pytest.mark.slow
def test_command__accelerate_understands_it(store, launcher, config, paths):
    """Without a GPU accelerate starts the one process all the same: the command and our file are right."""
    gpu = Devices("cuda", (0,), 1)
    write_accelerate_config(paths.accelerate_config, config("x"), gpu)
    environment = launcher.environment(store.home, config("x"), gpu)
    done = subprocess.run(
        launcher.command(paths, gpu), env=environment, capture_output=True, text=True, check=False
    )
    assert "rank 0 of 1 says complete" in done.stdout, done.stderr
    assert store.get_run(paths.folder.name).state is RunState.COMPLETED


def test_death__exit_code_without_a_log(tmp_path):
    assert death(1, tmp_path / "none.log").message == "The worker ended with exit code 1 without a word."


class _Started:
    pid = os.getpid()


# Devices


@pytest.fixture
def four_gpus(tmp_path, monkeypatch):
    """An nvidia-smi that knows four GPUs."""
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    lines = "".join(f"{index}, GPU-{index}aa, 81559, NVIDIA H100, 80GB\n" for index in range(4))
    program.write_text(f"#!/bin/sh\nprintf '{lines}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    devices._query_gpus.cache_clear()
    yield
    devices._query_gpus.cache_clear()


def test_list_gpus(four_gpus):
    assert list_gpus()[3] == Gpu(3, "NVIDIA H100, 80GB", 81559 * 2**20)


@pytest.mark.parametrize(
    ("visible", "indices"), [("1,3", [1, 3]), ("GPU-2a", [2]), ("", []), ("-1", []), ("9", [])]
)
def test_list_gpus__only_those_that_are_visible(four_gpus, monkeypatch, visible, indices):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [gpu.index for gpu in list_gpus()] == indices


def test_find_devices(four_gpus, config):
    assert find_devices(config("x", devices="auto").hardware) == Devices("cuda", (0, 1, 2, 3), 1)
    assert find_devices(config("x").hardware) == CPU
    with pytest.raises(DeviceError, match="names GPU 4, but this machine has 4 GPUs"):
        find_devices(config("x", devices="4").hardware)
    with pytest.raises(DeviceError, match="num_processes is 3, but only 2 GPUs"):
        find_devices(config("x", devices="0,1", num_processes=3).hardware)


def test_try_lease__gpus_are_shared_out(four_gpus, cache, config):
    two = config("x", devices="auto", num_processes=2).hardware
    three = config("x", devices="auto", num_processes=3).hardware
    first = try_lease(two)
    assert first.devices.indices == (0, 1)
    assert try_lease(three) is None, "what it took meanwhile is given back"
    second = try_lease(two)
    assert second.devices.indices == (2, 3)
    first.close()
    third = try_lease(config("x", devices="0").hardware)
    assert third.devices.indices == (0,)
    for lease in (second, third):
        lease.close()


def test_try_lease__locks_that_cannot_be_written(tmp_path, monkeypatch, config):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SUPERFT_CACHE", str(tmp_path / "file"))
    with pytest.raises(DeviceError, match="locks of devices cannot be written"):
        try_lease(config("x").hardware)


def test_waiting_words():
    assert CPU.waiting_words == "waits for the CPU, which another run uses"
    two_slots = Devices("cpu", (), 1, slots=2)
    assert two_slots.waiting_words == "waits for one of the CPU's 2 slots, which other runs use"
    assert TWO_GPUS.waiting_words == "waits for 2 GPUs, which other runs use"
