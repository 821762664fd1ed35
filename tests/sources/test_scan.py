import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from superft_hf.config import DataConfig
from superft_hf.errors import BadImageError, DataError, DataNotFoundError
from superft_hf.sources.load import load_images
from superft_hf.sources.scan import Scan, scan_images


def scan(root: Path, home: Path, **settings) -> Scan:
    data = DataConfig(name_or_path=str(root), **settings)
    return scan_images(load_images(data, home), data)


def truncated_jpeg() -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(out, "JPEG")
    return out.getvalue()[:900]


BAD = {
    "text.jpg": (b"this is a text\n", "no known image format"),
    "empty.png": (b"", "the file is empty"),
    "cut.jpg": (truncated_jpeg(), "image file is truncated"),
}


@pytest.mark.parametrize("name", BAD)
def test_an_unreadable_file_is_named_with_its_reason(make_folder, home, name, tmp_path, monkeypatch):
    root = make_folder({"cat": 9, "dog": 9})
    (root / "cat" / name).write_bytes(BAD[name][0])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadImageError) as caught:
        scan(Path("images"), home)
    message = caught.value.message
    assert message.startswith(f"The file images/cat/{name} is not a readable image: {BAD[name][1]}")
    assert "data.on_bad_image to skip" in caught.value.hint
    assert caught.value.references == [f"images/cat/{name}"]


def test_several_unreadable_files_are_counted_and_the_first_is_named(make_folder, home):
    root = make_folder({"cat": 9, "dog": 9})
    for name, (content, _) in BAD.items():
        (root / "dog" / name).write_bytes(content)
    with pytest.raises(BadImageError, match="^3 files are not a readable image: .* First: ") as caught:
        scan(root, home)
    assert len(caught.value.references) == 3


def test_skipped_files_are_left_out_and_counted(make_folder, home):
    root = make_folder({"cat": 20, "dog": 20})
    for name, (content, _) in BAD.items():
        (root / "cat" / name).write_bytes(content)
    found = scan(root, home, on_bad_image="skip")
    assert sorted(Path(one).name for one in found.skipped) == sorted(BAD)
    assert sum(len(split) for split in found.images.splits.values()) == 40
    for name, split in found.images.splits.items():
        assert len(found.example_ids[name]) == len(split) == len(found.image_sizes[name])
        assert all(Path(split.reference(index)).name not in BAD for index in range(len(split)))


def test_a_class_of_nothing_but_unreadable_files(make_folder, home):
    root = make_folder({"cat": 9, "dog": 0})
    for number in range(9):
        (root / "dog" / f"{number}.png").write_bytes(b"no")
    with pytest.raises(DataError, match="are of one class, 'cat'"):
        scan(root, home, on_bad_image="skip")


def test_a_file_that_vanished_since_the_folder_was_listed(make_folder, home):
    root = make_folder({"cat": 9, "dog": 9})
    data = DataConfig(name_or_path=str(root))
    images = load_images(data, home)
    (root / "cat" / "0003.png").unlink()
    with pytest.raises(DataNotFoundError, match="0003.png cannot be read"):
        scan_images(images, data)


def test_ids_follow_the_bytes_and_copies_get_a_number(make_folder, home):
    root = make_folder({"cat": 10, "dog": 10})
    same = (root / "cat" / "0000.png").read_bytes()
    for number in range(6):
        (root / "cat" / f"copy{number}.png").write_bytes(same)
    found = scan(root, home)
    ids = [one for name in ("train", "eval", "test") for one in found.example_ids[name]]
    assert sum(one.startswith(ids_of(same)) for one in ids) == 7
    for name in ("train", "eval", "test"):
        assert len(set(found.example_ids[name])) == len(found.example_ids[name])


def ids_of(encoded: bytes) -> str:
    import hashlib

    return hashlib.sha256(encoded).hexdigest()[:16]


def test_the_fingerprint_follows_images_classes_and_splits_but_not_places(make_folder, home):
    layout = {"cat": 9, "dog": 9}
    first = scan(make_folder(layout, "a"), home)
    moved = scan(make_folder(layout, "b"), home)
    assert first.fingerprint == moved.fingerprint and len(first.fingerprint) == 64
    renamed = scan(make_folder({"cow": 9, "dog": 9}, "c"), home)
    reseeded = scan(make_folder(layout, "d"), home, split_seed=7)
    assert len({first.fingerprint, renamed.fingerprint, reseeded.fingerprint}) == 3


def test_sizes_are_widths_and_heights_of_the_upright_picture(make_folder, home):
    root = make_folder({"cat": 9, "dog": 9})
    exif = Image.Exif()
    exif[274] = 6
    Image.new("L", (30, 10)).save(root / "cat" / "turned.png", exif=exif)
    sizes = np.concatenate(list(scan(root, home).image_sizes.values()))
    assert {tuple(one) for one in sizes.tolist()} == {(8, 8), (10, 30)}


def test_progress_ends_with_all(make_folder, home):
    root = make_folder({"cat": 60, "dog": 60})
    data = DataConfig(name_or_path=str(root))
    heard: list[tuple[int, int]] = []
    scan_images(load_images(data, home), data, lambda done, total: heard.append((done, total)))
    assert heard == [(50, 120), (100, 120), (120, 120)]


# Left out by id


def id_of(path: Path) -> str:
    return ids_of(path.read_bytes())


def test_images_are_left_out_by_id_and_the_others_stay_where_they_are(make_folder, home):
    root = make_folder({"cat": 20, "dog": 20})
    before = scan(root, home)
    first = before.example_ids["train"][0]
    after = scan(root, home, exclude=[first])
    assert after.example_ids["train"] == before.example_ids["train"][1:]
    assert after.example_ids["eval"] == before.example_ids["eval"]
    assert after.num_left_out == 1 and after.unused_exclusions == ()
    assert after.fingerprint != before.fingerprint


def test_an_id_may_be_left_out_of_one_split_only(make_folder, home):
    root = make_folder({"train/cat": 9, "train/dog": 9, "val/cat": 3, "val/dog": 3})
    (root / "val" / "cat" / "copy.png").write_bytes((root / "train" / "cat" / "0000.png").read_bytes())
    one = id_of(root / "val" / "cat" / "copy.png")
    found = scan(root, home, exclude=[f"train:{one}"])
    assert one not in found.example_ids["train"] and one in found.example_ids["eval"]
    both = scan(root, home, exclude=[one])
    assert one not in both.example_ids["train"] and one not in both.example_ids["eval"]
    assert both.num_left_out == 2


def test_all_copies_of_an_image_are_left_out(make_folder, home):
    root = make_folder({"train/cat": 9, "train/dog": 9})
    for number in range(3):
        (root / "train" / "cat" / f"copy{number}.png").write_bytes((root / "train/cat/0000.png").read_bytes())
    assert scan(root, home, exclude=[id_of(root / "train/cat/0000.png")]).num_left_out == 4


def test_a_bad_file_may_be_left_out_as_well(make_folder, home):
    root = make_folder({"cat": 9, "dog": 9})
    (root / "cat" / "text.jpg").write_bytes(b"text")
    found = scan(root, home, exclude=[id_of(root / "cat" / "text.jpg")])
    assert found.bad == () and found.num_left_out == 1


def test_ids_of_no_image_are_told(make_folder, home):
    found = scan(make_folder({"cat": 9, "dog": 9}), home, exclude=["0" * 16, "train:" + "1" * 16])
    assert found.unused_exclusions == ("0" * 16, "train:" + "1" * 16) and found.num_left_out == 0


def test_a_class_left_out_image_by_image_is_missed(make_folder, home):
    root = make_folder({"train/cat": 9, "train/dog": 1, "val/cat": 3, "val/dog": 3})
    with pytest.raises(DataError, match="absent from the train split: dog"):
        scan(root, home, exclude=[id_of(root / "train/dog/0009.png")])
