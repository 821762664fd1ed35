"""Plants wrong labels in real images, and counts how many are among the first suspects.

    python -m benchmarks.label_errors [--quick] [--sets digits solar-cells] [--folds 5] [--share 0.05]
                                      [--epochs N] [--home DIR]

Of each set a copy is written in which 5 % of the labels, drawn from all images, are another class. A run
trains on it, then its folds: real runs of EfficientNet-Lite0 by the real worker, one after the other, or with
--quick small networks of scikit-learn (digits only, ten seconds). Doubtful labels are ranked as on the page
Label errors: of eval by the run's best evaluation, of train by the folds. A table tells how many of the
planted ones are among the first twice-as-many suspects, and how many of those estimated to be wrong were
planted. Exits 1 when less than 60 % of the planted ones are found anywhere.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from superft_hf import folds
from superft_hf.config import RunConfig
from superft_hf.config_file import make_config
from superft_hf.engine import control
from superft_hf.evaluation.label_errors import Suspects, suspects_of_answers
from superft_hf.evaluation.prediction_files import read_class_names, read_numbers, read_texts
from superft_hf.paths import samples_dir
from superft_hf.records import UNFINISHED_STATES, RunRecord, RunState
from superft_hf.starting_points import starting_point
from superft_hf.store import RunStore
from superft_hf.words import duration, percent
from tests import factories

WANTED = 0.6
POLL_S = 2.0
SETS = ("digits", "solar-cells", "textures")


@dataclass(frozen=True)
class Found:
    """One line of the table."""

    images: str
    part: str
    num_images: int
    num_planted: int
    num_estimated: int
    num_found: int
    num_estimated_planted: int
    accuracy: float

    @property
    def share(self) -> float:
        """Of the planted ones, those among the first twice-as-many suspects."""
        return self.num_found / max(self.num_planted, 1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Plants, trains, looks, and prints the table."""
    asked = _parser().parse_args(arguments)
    names = ["digits"] if asked.quick else asked.sets
    place = Path(asked.home or tempfile.mkdtemp(prefix="superft-label-errors-"))
    found = []
    try:
        for name in names:
            begun = time.monotonic()
            folder = place / name
            planted = plant(name, folder, asked.share, asked.seed)
            store = RunStore(place / f"{name}-runs")
            run = _train_quick(store, folder) if asked.quick else _train(store, name, folder, asked.epochs)
            (_folds_quick if asked.quick else _folds)(store, run, asked.folds)
            found += [look_at_eval(store, run, name, planted), look_at_train(store, run, name, planted)]
            print(f"{name}: {duration(time.monotonic() - begun)}", file=sys.stderr)
            store.close()
    finally:
        if not asked.home:
            shutil.rmtree(place, ignore_errors=True)
    write_table(found, asked.folds)
    return 0 if all(one.share >= WANTED for one in found) else 1


def plant(name: str, folder: Path, share: float, seed: int) -> set[str]:
    """Writes a copy of a set with wrong labels, and returns the paths of those images.

    Args:
        name: `digits` (of scikit-learn), or a sample that is fetched.
        folder: Where to; a folder of class folders.
        share: Of the labels that are another class.
        seed: Draws images and classes.
    """
    pictures, labels, classes = _digits() if name == "digits" else _sample(name)
    generator = np.random.default_rng(seed)
    chosen = generator.choice(len(labels), round(share * len(labels)), replace=False)
    given = labels.copy()
    given[chosen] = (labels[chosen] + generator.integers(1, len(classes), len(chosen))) % len(classes)
    planted = set()
    for one in classes:
        (folder / one).mkdir(parents=True)
    for number, (picture, label) in enumerate(zip(pictures, given, strict=True)):
        path = folder / classes[label] / f"{number:05d}.png"
        if isinstance(picture, Path):
            shutil.copyfile(picture, path)
        else:
            Image.fromarray(picture).save(path)
        if label != labels[number]:
            planted.add(str(path.absolute()))
    return planted


def look_at_eval(store: RunStore, run: RunRecord, name: str, planted: set[str]) -> Found:
    """How many of the planted labels of eval are among the first suspects."""
    path = store.run_paths(run.run_id).prediction_file("eval", int(run.best_step or 0))
    numbers = read_numbers(path)
    found = suspects_of_answers(numbers, len(read_class_names(path)))
    is_right = (numbers["label"] == numbers["prediction"]).to_numpy()
    return _count(name, "eval", found, read_texts(path)["image"].tolist(), planted, float(is_right.mean()))


def look_at_train(store: RunStore, run: RunRecord, name: str, planted: set[str]) -> Found:
    """The same of train, by the folds."""
    whole = folds.out_of_sample(store, folds.fold_runs(store, run.run_id))
    found = suspects_of_answers(whole.answers, len(whole.class_names))
    images = whole.texts(store, np.arange(len(whole.labels)))["image"].tolist()
    return _count(name, "train", found, images, planted, float((whole.labels == whole.predictions).mean()))


def write_table(found: Sequence[Found], num_folds: int) -> None:
    """Prints the figures."""
    head = ["images", "part", "k", "labels", "agreement", "planted", "among the first 2 × planted"]
    head += ["estimated to be wrong", "planted among them"]
    print(f"| {' | '.join(head)} |")
    print("|---" * len(head) + "|")
    for one in found:
        precision = one.num_estimated_planted / max(one.num_estimated, 1)
        cells = [
            one.images, one.part, str(num_folds) if one.part == "train" else "–", f"{one.num_images:,}",
            percent(one.accuracy), f"{one.num_planted:,}", f"{one.num_found:,} ({percent(one.share)})",
            f"{one.num_estimated:,}", f"{one.num_estimated_planted:,} ({percent(precision)})",
        ]  # fmt: skip
        print(f"| {' | '.join(cells)} |")


def _count(
    name: str, part: str, found: Suspects, images: Sequence[str], planted: set[str], accuracy: float
) -> Found:
    is_planted = np.array([image in planted for image in images])
    ranked = is_planted[found.table["position"].to_numpy()]
    num_planted = int(is_planted.sum())
    return Found(
        name, part, len(images), num_planted, found.num_issues, int(ranked[: 2 * num_planted].sum()),
        int(ranked[: found.num_issues].sum()), accuracy,
    )  # fmt: skip


def _digits() -> tuple[list[np.ndarray | Path], np.ndarray, list[str]]:
    found = load_digits()
    pictures = 255 - np.rint(found.images * 255 / 16).astype(np.uint8)
    return list(pictures), found.target.astype(np.int64), [str(digit) for digit in range(10)]


def _sample(name: str) -> tuple[list[np.ndarray | Path], np.ndarray, list[str]]:
    root = samples_dir() / name
    classes = sorted(one.name for one in root.iterdir() if one.is_dir())
    paths = [(path, label) for label, one in enumerate(classes) for path in sorted((root / one).iterdir())]
    return [path for path, _ in paths], np.array([label for _, label in paths]), classes


def _train_quick(store: RunStore, folder: Path) -> RunRecord:
    return factories.make_completed_run(store, "planted", hidden=64, data=str(folder), epochs=12)


def _folds_quick(store: RunStore, run: RunRecord, num_folds: int) -> None:
    for fold in range(num_folds):
        factories.make_completed_run(
            store, f"fold {fold + 1}", hidden=64, data=run.data, epochs=12,
            data_settings={"num_folds": num_folds, "fold": fold},
        )  # fmt: skip


def _train(store: RunStore, name: str, folder: Path, epochs: int | None) -> RunRecord:
    record = control.submit(store, _config(name, folder, epochs), by="benchmark")
    return _wait(store, [record.run_id])[0]


def _folds(store: RunStore, run: RunRecord, num_folds: int) -> None:
    _wait(store, [one.run_id for one in folds.start(store, run.run_id, num_folds, by="benchmark")])


def _config(name: str, folder: Path, epochs: int | None) -> RunConfig:
    """The settings that suit the sample, as the Start page offers them."""
    values = starting_point(f"sample:{name}", "planted").model_dump(mode="json")
    values["data"] |= {"name_or_path": str(folder)}
    if epochs is not None:
        values["training"] |= {"num_train_epochs": epochs}
    return make_config(values)


def _wait(store: RunStore, run_ids: Sequence[str]) -> list[RunRecord]:
    while any(store.get_run(one).state in UNFINISHED_STATES for one in run_ids):
        time.sleep(POLL_S)
    records = [store.get_run(one) for one in run_ids]
    for record in records:
        if record.state is not RunState.COMPLETED:
            raise SystemExit(f"{record.name} is {record.state}: {record.failure}")
    return records


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="small networks of scikit-learn, digits only")
    parser.add_argument("--sets", nargs="+", default=["digits", "solar-cells"], choices=SETS)
    parser.add_argument("--folds", type=int, default=folds.DEFAULT_FOLDS)
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--epochs", type=int, help="by default those of the Start page for the sample")
    parser.add_argument("--home", help="where images and runs stay; by default they are removed")
    return parser


if __name__ == "__main__":
    sys.exit(main())
