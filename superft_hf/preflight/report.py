"""What is wrong with a configuration and its images, before any time is spent on training.

`check` never raises for a bad input: it reports. `require` raises the first thing that blocks, and is what
stands before every new run. The check looks deeper, and takes longer: at copies, contradictions, modes.
"""

import importlib.util
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from superft_hf.config import RunConfig
from superft_hf.engine.devices import find_devices
from superft_hf.errors import ClassMismatchError, MissingPackageError, SuperFTError
from superft_hf.hub.data import describe_data
from superft_hf.hub.models import require_model
from superft_hf.preflight import abilities, classes, duplicates, pictures, resources, spreading, views
from superft_hf.preflight.subject import Subject, extended
from superft_hf.records import DataInfo, Finding, ModelInfo, Remedy
from superft_hf.sources.load import check_classes
from superft_hf.sources.scan import open_images, scan_images
from superft_hf.sources.traits import Looked

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


def check(
    config: RunConfig,
    home: Path,
    progress: Progress | None = None,
    seen: dict[str, Looked] | None = None,
    token: str | None = None,
) -> Report:
    """Looks at model, images and settings.

    Args:
        config: As asked.
        home: Where zips are unpacked to, and runs will lie.
        progress: Hears how many images are open, and of how many.
        seen: A dictionary that the caller keeps from one check to the next, empty at first: images that it
            knows are not decoded again, so that a remedy is judged in a moment.
        token: A person's token for the Hub, for a gated model that is not here yet.
    """
    findings: list[Finding] = []
    model = data = None
    try:
        model = require_model(config.model.name_or_path, config.model.revision, token)
        title = f"The model can be trained: {model.title}, {_parameters(model)}"
        findings.append(Finding("fine", title, code="model"))
        findings.extend(abilities.find(config, model))
    except SuperFTError as error:
        findings.append(_blocking(error, config))
    try:
        data, images = describe_data(config.data, home)
        scan = open_images(images, config.data, progress, home=home, is_deep=True, seen=seen)
        findings.extend(_about_images(Subject(config, scan, data, model)))
    except SuperFTError as error:
        findings.append(_blocking(error, config))
    findings.extend(resources.find(config, home, model, data))
    findings.extend(spreading.find(config, model))
    try:
        _require_environment(config)
        findings.append(Finding("fine", "The settings fit this machine", code="settings"))
    except SuperFTError as error:
        findings.append(_blocking(error, config))
    return Report(tuple(findings), model, data)


def require(config: RunConfig, home: Path, progress: Progress | None = None) -> None:
    """Raises what would make a run fail at its start.

    Raises:
        SuperFTError: The first thing that blocks: model, images, devices or a missing package.
    """
    _require_environment(config)
    model = require_model(config.model.name_or_path, config.model.revision)
    abilities.require_abilities(config, model)
    _, images = describe_data(config.data, home)
    scan_images(images, config.data, progress, home=home)


def _require_environment(config: RunConfig) -> None:
    find_devices(config.hardware)
    spreading.require(config)
    for name in config.training.report_to:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:  # trackers leave folders of their own name where they ran
            raise MissingPackageError(
                f"training.report_to names {name}, which is not installed.",
                hint=f"`pip install {name}`, or leave it out.",
            )


def _about_images(subject: Subject) -> Iterator[Finding]:
    """Everything that the opened images tell, as far as enough of them could be opened."""
    try:
        check_classes(subject.images, subject.config.data)
        refusal = None
    except SuperFTError as error:
        refusal = error
    if not len(subject):
        yield from pictures.undecodable(subject)
    else:
        yield from pictures.find(subject)
        yield from duplicates.find(subject)
    if refusal is not None:
        yield _blocking(refusal, subject.config)
    else:
        yield from classes.find(subject)
        yield from views.find(subject)


def _blocking(error: SuperFTError, config: RunConfig) -> Finding:
    remedies: tuple[Remedy, ...] = ()
    if isinstance(error, ClassMismatchError):
        title = "Leave the class out" if len(error.unknown) == 1 else "Leave these classes out"
        left_out = extended(config.data.exclude_classes, error.unknown)
        remedies = (Remedy(title, {"data.exclude_classes": left_out}),)
        if config.data.split_by == "given":
            changes = {"data.split_by": "cut"}
            remedies += (Remedy("Put all images together and cut new splits", changes),)
    return Finding("blocks", error.message, "", error.hint, error.kind, code=_code(error), remedies=remedies)


def _code(error: SuperFTError) -> str:
    """`ClassMismatchError` becomes `class-mismatch`."""
    words = re.findall("[A-Z][a-z]*", error.kind.removesuffix("Error"))
    return "-".join(words).lower()


def _parameters(model: ModelInfo) -> str:
    return f"{model.num_parameters:,} parameters" if model.num_parameters else "size unknown"
