"""What single pictures are told of, and that the remedies settle it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data as photos

from superft_hf.config import RunConfig
from superft_hf.preflight.report import Report, check
from superft_hf.records import Finding


def found(report: Report, code: str) -> list[Finding]:
    return [one for one in report.findings if one.code == code]


def names(finding: Finding) -> list[str]:
    return [Path(one.reference).name for one in finding.images]


def settled(config: RunConfig, finding: Finding, home: Path) -> bool:
    """Whether each remedy of a finding makes it fine or go away."""
    assert finding.remedies
    for remedy in finding.remedies:
        values = config.model_dump()
        for key, value in remedy.changes.items():
            group, name = key.split(".")
            values[group][name] = value
        after = check(RunConfig.model_validate(values), home)
        if any(one.level != "fine" for one in found(after, finding.code)):
            return False
    return True


@pytest.fixture
def photo_folder(tmp_path) -> Path:
    """Two classes of 20 pieces of 96 px each, in colour, one split."""
    root = tmp_path / "photos"
    for name, photo in (("astronaut", photos.astronaut()), ("coffee", photos.coffee())):
        (root / name).mkdir(parents=True)
        pieces = [
            photo[y : y + 96, x : x + 96]
            for y in range(0, 385, 96)
            for x in range(0, photo.shape[1] - 95, 96)
        ]
        for number, piece in enumerate(piece for piece in pieces[:20] if piece.shape == (96, 96, 3)):
            Image.fromarray(piece).save(root / name / f"{number:02d}.png")
    return root


def put(folder: Path, name: str, change: Callable[[Image.Image], Image.Image], **options) -> None:
    """Adds a piece of a photo that is nowhere else."""
    change(Image.fromarray(photos.rocket()[100:196, 300:396])).save(folder / "coffee" / name, **options)


def test_small_images_are_told_against_the_size_that_the_network_sees(make, photo_folder, home):
    assert found(check(make(photo_folder), home), "small-images") == []  # nothing is known of this model
    config = make(photo_folder, model={"image_size": 224})
    (finding,) = found(check(config, home), "small-images")
    assert finding.title == "40 images are much smaller than the 224 px of the network."
    assert finding.num_images == 40 and finding.images[0].note == "96 × 96 px"
    assert finding.remedies[0].changes == {"model.image_size": 192}
    assert settled(config, finding, home)
    fine = found(check(make(photo_folder, model={"image_size": 192}), home), "small-images")
    assert [one.level for one in fine] == ["fine"]


def test_a_few_small_images_may_be_left_out(make, photo_folder, home):
    put(photo_folder, "tiny.png", lambda image: image.resize((20, 20)))
    config = make(photo_folder, model={"image_size": 96})
    (finding,) = found(check(config, home), "small-images")
    assert names(finding) == ["tiny.png"] and settled(config, finding, home)


def test_long_images(make, photo_folder, home):
    put(photo_folder, "long.png", lambda image: image.resize((400, 100)))
    put(photo_folder, "high.png", lambda image: image.crop((10, 0, 30, 96)))
    put(photo_folder, "wide.png", lambda image: image.resize((290, 100)))
    config = make(photo_folder)
    (finding,) = found(check(config, home), "aspect-ratios")
    assert sorted(names(finding)) == ["high.png", "long.png"]
    assert finding.title == "2 images are more than 3 times as long as wide." and settled(
        config, finding, home
    )


def with_hole(image: Image.Image) -> Image.Image:
    image = image.convert("RGBA")
    image.paste((0, 0, 0, 0), (0, 0, 40, 40))
    return image


def wide_range(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)


@pytest.mark.parametrize(
    ("code", "name", "change"),
    [
        ("transparency", "hole.png", with_hole),
        ("cmyk-images", "print.jpg", lambda image: image.convert("CMYK")),
        ("wide-range", "wide.png", wide_range),
    ],
)
def test_odd_modes(make, photo_folder, home, code, name, change):
    put(photo_folder, name, change)
    config = make(photo_folder)
    (finding,) = found(check(config, home), code)
    assert (finding.level, names(finding), finding.num_images) == ("know", [name], 1)
    assert settled(config, finding, home)


def test_an_opaque_alpha_channel_is_no_finding(make, photo_folder, home):
    put(photo_folder, "opaque.png", lambda image: image.convert("RGBA"))
    assert found(check(make(photo_folder), home), "transparency") == []


def test_the_rarer_kind_of_grey_and_colour_is_named_with_its_class(make, photo_folder, home):
    for number in range(3):
        put(photo_folder, f"grey{number}.png", lambda image, n=number: image.convert("L").rotate(90 * n))
    (finding,) = found(check(make(photo_folder), home), "grey-among-colour")
    assert finding.title == "3 images are grey, the others in colour."
    assert "3 of them are of class coffee." in finding.text
    for path in (photo_folder / "astronaut").iterdir():
        Image.open(path).convert("L").save(path)
    (finding,) = found(check(make(photo_folder), home), "grey-among-colour")
    assert finding.title == "20 images are in colour, the others grey." and finding.remedies == ()


def test_turned_images_are_fine_and_counted(make, photo_folder, home):
    exif = Image.Exif()
    exif[274] = 6
    put(photo_folder, "turned.jpg", lambda image: image, exif=exif)
    (finding,) = found(check(make(photo_folder), home), "turned")
    assert (finding.level, finding.title) == ("fine", "1 image is turned upright, as the EXIF tag says")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda pixels: pixels * 0.04, "The images are very dark"),
        (lambda pixels: 255 - pixels * 0.04, "The images are very bright"),
        (lambda pixels: 110 + pixels * 0.08, "The images are very flat"),
    ],
)
def test_brightness_far_from_what_the_model_expects(make, model, photo_folder, home, change, words):
    (model / "preprocessor_config.json").write_text(
        '{"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}'
    )
    (finding,) = found(check(make(photo_folder), home), "normalisation")
    assert finding.level == "fine" and "expected about 45 %" in finding.title
    for path in photo_folder.rglob("*.png"):
        pixels = np.asarray(Image.open(path)).astype(np.float64)
        Image.fromarray(change(pixels).astype(np.uint8)).save(path)
    (finding,) = found(check(make(photo_folder), home), "normalisation")
    assert finding.level == "know" and finding.title.startswith(words)


def test_what_was_left_out_is_counted(make, photo_folder, home):
    (one,) = [
        one for one in found(check(make(photo_folder, model={"image_size": 500}), home), "small-images")
    ]
    config = make(photo_folder, data={"exclude": [one.images[0].example_id, "0" * 16]})
    report = check(config, home)
    assert found(report, "undecodable")[0].title == "All 39 images open; 1 other left out by data.exclude"
    (finding,) = found(report, "unused-exclusions")
    assert finding.title == "1 entry of data.exclude matches no image." and settled(config, finding, home)


def test_corrected_labels_are_looked_at_and_idle_entries_told(make, photo_folder, home):
    cats = check(make(photo_folder), home).data.counts
    (one,) = found(check(make(photo_folder, model={"image_size": 500}), home), "small-images")
    image = one.images[0]
    other = next(name for name in cats["train"] if name != image.label)
    config = make(photo_folder, data={"relabel": {image.example_id: other, "0" * 16: other}})
    report = check(config, home)
    assert found(report, "undecodable")[0].title.endswith("images open; 1 label corrected by data.relabel")
    (finding,) = found(report, "unused-relabels")
    assert finding.title == "1 entry of data.relabel matches no image." and settled(config, finding, home)
    assert finding.remedies[0].changes == {"data.relabel": {image.example_id: other}}
    (again,) = found(
        check(
            make(
                photo_folder,
                model={"image_size": 500},
                data=config.data.model_dump(exclude={"name_or_path"}, exclude_defaults=True),
            ),
            home,
        ),
        "small-images",
    )
    assert next(one for one in again.images if one.example_id == image.example_id).label == other


def test_a_corrected_label_that_is_no_class_blocks(make, photo_folder, home):
    report = check(make(photo_folder, data={"relabel": {"0" * 16: "no such class"}}), home)
    (finding,) = [one for one in report.findings if one.level == "blocks"]
    assert "'no such class', which is no class of" in finding.title and "Change data.relabel." in finding.hint


def test_all_files_unreadable(make, tmp_path, home):
    for name in ("cat", "dog"):
        (tmp_path / "x" / name).mkdir(parents=True)
        for number in range(9):
            (tmp_path / "x" / name / f"{number}.png").write_bytes(b"no")
    report = check(make(tmp_path / "x"), home)
    assert report.is_blocked and len(found(report, "undecodable")[0].images) == 18


def test_a_reference_image_opens_the_file(make, photo_folder, home):
    put(photo_folder, "long.png", lambda image: image.resize((400, 100)))
    (finding,) = found(check(make(photo_folder), home), "aspect-ratios")
    (one,) = finding.images
    assert Path(one.reference).is_file() and one.label == "coffee" and len(one.example_id) == 16
