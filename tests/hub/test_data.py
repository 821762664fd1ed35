"""Looking at a data set of the Hub from afar, by the real clients against a stand-in."""

import json
from pathlib import Path
from typing import Any

import datasets
import pytest

from tests.hub_stand_in import READ_TOKEN, HubStandIn, ask_hub, commit_of
from tests.sources.test_hub_data import NAMED, PICTURE, encoded, rows, write_odd_ones, write_split

pytestmark = pytest.mark.slow

NOBODY = "http://127.0.0.1:9"

LOOK = """
import json, time
from superft_hf.config import DataConfig
from superft_hf.errors import SuperFTError
from superft_hf.hub.data import preview_data
answers = {}
for key, settings in ASKED.items():
    try:
        seen = preview_data(DataConfig(**settings), TOKEN)
        pictures = [[picture.hex(), label] for picture, label in seen.rows]
        answers[key] = {**vars(seen), "rows": pictures, "many": seen.is_many_files, "num_rows": seen.num_rows}
    except SuperFTError as error:
        answers[key] = {"kind": error.kind, "message": error.message, "hint": error.hint}
print(json.dumps(answers))
"""


def look(endpoint: str, folder: Path, token: str | None = None, **asked: dict[str, Any]) -> dict[str, Any]:
    return ask_hub(LOOK.replace("ASKED", repr(asked)).replace("TOKEN", repr(token)), endpoint, folder)


def named(count: int, first: int = 0) -> tuple[dict[str, list], dict[str, Any]]:
    """Columns and features of `count` pictures, sorted by class."""
    labels = [0] * (count // 2) + [1] * (count - count // 2)
    return {"image": rows(count, first), "label": labels}, {"image": PICTURE, "label": NAMED}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("hub")
    sets = root / "datasets" / "acme"
    write_split(sets / "named", "train", *named(40))
    write_split(sets / "named", "test", *named(6, 40))
    (sets / "named" / "README.md").write_text("---\nlicense: [cc0-1.0, mit]\n---\n")

    write_split(sets / "gated", "train", *named(20))
    (sets / "gated" / ".gated").touch()

    words = {"photo": rows(8), "mask": rows(8, 8), "breed": ["a", "b"] * 4, "patient": ["x", "y"] * 4}
    features = {
        "photo": PICTURE,
        "mask": PICTURE,
        "breed": datasets.Value("string"),
        "patient": datasets.Value("string"),
    }
    write_split(sets / "words", "train", words, features)

    for number in range(24):
        target = sets / "folders" / "train" / ("cat", "dog")[number % 2] / f"{number:02d}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(encoded(number))

    write_split(sets / "texts", "train", {"text": ["a", "b"]}, {"text": datasets.Value("string")})
    (sets / "nothing").mkdir()
    (sets / "nothing" / "README.md").write_text("# Nothing\n")
    write_odd_ones(root)
    return root


@pytest.fixture(scope="module")
def caches(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("caches")


@pytest.fixture(scope="module")
def seen(root, caches) -> dict[str, Any]:
    with HubStandIn(root) as hub:
        answers = look(
            hub.url, caches,
            named={"name_or_path": "acme/named"},
            words={"name_or_path": "acme/words"},
            chosen={
                "name_or_path": "acme/words", "image_column": "mask", "label_column": "breed",
            },
            no_column={"name_or_path": "acme/words", "label_column": "colour"},
            folders={"name_or_path": "acme/folders"},
            loose={"name_or_path": "acme/loose"},
            several={"name_or_path": "acme/several"},
            second={"name_or_path": "acme/several", "config_name": "two"},
            script={"name_or_path": "acme/script"},
            converted={"name_or_path": "acme/script", "revision": "refs/convert/parquet"},
            gated={"name_or_path": "acme/gated"},
            texts={"name_or_path": "acme/texts"},
            nothing={"name_or_path": "acme/nothing"},
            missing={"name_or_path": "acme/missing"},
        )  # fmt: skip
        return {**answers, "requests": list(hub.requests)}


def test_counts_types_classes_licence_and_size(seen, root):
    found = seen["named"]
    folder = root / "datasets" / "acme" / "named"
    assert found["commit"] == commit_of(folder)
    assert (found["splits"], found["num_rows"]) == ({"test": 6, "train": 40}, 46)
    assert found["columns"] == {"image": "picture", "label": "class, 2 names"}
    assert (found["image_column"], found["label_column"]) == ("image", "label")
    assert found["class_names"] == ["cat", "dog"]
    assert found["licence"] == "cc0-1.0, mit"
    assert found["download_bytes"] == sum(path.stat().st_size for path in (folder / "data").iterdir())
    assert (found["num_files"], found["problem"], found["is_downloaded"]) == (2, None, False)


def test_pictures_of_sorted_rows_show_every_class(seen):
    pictures = seen["named"]["rows"]
    known = {encoded(number).hex(): "cat" if number < 20 else "dog" for number in range(40)}
    assert {label for _, label in pictures} == {"cat", "dog"}
    assert all(known[picture] == label for picture, label in pictures)


def test_nothing_whole_is_downloaded(seen, root, caches):
    cached = {path.name for path in (caches / "huggingface").rglob("*") if path.is_file()}
    assert not [name for name in cached if name.endswith((".parquet", ".arrow", ".png"))]
    opened = [one for one in seen["requests"] if one.startswith("GET /datasets/acme/folders/resolve")]
    assert 1 <= len({one for one in opened if one.endswith(".png")}) <= 16


def test_columns_are_guessed_and_can_be_corrected(seen):
    guessed, chosen = seen["words"], seen["chosen"]
    assert guessed["image_columns"] == ["photo", "mask"] and guessed["image_column"] == "photo"
    assert guessed["label_columns"] == ["breed", "patient"]
    assert (
        guessed["problem"] == "The data set acme/words has no label column among photo, mask, breed, patient."
    )
    assert guessed["hint"] == "Choose the column that holds the classes."
    assert (chosen["image_column"], chosen["label_column"], chosen["problem"]) == ("mask", "breed", None)
    assert chosen["group_columns"] == ["patient"]
    assert {picture for picture, _ in chosen["rows"]} == {encoded(number).hex() for number in range(8, 16)}
    assert "no column 'colour'" in seen["no_column"]["problem"]


def test_image_files_are_counted_and_a_few_are_opened(seen):
    found = seen["folders"]
    assert (found["splits"], found["num_files"], found["class_names"]) == ({"train": 24}, 24, ["cat", "dog"])
    assert len(found["rows"]) == 16 and {label for _, label in found["rows"]} == {"cat", "dog"}


def test_folders_name_the_classes_where_no_column_does(seen):
    found = seen["loose"]
    assert (found["label_column"], found["class_names"], found["problem"]) == (None, ["cat", "dog"], None)
    assert {label for _, label in found["rows"]} == {"cat", "dog"}


def test_configurations_are_listed_and_the_first_is_looked_at(seen):
    found, second = seen["several"], seen["second"]
    assert (found["configs"], found["config_name"], found["splits"]) == (["one", "two"], "one", {"train": 20})
    assert (second["config_name"], second["splits"]) == ("two", {"train": 24})


def test_a_program_points_at_its_converted_copy(seen):
    found = seen["script"]
    assert "is a program, script.py, which is not run" in found["problem"]
    assert "refs/convert/parquet" in found["hint"] and found["other_revision"] == "refs/convert/parquet"
    assert seen["converted"]["splits"] == {"train": 20} and seen["converted"]["problem"] is None


def test_a_gated_one_says_where_its_terms_are_and_shows_what_is_public(seen, root, caches):
    found = seen["gated"]
    assert found["is_gated"] and "accept its terms" in found["problem"]
    assert "/datasets/acme/gated" in found["hint"] and found["download_bytes"] > 0
    with HubStandIn(root) as hub:
        opened = look(hub.url, caches, READ_TOKEN, gated={"name_or_path": "acme/gated"})
    assert opened["gated"]["problem"] is None and opened["gated"]["splits"] == {"train": 20}
    assert READ_TOKEN not in json.dumps(opened)


def test_what_cannot_be_used_says_so(seen):
    assert seen["texts"]["problem"] == "The data set acme/texts has no image column among text."
    assert "holds no files that can be read" in seen["nothing"]["problem"]
    assert seen["missing"]["kind"] == "DataNotFoundError"


@pytest.mark.parametrize(
    ("status", "kind"), [(429, "RateLimitedError"), (503, "HubUnreachableError"), (401, "TokenRefusedError")]
)
def test_a_hub_that_refuses_is_an_error_with_a_hint(root, caches, status, kind):
    with HubStandIn(root) as hub:
        hub.fail("/api/datasets", status, times=None)
        found = look(hub.url, caches, READ_TOKEN, named={"name_or_path": "acme/named"})["named"]
    assert found["kind"] == kind and found["hint"]


def test_offline_there_is_the_cached_copy_or_a_sentence(root, tmp_path):
    with HubStandIn(root) as hub:
        download = (
            "from superft_hf.config import DataConfig\nfrom superft_hf.sources.hub_data import read_hub\n"
        )
        ask_hub(download + "read_hub(DataConfig(name_or_path='acme/named'))\nprint('{}')", hub.url, tmp_path)
        online = look(hub.url, tmp_path, named={"name_or_path": "acme/named"})
    offline = look(
        NOBODY, tmp_path, named={"name_or_path": "acme/named"}, words={"name_or_path": "acme/words"}
    )

    assert online["named"]["is_downloaded"] and not online["named"]["is_cached_view"]
    assert offline["named"]["is_cached_view"] and offline["named"]["splits"] == {"train": 40, "test": 6}
    assert {label for _, label in offline["named"]["rows"]} == {"cat", "dog"}
    assert offline["words"]["kind"] == "HubUnreachableError"


def test_many_files_are_told():
    from superft_hf.hub.data import HubDataPreview

    assert not HubDataPreview("acme/a", num_files=499).is_many_files
    assert HubDataPreview("acme/a", num_files=500).is_many_files
    assert HubDataPreview("acme/a", splits={"train": 5, "test": None}).num_rows is None
