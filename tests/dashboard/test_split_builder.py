from typing import Any

import pytest

from dashboard import state
from dashboard.split_builder import MAX_ROWS, about_splits, group_sentence, split_table
from superft_hf.config import DataConfig
from superft_hf.records import DataInfo
from tests.conftest import digit_image

MODEL = "sample:efficientnet-lite0"


def text_of(test: Any) -> str:
    words = "\n".join(str(one.value) for kind in (test.markdown, test.caption) for one in kind)
    return words.replace("\\", "")


@pytest.fixture
def patients(tmp_path):
    """Two classes of 24 scans, of 12 patients with four each; a table says whose they are."""
    folder = tmp_path / "scans"
    lines = ["file_name,patient"]
    for number in range(48):
        name = f"{('ill', 'well')[number % 2]}/{number:02d}.png"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        digit_image(number).save(folder / name)
        lines.append(f"{name},p{number // 4:02d}")
    (folder / "metadata.csv").write_text("\n".join(lines))
    return folder


@pytest.fixture
def open_splits(open_page):
    """The Start page on these images, the splits in sight."""

    def opened(data, **draft):
        values = {"model.name_or_path": MODEL, "data.name_or_path": str(data), **draft}
        return open_page("start", session={state.START_DRAFT: values, "start_images_tabs": "Splits"})

    return opened


def test_a_group_stays_on_one_side(open_splits, patients):
    test = open_splits(patients)
    assert test.get_by_key("start_data_group_column").options == ["patient"]
    test.get_by_key("start_data_group_column").set_value("patient").run()

    assert not test.exception
    assert test.session_state[state.START_DRAFT]["data.group_column"] == "patient"
    assert "No patient is on two sides." in text_of(test)
    assert "by patient, split seed 42" in text_of(test)
    table = test.dataframe[0].value
    assert table["Class"].tolist() == ["ill", "well", "All classes"]
    assert table["all"].tolist() == [24, 24, 48]
    assert (table[["train", "eval", "test"]].iloc[2] % 4 == 0).all()  # whole patients


def test_fraction_and_seed_change_the_table_at_once(open_splits, patients):
    test = open_splits(patients)
    before = test.dataframe[0].value["eval"].tolist()
    test.get_by_key("start_data_eval_fraction").set_value(0.5).run()

    assert not test.exception
    assert before == [4, 3, 7]
    assert test.dataframe[0].value["eval"].tolist() == [12, 12, 24]
    assert "24 images" in text_of(test)


def test_given_splits_need_no_fractions_until_they_are_cut_anew(open_splits, make_folder):
    layout = {f"{split}/{name}": 6 for split in ("train", "validation", "test") for name in ("cat", "dog")}
    test = open_splits(make_folder(layout))

    assert "All three splits are given." in text_of(test)
    assert test.get_by_key("start_data_eval_fraction").disabled
    test.get_by_key("start_data_split_by").set_value("cut").run()

    assert not test.exception
    assert "All images are put together and cut anew" in text_of(test)
    assert not test.get_by_key("start_data_eval_fraction").disabled
    assert test.dataframe[0].value["train"].tolist() == [13, 13, 26] or test.dataframe[0].value[
        "all"
    ].tolist() == [18, 18, 36]


def test_a_group_column_that_is_not_there_can_be_undone_in_the_card(open_splits, patients):
    test = open_splits(patients, **{"data.group_column": "hospital"})

    assert "hospital" in text_of(test)
    test.get_by_key("start_card_no_group").click().run()
    assert not test.exception
    assert "in 2 classes" in test.title[0].value


def test_sentence_of_the_splits():
    def info(*is_cut: str) -> DataInfo:
        return DataInfo("a", "a", "", "local", is_cut=is_cut)

    data = DataConfig(name_or_path="a")
    folded = data.model_copy(update={"num_folds": 4, "fold": 2})
    assert about_splits(folded, info("eval")).startswith("Eval is fold 3 of 4 of train, ")
    assert about_splits(data, info("eval", "test")) == (
        "Eval and test are cut from train, stratified by class, split seed 42."
    )
    grouped = data.model_copy(update={"group_column": "site", "split_by": "cut"})
    assert about_splits(grouped, info("train", "eval", "test")) == (
        "All images are put together and cut anew, by site, split seed 42."
    )


def test_groups_on_two_sides_are_told():
    groups = {"train": frozenset("abc"), "eval": frozenset("ab"), "test": frozenset("d")}
    assert group_sentence("site", groups) == (
        False, "2 values of site are in two splits, such as a in train and eval.",
    )  # fmt: skip


def test_table__of_a_thousand_classes_the_smallest_and_the_total():
    counts = {"train": {f"class {index}": index + 2 for index in range(1000)}}
    table = split_table(counts)

    assert len(table) == MAX_ROWS
    assert table["Class"].tolist()[:2] == ["class 0", "class 1"]
    assert table.iloc[-1].tolist() == ["All classes", sum(range(2, 1002)), sum(range(2, 1002))]
