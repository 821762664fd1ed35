import csv
import json

import numpy as np
import pytest

from superft_hf.config import DataConfig
from superft_hf.sources.hub_columns import class_texts, plain_columns
from superft_hf.sources.hub_images import HubImages
from superft_hf.sources.load import load_images
from superft_hf.sources.metadata import MAX_COLUMNS, MAX_LETTERS, few_valued


def values(cells: list) -> list[str | None] | None:
    found = few_valued({"column": cells})
    return found["column"].texts(np.arange(len(cells))) if found else None


def test_texts_numbers_and_truths_become_texts():
    cells = ["Ulm ", "Bonn", "Ulm", "Bonn\n", None, "", float("nan")]
    assert values(cells) == ["Ulm", "Bonn", "Ulm", "Bonn", None, None, None]
    assert values([1.0, 2.5, 1.0, 2.5]) == ["1", "2.5", "1", "2.5"]
    assert values([True, False, True, True]) == ["yes", "no", "yes", "yes"]
    assert values([3, 3, 4, 4]) == ["3", "3", "4", "4"]


def test_a_column_that_names_each_image_apart_is_left_out():
    assert values([f"image {number}" for number in range(50)]) is None
    assert values([f"pair {number // 2}" for number in range(50)]) is not None
    assert values([f"pair {number // 2}" for number in range(4000)]) is None
    assert values([None, None, ""]) is None


def test_long_texts_are_cut_and_columns_are_few():
    cut = values(["x" * 300, "x" * 300])
    assert cut == ["x" * MAX_LETTERS] * 2
    many = few_valued({f"column {number}": ["a", "a"] for number in range(40)}, but=("column 0",))
    assert len(many) == MAX_COLUMNS and "column 0" not in many


def test_a_table_gives_its_further_columns_in_the_order_of_the_split(make_folder, home):
    root = make_folder({"cat": 10, "dog": 10})
    paths = sorted(root.rglob("*.png"))
    with (root / "table.csv").open("w", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(["path", "label", "site", "number"])
        for number, path in enumerate(paths):
            writer.writerow([path.relative_to(root), path.parent.name, "ab"[number % 2], number])
    images = load_images(DataConfig(name_or_path=str(root / "table.csv")), home)
    expected = {str(path): "ab"[number % 2] for number, path in enumerate(paths)}
    for split in images.splits.values():
        found = split.metadata()
        assert list(found) == ["site"]
        assert found["site"] == [expected[split.reference(index)] for index in range(len(split))]


def test_a_folder_gives_subfolder_prefix_and_what_its_metadata_say(make_folder, home):
    root = make_folder({"cat/ulm": 10, "cat/bonn": 10, "dog/ulm": 10})
    lines = [
        json.dumps({"file_name": str(path.relative_to(root)), "night": index % 2 == 0})
        for index, path in enumerate(sorted(root.rglob("*.png")))
    ]
    (root / "metadata.jsonl").write_text("\n".join(lines))
    train = load_images(DataConfig(name_or_path=str(root)), home).splits["train"]
    found = train.metadata()
    assert list(found) == ["night", "subfolder"]  # each file name begins with a number of its own
    assert set(found["night"]) == {"true", "false"}
    assert found["subfolder"] == [train.reference(index).split("/")[-2] for index in range(len(train))]


def test_a_prefix_that_several_files_share_is_metadata(make_folder, home):
    root = make_folder({"cat": 12, "dog": 12})
    for number, path in enumerate(sorted(root.rglob("*.png"))):
        path.rename(path.with_name(f"scanner{number % 3}_{path.name}"))
    train = load_images(DataConfig(name_or_path=str(root)), home).splits["train"]
    assert set(train.metadata()["file_prefix"]) == {"scanner0", "scanner1", "scanner2"}


def test_splits_that_are_put_together_keep_their_metadata(make_folder, home):
    root = make_folder({"train/cat/x": 6, "train/dog": 6, "test/cat/y": 6, "test/dog": 6})
    images = load_images(DataConfig(name_or_path=str(root), split_by="cut"), home)
    for split in images.splits.values():
        parents = [split.reference(index).split("/")[-2] for index in range(len(split))]
        expected = [parent if parent in "xy" else None for parent in parents]
        assert split.metadata()["subfolder"] == expected


def test_a_hub_data_set_gives_its_plain_columns():
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"]),
            "site": datasets.ClassLabel(names=["Ulm", "Bonn"]), "age": datasets.Value("int64"),
            "uuid": datasets.Value("string"), "box": datasets.Sequence(datasets.Value("float32")),
        }
    )  # fmt: skip
    rows = datasets.Dataset.from_dict(
        {
            "image": [None] * 6, "label": [0, 1] * 3, "site": [0, 1, 1, 0, -1, 0],
            "age": [30, 30, 41, 41, 30, None], "uuid": list("uvwxyz"), "box": [[0.5]] * 6,
        },
        features,
    )  # fmt: skip
    further = plain_columns(features, ["image", "label"])
    assert further == ("site", "age", "uuid")
    assert class_texts(features["site"], [1, -1, None]) == ["Bonn", None, None]
    found = HubImages(rows, "train", "image", further).metadata(np.array([5, 4, 3, 2, 1, 0]))
    assert found == {
        "site": ["Ulm", None, "Ulm", "Bonn", "Bonn", "Ulm"], "age": [None, "30", "41", "41", "30", "30"],
    }  # fmt: skip
