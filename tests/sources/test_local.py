import zipfile
from pathlib import Path

import pytest

from superft_hf.config import DataConfig
from superft_hf.errors import DataError
from superft_hf.sources.load import ImageSet, load_images


def load(name: str | Path, home: Path, **settings) -> ImageSet:
    return load_images(DataConfig(name_or_path=str(name), **settings), home)


def sides(images: ImageSet) -> list[set[str]]:
    return [set(groups.tolist()) for groups in images.groups.values()]


def are_apart(images: ImageSet) -> bool:
    found = sides(images)
    return sum(len(side) for side in found) == len(set.union(*found))


def write(path: Path, lines: list[str]) -> None:
    path.write_text("\n".join(lines))


# Groups of folders


def test_a_subfolder_of_the_class_folder_is_a_group(make_folder, home):
    layout = {f"{name}/patient{number}": 4 for name in ("cat", "dog") for number in range(10)}
    images = load(make_folder(layout), home, group_column="subfolder")
    assert images.columns == ("subfolder",)
    assert are_apart(images) and set.union(*sides(images)) == {f"patient{number}" for number in range(10)}
    assert all(len(split) >= 8 for split in images.splits.values())


def test_the_file_name_up_to_a_separator_is_a_group(make_folder, home):
    root = make_folder({"cat": 20, "dog": 20})
    for number, path in enumerate(sorted(root.rglob("*.png"))):
        path.rename(path.with_name(f"site{number % 8}{'_-'[number % 2]}{number}.png"))
    images = load(root, home, group_column="file_prefix")
    assert images.columns == ("file_prefix",)
    assert are_apart(images) and len(set.union(*sides(images))) == 8


def test_plain_class_folders_offer_no_column_and_an_unknown_one_is_named(make_folder, home):
    root = make_folder({"cat": 20, "dog": 20})
    assert load(root, home).columns == () and load(root, home).groups is None
    with pytest.raises(DataError, match="has no column 'patient' to group by; it has none") as caught:
        load(root, home, group_column="patient")
    assert "subfolder" in caught.value.hint


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_a_metadata_file_adds_columns(make_folder, home, name):
    root = make_folder({"cat": 20, "dog": 20})
    files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    if name.endswith("csv"):
        write(root / name, ["file_name,patient", *(f"{one},p{n // 3}" for n, one in enumerate(files))])
    else:
        write(
            root / name, [f'{{"file_name": "{one}", "patient": "p{n // 3}"}}' for n, one in enumerate(files)]
        )
    images = load(root, home, group_column="patient")
    assert images.columns == ("patient",) and images.class_names == ("cat", "dog")
    assert are_apart(images) and len(set.union(*sides(images))) == 14


def test_images_that_the_metadata_does_not_name_are_in_no_group(make_folder, home):
    root = make_folder({"cat": 20, "dog": 20})
    write(root / "metadata.csv", ["file_name,patient", "cat/0000.png,p", "dog/0020.png,p"])
    images = load(root, home, group_column="patient")
    assert images.num_groups()["train"] + images.num_groups()["eval"] + images.num_groups()["test"] == 1


def test_a_file_that_is_only_called_metadata_does_no_harm(make_folder, home):
    root = make_folder({"cat": 20, "dog": 20})
    write(root / "metadata.csv", ["made by,a camera", "1,2,3"])
    assert load(root, home).columns == ()
    write(root / "metadata.csv", ["camera,lens", "x,y"])
    assert load(root, home).columns == ()


def test_names_with_dots_in_the_metadata_are_the_same_files(make_folder, home):
    root = make_folder({"cat": 20, "dog": 20})
    files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    write(
        root / "metadata.csv", ["file_name,patient", *(f"./{one},p{n // 4}" for n, one in enumerate(files))]
    )
    assert len(set.union(*sides(load(root, home, group_column="patient")))) == 10


# Tables within folders and zips


def test_the_metadata_labels_a_folder_without_class_folders(make_folder, home):
    root = make_folder({"train": 20, "test": 8})
    for split in ("train", "test"):
        files = sorted(path.name for path in (root / split).iterdir())
        write(
            root / split / "metadata.csv",
            ["file_name,label", *(f"{one},{'ab'[n % 2]}" for n, one in enumerate(files))],
        )
    images = load(root, home)
    assert images.class_names == ("a", "b") and images.is_cut == ("eval",)
    assert len(images.splits["test"]) == 8


def test_one_metadata_file_for_split_folders(make_folder, home):
    root = make_folder({"train": 20, "test": 8})
    files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    write(
        root / "metadata.csv", ["file_name,label", *(f"{one},{'ab'[n % 2]}" for n, one in enumerate(files))]
    )
    images = load(root, home)
    assert images.is_cut == ("eval",) and len(images.splits["test"]) == 8


def test_class_folders_win_over_the_metadata_unless_its_column_is_asked_for(make_folder, home):
    root = make_folder({"cat": 20, "dog": 20})
    files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    write(
        root / "metadata.csv", ["file_name,label", *(f"{one},{'xyz'[n % 3]}" for n, one in enumerate(files))]
    )
    assert load(root, home).class_names == ("cat", "dog")
    assert load(root, home, label_column="label").class_names == ("x", "y", "z")


@pytest.mark.parametrize("wrapper", ["", "data/"])
def test_a_zip_may_hold_a_table_and_its_images(make_folder, home, tmp_path, wrapper):
    root = make_folder({"pictures": 20, "more": 20})
    files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    write(root / "labels.csv", ["image,label", *(f"{one},{'ab'[n % 2]}" for n, one in enumerate(files))])
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as opened:
        for path in root.rglob("*"):
            opened.write(path, wrapper + path.relative_to(root).as_posix())
    assert load(tmp_path / "a.zip", home).class_names == ("a", "b")
    assert load(root, home).class_names == ("a", "b")


def test_a_table_that_names_no_images_there_is_passed_over(make_folder, home):
    root = make_folder({"cat": 20, "dog": 20})
    write(root / "results.csv", ["path,label", "elsewhere/1.png,a"])
    assert load(root, home).class_names == ("cat", "dog")
    write(root / "results.csv", ["epoch,loss", "1,0.5"])
    assert load(root, home).class_names == ("cat", "dog")


# Cutting anew, classes


def test_all_splits_put_together_and_cut_anew(make_folder, home):
    root = make_folder({"train/cat": 10, "train/dog": 20, "test/cat": 10, "val/emu": 20})
    images = load(root, home, split_by="cut")
    assert images.is_cut == ("train", "eval", "test")
    assert images.counts() == {
        "train": {"cat": 14, "dog": 14, "emu": 14},
        "eval": {"cat": 3, "dog": 3, "emu": 3},
        "test": {"cat": 3, "dog": 3, "emu": 3},
    }
    everything = {split.reference(n) for split in images.splits.values() for n in range(len(split))}
    assert len(everything) == 60
    for split in images.splits.values():
        assert split.encoded(0) == Path(split.reference(0)).read_bytes()


def test_classes_are_merged_and_left_out(make_folder, home):
    root = make_folder({"cat": 20, "Cat": 20, "dog": 20, "emu": 20})
    images = load(root, home, merge_classes={"Cat": "cat"}, exclude_classes=["emu"])
    assert images.class_names == ("cat", "dog")
    assert {name: sum(part[name] for part in images.counts().values()) for name in images.class_names} == {
        "cat": 40,
        "dog": 20,
    }
    new = load(root, home, merge_classes={"dog": "other", "emu": "other"})
    assert new.class_names == ("Cat", "cat", "other")


def test_a_class_left_out_leaves_its_split_out_of_the_comparison(make_folder, home):
    root = make_folder({"train/cat": 9, "train/dog": 9, "val/cat": 2, "val/emu": 2})
    assert load(root, home, exclude_classes=["emu"]).counts()["eval"] == {"cat": 2, "dog": 0}


@pytest.mark.parametrize("settings", [{"exclude_classes": ["cow"]}, {"merge_classes": {"cow": "cat"}}])
def test_unknown_class_names_are_named(make_folder, home, settings):
    with pytest.raises(DataError, match="names 'cow', which is no class; there is cat, dog") as caught:
        load(make_folder({"cat": 9, "dog": 9}), home, **settings)
    assert next(iter(settings)) in caught.value.hint


def test_too_few_groups_for_a_cut_are_told(make_folder, home):
    root = make_folder({"cat/one": 9, "dog/one": 9})
    with pytest.raises(DataError, match="is empty: there are too few groups of 'subfolder'"):
        load(root, home, group_column="subfolder")


def test_a_part_of_train_keeps_the_groups_of_its_images(make_folder, home):
    layout = {f"{name}/patient{number}": 4 for name in ("cat", "dog") for number in range(10)}
    images = load(make_folder(layout), home, group_column="subfolder", max_train_samples=20)
    train = images.splits["train"]
    assert len(train) == 20 and are_apart(images)
    assert all(f"/{group}/" in train.reference(n) for n, group in enumerate(train.groups))
