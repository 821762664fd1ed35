"""The files of a run as they are published: the model's own, its card, figures, settings and evaluation.

Nothing is copied: the weights stay where they are, the rest is made in memory. What stays true: only
safetensors and JSON of the model go in, and no file names a place on this machine.
"""

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from superft_hf.config_file import dump_config
from superft_hf.errors import ModelNotFoundError, PublishError, SuperFTError
from superft_hf.evaluation.classification import confusion_matrix, per_class_table
from superft_hf.evaluation.decision import FILE_NAME as DECISION
from superft_hf.paths import BundlePaths
from superft_hf.publish import figures, operating
from superft_hf.publish.card import Card, make_card
from superft_hf.publish.card_results import MisclassifiedPicture
from superft_hf.publish.evidence import Evidence, SplitEvidence, read_model_config
from superft_hf.publish.licences import Licences
from superft_hf.publish.options import PublishOptions
from superft_hf.sources.images import open_rgb
from superft_hf.sources.load import open_reference

FILES = BundlePaths()
PICTURE_SIDE = 512

_MODEL_FILES = (
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "model.safetensors.index.json",
)
_PRIVATE_KEYS = ("_name_or_path", "_commit_hash")
_SMALL_SIDE = 96


@dataclass(frozen=True)
class Bundle:
    """What is published of a run.

    Attributes:
        files: Content, or where it lies, by path in the repository; the card first, the weights last.
        card: The card.
        warnings: What to know before it is published, as sentences.
    """

    files: Mapping[str, bytes | Path]
    card: Card
    warnings: tuple[str, ...]

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes by path."""
        return {
            path: len(found) if isinstance(found, bytes) else found.stat().st_size
            for path, found in self.files.items()
        }


def make_bundle(
    evidence: Evidence,
    options: PublishOptions,
    licences: Licences,
    *,
    repo_id: str,
    has_test: bool = True,
    drawn: Mapping[str, bytes] | None = None,
) -> Bundle:
    """Makes the files of a run.

    Args:
        evidence: The run.
        options: What its author chose.
        licences: Of model and images.
        repo_id: Where it goes; stands in the card.
        has_test: Whether test figures are in it; False seals them in a preview.
        drawn: What `draw_figures` made; None draws them.

    Raises:
        PublishError: If the model's folder holds what must not be published, or an option is refused.
        ModelNotFoundError: If files of the model are missing.
    """
    options.require_valid()
    model = _model_files(evidence.model_folder)
    pictures, lost = _misclassified(evidence, options.num_misclassified)
    card = make_card(evidence, options, licences, repo_id=repo_id, pictures=pictures, has_test=has_test)
    splits = {name: one for name, one in evidence.splits.items() if has_test or name != "test"}
    files: dict[str, bytes | Path] = {
        FILES.readme: card.text.encode(),
        **(draw_figures(evidence, has_test=has_test) if drawn is None else drawn),
        FILES.config: dump_config(evidence.config, commented=True).encode(),
        FILES.evaluation: _json(_evaluation(evidence, splits)),
        **({FILES.environment: _json(dict(evidence.environment))} if evidence.environment else {}),
        **{one.path: one.encoded for one in pictures},
        **_decision_file(evidence, has_test=has_test),
        **model,
    }
    warnings = licences.warnings(options.licence or licences.suggested, has_pictures=bool(pictures))
    if lost:
        warnings.append(f"{lost} of the misclassified pictures are gone or unreadable, and are left out.")
    return Bundle(files, card, tuple(warnings))


def write_bundle(bundle: Bundle, folder: Path) -> None:
    """Writes the files into an empty folder. Raises OSError."""
    for path, found in bundle.files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(found, bytes):
            target.write_bytes(found)
        else:
            with found.open("rb") as source, target.open("wb") as copy:
                while part := source.read(1 << 20):
                    copy.write(part)


def _model_files(folder: Path) -> dict[str, bytes | Path]:
    """The saved model. Raises ModelNotFoundError or PublishError."""
    config, known = read_model_config(folder), (*_MODEL_FILES, DECISION)
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    odd = [
        path.relative_to(folder).as_posix() for path in found
        if path.parent != folder or (path.suffix != ".safetensors" and path.name not in known)
    ]  # fmt: skip
    if odd:
        raise PublishError(
            f"The model's folder holds {', '.join(odd[:3])}, which is no part of such a model.",
            hint="Move it away: only JSON and safetensors are published, since others may run code.",
        )
    weights = [path for path in found if path.suffix == ".safetensors"]
    if not weights:
        raise ModelNotFoundError("The weights of this run are gone.", hint="Train the run again.")
    if not (config.get("id2label") or config.get("label_names")):
        raise PublishError(
            "The model's config.json does not name its classes (id2label).", hint="Train the run again."
        )
    has_processor = any(path.name in _MODEL_FILES[1:3] for path in found) or config.get("pretrained_cfg")
    if not has_processor:
        raise ModelNotFoundError(
            "The image processor of this run's model is gone (preprocessor_config.json).",
            hint="Train the run again.",
        )
    small = {path.name: _public_json(path) for path in found if path.name in _MODEL_FILES}
    return {**small, **{path.name: path for path in weights}}


def _public_json(path: Path) -> bytes:
    """A JSON file of the model without the place that its base model was loaded from."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelNotFoundError(
            f"The file {path.name} of this run's model is damaged.", hint="Train the run again."
        ) from error
    if isinstance(values, dict) and any(key in values for key in _PRIVATE_KEYS):
        return _json({key: value for key, value in values.items() if key not in _PRIVATE_KEYS})
    return path.read_bytes()


def draw_figures(evidence: Evidence, *, has_test: bool = True) -> dict[str, bytes]:
    """The card's figures as PNG, by path in the bundle."""
    best = evidence.curves[evidence.curves["key"] == "eval_loss"]["epoch"]
    steps = evidence.record.global_step
    epoch = None
    if evidence.record.best_step and steps and len(best):
        epoch = evidence.record.epoch * evidence.record.best_step / steps
    made = {FILES.curves: figures.curves_figure(evidence.curves, epoch)}
    for name, one in evidence.splits.items():
        if one.rows is not None and evidence.class_names and (has_test or name != "test"):
            matrix = confusion_matrix(one.labels, one.predictions, len(evidence.class_names))
            path = FILES.test_matrix if name == "test" else FILES.eval_matrix
            made[path] = figures.confusion_figure(matrix, evidence.class_names, name)
    return {path: png for path, png in made.items() if png is not None}


def _evaluation(evidence: Evidence, splits: Mapping[str, SplitEvidence]) -> dict[str, Any]:
    """Every figure of the card and more, unrounded."""
    record = evidence.record
    return {
        "run_id": record.run_id,
        "name": record.name,
        "base_model": vars(evidence.model),
        "images": vars(evidence.data) | {"fingerprint": record.facts.get("fingerprint")},
        "class_names": list(evidence.class_names),
        "counts": dict(evidence.counts),
        "counts_by_class": record.facts.get("counts_by_class", {}),
        "is_cut": list(record.facts.get("is_cut", ())),
        "best": {"metric": record.best_metric, "value": record.best_value, "step": record.best_step},
        "evaluation": {name: dict(one.figures) for name, one in splits.items()},
        "num_runs_opened_on_test_before": evidence.standing.num_earlier,
        "calibration": {name: _calibration(one) for name, one in splits.items() if one.calibration},
        "duration_s": evidence.duration_s,
        "by_class": {name: _by_class(evidence, one) for name, one in splits.items() if one.rows is not None},
        "confusion": {name: _cells(evidence, one) for name, one in splits.items() if one.rows is not None},
    }


def _decision_file(evidence: Evidence, *, has_test: bool) -> dict[str, bytes]:
    """The operating point, which says of which run and evaluation it is."""
    if evidence.decision is None:
        return {}
    return {DECISION: operating.decision_file(evidence.decision, has_test=has_test)}


def _calibration(one: SplitEvidence) -> dict[str, Any]:
    """Of the plain model; see superft_hf.evaluation.calibration."""
    found = one.calibration
    bins = zip(found.bins.confidence, found.bins.accuracy, found.bins.size, strict=True)
    return {
        "ece": found.ece,
        "mean_confidence": found.mean_confidence,
        "log_loss": found.log_loss,
        "bins": [{"confidence": sure, "accuracy": right, "images": int(size)} for sure, right, size in bins],
    }


def _by_class(evidence: Evidence, one: SplitEvidence) -> list[dict[str, Any]]:
    table = per_class_table(one.labels, one.predictions, evidence.class_names)
    return [
        {key: None if isinstance(value, float) and np.isnan(value) else value for key, value in row.items()}
        for row in table.to_dict("records")
    ]


def _cells(evidence: Evidence, one: SplitEvidence) -> list[list[int]]:
    """The cells that are not empty: `[true class id, predicted class id, images]`."""
    matrix = confusion_matrix(one.labels, one.predictions, len(evidence.class_names))
    return [
        [int(row), int(column), int(matrix[row, column])]
        for row, column in zip(*np.nonzero(matrix), strict=True)
    ]


def _misclassified(evidence: Evidence, number: int) -> tuple[list[MisclassifiedPicture], int]:
    """The pictures of the worst eval mistakes, and how many of them could not be had. Never those of test."""
    one = evidence.splits.get("eval")
    if not number or one is None or one.rows is None:
        return [], 0
    wrong = one.rows[one.rows["label"] != one.rows["prediction"]]
    chosen = wrong.sort_values("loss", ascending=False, kind="stable").head(number)
    made, lost = [], 0
    for row in chosen.itertuples():
        try:
            encoded, ending = _picture(open_reference(evidence.private_config.data, row.image))
        except (SuperFTError, ValueError):
            lost += 1
            continue
        name = f"{FILES.misclassified}/{hashlib.sha256(encoded).hexdigest()[:12]}-{len(made) + 1}.{ending}"
        names = evidence.class_names
        made.append(
            MisclassifiedPicture(name, encoded, names[row.label], names[row.prediction], row.confidence)
        )
    return made, lost


def _picture(encoded: bytes) -> tuple[bytes, str]:
    """A picture of at most PICTURE_SIDE px, saved anew: places and cameras in its metadata stay behind."""
    image = open_rgb(encoded)
    out = io.BytesIO()
    if max(image.size) <= _SMALL_SIDE:
        scale = max(1, 2 * _SMALL_SIDE // max(image.size))
        image = image.resize((scale * image.width, scale * image.height), Image.Resampling.NEAREST)
        Image.fromarray(np.asarray(image)).save(out, "PNG")
        return out.getvalue(), "png"
    image.thumbnail((PICTURE_SIDE, PICTURE_SIDE), Image.Resampling.LANCZOS)
    Image.fromarray(np.asarray(image)).save(out, "JPEG", quality=90)
    return out.getvalue(), "jpg"


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
