"""Everything that is known of a completed run, collected once for its card, its figures and its bundle.

What stays true: nothing in it names a place on this machine. A local folder or model is known by its last
name only, and the configuration in it reads so too.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from superft_hf import decisions, vault
from superft_hf.config import RunConfig
from superft_hf.errors import DataNotFoundError, ModelNotFoundError, StateError, SuperFTError
from superft_hf.evaluation import decision as decision_files
from superft_hf.evaluation.calibration import Calibration, measure_confidence
from superft_hf.evaluation.decision import Decision
from superft_hf.evaluation.headline import Headline, of_evaluation
from superft_hf.evaluation.prediction_files import read_class_names, read_predictions
from superft_hf.paths import RunPaths
from superft_hf.recipe.decided import decided_config
from superft_hf.records import RunRecord, RunState
from superft_hf.samples import SAMPLE_PREFIX
from superft_hf.store import RunStore
from superft_hf.train_loss import CROSS_ENTROPY, LOSS
from superft_hf.words import run_duration_s

_COMMIT = re.compile(r"[0-9a-f]{40}")
_CURVES = (LOSS, CROSS_ENTROPY, "eval_loss", "eval_accuracy")
_ENVIRONMENT = ("versions", "python", "devices", "git_commit")


@dataclass(frozen=True)
class Source:
    """A model or a set of images as the world may know it.

    Attributes:
        title: The Hub id, the sample's name, or the last name of a local path.
        kind: `hub`, `sample` or `local`.
        commit: Of the Hub; empty otherwise.
    """

    title: str
    kind: str
    commit: str = ""


@dataclass(frozen=True)
class SplitEvidence:
    """What the best model said about one split.

    Attributes:
        split: eval or test.
        figures: As `superft show RUN --json` gives them, without prefix.
        rows: The prediction file, or None when it is gone; see superft_hf.evaluation.prediction_files.
        num_images: Images in the split.
    """

    split: str
    figures: Mapping[str, float]
    rows: pd.DataFrame | None
    num_images: int

    @property
    def labels(self) -> np.ndarray:
        """Shape (N,); empty without a prediction file."""
        return np.array([], dtype=np.int64) if self.rows is None else self.rows["label"].to_numpy()

    @property
    def predictions(self) -> np.ndarray:
        """Shape (N,); empty without a prediction file."""
        return np.array([], dtype=np.int64) if self.rows is None else self.rows["prediction"].to_numpy()

    @cached_property
    def calibration(self) -> Calibration | None:
        """Of the plain model, as far as confidence and loss tell; None without a prediction file."""
        if self.rows is None or self.rows.empty:
            return None
        confidence, losses = self.rows["confidence"].to_numpy(), self.rows["loss"].to_numpy()
        return measure_confidence(confidence, self.labels == self.predictions, losses)


@dataclass(frozen=True)
class Evidence:
    """A completed run.

    Attributes:
        record: Its row.
        config: With every `auto` decided, and without places of this machine.
        private_config: The same with them; to open images, never to be shown.
        environment: Versions, devices and the like.
        class_names: C names by class id.
        curves: Columns key, epoch, value of the training loss and of loss and accuracy on eval.
        splits: By name; eval first, then test if it was evaluated.
        standing: How many runs had been opened on this same test set before.
        decision: The operating point, with its figures on every split in `splits`; None without one.
        duration_s: From start to end.
        model: The base model.
        data: The images.
        model_folder: Where the files of the best model lie.
        is_timm: Whether the network is one of timm's, which transformers loads.
        architecture: Class name of the network, or timm's name of it.
    """

    record: RunRecord
    config: RunConfig
    private_config: RunConfig
    environment: Mapping[str, Any]
    class_names: tuple[str, ...]
    curves: pd.DataFrame
    splits: Mapping[str, SplitEvidence]
    standing: vault.Standing
    decision: Decision | None
    duration_s: float | None
    model: Source
    data: Source
    model_folder: Path
    is_timm: bool
    architecture: str

    @property
    def counts(self) -> Mapping[str, int]:
        """Images by split."""
        return self.record.facts.get("counts", {})

    @cached_property
    def headlines(self) -> Mapping[str, Headline]:
        """The figures of each split with their intervals; without splits whose prediction file is gone."""
        return {
            name: of_evaluation(one.rows, self.class_names, name)
            for name, one in self.splits.items()
            if one.rows is not None and self.class_names
        }

    @property
    def version(self) -> str:
        """Changes with what can change of a completed run: looks at test, and the operating point."""
        return f"{self.standing.num_earlier} {self.decision}"


def collect(store: RunStore, run_id: str) -> Evidence:
    """Collects what is known of a run.

    Raises:
        RunNotFoundError: If there is no such run.
        StateError: If it is not completed.
        ModelNotFoundError: If its model is gone or unreadable.
        ConfigError: If its configuration is gone or damaged.
        DecisionError: If its operating point is damaged.
    """
    record, paths = store.get_run(run_id), store.run_paths(run_id)
    require_completed(record)
    private = decided_config(paths)
    model = _source(private.model.name_or_path, private.model.revision)
    data = _source(private.data.name_or_path, private.data.revision)
    saved = read_model_config(paths.model)
    splits = {name: _split(record, paths, name) for name in ("eval", "test") if record.evaluation.get(name)}
    metrics = store.read_metrics(run_id, keys=_CURVES)
    class_names = _class_names(record, paths)
    return Evidence(
        record=record,
        config=_without_places(private, model, data),
        private_config=private,
        environment=_environment(paths),
        class_names=class_names,
        curves=metrics[["key", "epoch", "value"]],
        splits=splits,
        standing=vault.standing(store, record),
        decision=_decision(record, paths, tuple(splits), class_names),
        duration_s=run_duration_s(record),
        model=model,
        data=data,
        model_folder=paths.model,
        is_timm=saved.get("model_type") == "timm_wrapper",
        architecture=str(saved.get("architecture") or (saved.get("architectures") or ["network"])[0]),
    )


def _decision(
    record: RunRecord, paths: RunPaths, splits: tuple[str, ...], class_names: tuple[str, ...]
) -> Decision | None:
    """The operating point with figures of all splits: when it was chosen, test may have been sealed."""
    kept = decision_files.read(paths.decision, class_names)
    if kept is None:
        return None
    figures = dict(kept.figures)
    for split in splits:
        try:
            measured = decisions.read_measured(record, paths, split)
        except DataNotFoundError:  # the figures that were kept with it stay
            continue
        if measured is not None:
            figures[split] = decisions.figures_on(kept, measured)
    return replace(kept, figures=figures)


def require_completed(record: RunRecord) -> None:
    """Raises StateError unless the run has a model and figures to publish."""
    if record.state is RunState.COMPLETED and record.evaluation:
        return
    raise StateError(
        f"The run {record.name} is {record.state}, so there is nothing to publish yet."
        if record.is_unfinished
        else f"The run {record.name} is {record.state} and has no model to publish.",
        hint="Wait for its end." if record.is_unfinished else "Choose a completed run: `superft runs`.",
    )


def read_model_config(folder: Path) -> dict[str, Any]:
    """The `config.json` of a saved model. Raises ModelNotFoundError."""
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelNotFoundError(
            "The model of this run is gone, or its config.json is damaged.",
            hint="Train the run again: `superft train` on its resolved.yaml repeats it.",
        ) from error
    return found if isinstance(found, dict) else {}


def _source(name_or_path: str, revision: str) -> Source:
    """A run pins what comes from the Hub to a commit, and nothing else: so a gone folder is no Hub id."""
    if name_or_path.startswith(SAMPLE_PREFIX):
        return Source(name_or_path, "sample")
    if _COMMIT.fullmatch(revision) and name_or_path.count("/") < 2 and name_or_path[0] not in "/.~":
        return Source(name_or_path, "hub", revision)
    return Source(Path(name_or_path.replace("\\", "/")).expanduser().absolute().name or "images", "local")


def _without_places(config: RunConfig, model: Source, data: Source) -> RunConfig:
    values = {
        "model": config.model.model_copy(update={"name_or_path": model.title}),
        "data": config.data.model_copy(update={"name_or_path": data.title}),
    }
    return config.model_copy(update=values)


def _split(record: RunRecord, paths: RunPaths, split: str) -> SplitEvidence:
    steps = paths.prediction_steps(split)
    step = record.best_step if record.best_step in steps else steps[-1] if steps else None
    rows = None
    if step is not None:
        try:
            rows = read_predictions(paths.prediction_file(split, step))
        except DataNotFoundError:  # the figures are in the record; matrix and classes are left out
            rows = None
    size = len(rows) if rows is not None else int(record.facts.get("counts", {}).get(split, 0))
    return SplitEvidence(split, record.evaluation[split], rows, size)


def _class_names(record: RunRecord, paths: RunPaths) -> tuple[str, ...]:
    names = record.facts.get("class_names")
    if names:
        return tuple(names)
    steps = paths.prediction_steps("eval")
    try:
        return tuple(read_class_names(paths.prediction_file("eval", steps[-1]))) if steps else ()
    except SuperFTError:
        return ()


def _environment(paths: RunPaths) -> dict[str, Any]:
    """What was noted at the start; empty when the file is gone. Other keys tell of this machine only."""
    try:
        found = json.loads(paths.environment.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {key: found[key] for key in _ENVIRONMENT if found.get(key)}
