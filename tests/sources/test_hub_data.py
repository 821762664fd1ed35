import io
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

from superft_hf.config import DataConfig
from superft_hf.errors import DataNotFoundError
from superft_hf.sources.hub_data import read_hub
from tests.conftest import digit_image
from tests.hub_stand_in import HubStandIn, ask_hub, commit_of

NOBODY = "http://127.0.0.1:9"
PICTURE = datasets.Image()
NAMED = datasets.ClassLabel(names=["cat", "dog"])

LOAD = """
import json, tempfile, time
from pathlib import Path
from superft_hf.config import DataConfig
from superft_hf.errors import SuperFTError
from superft_hf.hub.data import describe_data
from superft_hf.sources.load import open_reference
answers = {}
for key, settings in ASKED.items():
    begin = time.monotonic()
    data = DataConfig(**settings)
    try:
        info, images = describe_data(data, Path(tempfile.gettempdir()))
        train = images.splits["train"]
        answers[key] = {
            **vars(info), "is_cut": images.is_cut, "first": train.encoded(0).hex(),
            "reference": train.reference(0),
            "again": open_reference(data, train.reference(0)).hex(),
        }
    except SuperFTError as error:
        answers[key] = {"kind": error.kind, "message": error.message, "hint": error.hint}
    answers[key]["seconds"] = time.monotonic() - begin
print(json.dumps(answers))
"""


def encoded(number: int) -> bytes:
    out = io.BytesIO()
    digit_image(number).save(out, "PNG")
    return out.getvalue()


def rows(count: int, start: int = 0) -> list[dict[str, Any]]:
    return [{"bytes": encoded(start + number), "path": None} for number in range(count)]


def write_split(repo: Path, split: str, columns: dict[str, list], features: dict[str, Any]) -> None:
    (repo / "data").mkdir(parents=True, exist_ok=True)
    made = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
    made.to_parquet(repo / "data" / f"{split}-00000-of-00001.parquet")


def ask(endpoint: str, folder: Path, **asked: dict[str, Any]) -> dict[str, Any]:
    return ask_hub(LOAD.replace("ASKED", repr(asked)), endpoint, folder)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """The data sets of the stand-in."""
    root = tmp_path_factory.mktemp("hub")
    named = root / "datasets" / "acme" / "named"
    features = {"image": PICTURE, "label": NAMED}
    write_split(named, "train", {"image": rows(20), "label": [0, 1] * 10}, features)
    write_split(named, "test", {"image": rows(4, 20), "label": [-1] * 4}, features)  # a hidden test split
    (named / "README.md").write_text("---\nlicense: cc0-1.0\n---\n# Named\n")

    words = root / "datasets" / "acme" / "words"
    columns = {
        "small": rows(20), "large": rows(20, 20), "category": ["dog", "ant"] * 10,
        "grade": [2, 10] * 9 + [None, 2],
    }  # fmt: skip
    features = {
        "small": PICTURE, "large": PICTURE, "category": datasets.Value("string"),
        "grade": datasets.Value("int64"),
    }  # fmt: skip
    write_split(words, "train", columns, features)

    plain = root / "datasets" / "acme" / "plain"
    write_split(
        plain,
        "train",
        {"text": ["a", "b"], "label": [0, 1]},
        {"text": datasets.Value("string"), "label": NAMED},
    )

    folders = root / "datasets" / "acme" / "folders"
    for number in range(12):
        target = folders / "train" / ("cat", "dog")[number % 2] / f"{number}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(encoded(number))

    gated = root / "datasets" / "acme" / "gated"
    gated.mkdir()
    (gated / ".gated").touch()
    return root


@pytest.fixture(scope="module")
def caches(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("caches")


@pytest.fixture(scope="module")
def answers(root, caches) -> dict[str, Any]:
    with HubStandIn(root) as hub:
        return ask(
            hub.url, caches,
            named={"name_or_path": "acme/named"},
            words={"name_or_path": "acme/words"},
            columns={"name_or_path": "acme/words", "image_column": "large", "label_column": "grade"},
            no_image_column={"name_or_path": "acme/words", "image_column": "category"},
            no_label_column={"name_or_path": "acme/words", "label_column": "colour"},
            plain={"name_or_path": "acme/plain"},
            folders={"name_or_path": "acme/folders"},
            gated={"name_or_path": "acme/gated"},
            missing={"name_or_path": "acme/missing"},
            no_configuration={"name_or_path": "acme/named", "config_name": "large"},
            no_revision={"name_or_path": "acme/named", "revision": "v9"},
        )  # fmt: skip


def test_a_parquet_data_set_with_class_names(answers):
    found = answers["named"]
    assert (found["source"], found["title"], found["licence"]) == ("hub", "named", "cc0-1.0")
    assert found["class_names"] == ["cat", "dog"]
    assert bytes.fromhex(found["first"]) in {encoded(number) for number in range(20)}
    assert found["first"] == found["again"] and found["reference"].startswith("hub:train:")


def test_rows_without_a_label_are_left_out_and_a_split_of_them_is_no_split(answers):
    assert answers["named"]["is_cut"] == ["eval", "test"]
    assert answers["named"]["counts"] == {
        "train": {"cat": 7, "dog": 7},
        "eval": {"cat": 2, "dog": 1},
        "test": {"cat": 1, "dog": 2},
    }


def test_labels_that_are_words_become_classes_in_order(answers):
    assert answers["words"]["class_names"] == ["ant", "dog"]
    assert bytes.fromhex(answers["words"]["first"]) in {encoded(number) for number in range(20)}


def test_columns_are_chosen_by_the_settings_and_numbers_keep_their_order(answers):
    found = answers["columns"]
    assert found["class_names"] == ["2", "10"]
    assert sum(sum(by_class.values()) for by_class in found["counts"].values()) == 19
    assert bytes.fromhex(found["first"]) in {encoded(number) for number in range(20, 40)}


@pytest.mark.parametrize(
    ("key", "part"),
    [
        ("no_image_column", "has no image column 'category'; it has small, large."),
        ("no_label_column", "has no column 'colour'."),
        ("plain", "has no image column among text, label."),
        ("gated", "acme/gated"),
        ("missing", "The data set acme/missing is neither a local folder or .zip nor to be had from the Hub"),
        ("no_configuration", "acme/named cannot be loaded"),
        ("no_revision", "acme/named"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(answers, key, part):
    assert part in answers[key]["message"] and answers[key]["hint"]
    assert answers[key]["message"].count("..") == 0


def test_a_data_set_of_image_files(answers):
    found = answers["folders"]
    assert found["class_names"] == ["cat", "dog"]
    assert bytes.fromhex(found["first"]) in {encoded(number) for number in range(12)}


def test_an_unreachable_hub_uses_what_was_loaded_before_or_says_so_at_once(answers, caches, root):
    commit = commit_of(root / "datasets" / "acme" / "named")
    offline = ask(
        NOBODY, caches,
        named={"name_or_path": "acme/named"},
        pinned={"name_or_path": "acme/named", "revision": commit},
        folders={"name_or_path": "acme/folders"},
        unknown={"name_or_path": "acme/unknown"},
        other={"name_or_path": "acme/named", "revision": "v1"},
        other_commit={"name_or_path": "acme/named", "revision": "0" * 40},
    )  # fmt: skip
    for key in ("named", "folders"):
        assert (
            offline[key]["counts"] == answers[key]["counts"]
            and offline[key]["first"] == answers[key]["first"]
        )
    assert offline["pinned"]["counts"] == answers["named"]["counts"]
    for key, name in (("unknown", "acme/unknown"), ("other", "acme/named"), ("other_commit", "acme/named")):
        assert offline[key]["message"] == (
            f"The data set {name} is neither a local folder or .zip nor in the cache of this machine, "
            "and the Hub cannot be reached."
        )
    assert offline["unknown"]["seconds"] < 4
    assert "Retrying" not in offline["stderr"]


def test_offline_by_choice_is_told_as_such():
    with pytest.raises(DataNotFoundError, match="and HF_HUB_OFFLINE is set"):
        read_hub(DataConfig(name_or_path="acme/unknown"))


def test_a_row_without_an_image_is_an_empty_file():
    from superft_hf.sources.hub_data import HubImages

    columns = {"image": [*rows(1), None], "label": [0, 1]}
    features = datasets.Features({"image": datasets.Image(decode=False), "label": NAMED})
    images = HubImages(datasets.Dataset.from_dict(columns, features=features), "train", "image")
    assert len(images) == 2
    assert images.encoded(np.int64(0)) == encoded(0) and images.encoded(1) == b""
    assert images.reference(1) == "hub:train:1"
