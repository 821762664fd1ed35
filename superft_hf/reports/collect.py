"""Everything that a report tells of a run, collected once.

What stays true: test figures are in it only where they were opened; and nothing in it names a place on this
machine: a local folder or model is known by its last name only.
"""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from superft_hf import frozen_baseline, run_headline, vault
from superft_hf.config import DataConfig
from superft_hf.config_file import read_config
from superft_hf.errors import ConfigError, DataNotFoundError, SuperFTError
from superft_hf.evaluation.calibration import Bins, bin_equally
from superft_hf.evaluation.classification import confused_pairs, confusion_matrix
from superft_hf.evaluation.headline import Headline, class_figures
from superft_hf.evaluation.prediction_files import read_class_names, read_numbers, read_texts
from superft_hf.paths import RunPaths
from superft_hf.records import RunRecord
from superft_hf.samples import SAMPLE_PREFIX
from superft_hf.sources.images import open_rgb
from superft_hf.sources.load import open_reference
from superft_hf.store import RunStore

PICTURE_SIDE = 128
MAX_PICTURES = 500
_ENVIRONMENT = ("python", "versions", "devices", "git_commit", "data_fingerprint")
_CURVE_POINTS = 600


@dataclass(frozen=True)
class SplitReport:
    """What the kept checkpoint said about one split.

    Attributes:
        split: eval or test.
        headline: Its figures.
        classes: Figures by class, see `superft_hf.evaluation.headline.class_figures`.
        matrix: Counts of shape (C, C), rows are labels.
        pairs: Confused classes, see `superft_hf.evaluation.classification.confused_pairs`.
        bins: Its reliability; empty without a confidence that is a number.
    """

    split: str
    headline: Headline
    classes: pd.DataFrame
    matrix: np.ndarray
    pairs: pd.DataFrame
    bins: Bins


@dataclass(frozen=True)
class WorstMistake:
    """A picture of a mistake on eval, small enough to be embedded.

    Attributes:
        address: The picture itself, as a `data:` address.
        label: Name of its class; likewise prediction.
        confidence: Of the prediction.
        is_small: Whether the source is so small that its pixels are shown as squares.
    """

    address: str
    label: str
    prediction: str
    confidence: float
    is_small: bool


@dataclass(frozen=True)
class RunReport:
    """A run.

    Attributes:
        record: Its row.
        settings: Its configuration as nested values, without places of this machine.
        environment: Versions, devices and the like; empty when it was not noted.
        class_names: C names by class id.
        curves: Columns key, step, epoch, value of loss, eval metrics and learning rate.
        splits: Eval first, then test if it was opened.
        standing: How it stands with its test figures; None without any.
        mistakes: The worst on eval, as many as were asked for.
        num_lost: Of them, how many pictures are gone or unreadable.
    """

    record: RunRecord
    settings: Mapping[str, Any]
    environment: Mapping[str, Any]
    class_names: tuple[str, ...]
    curves: pd.DataFrame
    splits: tuple[SplitReport, ...]
    standing: vault.Standing | None
    mistakes: tuple[WorstMistake, ...] = ()
    num_lost: int = 0

    def split(self, name: str) -> SplitReport | None:
        """One split; None when it is not there, or sealed."""
        return next((one for one in self.splits if one.split == name), None)


def collect(
    store: RunStore, run_id: str, num_pictures: int = 0, records: Sequence[RunRecord] | None = None
) -> RunReport:
    """Collects what is known of a run; of test only when it was opened.

    Args:
        store: Where the run is.
        run_id: The run.
        num_pictures: How many of the worst eval mistakes are embedded as pictures.
        records: All runs, when they are known already.

    Raises:
        RunNotFoundError: If there is no such run.
        DataNotFoundError: If it has no evaluation, or its prediction file is damaged.
    """
    record, paths = store.get_run(run_id), store.run_paths(run_id)
    step = run_headline.evaluation_step(record, paths, run_headline.EVAL)
    if step is None:
        raise DataNotFoundError(
            f"The run {record.name} has not been evaluated, so there is nothing to report yet.",
            hint="Wait for the end of its first epoch, or choose another run.",
        )
    standing = vault.standing(store, record) if vault.has_test(record) else None
    names = tuple(read_class_names(paths.prediction_file(run_headline.EVAL, step)))
    frozen = frozen_baseline.find(store, record, records).completed
    splits = [_split(store, record, run_headline.EVAL, step, names, frozen)]
    test_step = run_headline.evaluation_step(record, paths, vault.TEST)
    if standing is not None and standing.is_open and test_step is not None:
        splits.append(_split(store, record, vault.TEST, test_step, names, frozen))
    private = _private_config(store, record)
    mistakes, lost = _mistakes(paths, step, names, private.get("data"), num_pictures)
    points = store.read_curves(run_id, _CURVE_POINTS)
    shown = ~points["key"].map(vault.is_test_key).astype(bool)
    return RunReport(
        record=record,
        settings=_without_places(private),
        environment=_environment(paths),
        class_names=names,
        curves=points[shown][["key", "step", "epoch", "value"]],
        splits=tuple(splits),
        standing=standing,
        mistakes=tuple(mistakes),
        num_lost=lost,
    )


def place_title(name_or_path: str) -> str:
    """A model or a set of images as a reader may know it: the last name of a local path.

    Example:
        >>> place_title("/home/ada/cells/"), place_title("uoft-cs/cifar10"), place_title("sample:digits")
        ('cells', 'uoft-cs/cifar10', 'sample:digits')
    """
    is_place = name_or_path.startswith(("/", ".", "~")) or "\\" in name_or_path or name_or_path.count("/") > 1
    if name_or_path.startswith(SAMPLE_PREFIX) or not is_place:
        return name_or_path
    return PurePath(name_or_path.replace("\\", "/")).name or name_or_path


def _split(
    store: RunStore, record: RunRecord, split: str, step: int, names: tuple[str, ...],
    frozen: RunRecord | None,
) -> SplitReport:  # fmt: skip
    rows = read_numbers(store.run_paths(record.run_id).prediction_file(split, step))
    held = frozen if frozen and run_headline.may_hold_against(store, frozen, split) else None
    labels, predictions = rows["label"].to_numpy(), rows["prediction"].to_numpy()
    known = rows[np.isfinite(rows["confidence"])]
    return SplitReport(
        split,
        run_headline.of_run(store, record, split, step, rows, names, held),
        class_figures(rows, names),
        confusion_matrix(labels, predictions, len(names)),
        confused_pairs(labels, predictions, names),
        bin_equally(
            known["confidence"].to_numpy(dtype=np.float64), (known["label"] == known["prediction"]).to_numpy()
        ),
    )


def _mistakes(
    paths: RunPaths, step: int, names: tuple[str, ...], data: Mapping[str, Any] | None, number: int
) -> tuple[list[WorstMistake], int]:
    """Never those of test: a picture in a file that travels would be a look at it by others."""
    if not number or data is None:
        return [], 0
    path = paths.prediction_file(run_headline.EVAL, step)
    rows = read_numbers(path)
    wrong = rows[rows["label"] != rows["prediction"]].sort_values("loss", ascending=False, kind="stable")
    chosen = wrong.head(min(number, MAX_PICTURES))
    found, lost = [], 0
    config = DataConfig.model_validate(data)
    images = read_texts(path, chosen.index.to_numpy())["image"] if len(chosen) else []
    for row, image in zip(chosen.itertuples(), images, strict=True):
        try:
            address, is_small = _embedded(open_reference(config, image))
        except (SuperFTError, ValueError, OSError):
            lost += 1
            continue
        found.append(
            WorstMistake(address, names[row.label], names[row.prediction], float(row.confidence), is_small)
        )
    return found, lost


def _embedded(encoded: bytes) -> tuple[str, bool]:
    """A small picture, saved anew: places and cameras in its metadata stay behind."""
    image = open_rgb(encoded)
    is_small = max(image.size) <= PICTURE_SIDE // 2
    image.thumbnail((PICTURE_SIDE, PICTURE_SIDE), Image.Resampling.LANCZOS)
    out, clean = io.BytesIO(), Image.fromarray(np.asarray(image))
    if is_small:
        clean.save(out, "PNG", optimize=True)
    else:
        clean.save(out, "JPEG", quality=80, optimize=True)
    kind = "png" if is_small else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(out.getvalue()).decode('ascii')}", is_small


def _private_config(store: RunStore, record: RunRecord) -> dict[str, Any]:
    """As it was resolved, else as asked; empty when both are gone. With places: to open images."""
    paths = store.run_paths(record.run_id)
    for path in (paths.resolved, paths.config):
        try:
            return read_config(path).model_dump(mode="json")
        except ConfigError:
            continue
    return store.read_config_values([record.run_id]).get(record.run_id, {})


def _without_places(values: Mapping[str, Any]) -> dict[str, Any]:
    shown = json.loads(json.dumps(values))
    for group in ("model", "data"):
        if group in shown:
            shown[group]["name_or_path"] = place_title(shown[group]["name_or_path"])
    return shown


def _environment(paths: RunPaths) -> dict[str, Any]:
    """What was noted at the start; other keys tell of this machine only."""
    try:
        found = json.loads(paths.environment.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {key: found[key] for key in _ENVIRONMENT if found.get(key)} if isinstance(found, dict) else {}
