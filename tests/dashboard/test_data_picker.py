"""Choosing images on the Start page; the Hub is a stand-in, asked by the real clients in a fresh process."""

import io
import zipfile
from pathlib import Path
from typing import Any

import datasets
import pytest

from dashboard import data_look, state
from dashboard.downloads import expected, progress_words
from superft_hf.hub.data import HubDataPreview
from tests.factories import make_image_folder
from tests.hub.test_data import named
from tests.hub_stand_in import HubStandIn, ask_hub, commit_of
from tests.sources.test_hub_data import rows, write_odd_ones, write_split

MODEL = "sample:efficientnet-lite0"


def text_of(test: Any) -> str:
    return "\n".join(str(one.value) for kind in (test.markdown, test.caption) for one in kind)


@pytest.fixture
def open_dialog(open_page):
    """The Start page on a sample, with the dialog of the images open."""

    def opened(**draft):
        values = {"model.name_or_path": MODEL, "data.name_or_path": "sample:textures", **draft}
        test = open_page("start", session={state.START_DRAFT: values})
        return test.get_by_key("start_change_images").click().run()

    return opened


def choose(test, name):
    test.get_by_key("start_typed_images").set_value(str(name))
    return test.get_by_key("start_use_typed_images").click().run()


def test_a_table_of_paths_and_labels(open_dialog, tmp_path):
    folder = make_image_folder(tmp_path / "pets")
    paths = sorted(folder.rglob("*.png"))
    table = tmp_path / "pets.csv"
    lines = [
        f"{path.relative_to(tmp_path)},{path.parent.name},{number % 6}" for number, path in enumerate(paths)
    ]
    table.write_text("\n".join(["path,label,owner", *lines]))
    test = choose(open_dialog(), table)

    assert not test.exception
    assert "in 2 classes" in test.title[0].value
    assert test.session_state[state.START_DRAFT]["data.name_or_path"] == str(table)


def test_choosing_other_images_forgets_what_belonged_to_the_last(open_dialog, tmp_path):
    folder = make_image_folder(tmp_path / "pets")
    test = open_dialog(**{
        "data.group_column": "subfolder", "data.exclude_classes": ["brick"], "data.eval_fraction": 0.2,
    })  # fmt: skip
    test = choose(test, folder)

    draft = test.session_state[state.START_DRAFT]
    assert draft["data.group_column"] is None and draft["data.exclude_classes"] == []
    assert draft["data.eval_fraction"] == 0.2


@pytest.mark.parametrize("name", ["nothing.csv", "./nowhere", "/nowhere/at/all.zip"])
def test_what_is_not_there_stays_in_the_dialog(open_dialog, name):
    test = choose(open_dialog(), name)

    assert not test.exception
    assert "There is no" in text_of(test)
    assert test.session_state[state.START_DRAFT]["data.name_or_path"] == "sample:textures"


def test_a_broken_zip_stays_in_the_dialog(open_dialog):
    test = open_dialog()
    test.get_by_key("start_upload").upload("a.zip", b"no zip", "application/zip").run()
    test.get_by_key("start_use_zip").click().run()

    assert not test.exception
    assert "not an intact zip" in text_of(test)


def test_an_uploaded_zip_is_used(open_dialog, store, tmp_path):
    folder = make_image_folder(tmp_path / "pets")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as opened:
        for path in sorted(folder.rglob("*.png")):
            opened.write(path, path.relative_to(folder))
    test = open_dialog()
    test.get_by_key("start_upload").upload("../pets.zip", packed.getvalue(), "application/zip").run()
    test.get_by_key("start_use_zip").click().run()

    (kept,) = store.paths.uploads.iterdir()
    assert kept.read_bytes() == packed.getvalue()
    assert "in 2 classes" in test.title[0].value


def test_without_the_hub_a_data_set_of_it_is_a_sentence_and_a_way_to_try_again(open_dialog):
    test = choose(open_dialog(), "acme/cells")

    assert not test.exception
    assert "acme/cells is neither a local folder or .zip nor in the cache of this machine" in text_of(
        test
    ).replace("\\", "")
    test.get_by_key("start_look_again").click().run()
    assert not test.exception
    test.get_by_key("start_data_back").click().run()
    assert test.get_by_key("start_typed_images") is not None


def test_time_and_size_of_a_download():
    assert expected(HubDataPreview("acme/a")) == ""
    assert (
        expected(HubDataPreview("acme/a", download_bytes=1000, num_files=1)) == "1.0 kB in 1 file, a moment"
    )
    many = expected(HubDataPreview("acme/a", download_bytes=26_000_000, num_files=26_000))
    assert many == "26.0 MB in 26,000 files, about 21 min 40 s with a request for each"
    assert progress_words(5_000_000, 10_000_000, None) == "5.0 MB of 10.0 MB"


def test_a_train_split_of_another_name_is_told_to_the_form():
    seen = HubDataPreview("acme/a", "c" * 40, splits={"validation": 20, "full": 400}, image_column="image")
    assert data_look._settings(seen)["data.train_split"] == "full"
    usual = HubDataPreview("acme/a", "c" * 40, splits={"train": 20, "test": None})
    assert "data.train_split" not in data_look._settings(usual)


# Against the stand-in

WALK = """
import json, os, time
from streamlit.testing.v1 import AppTest
from dashboard import state
from superft_hf.engine import control

control.ensure_supervisor = control.expect_run = lambda home: None
os.chdir(ROOT)

def text_of(test):
    words = "\\n".join(str(one.value) for kind in (test.markdown, test.caption) for one in kind)
    return words.replace("\\\\", "")

def key(test, name):
    return name in [one.key for one in test.button]

def settled(test):
    until = time.monotonic() + 60
    while key(test, "start_look_stop") or key(test, "start_card_stop"):
        assert time.monotonic() < until
        time.sleep(0.5)
        test.run()
    return test

def opened(**draft):
    test = AppTest.from_file("dashboard/app.py", default_timeout=90)
    test.session_state[state.START_DRAFT] = {
        "model.name_or_path": "sample:efficientnet-lite0", "data.name_or_path": "sample:textures", **draft
    }
    test.switch_page("app_pages/start.py").run()
    assert not test.exception, test.exception
    return test

def looked(name):
    test = opened().get_by_key("start_change_images").click().run()
    test.get_by_key("start_typed_images").set_value(name)
    test.get_by_key("start_use_typed_images").click().run()
    assert not test.exception, test.exception
    return test

STEPS
"""


def walk(steps: str, hub: HubStandIn, folder: Path) -> Any:
    root = Path(__file__).parents[2]
    code = WALK.replace("ROOT", repr(str(root))).replace("STEPS", steps)
    return ask_hub(code, hub.url, folder, SUPERFT_HOME=str(folder / "home"), PYTHONPATH=str(root))


@pytest.fixture
def hub(tmp_path):
    sets = tmp_path / "hub" / "datasets" / "acme"
    write_split(sets / "named", "train", *named(40))
    words = {
        "photo": rows(40),
        "mask": rows(40, 40),
        "breed": ["a", "b"] * 20,
        "owner": ["x", "x", "y", "y"] * 10,
    }

    text = datasets.Value("string")
    features = {"photo": datasets.Image(), "mask": datasets.Image(), "breed": text, "owner": text}
    write_split(sets / "words", "train", words, features)
    write_odd_ones(tmp_path / "hub")
    with HubStandIn(tmp_path / "hub") as hub:
        yield hub


@pytest.mark.slow
def test_a_data_set_is_looked_at_downloaded_and_used(hub, tmp_path):
    found = walk(
        """
test = looked("acme/named")
seen = text_of(test)
label = test.get_by_key("start_use_data").label
test.get_by_key("start_use_data").click().run()
settled(test)
if key(test, "start_use_data"):
    test.get_by_key("start_use_data").click().run()
draft = test.session_state[state.START_DRAFT]
print(json.dumps({"seen": seen, "label": label, "title": test.title[0].value, "draft": draft}))
""",
        hub,
        tmp_path,
    )

    assert "Classes: cat, dog." in found["seen"] and found["label"] == "Download and use"
    draft = found["draft"]
    assert draft["data.name_or_path"] == "acme/named"
    assert draft["data.revision"] == commit_of(hub.root / "datasets" / "acme" / "named")
    assert (draft["data.image_column"], draft["data.label_column"]) == ("image", "label")
    assert "28 training images in 2 classes" in found["title"]


@pytest.mark.slow
def test_columns_are_corrected_before_the_download(hub, tmp_path):
    found = walk(
        """
test = looked("acme/words")
problem = text_of(test)
test.get_by_key("start_look_label_column").set_value("breed").run()
test.get_by_key("start_look_image_column").set_value("mask").run()
test.get_by_key("start_look_group_column").set_value("owner").run()
assert not test.exception, test.exception
test.get_by_key("start_use_data").click().run()
settled(test)
if key(test, "start_use_data"):
    test.get_by_key("start_use_data").click().run()
assert not test.exception, test.exception
print(json.dumps({"problem": problem, "draft": test.session_state[state.START_DRAFT]}))
""",
        hub,
        tmp_path,
    )

    assert "has no label column among photo, mask, breed, owner" in found["problem"]
    draft = found["draft"]
    assert (draft["data.image_column"], draft["data.label_column"]) == ("mask", "breed")
    assert draft["data.group_column"] == "owner"


@pytest.mark.slow
def test_a_program_offers_its_converted_copy_and_configurations_are_chosen(hub, tmp_path):
    found = walk(
        """
test = looked("acme/script")
problem = text_of(test)
test.get_by_key("start_look_converted").click().run()
converted = text_of(test)
test = looked("acme/several")
first = text_of(test)
test.get_by_key("start_look_config_name").set_value("two").run()
print(json.dumps({"problem": problem, "converted": converted, "first": first, "second": text_of(test)}))
""",
        hub,
        tmp_path,
    )

    assert "is a program, script.py, which is not run" in found["problem"]
    assert "Classes: cat, dog." in found["converted"]
    assert "train 20" in found["first"] and "train 24" in found["second"]


@pytest.mark.slow
def test_a_data_set_that_is_not_here_waits_in_its_card_and_blocks_nothing_else(hub, tmp_path):
    hub.slow("/datasets/acme/named/resolve", 0.5)
    found = walk(
        """
test = opened(**{"data.name_or_path": "acme/named"})
for _ in range(40):
    if key(test, "start_card_download"):
        break
    time.sleep(0.5)
    test.run()
before = text_of(test)
blocked = test.get_by_key("start_start").disabled
test.get_by_key("start_card_download").click().run()
stop = key(test, "start_card_stop")
settled(test)
assert not test.exception, test.exception
test.run()
print(json.dumps({
    "before": before, "blocked": blocked, "stop": stop, "title": test.title[0].value, "after": text_of(test),
}))
""",
        hub,
        tmp_path,
    )

    assert "on the Hub, not on this machine yet" in found["before"]
    assert "The images are not on this machine yet" in found["before"] and found["blocked"]
    assert found["stop"]
    assert "28 training images in 2 classes" in found["title"]
    assert f"commit {commit_of(hub.root / 'datasets' / 'acme' / 'named')[:7]}" in found["after"]


@pytest.mark.slow
def test_a_hub_that_refuses_leaves_the_page_usable(hub, tmp_path):
    hub.fail("/api/datasets", 429, times=None, headers={"Retry-After": "41"})
    found = walk(
        """
test = looked("acme/named")
answer = {"words": text_of(test), "title": test.title[0].value, "again": key(test, "start_look_again")}
print(json.dumps(answer))
""",
        hub,
        tmp_path,
    )

    assert "takes no more requests" in found["words"] and "41 s" in found["words"] and found["again"]
    assert "Looking at its files" not in found["words"], "the waiting is over"
    assert found["title"].startswith(("Ready to start", "Checking before"))
