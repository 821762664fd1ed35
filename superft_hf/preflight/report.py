"""What is wrong with a configuration and its images, before any time is spent on training.

`check` never raises for a bad input: it reports. `require` raises the first thing that blocks, and is what
stands before every new run.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from superft_hf.config import RunConfig
from superft_hf.engine.devices import find_devices
from superft_hf.errors import MissingPackageError, SuperFTError
from superft_hf.evaluation.intervals import wilson_interval
from superft_hf.hub.data import describe_data
from superft_hf.hub.models import require_model
from superft_hf.records import DataInfo, Finding, ModelInfo
from superft_hf.sources.load import ImageSet, shown_reference
from superft_hf.sources.scan import Scan, scan_images

SMALL_CLASS = 10
IMBALANCE = 5.0
SMALL_SPLIT = 500

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Report:
    """Everything that was found.

    Attributes:
        findings: In the order in which they were checked.
        model: None when the model could not be inspected.
        data: None when the images could not be found.
    """

    findings: tuple[Finding, ...]
    model: ModelInfo | None
    data: DataInfo | None

    @property
    def is_blocked(self) -> bool:
        """Whether something must be mended before a start."""
        return any(finding.level == "blocks" for finding in self.findings)


def check(config: RunConfig, home: Path, progress: Progress | None = None) -> Report:
    """Looks at model, images and settings; `progress` hears how many images are open, and of how many."""
    findings: list[Finding] = []
    model = data = None
    try:
        model = require_model(config.model.name_or_path, config.model.revision)
        findings.append(Finding("fine", f"The model can be trained: {model.title}, {_parameters(model)}"))
    except SuperFTError as error:
        findings.append(_blocking(error))
    try:
        data, images = describe_data(config.data, home)
        scan = scan_images(images, config.data, progress)
        findings.extend(_about_images(scan, config))
    except SuperFTError as error:
        findings.append(_blocking(error))
    try:
        _require_environment(config)
        findings.append(Finding("fine", "The settings fit this machine"))
    except SuperFTError as error:
        findings.append(_blocking(error))
    return Report(tuple(findings), model, data)


def require(config: RunConfig, home: Path, progress: Progress | None = None) -> None:
    """Raises what would make a run fail at its start.

    Raises:
        SuperFTError: The first thing that blocks: model, images, devices or a missing package.
    """
    _require_environment(config)
    require_model(config.model.name_or_path, config.model.revision)
    _, images = describe_data(config.data, home)
    scan_images(images, config.data, progress)


def _require_environment(config: RunConfig) -> None:
    find_devices(config.hardware)
    for name in config.training.report_to:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:  # trackers leave folders of their own name where they ran
            raise MissingPackageError(
                f"training.report_to names {name}, which is not installed.",
                hint=f"`pip install {name}`, or leave it out.",
            )


def _about_images(scan: Scan, config: RunConfig) -> list[Finding]:
    images = scan.images
    total = sum(len(split) for split in images.splits.values())
    found = [Finding("fine", f"All {total:,} images open")]
    if scan.skipped:
        first = shown_reference(config.data, scan.skipped[0])
        found = [
            Finding(
                "know", f"{len(scan.skipped):,} of {total + len(scan.skipped):,} files are left out",
                f"They are not readable images; the first is {first}.",
                "Mend or remove them.",
            )
        ]  # fmt: skip
    found.append(_copies(scan))
    found.extend(_about_classes(images, config))
    size = len(images.splits["eval"])
    if size < SMALL_SPLIT:
        low, high = wilson_interval(round(size * 0.95), size)
        found.append(
            Finding(
                "know", f"{size:,} eval images are few.",
                f"An accuracy of 95 % will be known only to {100 * low:.1f} – {100 * high:.1f} %.",
                "To tell close runs apart, hold back more or repeat with other seeds.",
            )
        )  # fmt: skip
    return found


def _copies(scan: Scan) -> Finding:
    """Exact copies of one image in two splits make a figure better than it is."""
    plain = {name: {one.split("-")[0] for one in ids} for name, ids in scan.example_ids.items()}
    shared = (
        (plain["eval"] & plain["train"]) | (plain["test"] & plain["train"]) | (plain["eval"] & plain["test"])
    )
    if not shared:
        return Finding("fine", "No exact copies: train, eval and test share no image")
    return Finding(
        "know", f"{len(shared):,} images stand in more than one split.",
        "The figures will look better than they are.", "Remove the copies.",
    )  # fmt: skip


def _about_classes(images: ImageSet, config: RunConfig) -> list[Finding]:
    counts = {name: n for name, n in images.counts()["train"].items() if n}
    smallest, largest = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
    missing = [
        f"{name} of {split}"
        for split, by_class in images.counts().items()
        for name, n in by_class.items()
        if not n
    ]
    found = []
    if missing:
        title = f"{len(missing)} times a class has no image in a split."
        found.append(Finding("know", title, f"Missing: {', '.join(missing[:4])}."))
    else:
        found.append(Finding("fine", "Every class is in train, eval and test"))
    if counts[smallest] < SMALL_CLASS:
        found.append(
            Finding(
                "know",
                f"Class {smallest} has {counts[smallest]} training images.",
                "It will hardly be learned.",
            )
        )
    elif counts[largest] > IMBALANCE * counts[smallest] and config.training.class_weights != "none":
        title = f"Classes are uneven, which class weights make up for: {counts[smallest]:,} to"
        found.append(Finding("fine", f"{title} {counts[largest]:,} training images"))
    elif counts[largest] > IMBALANCE * counts[smallest]:
        ratio = counts[largest] / counts[smallest]
        found.append(
            Finding(
                "know", f"Class {largest} has {ratio:.1f} × the images of class {smallest}.",
                "Rare classes will be missed more often.", "Set training.class_weights to balanced.",
            )
        )  # fmt: skip
    else:
        found.append(
            Finding("fine", f"Classes are even: {counts[smallest]:,} to {counts[largest]:,} training images")
        )
    return found


def _blocking(error: SuperFTError) -> Finding:
    return Finding("blocks", error.message, "", error.hint, error.kind)


def _parameters(model: ModelInfo) -> str:
    return f"{model.num_parameters:,} parameters" if model.num_parameters else "size unknown"
