"""A set of real pictures with known faults, and its clean twin: the check finds each fault and nothing else.

The pictures are pieces of the sample photos of scikit-image and scikit-learn, no two of them overlapping.
"""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage import data as photos
from sklearn.datasets import load_sample_image

from superft_hf.config import RunConfig
from superft_hf.preflight.report import Report, check
from superft_hf.records import Finding

SIDE = 64
CLASSES = ("astronaut", "cat", "china", "coffee", "flower")
PER_SPLIT = {"train": 14, "eval": 4, "test": 4}

BROKEN = {
    "train/cat/cut.jpg": "image file is truncated",
    "train/cat/text.jpg": "no known image format",
    "eval/coffee/empty.png": "the file is empty",
}
EXACT = {  # a copy, and the picture that it is a copy of
    "eval/cat/copy.jpg": "train/cat/00.jpg",
    "eval/china/copy.jpg": "train/china/00.jpg",
    "eval/coffee/copy.jpg": "train/coffee/00.jpg",
    "test/astronaut/copy.jpg": "train/astronaut/00.jpg",
    "test/cat/copy.jpg": "eval/cat/00.jpg",
}
NEAR: dict[str, tuple[str, str, float, dict[str, Any]]] = {  # copy, original, scale, how it is saved
    "eval/china/again.jpg": ("train/china/01.jpg", "JPEG", 1.0, {"quality": 60}),
    "eval/coffee/again.jpg": ("train/coffee/01.jpg", "JPEG", 1.5, {"quality": 80}),
    "test/cat/again.png": ("train/cat/01.jpg", "PNG", 0.75, {}),
    "test/coffee/again.webp": ("eval/coffee/01.jpg", "WEBP", 1.25, {"quality": 80}),
}
CONFLICTS = {  # a picture, and the same under another name
    "train/coffee/wrong.jpg": "train/china/02.jpg",
    "train/astronaut/wrong.jpg": "test/flower/02.jpg",  # saved again
}
MISSING = "flower of eval"
GREY = "train/flower/grey.jpg"
LARGE = "train/china/large.jpg"
ANIMATED = "train/cat/moving.gif"


@pytest.fixture
def clean(tmp_path) -> Path:
    return write_clean(tmp_path / "clean")


@pytest.fixture
def faulty(tmp_path) -> Path:
    root = write_clean(tmp_path / "faulty")
    whole = (root / "train/cat/03.jpg").read_bytes()
    for name, content in zip(BROKEN, (whole[:700], b"this is a text\n", b""), strict=True):
        (root / name).write_bytes(content)
    for name, original in EXACT.items():
        (root / name).write_bytes((root / original).read_bytes())
    for name, (original, kind, scale, options) in NEAR.items():
        save_again(root / original, root / name, kind, scale, options)
    wrong, again = CONFLICTS
    (root / wrong).write_bytes((root / CONFLICTS[wrong]).read_bytes())
    save_again(root / CONFLICTS[again], root / again, "JPEG", 1.0, {"quality": 70})
    for path in (root / "eval/flower").iterdir():
        path.unlink()
    spare = iter(pieces("astronaut")[-4:])
    next(spare).convert("L").save(root / GREY, quality=92)
    Image.fromarray(photos.rocket()).resize((8000, 5000)).save(root / LARGE, quality=60)
    next(spare).save(root / ANIMATED, save_all=True, append_images=[*spare])
    return root


def test_the_clean_twin_has_nothing_but_few_eval_images(clean, make, home):
    report = check(make(clean), home)
    assert [one.code for one in report.findings if one.level != "fine"] == ["few-eval-images"]


def test_every_planted_fault_is_found_and_nothing_else(faulty, make, home):
    report = check(make(faulty), home)
    assert {one.code for one in notable(report)} == {
        "undecodable", "exact-duplicates", "near-duplicates", "label-conflicts", "missing-classes",
        "grey-among-colour", "large-images", "animated-images", "few-eval-images",
    }  # fmt: skip
    assert names(faulty, finding(report, "undecodable")) == set(BROKEN)
    assert names(faulty, finding(report, "exact-duplicates")) == {*EXACT, *EXACT.values()}
    near = {*NEAR, *(original for original, *_ in NEAR.values())}
    assert names(faulty, finding(report, "near-duplicates")) == near
    assert names(faulty, finding(report, "label-conflicts")) == {*CONFLICTS, *CONFLICTS.values()}
    assert names(faulty, finding(report, "grey-among-colour")) == {GREY}
    assert names(faulty, finding(report, "large-images")) == {LARGE}
    assert names(faulty, finding(report, "animated-images")) == {ANIMATED}
    assert f"Missing: {MISSING}." in finding(report, "missing-classes").text


def test_the_findings_say_how_many_and_why(faulty, make, home):
    report = check(make(faulty), home)
    levels = {one.code: one.level for one in notable(report)}
    assert levels.pop("undecodable") == "blocks" and set(levels.values()) == {"know"}
    reasons = {relative(faulty, one.reference): one.note for one in finding(report, "undecodable").images}
    assert all(reasons[name].startswith(reason) for name, reason in BROKEN.items())
    assert finding(report, "undecodable").title.startswith("3 files are not a readable image")
    assert (
        finding(report, "exact-duplicates").title
        == "5 images of train and eval stand in a later split as well."
    )
    title = "4 images of train and eval are nearly the same as one of a later split."
    assert finding(report, "near-duplicates").title == title
    assert finding(report, "label-conflicts").title == "2 pictures stand under two class names."
    assert finding(report, "large-images").images[0].note == "8,000 × 5,000 px"
    assert "40" in finding(report, "large-images").text
    assert finding(report, "animated-images").images[0].note == "3 frames"


def test_copies_stand_side_by_side_with_their_partner_named(faulty, make, home):
    found = finding(check(make(faulty), home), "near-duplicates").images
    pairs = {
        (relative(faulty, a.reference), relative(faulty, b.reference))
        for a, b in zip(found[::2], found[1::2], strict=True)
    }
    assert pairs == {(original, copy) for copy, (original, *_) in NEAR.items()}
    assert all(one.note.startswith(f"as {faulty}") for one in found)


def test_each_remedy_makes_its_finding_go_away(faulty, make, home):
    config = make(faulty)
    tried = []
    for one in notable(check(config, home)):
        for remedy in one.remedies:
            after = check(changed(config, remedy.changes), home)
            left = sum(other.num_images for other in notable(after) if other.code == one.code)
            # A merger settles the conflict of two classes; there are two conflicts here.
            assert left == (2 if remedy.title.startswith("Count") else 0), remedy.title
            assert remedy.title.startswith("Count") or one.code not in {
                other.code for other in notable(after)
            }
            tried.append(f"{one.code}: {remedy.title}")
    assert tried == [
        "undecodable: Skip unreadable files",
        "large-images: Leave the large image out",
        "animated-images: Leave the animated image out",
        "grey-among-colour: Leave it out",
        "exact-duplicates: Leave the copies out of train and eval",
        "near-duplicates: Leave the copies out of train and eval",
        "label-conflicts: Leave these pictures out",
        "label-conflicts: Count flower as astronaut",
        "label-conflicts: Count china as coffee",
        "missing-classes: Put all images together and cut new splits",
    ]


def test_all_remedies_together_leave_a_set_that_can_be_trained_on(faulty, make, home):
    config = make(faulty)
    for code in ("undecodable", "large-images", "animated-images", "grey-among-colour", "exact-duplicates",
                 "near-duplicates", "label-conflicts"):  # fmt: skip
        config = changed(config, finding(check(config, home), code).remedies[0].changes)
    report = check(config, home)
    assert {one.code for one in notable(report)} == {"skipped-files", "missing-classes", "few-eval-images"}
    assert len(config.data.exclude) == 3 + 5 + 4 + 3  # the exact conflict has one id for its two files
    assert not report.is_blocked


# Helpers


def notable(report: Report) -> list[Finding]:
    return [one for one in report.findings if one.level != "fine"]


def finding(report: Report, code: str) -> Finding:
    (found,) = [one for one in report.findings if one.code == code]
    return found


def names(root: Path, found: Finding) -> set[str]:
    """The files of a finding, which counts no others."""
    listed = {relative(root, one.reference) for one in found.images}
    assert found.num_images == len(listed)
    return listed


def relative(root: Path, reference: str) -> str:
    return Path(reference).relative_to(root).as_posix()


def changed(config: RunConfig, changes: Mapping[str, Any]) -> RunConfig:
    values = config.model_dump()
    for key, value in changes.items():
        group, name = key.split(".")
        values[group][name] = value
    return RunConfig.model_validate(values)


def save_again(original: Path, copy: Path, kind: str, scale: float, options: Mapping[str, Any]) -> None:
    with Image.open(original) as image:
        size = (round(image.width * scale), round(image.height * scale))
        image.resize(size, Image.Resampling.BICUBIC).save(copy, kind, **options)


def write_clean(root: Path) -> Path:
    """Pieces of one photo a class, in three splits."""
    for name in CLASSES:
        rest = iter(pieces(name))
        for split, count in PER_SPLIT.items():
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                next(rest).save(folder / f"{number:02d}.jpg", quality=92)
    return root


@cache
def pieces(name: str) -> list[Image.Image]:
    """The squares of a photo that show something."""
    photo = PHOTOS[name]()
    found = [
        photo[top : top + SIDE, left : left + SIDE]
        for top in range(0, photo.shape[0] - SIDE + 1, SIDE)
        for left in range(0, photo.shape[1] - SIDE + 1, SIDE)
    ]
    return [Image.fromarray(one) for one in found if one.mean(axis=2).std() > 12]


PHOTOS: dict[str, Callable[[], np.ndarray]] = {
    "astronaut": photos.astronaut,
    "cat": photos.chelsea,
    "china": lambda: load_sample_image("china.jpg"),
    "coffee": photos.coffee,
    "flower": lambda: load_sample_image("flower.jpg"),
}


def test_pieces_are_many_enough():
    for name in CLASSES:
        assert len(pieces(name)) >= sum(PER_SPLIT.values()), name
    assert len(pieces("astronaut")) >= sum(PER_SPLIT.values()) + 4
