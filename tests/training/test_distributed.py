"""A run on several processes or machines is the run of one, within rounding."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from superft_hf.engine.devices import Devices
from superft_hf.engine.launcher import Launcher
from superft_hf.engine.machines import Machines
from superft_hf.records import RunRecord, RunState
from superft_hf.store import RunStore

pytestmark = pytest.mark.slow

IMAGES = {"max_train_samples": 40}
"""A multiple of the global batch of 8; of others, the last batch weighs differently on each process."""

SGD = {"optim": "sgd", "learning_rate": 0.01}
"""AdamW divides by the root of small sums, which makes rounding large."""


def work(store: RunStore, config) -> RunRecord:
    """Trains with the real launcher; where there are two machines, both are this one."""
    record = store.create_run(config, by="test", state=RunState.STARTING)
    paths, devices = store.run_paths(record.run_id), Devices("cpu", (), config.hardware.num_processes)
    launcher, machines = Launcher(), Machines.of(config.hardware)
    environment = launcher.environment(store.home, config, devices, machines) | {
        "PYTHONPATH": str(Path.cwd())
    }
    other = None
    if machines.count == 2:
        command = [sys.executable, "-m", "superft_hf.cli", "--home", str(store.home), "join", record.run_id]
        other = subprocess.Popen(
            [*command, "--machine", "1"], env={**os.environ, "PYTHONPATH": str(Path.cwd())},
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    with paths.log.open("ab") as log:
        done = subprocess.run(
            launcher.command(paths, devices, machines), env=environment, stdout=log, stderr=log, timeout=300
        )
    if other is not None:
        assert other.wait(60) == 0, other.stderr.read()
    assert done.returncode == 0, paths.log.read_text()
    return store.get_run(record.run_id)


def weights(store: RunStore, record: RunRecord) -> dict[str, torch.Tensor]:
    return load_file(store.run_paths(record.run_id).model / "model.safetensors")


def assert_alike(store: RunStore, first: RunRecord, second: RunRecord) -> None:
    assert first.state is second.state is RunState.COMPLETED
    assert first.global_step == second.global_step == 10
    one, other = weights(store, first), weights(store, second)
    assert max(float((one[name] - other[name]).abs().max()) for name in one) < 1e-5
    curves = [store.read_metrics(run.run_id, keys=("loss", "learning_rate")) for run in (first, second)]
    assert curves[0]["value"].to_numpy() == pytest.approx(curves[1]["value"].to_numpy(), abs=1e-5)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def test_two_processes_with_half_the_batch_each_are_one_with_the_whole(tiny_config, store):
    alone = work(store, tiny_config("vit", data=IMAGES, training={**SGD, "per_device_train_batch_size": 8}))
    spread = tiny_config(
        "vit", data=IMAGES, training={**SGD, "per_device_train_batch_size": 4}, hardware={"num_processes": 2}
    )
    assert_alike(store, alone, work(store, spread))


def test_two_machines_are_one(tiny_config, store):
    alone = work(store, tiny_config("vit", data=IMAGES, training={**SGD, "per_device_train_batch_size": 8}))
    spread = tiny_config(
        "vit", data=IMAGES, training={**SGD, "per_device_train_batch_size": 4},
        hardware={"num_machines": 2, "main_address": f"127.0.0.1:{free_port()}"},
    )  # fmt: skip
    record = work(store, spread)
    assert_alike(store, alone, record)
    assert {one.role for one in store.read_processes(record.run_id)} == {"rank 0"}
    assert (store.run_paths(record.run_id).folder / "worker-machine-1.log").exists()


def test_the_linear_rule_is_applied_once_and_written_down(tiny_config, store):
    config = tiny_config(
        "vit", data=IMAGES, hardware={"num_processes": 2},
        training={"per_device_train_batch_size": 4, "learning_rate": 1e-3, "linear_lr_scaling": True},
    )  # fmt: skip
    record = work(store, config)
    text = store.run_paths(record.run_id).resolved.read_text()
    assert "learning_rate: 0.002" in text and "linear_lr_scaling: false" in text
    points = store.read_metrics(record.run_id, keys=("learning_rate",))["value"]
    assert points.max() == pytest.approx(2e-3, rel=0.3)
