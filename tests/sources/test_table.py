import json
from pathlib import Path

import pytest

from superft_hf.config import DataConfig
from superft_hf.errors import DataError, DataNotFoundError
from superft_hf.sources.load import ImageSet, load_images, shown_reference
from superft_hf.sources.table import read_table


@pytest.fixture
def pictures(make_folder) -> Path:
    """40 pictures in one folder, `pictures/0000.png` to `pictures/0039.png`."""
    return make_folder({"pictures": 40}, "table")


def write_csv(
    folder: Path, header: str, rows: list[str], name: str = "labels.csv", encoding: str = "utf-8"
) -> Path:
    path = folder / name
    path.write_text("\n".join([header, *rows]) + "\n", encoding=encoding)
    return path


def rows(count: int = 40, end: str = "") -> list[str]:
    return [f"pictures/{number:04d}.png,{('cat', 'dog')[number % 2]}{end}" for number in range(count)]


def load(path: Path | str, home: Path, **settings) -> ImageSet:
    return load_images(DataConfig(name_or_path=str(path), **settings), home)


def sizes(images: ImageSet) -> dict[str, int]:
    return {name: len(split) for name, split in images.splits.items()}


def total(images: ImageSet) -> int:
    return sum(sizes(images).values())


def test_a_csv_of_paths_and_labels(pictures, home):
    images = load(write_csv(pictures, "file_name,label", rows()), home)
    assert images.class_names == ("cat", "dog")
    assert images.counts()["train"] == {"cat": 14, "dog": 14}
    assert sizes(images) == {"train": 28, "eval": 6, "test": 6}
    assert images.splits["train"].encoded(0)[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    "header", ["path,class", "Image,Label", "FILEPATH,target", "filename,category", "img,labels"]
)
def test_columns_are_found_by_their_names_or_what_they_hold(pictures, home, header):
    assert total(load(write_csv(pictures, header, rows()), home)) == 40


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_other_separators_and_a_byte_order_mark(pictures, home, separator):
    path = write_csv(pictures, f"file_name{separator}label", [one.replace(",", separator) for one in rows()],
                     encoding="utf-8-sig")  # fmt: skip
    assert load(path, home).class_names == ("cat", "dog")


def test_a_jsonl_with_numbers_as_labels(pictures, home):
    lines = [json.dumps({"image": f"pictures/{n:04d}.png", "label": 10 if n % 2 else 9}) for n in range(40)]
    (pictures / "labels.jsonl").write_text("\n".join(lines))
    assert load(pictures / "labels.jsonl", home).class_names == ("9", "10")  # by value, not by text


def test_named_columns_win(pictures, home):
    path = write_csv(
        pictures,
        "file_name,label,kind,other",
        rows(end=",x,nothing.png")[:20] + rows(40, ",y,nothing.png")[20:],
    )
    assert load(path, home, label_column="kind").class_names == ("x", "y")
    with pytest.raises(
        DataNotFoundError, match="40 of 40 images that .* names do not exist; the first is nothing.png"
    ):
        load(path, home, image_column="other")


@pytest.mark.parametrize(
    ("setting", "name"),
    [("image_column", "no"), ("label_column", "no"), ("split_column", "no"), ("group_column", "no")],
)
def test_a_column_that_is_not_there_is_named_with_those_that_are(pictures, home, setting, name):
    path = write_csv(pictures, "file_name,label", rows())
    with pytest.raises(DataError, match="has no column 'no'.*file_name, label") as caught:
        load(path, home, **{setting: name})
    assert f"data.{setting}" in caught.value.hint


def test_without_a_label_column_the_folders_are_the_classes(make_folder, home):
    root = make_folder({"cat": 20, "dog": 20})
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    assert load(
        write_csv(root, "path,size", [f"{name},8" for name in names], "all.csv"), home
    ).class_names == ("cat", "dog")


def test_one_folder_tells_no_classes(pictures, home):
    path = write_csv(pictures, "path,breed", rows())
    with pytest.raises(DataError, match="has no label column among path, breed") as caught:
        load(path, home)
    assert "data.label_column" in caught.value.hint


def test_absolute_paths_and_those_of_windows(pictures, home):
    lines = [f"{pictures}/{one}" for one in rows()[:20]] + [one.replace("/", "\\") for one in rows()[20:]]
    assert total(load(write_csv(pictures, "path,label", lines), home)) == 40


def test_missing_files_are_counted_and_named_or_skipped(pictures, home):
    path = write_csv(pictures, "path,label", [*rows(), "pictures/gone.png,cat", "gone.png,dog"])
    with pytest.raises(DataNotFoundError, match="^2 of 42 images .*the first is pictures/gone.png"):
        load(path, home)
    images = load(path, home, on_bad_image="skip")
    assert total(images) == 40 and images.num_missing == 2


def test_a_split_column_has_names_as_folders_have_them(pictures, home):
    lines = [f"{one},{'train' if n < 28 else 'Val' if n < 34 else 'test'}" for n, one in enumerate(rows())]
    images = load(write_csv(pictures, "path,label,split", lines), home)
    assert sizes(images) == {"train": 28, "eval": 6, "test": 6} and images.is_cut == ()
    renamed = write_csv(pictures, "path,label,fold", lines, "b.csv")
    assert load(renamed, home).is_cut == ("eval", "test")
    assert load(renamed, home, split_column="fold").is_cut == ()


def test_rows_without_a_split_are_not_guessed(pictures, home):
    lines = [f"{one},{'train' if n else ''}" for n, one in enumerate(rows())]
    with pytest.raises(DataError, match="1 of 40 rows .* have no split"):
        load(write_csv(pictures, "path,label,split", lines), home)


def test_rows_without_a_label_are_counted(pictures, home):
    lines = [*rows(38), "pictures/0038.png,", "pictures/0039.png,  "]
    images = load(write_csv(pictures, "path,label", lines), home)
    assert total(images) == 38 and images.num_unlabelled == 2


def test_labels_keep_their_spelling(pictures, home):
    lines = [one.replace(",cat", ", Cat") for one in rows()]
    assert load(write_csv(pictures, "path,label", lines), home).class_names == (" Cat", "dog")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "has no rows"),
        ("a.csv", "path,label\n", "has no rows"),
        ("a.csv", "path,label\n1.png,cat,dog\n", "Row 2 of .* has 3 cells; the first has 2"),
        ("a.csv", "path,path\n1.png,cat\n", "names a column twice"),
        ("a.csv", 'path,label\n"1.png,cat\n', "cannot be read"),
        ("a.jsonl", '{"path": "1.png"}\n[1]\n', "Line 2 of .* is no JSON object"),
        ("a.jsonl", "no json\n", "Line 1 of .* is no JSON object"),
        ("a.jsonl", "\n", "has no rows"),
    ],
)
def test_what_is_no_table_is_said(tmp_path, home, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        load(tmp_path / name, home)


def test_a_table_of_another_encoding_and_one_that_is_not_there(tmp_path, home):
    (tmp_path / "a.csv").write_bytes("path,label\n1.png,Löwe\n".encode("latin-1"))
    with pytest.raises(DataError, match="is not UTF-8 text"):
        load(tmp_path / "a.csv", home)
    with pytest.raises(DataNotFoundError, match=r"There is no file ./b\.csv"):
        load("./b.csv", home)


def test_references_of_a_table_are_shown_beside_it(pictures, home, monkeypatch):
    write_csv(pictures, "path,label", rows())
    monkeypatch.chdir(pictures.parent)
    data = DataConfig(name_or_path="table/labels.csv")
    shown = shown_reference(data, load_images(data, home).splits["train"].reference(0))
    assert shown.startswith("table/pictures/00")


def test_quoted_cells_may_hold_the_separator(tmp_path):
    table = read_table(write_csv(tmp_path, "path,label", ['"a, b.png","x, y"']))
    assert table.columns == {"path": ["a, b.png"], "label": ["x, y"]}


def test_groups_come_from_any_column(pictures, home):
    lines = [f"{one},p{n // 4}" for n, one in enumerate(rows())]
    images = load(write_csv(pictures, "path,label,patient", lines), home, group_column="patient")
    assert images.columns == ("patient",)
    sides = [set(groups.tolist()) for groups in images.groups.values()]
    assert len(set.union(*sides)) == 10 == sum(len(side) for side in sides)
    assert images.num_groups() == {name: len(side) for name, side in zip(images.splits, sides, strict=True)}


@pytest.mark.slow
def test_a_million_rows_take_seconds(tmp_path, home, make_folder):
    import time

    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "a.png").write_bytes(b"x")
    lines = [f"one/a.png,{number % 10}" for number in range(1_000_000)]
    path = write_csv(tmp_path, "path,label", lines)
    begun = time.perf_counter()
    assert total(load(path, home)) == 1_000_000
    assert time.perf_counter() - begun < 30
