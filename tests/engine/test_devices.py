import subprocess
import sys
from pathlib import Path

import pytest

from superft_hf.config import HardwareConfig
from superft_hf.engine.devices import Devices, cpu_cores, find_devices, list_gpus, share_of_cores, try_lease
from superft_hf.errors import DeviceError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """Leases of this test only, and no GPU."""
    monkeypatch.setenv("SUPERFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("superft_hf.engine.devices.platform.system", lambda: "Linux")
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    if Path("/usr/bin/nvidia-smi").exists():
        write_program(tmp_path, "exit 9")
    return tmp_path / "cache"


def write_program(tmp_path: Path, script: str) -> None:
    program = tmp_path / "bin" / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


@pytest.fixture
def two_gpus(tmp_path):
    """A program that lists two GPUs as NVIDIA's does."""
    write_program(
        tmp_path,
        "echo '0, GPU-aaaa-1, 81559, NVIDIA H100, 80GB'\necho '1, GPU-bbbb-2, [N/A], NVIDIA GB10'",
    )


def test_a_machine_without_gpus_has_its_cpu():
    assert list_gpus() == ()
    assert find_devices(HardwareConfig()) == Devices("cpu", (), 1)
    assert find_devices(HardwareConfig(num_processes=2)) == Devices("cpu", (), 2)
    assert cpu_cores() >= 1


def test_gpus_are_listed_with_name_and_memory(two_gpus):
    first, second = list_gpus()
    assert (first.index, first.name, first.memory_bytes) == (0, "NVIDIA H100, 80GB", 81559 * 2**20)
    assert (second.index, second.memory_bytes) == (1, 0)


@pytest.mark.parametrize(
    ("visible", "indices"), [("1", [1]), ("", []), ("-1", []), ("1,0", [0, 1]), ("GPU-bbbb", [1])]
)
def test_hidden_gpus_are_not_there(two_gpus, monkeypatch, visible, indices):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [gpu.index for gpu in list_gpus()] == indices


@pytest.mark.parametrize("script", ["exit 9", "echo nonsense", "echo; echo 1, 2", "kill -9 $$"])
def test_a_driver_that_does_not_answer_is_no_gpu(tmp_path, script):
    write_program(tmp_path, script)
    assert list_gpus() == ()


def test_auto_takes_gpus_and_cpu_takes_none(two_gpus):
    assert find_devices(HardwareConfig()) == Devices("cuda", (0, 1), 1)
    assert find_devices(HardwareConfig(devices="cpu")) == Devices("cpu", (), 1)
    assert find_devices(HardwareConfig(devices="1")) == Devices("cuda", (1,), 1)


def test_gpus_that_are_not_there_are_named(two_gpus):
    with pytest.raises(DeviceError, match="names GPU 7, but this machine has 2 GPUs") as caught:
        find_devices(HardwareConfig(devices="0,7"))
    assert "superft doctor" in caught.value.hint


def test_a_gpu_asked_for_on_a_machine_without():
    with pytest.raises(DeviceError, match="names GPU 0, but this machine has no GPU"):
        find_devices(HardwareConfig(devices="0"))


@pytest.mark.parametrize("devices", ["auto", "0,1", "0,0,1"])
def test_more_processes_than_gpus_are_refused(two_gpus, devices):
    with pytest.raises(DeviceError, match="num_processes is 3, but only 2 GPUs may be used"):
        find_devices(HardwareConfig(devices=devices, num_processes=3))


def test_a_gpu_named_twice_is_one(two_gpus):
    assert find_devices(HardwareConfig(devices="1,1")).indices == (1,)
    with pytest.raises(DeviceError, match="only 1 GPU may be used"):
        find_devices(HardwareConfig(devices="1,1", num_processes=2))


def test_a_lease_is_held_until_it_is_closed():
    first = try_lease(HardwareConfig())
    assert first is not None and first.devices.kind == "cpu"
    assert try_lease(HardwareConfig()) is None
    first.close()
    second = try_lease(HardwareConfig())
    assert second is not None
    second.close()
    second.close()


def test_slots_of_the_cpu():
    first, second = (try_lease(HardwareConfig(num_processes=count), slots=2) for count in (1, 4))
    assert first.devices == Devices("cpu", (), 1, slots=2)
    assert first.devices.names == second.devices.names == ("cpu-0", "cpu-1")
    assert (len(first.descriptors), len(second.descriptors)) == (1, 1), "several processes take one slot"
    assert try_lease(HardwareConfig(), slots=2) is None
    third = try_lease(HardwareConfig(), slots=3)
    assert third is not None
    first.close()
    assert try_lease(HardwareConfig(), slots=1) is None, "two slots beyond this one are taken"
    assert try_lease(HardwareConfig(), slots=2) is None
    third.close()
    again = try_lease(HardwareConfig(), slots=2)
    for lease in (second, again):
        lease.close()


def test_slots_do_not_count_for_gpus(two_gpus):
    assert find_devices(HardwareConfig(), slots=4) == Devices("cuda", (0, 1), 1)
    assert find_devices(HardwareConfig(devices="cpu"), slots=4) == Devices("cpu", (), 1, 4)


def test_share_of_cores(monkeypatch):
    monkeypatch.setattr("superft_hf.engine.devices.cpu_cores", lambda: 16)
    assert [share_of_cores(1), share_of_cores(2), share_of_cores(1, 3), share_of_cores(2, 3)] == [16, 8, 5, 2]
    assert share_of_cores(64, 2) == 1


def test_gpus_are_leased_one_by_one_and_only_as_many_as_are_needed(two_gpus):
    first, second = try_lease(HardwareConfig()), try_lease(HardwareConfig())
    assert (first.devices.indices, second.devices.indices) == ((0,), (1,))
    assert try_lease(HardwareConfig()) is None
    first.close()
    assert try_lease(HardwareConfig(num_processes=2)) is None
    third = try_lease(HardwareConfig(devices="0"))
    assert third.devices.indices == (0,)
    for lease in (second, third):
        lease.close()
    both = try_lease(HardwareConfig(num_processes=2))
    assert both.devices.indices == (0, 1)
    both.close()


def test_a_lease_lives_as_long_as_any_process_that_inherited_it():
    lease = try_lease(HardwareConfig())
    command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=lease.descriptors)
    lease.close()
    assert try_lease(HardwareConfig()) is None
    child.communicate()
    again = try_lease(HardwareConfig())
    assert again is not None
    again.close()


def test_leases_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SUPERFT_CACHE", str(tmp_path / "file"))
    with pytest.raises(DeviceError, match="cannot be written to"):
        try_lease(HardwareConfig())
