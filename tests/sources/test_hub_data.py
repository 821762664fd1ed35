import io
import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

from superft_hf.config import DataConfig
from superft_hf.errors import HubUnreachableError
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


def write_odd_ones(root: Path) -> None:
    """Data sets without a label column, of a program, and of several configurations."""
    loose = root / "datasets" / "acme" / "loose"  # pictures in folders that are no splits, beside a table
    for number in range(12):
        target = loose / "train" / ("cat", "dog")[number % 2] / f"{number}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(encoded(number))
    lines = [
        json.dumps({"file_name": f"{('cat', 'dog')[number % 2]}/{number}.png", "width": 0.5})
        for number in range(12)
    ]
    (loose / "train" / "metadata.jsonl").write_text("\n".join(lines))

    script = root / "datasets" / "acme" / "script"
    script.mkdir()
    (script / "script.py").write_text("raise SystemExit")
    converted = script / ".revisions" / "refs%2Fconvert%2Fparquet" / "default" / "train"
    columns = {"image": rows(20), "label": [0, 1] * 10}
    made = datasets.Dataset.from_dict(columns, features=datasets.Features({"image": PICTURE, "label": NAMED}))
    converted.mkdir(parents=True)
    made.to_parquet(converted / "0000.parquet")

    several = root / "datasets" / "acme" / "several"
    for name, count in (("one", 20), ("two", 24)):
        write_split(
            several / name,
            "train",
            {"image": rows(count), "label": [0, 1] * (count // 2)},
            {"image": PICTURE, "label": NAMED},
        )
    configs = [{"config_name": name, "data_files": f"{name}/data/*.parquet"} for name in ("one", "two")]
    (several / "README.md").write_text(f"---\nconfigs: {json.dumps(configs)}\n---\n")


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
        "grade": [2, 10] * 9 + [None, 2], "small_id": list(range(20)),
        "city": ["Bern", "Oslo"] * 9 + [None, "Bern"], "is_old": [True, False] * 10,
        "score": [1.0, 2.0] * 9 + [None, 1.0], "price": [0.5] * 20, "boxes": [[1, 2]] * 20,
        "empty": ["x", "y"] * 9 + ["  ", "y"],
    }  # fmt: skip
    features = {
        "small": PICTURE, "large": PICTURE, "category": datasets.Value("string"),
        "grade": datasets.Value("int64"), "small_id": datasets.Value("int32"),
        "city": datasets.Value("string"), "is_old": datasets.Value("bool"),
        "score": datasets.Value("float64"), "price": datasets.Value("float32"),
        "boxes": datasets.List(datasets.Value("int64")), "empty": datasets.Value("string"),
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

    grouped = root / "datasets" / "acme" / "grouped"
    columns = {
        "image": rows(4), "label": [0, 1, 0, 1], "kind": [0, 1, -1, 0], "number": [7, 8, 9, 7],
        "city": ["Bern", None, "Oslo", "Bern"],
    }  # fmt: skip
    features = {
        "image": PICTURE, "label": NAMED, "kind": NAMED, "number": datasets.Value("int8"),
        "city": datasets.Value("string"),
    }  # fmt: skip
    write_split(grouped, "train", columns, features)

    write_odd_ones(root)
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
            hub.url, caches, loose={"name_or_path": "acme/loose"},
            named={"name_or_path": "acme/named"},
            words={"name_or_path": "acme/words"},
            columns={"name_or_path": "acme/words", "image_column": "large", "label_column": "grade"},
            no_image_column={"name_or_path": "acme/words", "image_column": "category"},
            booleans={"name_or_path": "acme/words", "label_column": "is_old"},
            decimals={"name_or_path": "acme/words", "label_column": "score"},
            blanks={"name_or_path": "acme/words", "label_column": "empty"},
            measurements={"name_or_path": "acme/words", "label_column": "price"},
            boxes={"name_or_path": "acme/words", "label_column": "boxes"},
            script={"name_or_path": "acme/script"},
            converted={"name_or_path": "acme/script", "revision": "refs/convert/parquet"},
            configs={"name_or_path": "acme/several", "config_name": "two"},
            no_config={"name_or_path": "acme/several"},
            no_group_column={"name_or_path": "acme/words", "label_column": "grade", "group_column": "site"},
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
    assert found["class_names"] == ["2", "10"] and found["num_unlabelled"] == 1
    assert sum(sum(by_class.values()) for by_class in found["counts"].values()) == 19
    assert bytes.fromhex(found["first"]) in {encoded(number) for number in range(20, 40)}


@pytest.mark.parametrize(
    ("key", "class_names", "unlabelled"),
    [
        ("booleans", ["False", "True"], 0),
        ("decimals", ["1", "2"], 1),  # whole numbers with a gap are often kept as decimals
        ("blanks", ["x", "y"], 1),
        ("loose", ["cat", "dog"], 0),  # no label column: the folders
        ("converted", ["cat", "dog"], 0),
    ],
)
def test_labels_of_every_kind(answers, key, class_names, unlabelled):
    found = answers[key]
    assert (found["class_names"], found["num_unlabelled"]) == (class_names, unlabelled)


def test_columns_that_groups_may_come_from_are_named(answers):
    assert answers["words"]["columns"] == ["grade", "small_id", "city", "empty"]
    assert answers["named"]["columns"] == []


def test_a_configuration_is_chosen_by_its_name(answers):
    assert sum(sum(one.values()) for one in answers["configs"]["counts"].values()) == 24
    assert "'one', 'two'" in answers["no_config"]["message"]
    assert answers["no_config"]["hint"] == "Set data.config_name to one of them."


@pytest.mark.parametrize(
    ("key", "part"),
    [
        ("no_image_column", "has no image column 'category'; it has small, large."),
        ("no_label_column", "has no column 'colour'."),
        ("plain", "has no image column among text, label."),
        ("gated", "acme/gated"),
        ("missing", "There is no data set acme/missing on the Hub."),
        ("script", "The data set acme/script is a program, script.py, which is not run."),
        ("measurements", "The column price of the data set acme/words holds measurements such as 0.5"),
        ("boxes", "The column boxes of the data set acme/words holds no class a row (list)."),
        ("no_group_column", "has no column 'site' to group by; it has category, small_id, city, empty."),
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
        configs={"name_or_path": "acme/several", "config_name": "two"},
        other_config={"name_or_path": "acme/several", "config_name": "one"},
        no_config={"name_or_path": "acme/several"},
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
    assert offline["configs"]["counts"] == answers["configs"]["counts"]
    for key, name in (
        ("other_config", "acme/several"), ("no_config", "acme/several"), ("unknown", "acme/unknown"),
        ("other", "acme/named"), ("other_commit", "acme/named"),
    ):  # fmt: skip
        assert offline[key]["message"] == (
            f"The data set {name} is neither a local folder or .zip nor in the cache of this machine, "
            "and the Hub cannot be reached."
        )
        assert offline[key]["kind"] == "HubUnreachableError"
    assert offline["unknown"]["seconds"] < 4
    assert "Retrying" not in offline["stderr"]


def test_offline_by_choice_is_told_as_such():
    with pytest.raises(HubUnreachableError, match="and HF_HUB_OFFLINE is set"):
        read_hub(DataConfig(name_or_path="acme/unknown"))


def test_a_row_without_an_image_is_an_empty_file():
    from superft_hf.sources.hub_images import HubImages

    columns = {"image": [*rows(1), None], "label": [0, 1]}
    features = datasets.Features({"image": datasets.Image(decode=False), "label": NAMED})
    images = HubImages(datasets.Dataset.from_dict(columns, features=features), "train", "image")
    assert len(images) == 2
    assert images.encoded(np.int64(0)) == encoded(0) and images.encoded(1) == b""
    assert images.reference(1) == "hub:train:1"


GROUPS = """
import json
from superft_hf.config import DataConfig
from superft_hf.sources.hub_data import read_hub
found = {}
for column in ("kind", "city", "number"):
    data = DataConfig(name_or_path="acme/grouped", label_column="label", group_column=column)
    split = read_hub(data)["train"]
    found[column] = split.groups.tolist()
print(json.dumps(found))
"""


def test_groups_are_texts_and_a_row_without_one_has_an_empty_text(answers, caches, root):
    with HubStandIn(root) as hub:
        found = ask_hub(GROUPS, hub.url, caches)

    assert found["kind"] == ["cat", "dog", "", "cat"]
    assert found["city"] == ["Bern", "", "Oslo", "Bern"]
    assert found["number"] == ["7", "8", "9", "7"]


@pytest.mark.parametrize("status", [401, 403, 429, 503])
def test_a_hub_that_refuses_leaves_what_is_in_the_cache(answers, caches, root, status):
    with HubStandIn(root) as hub:
        hub.fail("/", status, times=None)
        found = ask(
            hub.url, caches, named={"name_or_path": "acme/named"}, unknown={"name_or_path": "acme/plain2"}
        )

    assert found["named"]["counts"] == answers["named"]["counts"]
    assert found["unknown"]["kind"] in (
        "TokenRefusedError",
        "GatedError",
        "RateLimitedError",
        "HubUnreachableError",
    )


def test_a_newer_version_is_not_replaced_by_the_cached_one(tmp_path):
    named = tmp_path / "hub" / "datasets" / "acme" / "named"
    features = {"image": PICTURE, "label": NAMED}
    caches = tmp_path / "caches"
    caches.mkdir()
    write_split(named, "train", {"image": rows(20), "label": [0, 1] * 10}, features)
    with HubStandIn(tmp_path / "hub") as hub:
        old = ask(hub.url, caches, found={"name_or_path": "acme/named"})["found"]
        write_split(named, "train", {"image": rows(30), "label": [0, 1] * 15}, features)
        hub.fail("/datasets/acme/named/resolve", 503, times=None)
        refused = ask(hub.url, caches, found={"name_or_path": "acme/named"})["found"]
        hub.mend()
        new = ask(hub.url, caches, found={"name_or_path": "acme/named"})["found"]

    assert sum(sum(one.values()) for one in old["counts"].values()) == 20
    assert refused["kind"] == "HubUnreachableError"
    assert sum(sum(one.values()) for one in new["counts"].values()) == 30


def test_a_second_look_at_a_pinned_data_set_asks_nobody(answers, caches, root):
    commit = commit_of(root / "datasets" / "acme" / "named")
    with HubStandIn(root) as hub:
        found = ask(hub.url, caches, named={"name_or_path": "acme/named", "revision": commit})
        asked = [one for one in hub.requests if "agent-harnesses" not in one]

    assert found["named"]["counts"] == answers["named"]["counts"] and asked == []
