"""How fast training is, against two loops written by hand, in one run: same model, images, batch, optimizer.

    python benchmarks/throughput.py [--images sample:solar-cells] [--size 224] [--batch 16] [--steps 30]

Ours is a real run, started by the same launcher as any other. Its figure is train images ÷ seconds from
step 2 to the last step; evaluations and checkpoints are left out, and the whole time stands beside it.
(a) is the bare forward and backward pass with SGD on tensors that lie in memory, with our memory format and
allocator: what the machine could do at best. (b) is the plain loop of a tutorial as it comes: ImageFolder,
DataLoader, torchvision transforms, SGD. Each runs in a process of its own, one after the other.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from superft_hf.config_file import make_config
from superft_hf.engine.devices import Devices, cpu_cores
from superft_hf.engine.launcher import ALLOCATOR, Launcher
from superft_hf.hub.models import model_folder
from superft_hf.records import RunState
from superft_hf.sources.load import local_place
from superft_hf.store import RunStore

MODEL = "sample:efficientnet-lite0"


def main() -> None:
    """Runs the three, or one of the loops when a mode is named (which is how their processes are started)."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mode", nargs="?", choices=["bare", "plain"])
    parser.add_argument("--images", default="sample:solar-cells")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=30)
    asked = parser.parse_args()
    if asked.mode:
        print(json.dumps({"bare": bare_loop, "plain": plain_loop}[asked.mode](asked)))
        return
    bare, plain = _child("bare", asked, ALLOCATOR), _child("plain", asked, {})
    ours = our_run(asked)
    print(f"{MODEL}, {asked.size} px, batch {asked.batch}, {asked.steps} steps, {cpu_cores()} CPU cores")
    for name, found in (("ours", ours), ("(a) bare loop", bare), ("(b) plain loop", plain)):
        print(f"{name:15s} {found['images_per_second']:6.1f} images/s   whole time {found['whole_s']:6.1f} s")
    print(f"ours / (a) = {ours['images_per_second'] / bare['images_per_second']:.2f}")
    print(f"ours / (b) = {ours['images_per_second'] / plain['images_per_second']:.2f}")


def our_run(asked: argparse.Namespace) -> dict[str, float]:
    """A run of one epoch of `steps` steps, in a home of its own."""
    with tempfile.TemporaryDirectory() as aside:
        config = make_config(
            {
                "model": {"name_or_path": MODEL, "image_size": asked.size},
                "data": {"name_or_path": asked.images, "max_train_samples": asked.batch * asked.steps},
                "training": {
                    "num_train_epochs": 1,
                    "per_device_train_batch_size": asked.batch,
                    "optim": "sgd",
                    "learning_rate": 0.001,
                },
                "hardware": {"devices": "cpu"},
            }
        )
        store = RunStore(Path(aside))
        run_id = store.create_run(config, by="benchmark", state=RunState.STARTING).run_id
        launcher, devices, paths = Launcher(), Devices("cpu", (), 1), store.run_paths(run_id)
        begun = time.perf_counter()
        environment = launcher.environment(store.home, config, devices)
        with paths.log.open("wb") as log:
            subprocess.run(
                launcher.command(paths, devices), env=environment, stdout=log, stderr=log, check=False
            )
        whole = time.perf_counter() - begun
        record = store.get_run(run_id)
        if record.state is not RunState.COMPLETED:
            sys.exit(paths.log.read_text())
        facts = record.facts
        return {
            "images_per_second": facts["train_images_timed"] / facts["train_seconds_timed"],
            "whole_s": whole,
        }


def bare_loop(asked: argparse.Namespace) -> dict[str, float]:
    """Forward, backward and SGD on a batch that lies in memory."""
    import torch

    model = _model().to(memory_format=torch.channels_last).train()
    pixels = torch.randn(asked.batch, 3, asked.size, asked.size).contiguous(memory_format=torch.channels_last)
    labels = torch.from_numpy(np.arange(asked.batch) % 2)
    return _timed(_stepper(model), lambda: iter([(pixels, labels)] * asked.steps))


def plain_loop(asked: argparse.Namespace) -> dict[str, float]:
    """ImageFolder, DataLoader, transforms and SGD, with every default as it is."""
    from torch.utils.data import DataLoader, Subset
    from torchvision import datasets, transforms

    steps = [
        transforms.RandomResizedCrop(asked.size),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    ]
    config = make_config({"model": {"name_or_path": MODEL}, "data": {"name_or_path": asked.images}})
    folder = datasets.ImageFolder(str(local_place(config.data, Path())), transforms.Compose(steps))
    order = np.random.default_rng(0).permutation(len(folder))[: asked.batch * asked.steps]
    loader = DataLoader(Subset(folder, order.tolist()), batch_size=asked.batch, shuffle=True)
    return _timed(_stepper(_model().train()), lambda: iter(loader))


def _timed(step: Callable[[Any, Any], None], batches: Callable[[], Any]) -> dict[str, float]:
    """Images a second from step 2 to the last one."""
    begun = time.perf_counter()
    images, second = 0, 0.0
    for number, (pixels, labels) in enumerate(batches()):
        step(pixels, labels)
        if number == 0:
            second = time.perf_counter()
        else:
            images += len(labels)
    end = time.perf_counter()
    return {"images_per_second": images / (end - second), "whole_s": end - begun}


def _stepper(model: Any) -> Callable[[Any, Any], None]:
    import torch

    optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9)

    def step(pixels: Any, labels: Any) -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(pixel_values=pixels).logits, labels).backward()
        optimizer.step()

    return step


def _model() -> Any:
    from transformers import AutoModelForImageClassification

    return AutoModelForImageClassification.from_pretrained(
        model_folder(MODEL), num_labels=2, ignore_mismatched_sizes=True
    )


def _child(mode: str, asked: argparse.Namespace, environment: Mapping[str, str]) -> dict[str, float]:
    command = [sys.executable, __file__, mode, "--images", asked.images, "--size", str(asked.size)]
    command += ["--batch", str(asked.batch), "--steps", str(asked.steps)]
    variables = {**os.environ, **environment, "OMP_NUM_THREADS": str(cpu_cores())}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
