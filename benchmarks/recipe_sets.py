"""The real sets of `benchmarks/recipe.py`, as folders `train|eval|test/<class>/*.png`.

Every set is cut by a fixed seed, and the same folders serve ours and the peers. The sets named `…-fit` served
to choose the defaults: what they call test shares no picture with the test part of the tables. Photographs of
solar cells are under CC BY-NC-SA 4.0: they are fetched by the reader, written to a folder of the reader's
choice, and never published.
"""

import csv
import gzip
import io
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from superft_hf.samples import ELPV, download

SEED = 42
CELLS = {"train": 400, "eval": 60, "test": 150}
"""Cells a class of the small form of the solar cells."""

CELLS_LEFT = 105
"""Certain cells a class that the small form leaves over: the defective ones are all taken then."""

FEW = 5
"""Pictures a class of train and eval in the sets named `…-few`."""

FASHION = {"train": 100, "eval": 30, "test": 100}
"""Pictures a class of Fashion-MNIST; those of test come from its own test set."""

FASHION_NAMES = (
    "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"
)  # fmt: skip
FASHION_PLACE = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package `dataset-fashion-mnist` puts its files; `--fashion` names another folder."""


def prepare(name: str, root: Path, fashion: Path) -> Path:
    """Writes a set once and gives its folder.

    Args:
        name: A key of SETS.
        root: Where the folders go.
        fashion: Folder of Fashion-MNIST's four IDX files.
    """
    folder = root / name
    if not (folder / "complete").exists():
        print(f"preparing {name} in {folder}")
        SETS[name](folder, fashion)
        (folder / "complete").touch()
    return folder


def _cells(folder: Path, _: Path) -> None:
    """400 certain cells a class for training; 60 and 150 a class for eval and test."""
    with _wheel(folder) as wheel:
        rows = [row for row in _labels(wheel) if row[1] in (0.0, 1.0)]
        for value, kind in ((0.0, "functional"), (1.0, "defective")):
            paths = [path for path, probability, _ in rows if probability == value]
            order = np.random.default_rng(SEED).permutation(len(paths))
            start = 0
            for split, count in CELLS.items():
                for index in order[start : start + count].tolist():
                    _put(wheel, paths[index], folder / split / kind)
                start += count


def _cells_fit(folder: Path, _: Path) -> None:
    """The cells of the small form for training and eval; held out are certain cells that it leaves over."""
    with _wheel(folder) as wheel:
        rows = [row for row in _labels(wheel) if row[1] in (0.0, 1.0)]
        for value, kind in ((0.0, "functional"), (1.0, "defective")):
            paths = [path for path, probability, _ in rows if probability == value]
            order = np.random.default_rng(SEED).permutation(len(paths)).tolist()
            ends = np.cumsum(list(CELLS.values())).tolist()
            parts = {"train": order[: ends[0]], "eval": order[ends[0] : ends[1]]}
            parts["test"] = order[ends[2] : ends[2] + CELLS_LEFT]
            for split, part in parts.items():
                for index in part:
                    _put(wheel, paths[index], folder / split / kind)


def _published(folder: Path, _: Path) -> None:
    """All 2,624 cells, defective above a probability of 0.5, 25 % test stratified by class and module type.

    The protocol of Deitsch et al. 2019, "Automatic classification of defective photovoltaic module cells in
    electroluminescence images", section 4; eval is a tenth of the rest, stratified alike.
    """
    with _wheel(folder) as wheel:
        rows = _labels(wheel)
        kinds = ["defective" if probability > 0.5 else "functional" for _, probability, _ in rows]
        strata = [f"{kind} {module}" for kind, (_, _, module) in zip(kinds, rows, strict=True)]
        indices = np.arange(len(rows))
        rest, test = train_test_split(indices, test_size=0.25, stratify=strata, random_state=SEED)
        train, evaluation = train_test_split(
            rest, test_size=0.1, stratify=[strata[index] for index in rest], random_state=SEED
        )
        for split, part in (("train", train), ("eval", evaluation), ("test", test)):
            for index in part.tolist():
                _put(wheel, rows[index][0], folder / split / kinds[index])


def _cells_few(folder: Path, source: Path) -> None:
    """Five cells a class for training and for eval, of those of the small form; its test part."""
    _first_of(prepare("solar-cells-400", folder.parent, source), folder)


def _fashion(folder: Path, source: Path) -> None:
    _write_fashion(folder, source, (("train", ("train", "eval")), ("t10k", ("test",))))


def _fashion_few(folder: Path, source: Path) -> None:
    """Likewise of Fashion-MNIST."""
    _first_of(prepare("fashion-100", folder.parent, source), folder)


def _first_of(whole: Path, folder: Path) -> None:
    """Copies FEW pictures a class of train and eval, by name, and all of test."""
    for kind in sorted(one for one in whole.glob("*/*") if one.is_dir()):
        split = kind.parent.name
        names = sorted(path.name for path in kind.iterdir())
        target = folder / split / kind.name
        target.mkdir(parents=True)
        for name in names if split == "test" else names[:FEW]:
            shutil.copyfile(kind / name, target / name)


def _fashion_fit(folder: Path, source: Path) -> None:
    """The same pictures for training and eval; held out are others of the training part."""
    _write_fashion(folder, source, (("train", ("train", "eval", "test")),))


def _write_fashion(folder: Path, source: Path, parts: tuple[tuple[str, tuple[str, ...]], ...]) -> None:
    taken = {split: np.zeros(10, dtype=int) for split in FASHION}
    for part, splits in parts:
        pictures, labels = _idx(source, f"{part}-images-idx3"), _idx(source, f"{part}-labels-idx1")
        for index in np.random.default_rng(SEED).permutation(len(labels)).tolist():
            label = int(labels[index])
            split = next((one for one in splits if taken[one][label] < FASHION[one]), None)
            if split is not None:
                taken[split][label] += 1
                _save(
                    Image.fromarray(pictures[index]), folder / split / FASHION_NAMES[label] / f"{index}.png"
                )


def _digits(folder: Path, _: Path) -> None:
    """All 1,797: 15 % eval, 25 % test, stratified."""
    found = load_digits()
    indices = np.arange(len(found.target))
    rest, test = train_test_split(indices, test_size=0.25, stratify=found.target, random_state=SEED)
    train, evaluation = train_test_split(rest, test_size=0.2, stratify=found.target[rest], random_state=SEED)
    for split, part in (("train", train), ("eval", evaluation), ("test", test)):
        for index in part.tolist():
            picture = Image.fromarray((found.images[index] * 15.9375).round().astype(np.uint8))
            _save(picture, folder / split / str(found.target[index]) / f"{index}.png")


SETS: dict[str, Callable[[Path, Path], None]] = {
    "solar-cells-400": _cells, "fashion-100": _fashion, "digits": _digits,
    "solar-cells-published": _published, "solar-cells-fit": _cells_fit, "fashion-fit": _fashion_fit,
    "solar-cells-few": _cells_few, "fashion-few": _fashion_few,
}  # fmt: skip


def _wheel(folder: Path) -> zipfile.ZipFile:
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder.parent / "downloads"
    aside.mkdir(exist_ok=True)
    kept = next(aside.glob("elpv*.whl"), None)
    return zipfile.ZipFile(kept or download(ELPV, aside))


def _labels(wheel: zipfile.ZipFile) -> list[tuple[str, float, str]]:
    """(path, probability of a defect, module type) of each cell."""
    table = io.StringIO(wheel.read("elpv_dataset/data/labels.csv").decode())
    rows: Iterator[list[str]] = csv.reader(table, delimiter=" ", skipinitialspace=True)
    return [(path, float(probability), module) for path, probability, module in rows]


def _put(wheel: zipfile.ZipFile, path: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / Path(path).name).write_bytes(wheel.read(f"elpv_dataset/data/{path}"))


def _save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def _idx(folder: Path, name: str) -> np.ndarray:
    """Reads an IDX file of bytes (LeCun's format of MNIST)."""
    content = gzip.decompress((folder / f"{name}-ubyte.gz").read_bytes())
    rank = content[3]
    shape = np.frombuffer(content, ">i4", rank, 4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)
