import zipfile
from pathlib import Path

import numpy as np
import pytest

from superft_hf.config import DataConfig
from superft_hf.errors import (
    ArchiveError,
    ClassMismatchError,
    DataError,
    DataNotFoundError,
    HubUnreachableError,
)
from superft_hf.sources.load import (
    ImageSet,
    load_images,
    local_path,
    looks_like_path,
    open_reference,
    shown_reference,
)


def load(name: str | Path, home: Path, **settings) -> ImageSet:
    return load_images(DataConfig(name_or_path=str(name), **settings), home)


def sizes(images: ImageSet) -> dict[str, int]:
    return {name: len(split) for name, split in images.splits.items()}


def names_of(images: ImageSet, split: str) -> set[str]:
    found = images.splits[split]
    return {found.reference(index) for index in range(len(found))}


def zip_folder(root: Path, archive: Path) -> Path:
    with zipfile.ZipFile(archive, "w") as opened:
        for path in sorted(root.rglob("*")):
            opened.write(path, path.relative_to(root.parent))
    return archive


# Splits


def test_class_folders_are_cut_into_train_eval_and_test(make_folder, home):
    images = load(make_folder({"cat": 20, "dog": 20}), home)
    assert images.class_names == ("cat", "dog")
    assert images.counts() == {
        "train": {"cat": 14, "dog": 14},
        "eval": {"cat": 3, "dog": 3},
        "test": {"cat": 3, "dog": 3},
    }
    assert images.is_cut == ("eval", "test")
    assert list(images.splits) == ["train", "eval", "test"]
    union = names_of(images, "train") | names_of(images, "eval") | names_of(images, "test")
    assert len(union) == 40


def test_given_splits_are_taken_as_they_are(make_folder, home):
    root = make_folder(
        {"train/cat": 4, "train/dog": 4, "val/cat": 2, "val/dog": 1, "test/cat": 1, "test/dog": 1}
    )
    images = load(root, home)
    assert sizes(images) == {"train": 8, "eval": 3, "test": 2}
    assert images.is_cut == ()


@pytest.mark.parametrize("name", ["validation", "valid", "val", "eval", "dev"])
def test_an_eval_folder_is_found_by_any_of_its_names(make_folder, home, name):
    images = load(make_folder({"train/cat": 9, "train/dog": 9, f"{name}/cat": 2, f"{name}/dog": 1}), home)
    assert sizes(images)["eval"] == 3 and images.is_cut == ("test",)


def test_only_what_is_missing_is_cut(make_folder, home):
    root = make_folder({"train/cat": 20, "train/dog": 20, "test/cat": 2, "test/dog": 2})
    images = load(root, home)
    assert sizes(images) == {"train": 34, "eval": 6, "test": 4}
    assert images.is_cut == ("eval",)


def test_the_settings_name_the_splits(make_folder, home):
    root = make_folder({f"{fold}/{name}": 4 for fold in ("f1", "f2", "f3") for name in ("cat", "dog")})
    images = load(root, home, train_split="f2", eval_split="f3", test_split="f1")
    assert {Path(one).parts[-3] for one in names_of(images, "train")} == {"f2"}
    assert {Path(one).parts[-3] for one in names_of(images, "eval")} == {"f3"}
    assert {Path(one).parts[-3] for one in names_of(images, "test")} == {"f1"}


def test_a_test_split_of_null_is_cut_from_train(make_folder, home):
    root = make_folder({"train/cat": 20, "train/dog": 20, "test/cat": 2, "test/dog": 2})
    images = load(root, home, test_split=None)
    assert images.is_cut == ("eval", "test")
    assert not any("/test/" in one for one in names_of(images, "test"))


def test_eval_may_be_the_test_split_and_then_test_is_cut(make_folder, home):
    root = make_folder({"train/cat": 20, "train/dog": 20, "test/cat": 2, "test/dog": 2})
    images = load(root, home, eval_split="test")
    assert sizes(images)["eval"] == 4 and images.is_cut == ("test",)
    assert not names_of(images, "eval") & names_of(images, "test")


@pytest.mark.parametrize("setting", ["eval_split", "test_split"])
def test_the_train_split_is_never_looked_at_as_another(make_folder, home, setting):
    root = make_folder({"train/cat": 20, "train/dog": 20})
    with pytest.raises(DataError, match=f"data.{setting} names the split to train on, 'train'"):
        load(root, home, **{setting: "train"})


def test_an_eval_split_that_is_not_there(make_folder, home):
    root = make_folder({"train/cat": 4, "train/dog": 4})
    with pytest.raises(DataError, match="There is no split 'holdout' with labelled images; there is train"):
        load(root, home, eval_split="holdout")


def test_fractions_and_seed_decide_the_cut(make_folder, home):
    root = make_folder({"cat": 20, "dog": 20})
    assert sizes(load(root, home, eval_fraction=0.5, test_fraction=0.1)) == {
        "train": 16,
        "eval": 20,
        "test": 4,
    }
    first, again, other = (names_of(load(root, home, split_seed=seed), "eval") for seed in (1, 1, 2))
    assert first == again != other


def test_fewer_train_images_leave_eval_and_test_alone(make_folder, home):
    root = make_folder({"cat": 40, "dog": 20})
    whole, part = load(root, home), load(root, home, max_train_samples=9)
    assert part.counts()["train"] == {"cat": 6, "dog": 3}
    for split in ("eval", "test"):
        assert names_of(whole, split) == names_of(part, split)
    assert names_of(part, "train") < names_of(whole, "train")


# Classes


def test_one_class_is_not_enough(make_folder, home):
    with pytest.raises(DataError, match="All training images of .* are of one class, 'cat'") as caught:
        load(make_folder({"cat": 2}), home)
    assert "two classes" in caught.value.hint


def test_a_class_absent_from_train_is_named(make_folder, home):
    root = make_folder({"train/cat": 4, "train/dog": 4, "val/cat": 1, "val/emu": 1})
    with pytest.raises(
        ClassMismatchError, match="The eval split has a class absent from the train split: emu"
    ):
        load(root, home)


def test_classes_absent_from_train_are_named_before_a_lonely_class(make_folder, home):
    root = make_folder({"train/cat": 4, "test/dog": 1, "test/emu": 1})
    with pytest.raises(ClassMismatchError, match="The test split has 2 classes absent .*: dog, emu"):
        load(root, home)


def test_a_class_may_be_absent_from_eval(make_folder, home):
    images = load(make_folder({"train/cat": 9, "train/dog": 9, "val/cat": 1}), home)
    assert images.counts()["eval"] == {"cat": 1, "dog": 0}


@pytest.mark.parametrize("name", ["two\nlines", " "])
def test_names_of_classes_that_no_list_can_show_are_refused(make_folder, home, name):
    with pytest.raises(DataError, match="is empty or has a line break"):
        load(make_folder({"cat": 9, name: 9}), home)


def test_too_few_images_for_a_cut_name_the_setting(make_folder, home):
    with pytest.raises(DataError, match="The eval split of .* is empty") as caught:
        load(make_folder({"cat": 1, "dog": 1}), home)
    assert "data.eval_fraction" in caught.value.hint


# Places


def test_missing_places_are_called_as_they_were_typed(home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("./nowhere", "~/nowhere", "../nowhere", "/nowhere", "a/b/c", "~nobody/x"):
        with pytest.raises(DataNotFoundError) as caught:
            load(name, home)
        assert caught.value.message == f"There is no folder {name}."
    for name in ("nowhere.zip", "./nowhere.ZIP"):
        with pytest.raises(DataNotFoundError) as caught:
            load(name, home)
        assert caught.value.message == f"There is no file {name}."
    assert not home.exists()


@pytest.mark.parametrize("name", ["x" * 400, "/" + "x" * 400, "zero\0byte", "nothing/here", "  "])
def test_names_that_can_be_nothing_are_one_sentence(home, name):
    with pytest.raises((DataNotFoundError, HubUnreachableError)) as caught:
        load(name, home)
    assert name in caught.value.message


def test_an_empty_folder_and_a_file(home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"^The folder \./empty holds no images"):
        load("./empty", home)
    (tmp_path / "one.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"^one.png is a file, neither a folder nor a \.zip"):
        load("one.png", home)


def test_a_relative_folder_and_one_below_the_users(make_folder, home, monkeypatch, tmp_path):
    make_folder({"cat": 9, "dog": 9})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("images", "./images", "~/images"):
        images = load(name, home)
        assert sizes(images)["train"] == 12
        assert all(Path(one).is_absolute() for one in names_of(images, "train"))


def test_a_zip_is_the_same_as_its_folder(make_folder, home, tmp_path):
    root = make_folder({"train/cat": 9, "train/dog": 9, "__MACOSX/train/cat": 0})
    archive = zip_folder(root, tmp_path / "images.ZIP")
    images = load(archive, home)
    assert images.counts() == load(root, home).counts()
    assert (home / "cache" / "unpacked").is_dir()


def test_a_zip_without_class_folders_is_called_as_it_was_typed(make_folder, home, tmp_path, monkeypatch):
    root = make_folder({".": 2})
    with zipfile.ZipFile(tmp_path / "loose.zip", "w") as opened:
        for path in root.iterdir():
            opened.write(path, path.name)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as caught:
        load("loose.zip", home)
    assert caught.value.message.startswith("The folder loose.zip holds no images in class folders. It has 2")
    (tmp_path / "broken.zip").write_bytes(b"PK")
    with pytest.raises(ArchiveError, match=r"^The file broken\.zip is not an intact zip"):
        load("broken.zip", home)


def test_an_unpacked_zip_may_be_deleted_at_any_time(make_folder, home, tmp_path):
    import shutil

    archive = zip_folder(make_folder({"cat": 9, "dog": 9}), tmp_path / "a.zip")
    first = load(archive, home)
    shutil.rmtree(home / "cache")
    assert (
        load(archive, home).splits["eval"].encoded(0) == Path(first.splits["eval"].reference(0)).read_bytes()
    )


def test_the_digits_sample(home):
    images = load("sample:digits", home)
    assert images.class_names == tuple("0123456789")
    assert sum(sizes(images).values()) == 1797
    assert sizes(images) == {"train": 1257, "eval": 270, "test": 270}


def test_an_unknown_sample_names_the_known(home):
    with pytest.raises(DataNotFoundError) as caught:
        load("sample:../../etc", home)
    assert "sample:digits" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "is_path"),
    [("/a", True), ("./a", True), ("~/a", True), ("..", True), ("a/b/c", True), ("a\\b", True), ("a", False),
     ("owner/name", False)],
)  # fmt: skip
def test_what_looks_like_a_path(name, is_path):
    assert looks_like_path(name) is is_path


def test_a_local_path_is_one_that_exists(tmp_path):
    assert local_path(str(tmp_path)) == tmp_path
    for name in ("x" * 5000, "a\0b", "~nobody-here/x", str(tmp_path / "none")):
        assert local_path(name) is None


# References


def test_a_reference_finds_the_image_again(make_folder, home):
    root = make_folder({"cat": 9, "dog": 9})
    data = DataConfig(name_or_path=str(root))
    split = load_images(data, home).splits["eval"]
    assert open_reference(data, split.reference(0)) == split.encoded(0)
    Path(split.reference(0)).unlink()
    with pytest.raises(DataNotFoundError, match="cannot be read"):
        open_reference(data, split.reference(0))


def test_references_are_shown_as_the_place_was_typed(make_folder, home, tmp_path, monkeypatch):
    root = make_folder({"cat": 9, "dog": 9})
    archive = zip_folder(root, tmp_path / "a.zip")
    monkeypatch.chdir(tmp_path)
    for name, expected in (("images", "images/cat/"), (str(root), f"{root}/cat/")):
        data = DataConfig(name_or_path=name)
        shown = shown_reference(data, load_images(data, home).splits["train"].reference(0))
        assert shown.startswith(expected)
    data = DataConfig(name_or_path="a.zip")
    shown = shown_reference(data, load_images(data, home).splits["train"].reference(0))
    assert shown.startswith("images/cat/") and shown.endswith(" in a.zip")
    assert archive.exists()
    assert shown_reference(DataConfig(name_or_path="owner/name"), "hub:train:3") == "hub:train:3"


def test_a_selected_part_keeps_rows_and_labels_together(make_folder, home):
    split = load(make_folder({"cat": 9, "dog": 9}), home).splits["train"]
    part = split.select(np.array([0, len(split) - 1]))
    assert part.labels.tolist() == [0, 1]
    assert part.reference(1) == split.reference(len(split) - 1)
