"""Every file name of a home, spelt in one place.

A home (`SUPERFT_HOME`, by default ./runs) holds all of a project. Names typed by a person never become
part of a path: only a `run_id`, which is made by us, does.
"""

import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from superft_hf.errors import DiskFullError, HomeError, RunNotFoundError, is_disk_full

HOME_VARIABLE = "SUPERFT_HOME"
CACHE_VARIABLE = "SUPERFT_CACHE"
UNPACKED = "unpacked"
RUN_ID_PATTERN = re.compile(r"[0-9]{8}-[0-9]{4}-[a-z0-9]{4,8}")


def home_dir(asked: str | Path | None = None) -> Path:
    """The absolute home: what was asked for, else `SUPERFT_HOME`, else ./runs."""
    return Path(asked or os.environ.get(HOME_VARIABLE) or "runs").expanduser().absolute()


def make_home(home: Path) -> Path:
    """Makes the home, and makes sure that it can be written to.

    Raises:
        HomeError: If it is a file, or cannot be created or written to.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            pass
    except OSError as error:
        if is_disk_full(error):
            raise DiskFullError(home) from error
        raise HomeError(
            f"The folder {home} cannot be written to: {error.strerror or error}.",
            hint=f"Choose another with --home or {HOME_VARIABLE}, or change its permissions.",
        ) from error
    return home


def cache_dir() -> Path:
    """The folder that all homes of a user share: samples, and the locks of the machine's devices."""
    return Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "superft").expanduser().absolute()


def samples_dir() -> Path:
    """Where the samples lie once fetched."""
    return cache_dir() / "samples"


def leases_dir() -> Path:
    """Where the lock files of this machine's devices lie, one file a device."""
    return cache_dir() / "leases"


@dataclass(frozen=True)
class HomePaths:
    """The files of a home that belong to no single run."""

    home: Path

    @property
    def database(self) -> Path:
        """Runs, metrics and events."""
        return self.home / "superft.db"

    @property
    def supervisor_lock(self) -> Path:
        """Locked by the supervisor for as long as it lives; holds its pid."""
        return self.home / "supervisor.lock"

    @property
    def supervisor_start_lock(self) -> Path:
        """Locked from the moment at which somebody starts a supervisor until that has its own lock."""
        return self.home / "supervisor.start"

    @property
    def supervisor_log(self) -> Path:
        """What the supervisor said."""
        return self.home / "supervisor.log"

    @property
    def command_log(self) -> Path:
        """Tracebacks of commands that failed, which the terminal does not show."""
        return self.home / "superft.log"

    @property
    def cache(self) -> Path:
        """Whatever can be made again: unpacked zips, inspected models."""
        return self.home / "cache"

    @property
    def image_caches(self) -> Path:
        """Prepared images, one folder for each set of images and way of preparing them."""
        return self.cache / "images"

    @property
    def scan_cache(self) -> Path:
        """What opening images showed."""
        return self.cache / "looks.db"

    @property
    def unpacked(self) -> Path:
        """One folder for each zip, named after its content."""
        return self.cache / UNPACKED

    @property
    def uploads(self) -> Path:
        """Zips that came through the browser."""
        return self.home / "uploads"

    def run(self, run_id: str) -> "RunPaths":
        """The paths of one run.

        Raises:
            RunNotFoundError: If the id is not one that we make, so that it cannot name another folder.
        """
        if not RUN_ID_PATTERN.fullmatch(run_id):
            raise RunNotFoundError(run_id)
        return RunPaths(self.home / run_id)


@dataclass(frozen=True)
class RunPaths:
    """The files of one run."""

    folder: Path

    @property
    def config(self) -> Path:
        """The complete RunConfig as asked."""
        return self.folder / "config.yaml"

    @property
    def resolved(self) -> Path:
        """The same with every `auto` decided."""
        return self.folder / "resolved.yaml"

    @property
    def environment(self) -> Path:
        """Versions, devices, git commit, data fingerprint."""
        return self.folder / "environment.json"

    @property
    def accelerate_config(self) -> Path:
        """Our own configuration for `accelerate launch`, so that a user's default never interferes."""
        return self.folder / "accelerate.yaml"

    @property
    def log(self) -> Path:
        """What the worker said."""
        return self.folder / "worker.log"

    @property
    def checkpoints(self) -> Path:
        """Resumable states, `checkpoint-<global_step>` each."""
        return self.folder / "checkpoints"

    @property
    def model(self) -> Path:
        """The best model, in the Hub's format."""
        return self.folder / "model"

    @property
    def layers(self) -> Path:
        """How far each layer has moved, and its gradients: a line a recorded step."""
        return self.folder / "layers.jsonl"

    @property
    def predictions(self) -> Path:
        """One Parquet file an evaluation."""
        return self.folder / "predictions"

    def prediction_file(self, split: str, global_step: int) -> Path:
        """The prediction file of one evaluation; `split` is eval or test."""
        return self.predictions / f"{split}-{global_step}.parquet"

    def examples_file(self, split: str) -> Path:
        """What is known of each image of a split beside its pixels, in the order of the prediction files."""
        return self.folder / "examples" / f"{split}.parquet"

    def embeddings_file(self, split: str, global_step: int) -> Path:
        """The features of each image of an evaluation, in the order of its prediction file."""
        return self.folder / "embeddings" / f"{split}-{global_step}.npy"

    @property
    def decision(self) -> Path:
        """How a person wants the model's probabilities turned into answers; goes where the model goes."""
        return self.model / "decision.json"

    def prediction_steps(self, split: str) -> list[int]:
        """The global steps at which this split was evaluated, in order."""
        return _steps(self.predictions, split, "parquet")

    def embeddings_steps(self, split: str) -> list[int]:
        """The global steps of the evaluations whose features are kept, in order."""
        return _steps(self.embeddings_file(split, 0).parent, split, "npy")


def _steps(folder: Path, split: str, suffix: str) -> list[int]:
    found = (re.fullmatch(rf"{split}-(\d+)\.{suffix}", path.name) for path in folder.glob(f"{split}-*"))
    return sorted(int(match[1]) for match in found if match)


@dataclass(frozen=True)
class BundlePaths:
    """The files that are added to a model when it is published or exported, relative to its folder."""

    readme: str = "README.md"
    curves: str = "figures/curves.png"
    eval_matrix: str = "figures/confusion_matrix_eval.png"
    test_matrix: str = "figures/confusion_matrix_test.png"
    config: str = "superft/config.yaml"
    evaluation: str = "superft/evaluation.json"
    environment: str = "superft/environment.json"
    misclassified: str = "misclassified"
    onnx: str = "model.onnx"
    preprocessing: str = "preprocessing.json"
    labels: str = "labels.json"

    @property
    def folders(self) -> tuple[str, ...]:
        """Folders that hold nothing but what we put there."""
        return ("figures/", "superft/", f"{self.misclassified}/")
