"""What is known of a run's images, model and machine before it is trained: what the rules go by."""

import contextlib
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from superft_hf.config import RunConfig
from superft_hf.engine.devices import cpu_cores, find_devices
from superft_hf.errors import DeviceError
from superft_hf.records import ModelInfo
from superft_hf.sources.image_set import ImageSet, ImageSplit

SAMPLED = 64
"""Images whose size is looked at."""

MANY_CHARACTERS = 10
"""So many classes named by single characters are characters; two named 0 and 1 may be anything."""

_TRANSFORMERS = (
    "vit", "deit", "dino", "ijepa", "clip", "siglip", "eva", "data2vec", "beit", "swin", "pvt", "hiera",
    "levit", "cvt", "segformer", "dinat", "perceiver", "imagegpt", "cait", "xcit", "tnt", "mvit",
    "davit", "maxvit", "focalnet", "swiftformer",
)  # fmt: skip
_CONVNETS = re.compile(r"mobilevit|convit|vitamin")
"""Names that contain that of a transformer but train like convnets, or mix both."""


@dataclass(frozen=True)
class Case:
    """What the rules go by.

    Attributes:
        num_train: Training images.
        class_counts: Training images of each class.
        picture_side: Median of the shorter sides of the pictures, in pixels; None when unknown.
        family: `convnet` or `transformer`.
        has_batch_norm: Whether its name says that it normalises by batch statistics.
        own_size: Height and width that the model expects, in pixels; None when unknown.
        num_parameters: None when unknown.
        device: `cpu`, `cuda` or `mps`.
        num_processes: Of all machines.
        cores: CPU cores of this machine.
        has_characters: Whether the classes are named by single letters or digits, as characters are.
    """

    num_train: int
    class_counts: tuple[int, ...]
    picture_side: int | None = None
    family: str = "convnet"
    has_batch_norm: bool = True
    own_size: int | None = None
    num_parameters: int | None = None
    device: str = "cpu"
    num_processes: int = 1
    cores: int = 2
    has_characters: bool = False

    @property
    def num_classes(self) -> int:
        """C."""
        return len(self.class_counts)

    @property
    def per_class(self) -> float:
        """Mean number of training images of a class."""
        return self.num_train / max(1, self.num_classes)

    @property
    def imbalance(self) -> float:
        """Images of the most frequent class for one of the rarest."""
        present = [count for count in self.class_counts if count]
        return max(present) / min(present) if present else 1.0


def case_of(config: RunConfig, model: ModelInfo | None, images: ImageSet) -> Case:
    """What is known of a run whose images are found, though not opened: some of them are asked their size.

    Args:
        config: The run; its hardware decides the device.
        model: What is known of the model; None: nothing, which counts as a convnet.
        images: Its images; the rules go by those of train.
    """
    train = images.splits["train"]
    counts = np.bincount(train.labels, minlength=len(images.class_names)).tolist()
    return make_case(config, model, counts, some_sizes(train), images.class_names)


def some_sizes(split: ImageSplit, limit: int = SAMPLED) -> np.ndarray:
    """Widths and heights of some images, spread over the split, shape (N, 2), in pixels.

    Only the head of a file is read. Images that cannot be read are passed over.
    """
    found = []
    for index in np.unique(np.linspace(0, max(0, len(split) - 1), min(limit, len(split))).astype(int)):
        broken = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)
        with contextlib.suppress(*broken), Image.open(io.BytesIO(split.encoded(int(index)))) as image:
            found.append(image.size)
    return np.array(found, dtype=np.int64).reshape(-1, 2)


def make_case(
    config: RunConfig,
    model: ModelInfo | None,
    class_counts: Sequence[int],
    sizes: np.ndarray | None = None,
    class_names: Sequence[str] = (),
) -> Case:
    """Puts together what is known.

    Args:
        config: The run; its hardware decides the device.
        model: What is known of the model; None: nothing, which counts as a convnet.
        class_counts: Training images of each class.
        sizes: Widths and heights of pictures, shape (N, 2), in pixels; None: unknown.
        class_names: C names; empty: unknown.
    """
    try:
        devices = find_devices(config.hardware)
        kind, processes = devices.kind, devices.num_processes
    except DeviceError:
        kind, processes = "cpu", config.hardware.num_processes
    side = int(np.median(sizes.min(axis=1))) if sizes is not None and len(sizes) else None
    architecture = model.architecture.lower() if model else ""
    family = family_of(architecture)
    return Case(
        num_train=sum(class_counts), class_counts=tuple(class_counts), picture_side=side, family=family,
        has_batch_norm=family == "convnet" and "convnext" not in architecture,
        own_size=model.image_size if model else None,
        num_parameters=model.num_parameters if model else None,
        device=kind, num_processes=processes * config.hardware.num_machines, cores=cpu_cores(),
        has_characters=len(class_names) >= MANY_CHARACTERS and all(len(name) == 1 for name in class_names),
    )  # fmt: skip


def counts_in_order(counts: Mapping[str, int], class_names: Sequence[str]) -> list[int]:
    """The counts of a mapping by class name, in the order of the classes."""
    return [counts.get(name, 0) for name in class_names]


def family_of(architecture: str) -> str:
    """`transformer` or `convnet`, by the name of an architecture; an unknown one counts as a convnet.

    Example:
        >>> family_of("vit_small_patch16_224"), family_of("resnet18"), family_of("mobilevit_s")
        ('transformer', 'convnet', 'convnet')
    """
    name = architecture.lower()
    if _CONVNETS.search(name):
        return "convnet"
    return "transformer" if any(one in name for one in _TRANSFORMERS) else "convnet"
