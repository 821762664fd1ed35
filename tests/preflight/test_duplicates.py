"""Different pictures that look alike are not taken for copies."""

import numpy as np
import pytest

from superft_hf.preflight import duplicates
from superft_hf.preflight.duplicates import _candidates
from superft_hf.preflight.report import check


@pytest.mark.parametrize("name", ["sample:digits", "sample:textures"])
def test_scanned_digits_and_patches_of_a_texture_are_no_copies(make, home, name):
    report = check(make(name), home)
    for code in ("exact-duplicates", "near-duplicates", "label-conflicts"):
        assert [one.level for one in report.findings if one.code == code] == ["fine"], code


def test_candidates_are_all_pairs_of_like_hashes_in_blocks_of_any_size(monkeypatch):
    random = np.random.default_rng(0)
    hashes = random.integers(0, 2**64, 300, dtype=np.uint64)
    hashes[200] = hashes[10] ^ np.uint64(0b1011)
    hashes[299] = hashes[0]
    distances = np.bitwise_count(hashes[:, None] ^ hashes[None, :])
    expected = {(int(i), int(j)) for i, j in np.argwhere(distances <= 10) if i < j}
    assert {(10, 200), (0, 299)} <= expected
    for pairs in (1, 1000, 2**21):
        monkeypatch.setattr(duplicates, "_BLOCK_PAIRS", pairs)
        assert {(int(i), int(j)) for block in _candidates(hashes) for i, j in block} == expected


def test_more_images_than_can_be_compared_are_told(make, make_folder, home, monkeypatch):
    root = make_folder({"train/cat": 20, "train/dog": 20, "val/cat": 2, "val/dog": 2})
    monkeypatch.setattr(duplicates, "MAX_COMPARED", 10)
    report = check(make(root), home)
    (finding,) = [one for one in report.findings if one.code == "near-duplicates"]
    assert finding.level == "fine"
    assert finding.title == "No near copies among 10 of the images: train, eval and test share no image"


def test_thousands_of_frames_of_one_scene_are_no_endless_work(make, tmp_path, home, monkeypatch):
    from PIL import Image
    from skimage import data as photos

    cat = Image.fromarray(photos.chelsea()).resize((64, 64))
    for split in ("train", "val"):
        for label in ("cat", "dog"):
            (tmp_path / "scene" / split / label).mkdir(parents=True)
            for number in range(12):
                frame = cat.copy()
                frame.putpixel((number, {"cat": 0, "dog": 9}[label] + len(split)), (255, 255, 255))
                frame.save(tmp_path / "scene" / split / label / f"{number}.png")
    monkeypatch.setattr(duplicates, "MAX_PAIRS", 50)
    report = check(make(tmp_path / "scene"), home)
    (finding,) = [one for one in report.findings if one.code == "near-duplicates"]
    assert finding.level == "know" and finding.text.endswith("There may be more: not all were compared.")
