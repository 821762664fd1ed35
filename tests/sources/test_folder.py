import os
import sys
from pathlib import Path

import pytest

from superft_hf.errors import DataError, DataNotFoundError
from superft_hf.sources.folder import FileImages, read_folder


def counts(root: Path, **options) -> dict[str, dict[str, int]]:
    """Images by class, by split."""
    found: dict[str, dict[str, int]] = {}
    for split, rows in read_folder(root, **options).items():
        for _, name, _ in rows:
            found.setdefault(split, {}).setdefault(name, 0)
            found[split][name] += 1
    return found


def test_class_folders_are_one_split_named_train(make_folder):
    root = make_folder({"dog": 2, "cat": 3})
    assert counts(root) == {"train": {"cat": 3, "dog": 2}}


def test_rows_are_in_the_order_of_class_and_path(make_folder):
    root = make_folder({"b": 2, "a": 1})
    rows = read_folder(root)["train"]
    assert [(Path(path).relative_to(root).as_posix(), name) for path, name, _ in rows] == [
        ("a/0002.png", "a"),
        ("b/0000.png", "b"),
        ("b/0001.png", "b"),
    ]
    assert all(Path(path).is_absolute() for path, _, _ in rows)


@pytest.mark.parametrize(
    "name", ["validation", "valid", "val", "Val", "eval", "dev", "test", "testing", "TEST"]
)
def test_split_folders_are_known_by_their_names(make_folder, name):
    root = make_folder({"train/cat": 1, "train/dog": 1, f"{name}/cat": 2})
    assert counts(root) == {"train": {"cat": 1, "dog": 1}, name.lower(): {"cat": 2}}


@pytest.mark.parametrize("name", ["Train", "training", "TRAIN"])
def test_train_folders_are_known_by_their_names(make_folder, name):
    root = make_folder({f"{name}/cat": 1, "test/cat": 2})
    assert counts(root) == {name.lower(): {"cat": 1}, "test": {"cat": 2}}


def test_a_train_folder_alone_is_no_class(make_folder):
    assert counts(make_folder({"train/cat": 1, "train/dog": 1})) == {"train": {"cat": 1, "dog": 1}}


def test_a_class_may_be_called_train(make_folder):
    assert counts(make_folder({"train": 2, "plane": 1})) == {"train": {"plane": 1, "train": 2}}


def test_wrapper_folders_are_passed(make_folder):
    root = make_folder({"archive/images/train/cat": 1, "archive/images/test/cat": 1, "__MACOSX/archive/x": 0})
    (root / "archive" / "readme.txt").write_text("hello")
    assert counts(root) == {"train": {"cat": 1}, "test": {"cat": 1}}
    assert counts(make_folder({"archive/cat": 1, "archive/dog": 1}, "b")) == {"train": {"cat": 1, "dog": 1}}


def test_what_systems_leave_behind_is_no_image_and_no_class(make_folder):
    root = make_folder({"cat": 1, "dog": 1, ".git/objects": 1, "__MACOSX/cat": 1})
    for name in ("._0000.png", ".DS_Store", "Thumbs.db", "notes.txt", "labels.csv"):
        (root / "cat" / name).write_bytes(b"x")
    (root / "cat" / "folder.png").mkdir()
    assert counts(root) == {"train": {"cat": 1, "dog": 1}}


def test_images_deeper_down_belong_to_the_class_folder(make_folder):
    assert counts(make_folder({"cat/a/b": 1, "cat": 1, "dog": 1})) == {"train": {"cat": 2, "dog": 1}}


def test_names_of_images_are_known_in_any_case(make_folder):
    root = make_folder({"cat": 0, "dog": 1})
    for name in ("1.JPG", "2.jpeg", "3.Png", "4.tif", "5.webp", "6.bmp", "7.gif", "8.pdf", "9.eps"):
        (root / "cat" / name).write_bytes(b"x")
    assert counts(root)["train"]["cat"] == 7


def test_odd_names_of_classes(make_folder):
    root = make_folder({"grüße 漢字": 1, "a & b; rm -rf": 1, "100%": 1})
    assert counts(root) == {"train": {"100%": 1, "a & b; rm -rf": 1, "grüße 漢字": 1}}


def test_splits_of_other_names_are_found_when_they_are_asked_for(make_folder):
    root = make_folder({"fold1/cat": 1, "fold1/dog": 1, "fold2/cat": 2})
    assert counts(root, split_names=["fold1", "fold2"]) == {
        "fold1": {"cat": 1, "dog": 1},
        "fold2": {"cat": 2},
    }


@pytest.mark.parametrize(
    "layout",
    [
        {"test/cat": 1, "validation/dog": 1},
        {"train2024/cat": 1, "val/cat": 1},
        {"train": 2, "test": 2},
        {"val/cat": 1},
    ],
)
def test_splits_are_never_taken_for_classes(make_folder, layout):
    root = make_folder(layout)
    with pytest.raises(DataError, match="but no train folder with class folders in it") as caught:
        read_folder(root, name="my/images")
    assert caught.value.message.startswith("The folder my/images has ")
    assert "data.train_split" in caught.value.hint


def test_a_missing_folder_is_called_as_it_was_typed(tmp_path):
    with pytest.raises(DataNotFoundError, match=r"^There is no folder ~/nowhere\.$"):
        read_folder(tmp_path / "nowhere", name="~/nowhere")


def test_an_empty_folder(tmp_path):
    with pytest.raises(DataError, match="holds no images in class folders") as caught:
        read_folder(tmp_path)
    assert "one folder a class" in caught.value.hint


def test_loose_images_are_counted(make_folder):
    with pytest.raises(DataError, match="It has 3 images that lie in no class folder"):
        read_folder(make_folder({".": 3}))


def test_class_folders_without_images(make_folder):
    with pytest.raises(DataError, match="holds no images in class folders"):
        read_folder(make_folder({"cat": 0, "dog": 0}))


def test_a_class_folder_that_is_a_link_is_followed(make_folder, tmp_path):
    root = make_folder({"cat": 1})
    other = make_folder({"dogs": 2}, "elsewhere")
    (root / "dog").symlink_to(other / "dogs")
    assert counts(root) == {"train": {"cat": 1, "dog": 2}}


def test_a_link_to_itself_is_no_endless_walk(make_folder):
    root = make_folder({"cat": 1, "dog": 1})
    (root / "cat" / "again").symlink_to(root)
    assert counts(root) == {"train": {"cat": 1, "dog": 1}}


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read(make_folder):
    root = make_folder({"cat": 1, "dog": 1})
    (root / "cat").chmod(0)
    try:
        with pytest.raises(DataError):
            read_folder(root)
    finally:
        (root / "cat").chmod(0o755)


def test_an_image_that_is_gone_says_so(make_folder):
    root = make_folder({"cat": 1})
    path = str(root / "cat" / "0000.png")
    images = FileImages([path])
    assert images.encoded(0) == Path(path).read_bytes() and images.reference(0) == path and len(images) == 1
    Path(path).unlink()
    with pytest.raises(DataNotFoundError, match="cannot be read: No such file"):
        images.encoded(0)
