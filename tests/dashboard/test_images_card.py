from typing import Any

import numpy as np
import pytest
from PIL import Image

from dashboard import inspection, state
from dashboard.images_card import balance_sentence, sizes_sentence
from superft_hf.config import DataConfig
from superft_hf.paths import HOME_VARIABLE

MODEL = "sample:efficientnet-lite0"


def text_of(test: Any) -> str:
    words = "\n".join(str(one.value) for kind in (test.markdown, test.caption) for one in kind)
    return words.replace("\\", "")


@pytest.fixture
def open_tab(open_page):
    def opened(data, tab, **draft):
        values = {"model.name_or_path": MODEL, "data.name_or_path": str(data), **draft}
        return open_page("start", session={state.START_DRAFT: values, "start_images_tabs": tab})

    return opened


def test_class_balance_in_words_and_as_bars(open_tab, make_folder):
    test = open_tab(make_folder({"cat": 40, "dog": 8}), "Class balance")

    assert not test.exception
    assert (
        "The largest class, cat, has 5.0 times as many images as the smallest, dog: 40 against 8."
        in text_of(test)
    )
    assert len(test.get("plotly_chart")) == 1


def test_sizes__all_equal_need_no_chart(open_tab, make_folder):
    test = open_tab(make_folder({"cat": 6, "dog": 6}), "Image sizes")

    assert not test.exception
    assert "All images are 8 × 8 px." in text_of(test)
    assert not test.get("plotly_chart")


def test_sizes__different_ones_are_drawn_and_a_broken_file_is_passed_over(open_tab, make_folder):
    folder = make_folder({"cat": 6, "dog": 6})
    Image.new("L", (40, 20)).save(folder / "cat" / "wide.png")
    (folder / "dog" / "broken.png").write_bytes(b"no image")
    test = open_tab(folder, "Image sizes", **{"data.on_bad_image": "skip"})

    assert not test.exception
    assert "From 8 × 8 to 40 × 20 px" in text_of(test)
    assert len(test.get("plotly_chart")) == 1


def test_sizes__a_photograph_on_its_side_counts_as_it_is_shown(tmp_path, make_folder, monkeypatch):
    folder = make_folder({"cat": 6, "dog": 6})
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (40, 20)).save(folder / "cat" / "turned.jpg", exif=exif)
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "runs"))
    sizes = inspection.image_sizes(DataConfig(name_or_path=str(folder)))

    assert [20, 40] in sizes.tolist() and [40, 20] not in sizes.tolist()
    assert sizes.dtype == np.int64


def test_examples__many_classes_are_turned_page_by_page_and_long_names_shortened(open_tab, make_folder):
    layout = {f"a very long name of a class with the number {index:02d}": 4 for index in range(25)}
    test = open_tab(make_folder(layout), "Examples by class")

    assert not test.exception
    assert len(test.get("pagination")) == 1
    shown = text_of(test)
    assert "number 19" in shown or "r 19" in shown
    assert "a very long name of a class with the number 00" not in shown.split("All 100 images")[0]


def test_rows_without_a_label_are_told(open_tab, tmp_path, make_folder):
    folder = make_folder({"cat": 10, "dog": 10})
    lines = [f"{path},{path.parent.name}" for path in sorted(folder.rglob("*.png"))]
    lines[0] = lines[0].rsplit(",", 1)[0] + ","
    table = tmp_path / "pets.csv"
    table.write_text("\n".join(["path,label", *lines]))
    test = open_tab(table, "Examples by class")

    assert "1 row without a label left out." in text_of(test)


def test_words():
    assert balance_sentence({"cat": 7, "dog": 7}) == "The classes are even: 7 images each."
    assert "many times" in balance_sentence({"cat": 7, "dog": 0})
    assert sizes_sentence([], 3) == "No image could be opened."
