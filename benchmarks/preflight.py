"""How long the pre-flight check takes to open many images, and how much memory.

    python benchmarks/preflight.py [--images 50000] [--side 256]

Makes that many different JPEGs out of sample photos (pieces of random place, size and slant, a few of which
come out nearly the same), opens them all as the check does, and looks for copies among them. The same files
are then only decoded, by the same number of threads, in the same run: the ratio says what the look costs.
Peak memory is that of a process of its own, which does nothing else.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from skimage import data as photos
from sklearn.datasets import load_sample_images

from superft_hf.config_file import make_config
from superft_hf.engine.devices import cpu_cores
from superft_hf.hub.data import describe_data
from superft_hf.preflight import duplicates, pictures
from superft_hf.preflight.subject import Subject
from superft_hf.sources.images import open_rgb
from superft_hf.sources.scan import THREADS, open_images

CLASSES = 10


def main() -> None:
    """Makes the images, measures in two processes of their own, prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mode", nargs="?", choices=["check", "decode"])
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--side", type=int, default=256)
    asked = parser.parse_args()
    if asked.mode:
        measured = {"check": check, "decode": decode}[asked.mode](Path(asked.folder))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({**measured, "peak_bytes": peak}))
        return
    with tempfile.TemporaryDirectory() as aside:
        begun = time.perf_counter()
        write_images(Path(aside), asked.images, asked.side)
        print(f"{asked.images:,} JPEGs of {asked.side} px made in {time.perf_counter() - begun:.0f} s")
        found, plain = _child("check", aside), _child("decode", aside)
    whole = found["open_s"] + found["compare_s"]
    print(f"on {cpu_cores()} CPU cores with {THREADS} threads:")
    print(f"opened and looked at in {found['open_s']:.1f} s: {asked.images / found['open_s']:,.0f} images/s")
    print(f"compared in {found['compare_s']:.1f} s: {' '.join(found['findings']) or 'no copies'}")
    print(f"whole check {whole:.1f} s; peak memory {found['peak_bytes'] / 2**20:,.0f} MiB")
    print(f"plain decoding {plain['open_s']:.1f} s: {asked.images / plain['open_s']:,.0f} images/s")
    print(f"the look takes {found['open_s'] / plain['open_s']:.2f} × the time of plain decoding")


def check(folder: Path) -> dict[str, Any]:
    """Opens the images as the pre-flight check does, and compares them."""
    config = make_config(
        {"model": {"name_or_path": "none"}, "data": {"name_or_path": str(folder), "on_bad_image": "skip"}}
    )
    data, images = describe_data(config.data, folder / "home")
    begun = time.perf_counter()
    subject = Subject(config, open_images(images, config.data, is_deep=True), data, None)
    opened = time.perf_counter()
    found = [*pictures.find(subject), *duplicates.find(subject)]
    return {
        "open_s": opened - begun,
        "compare_s": time.perf_counter() - opened,
        "findings": [one.title for one in found if one.level != "fine"],
    }


def decode(folder: Path) -> dict[str, float]:
    """Decodes the same files as training does, and keeps nothing."""
    paths = sorted(folder.rglob("*.jpg"))
    begun = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(paths), 1024):
            list(pool.map(lambda path: open_rgb(path.read_bytes()).size, paths[start : start + 1024]))
    return {"open_s": time.perf_counter() - begun}


def write_images(folder: Path, count: int, side: int) -> None:
    """Different pieces of real photos, in class folders."""
    sources = [
        photos.astronaut(),
        photos.coffee(),
        photos.chelsea(),
        photos.rocket(),
        *load_sample_images().images,
    ]
    whole = [Image.fromarray(one) for one in sources]
    for number in range(CLASSES):
        (folder / f"class {number}").mkdir()
    random = np.random.default_rng(0)
    draws = [(index, *random.random(6)) for index in range(count)]
    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, count, 1024):
            list(pool.map(lambda drawn: _write(folder, whole, side, drawn), draws[start : start + 1024]))


def _write(folder: Path, whole: list[Image.Image], side: int, drawn: tuple[float, ...]) -> None:
    """One piece: a random quadrilateral of a random photo, which no other piece repeats."""
    index, which, *place = drawn
    photo = whole[int(which * len(whole))]
    width, height = photo.size
    length = min(photo.size) * (0.3 + 0.6 * place[0])
    left, top = place[1] * (width - length), place[2] * (height - length)
    lean = (place[3] - 0.5) * 0.6 * length
    # The corners, from the upper left one on, against the clock.
    corners = (
        left + max(0, lean), top, left + max(0, -lean), top + length,
        left + length - max(0, lean), top + length, left + length - max(0, -lean), top,
    )  # fmt: skip
    piece = photo.transform((side, side), Image.Transform.QUAD, corners, Image.Resampling.BILINEAR)
    if place[4] < 0.5:
        piece = piece.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    piece.save(folder / f"class {index % CLASSES}" / f"{index:06d}.jpg", quality=88)


def _child(mode: str, folder: str) -> dict[str, Any]:
    command = [sys.executable, __file__, mode, folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
