"""How fast training is, against the limit and three peers: same network, images, batch and optimizer.

    python benchmarks/throughput.py [--size 224] [--network convnet|vit] [--files as-is|jpeg|png]
                                    [--batch 16] [--steps 30] [--peers plain transformers fastai]
                                    [--peers-python PYTHON] [--workers 0] [--json FILE]

Ours is a real run by the same launcher as any other, once with an empty image cache and once with a full one.
Its figure is train images ÷ seconds from step 2 to the last step, as that of the others; evaluations and
checkpoints are left out, and the whole time stands beside it. The limit is the bare step on a batch that lies
in memory, with our memory format and allocator. The peers are a plain loop, the way of transformers' example
and a fastai Learner, each with its defaults; see throughput_peers. Each runs in a process of its own, one
after the other, and the memory is the largest of its process and loader processes together.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

from superft_hf.config_file import make_config
from superft_hf.engine.devices import Devices, cpu_cores
from superft_hf.engine.launcher import ALLOCATOR, Launcher
from superft_hf.hub.models import model_folder
from superft_hf.paths import cache_dir
from superft_hf.records import RunState
from superft_hf.sources.load import load_images
from superft_hf.store import RunStore

CONVNET = "sample:efficientnet-lite0"
PEERS_SCRIPT = Path(__file__).with_name("throughput_peers.py")
WATCH_S = 0.1


def main() -> None:
    """Runs all of them and prints a table."""
    asked = _arguments()
    with tempfile.TemporaryDirectory(prefix="superft-throughput-") as aside:
        root = Path(aside)
        folder = make_images(asked, root / "images")
        model = CONVNET if asked.network == "convnet" else str(make_vit(asked.size, root / "vit"))
        found = {"limit (batch in memory)": peer("resident", asked, folder, model, ALLOCATOR)}
        for kind in ("cold", "warm"):
            found[f"ours, {kind} cache"] = our_run(asked, folder, model, root / "home")
        for name in asked.peers:
            found[name] = peer(name, asked, folder, model, {})
    _print(asked, found)
    if asked.json:
        asked.json.write_text(
            json.dumps({"asked": vars(asked) | {"json": None}, "found": found}, default=str)
        )


def make_images(asked: argparse.Namespace, target: Path) -> Path:
    """A folder of somewhat more images than are trained on, in one folder a class, from those of a sample.

    `jpeg` and `png` are files as people have them: in colour, `--side` px wide and high.
    """
    config = make_config({"model": {"name_or_path": CONVNET}, "data": {"name_or_path": asked.images}})
    images = load_images(config.data, target.parent)
    split = images.splits["train"]
    order = np.random.default_rng(0).permutation(len(split))
    for number in range(max(60, round(1.2 * asked.batch * asked.steps))):
        index = int(order[number % len(order)])
        place = target / images.class_names[int(split.labels[index])]
        place.mkdir(parents=True, exist_ok=True)
        if asked.files == "as-is":
            suffix = Path(split.reference(index)).suffix or ".png"
            (place / f"{number:06d}{suffix}").write_bytes(split.encoded(index))
        else:
            with Image.open(io.BytesIO(split.encoded(index))) as opened:
                large = opened.convert("RGB").resize((asked.side, asked.side), Image.Resampling.BICUBIC)
            large.save(place / f"{number:06d}.{asked.files.replace('jpeg', 'jpg')}", quality=90)
    return target


def make_vit(size: int, folder: Path) -> Path:
    """A small vision transformer with random weights."""
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    config = ViTConfig(
        hidden_size=192, num_hidden_layers=6, num_attention_heads=3, intermediate_size=768, image_size=size,
        patch_size=16, num_labels=2,
    )  # fmt: skip
    ViTForImageClassification(config).save_pretrained(folder)
    ViTImageProcessor(size={"height": size, "width": size}).save_pretrained(folder)
    return folder


def our_run(asked: argparse.Namespace, folder: Path, model: str, home: Path) -> dict[str, Any]:
    """A run of one epoch of `steps` steps; the second one in a home finds its images prepared."""
    config = make_config(
        {
            "model": {"name_or_path": model, "image_size": asked.size, "strategy": "full"},
            "data": {
                "name_or_path": str(folder),
                "eval_fraction": 0.05,
                "test_fraction": 0.05,
                "max_train_samples": asked.batch * asked.steps,
            },
            "augmentation": {"preset": "light"},
            "training": {
                "num_train_epochs": 1,
                "per_device_train_batch_size": asked.batch,
                "optim": "sgd",
                "learning_rate": 0.001,
                "ema_decay": 0.0,
            },
            "hardware": {"devices": "cpu"},
        }
    )
    store = RunStore(home)
    run_id = store.create_run(config, by="benchmark", state=RunState.STARTING).run_id
    launcher, devices, paths = Launcher(), Devices("cpu", (), 1), store.run_paths(run_id)
    environment = launcher.environment(store.home, config, devices)
    with paths.log.open("wb") as log:
        whole_s, memory, _ = _watched(launcher.command(paths, devices), environment, log)
    record = store.get_run(run_id)
    if record.state is not RunState.COMPLETED:
        sys.exit(paths.log.read_text())
    facts, times = record.facts, {event.what: event.time for event in store.read_events(run_id)}
    return {
        "images_per_second": facts["train_images_timed"] / facts["train_seconds_timed"],
        "waiting_share": facts["train_seconds_waiting"] / facts["train_seconds_timed"],
        "first_step_s": _moment(times[RunState.RUNNING]) - _moment(record.started_at),
        "whole_s": whole_s,
        "memory_bytes": memory,
    }


def peer(
    name: str, asked: argparse.Namespace, folder: Path, model: str, environment: Mapping[str, str]
) -> dict[str, Any]:
    """One of the loops of throughput_peers."""
    python = sys.executable if name == "resident" else asked.peers_python
    command = [python, str(PEERS_SCRIPT), name, str(folder), "--model", str(model_folder(model))]
    command += ["--network", asked.network, "--size", str(asked.size), "--batch", str(asked.batch)]
    command += ["--steps", str(asked.steps), "--workers", str(asked.workers)]
    variables = {**os.environ, **environment, "OMP_NUM_THREADS": str(cpu_cores())}
    with tempfile.TemporaryFile() as out:
        _, memory, code = _watched(command, variables, out)
        out.seek(0)
        said = out.read().decode()
    if code:
        sys.exit(said)
    return {**json.loads(said.splitlines()[-1]), "memory_bytes": memory}


def _watched(command: Sequence[str], environment: Mapping[str, str], out: Any) -> tuple[float, int, int]:
    """Runs a command. Returns its seconds, the largest memory of its processes in bytes, its exit code."""
    begun, largest, is_over = time.perf_counter(), 0, threading.Event()
    process = subprocess.Popen(command, env=dict(environment), stdout=out, stderr=subprocess.STDOUT)
    own = psutil.Process(process.pid)

    def watch() -> None:
        nonlocal largest
        while not is_over.wait(WATCH_S):
            try:
                every = (own, *own.children(recursive=True))
                largest = max(largest, sum(one.memory_full_info().pss for one in every))
            except psutil.Error:  # one of them has just ended
                continue

    thread = threading.Thread(target=watch)
    thread.start()
    code = process.wait()
    is_over.set()
    thread.join()
    return time.perf_counter() - begun, largest, code


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _print(asked: argparse.Namespace, found: Mapping[str, Mapping[str, float]]) -> None:
    model = CONVNET if asked.network == "convnet" else "a small ViT"
    files = "files as they are" if asked.files == "as-is" else f"{asked.files} of {asked.side} px"
    print(
        f"{model}, {asked.size} px, batch {asked.batch}, {asked.steps} steps, {asked.images}, {files}, "
        f"{asked.workers} loader processes for the peers, {cpu_cores()} CPU cores, cache in {cache_dir()}"
    )
    print(f"{'':26}  images/s  of limit   waiting  first step     whole    memory")
    limit = found["limit (batch in memory)"]["images_per_second"]
    for name, one in found.items():
        print(
            f"{name:26}  {one['images_per_second']:8.1f}  {one['images_per_second'] / limit:8.2f}  "
            f"{100 * one['waiting_share']:6.1f} %  {one['first_step_s']:8.1f} s  {one['whole_s']:6.1f} s  "
            f"{one['memory_bytes'] / 1e9:5.2f} GB"
        )
    for name in asked.peers:
        ratio = found["ours, warm cache"]["images_per_second"] / found[name]["images_per_second"]
        print(f"ours, warm cache / {name} = {ratio:.2f}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", default="sample:solar-cells", help="a sample; default: %(default)s")
    parser.add_argument("--files", choices=["as-is", "jpeg", "png"], default="as-is")
    parser.add_argument("--side", type=int, default=500, help="of jpeg and png files, in px")
    parser.add_argument("--network", choices=["convnet", "vit"], default="convnet")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--workers", type=int, default=0, help="loader processes of the peers")
    parser.add_argument("--peers", nargs="*", default=["plain", "transformers"], metavar="PEER")
    parser.add_argument("--peers-python", default=sys.executable, help="where fastai is installed")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    return parser.parse_args()


if __name__ == "__main__":
    main()
