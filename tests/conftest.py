"""What all tests share: homes, stores and real images (scikit-learn's digits) in folders of any layout.

Nothing here imports torch, and nothing reads or writes the caches of the person who runs the tests.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from superft_hf.config import RunConfig
from superft_hf.config_file import make_config
from superft_hf.store import RunStore

USER_SAMPLES = Path.home() / ".cache" / "superft" / "samples"


def pytest_configure(config: pytest.Config) -> None:
    aside = tempfile.mkdtemp(prefix="superft-tests-")
    config.stash[_ASIDE] = aside
    os.environ["SUPERFT_CACHE"] = f"{aside}/superft"
    os.environ["HF_HOME"] = f"{aside}/huggingface"
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["OMP_NUM_THREADS"] = "1"  # tiny networks on shared cores: many threads wait for one another
    for name in ("SUPERFT_HOME", "HF_ENDPOINT", "HF_TOKEN"):
        os.environ.pop(name, None)
    _link_fetched_weights(Path(aside) / "superft" / "samples")


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(config.stash[_ASIDE], ignore_errors=True)


@pytest.fixture(autouse=True)
def _own_main_module() -> Iterator[None]:
    """AppTest leaves the page as `__main__`, which every process that is spawned later would run again."""
    before = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = before


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home that does not exist yet."""
    return tmp_path / "runs"


@pytest.fixture
def store(home: Path) -> Iterator[RunStore]:
    """An empty store."""
    opened = RunStore(home)
    yield opened
    opened.close()


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """`make_folder({"train/cat": 3, "train/dog": 2})`: that many digits, all different, in these folders."""

    def make(layout: Mapping[str, int], name: str = "images") -> Path:
        root = tmp_path / name
        number = 0
        for folder, count in layout.items():
            (root / folder).mkdir(parents=True, exist_ok=True)
            for _ in range(count):
                digit_image(number).save(root / folder / f"{number:04d}.png")
                number += 1
        return root

    return make


@pytest.fixture
def config_of() -> Callable[..., RunConfig]:
    """`config_of("folder", training={"seed": 1})`: a configuration for these images."""

    def make(data: str | Path, **groups: Any) -> RunConfig:
        values = {
            "model": {"name_or_path": "sample:efficientnet-lite0"},
            "data": {"name_or_path": str(data), **groups.pop("data", {})},
            **groups,
        }
        return make_config(values)

    return make


def digit_image(number: int) -> Image.Image:
    """A scanned digit, 8 × 8 pixels grey, dark ink on white."""
    return Image.fromarray(_digits()[number])


_ASIDE = pytest.StashKey[str]()


@lru_cache(maxsize=1)
def _digits() -> np.ndarray:
    from sklearn.datasets import load_digits

    return 255 - np.rint(load_digits().images * 255 / 16).astype(np.uint8)


def _link_fetched_weights(samples: Path) -> None:
    """Spares whoever has the base model a second download; tests that need it fetch it otherwise."""
    found = USER_SAMPLES / "efficientnet-lite0"
    samples.mkdir(parents=True)
    if found.is_dir():
        (samples / found.name).symlink_to(found)
