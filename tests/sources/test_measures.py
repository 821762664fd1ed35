import io
import math

import numpy as np
import pytest
from PIL import Image, ImageFilter
from scipy.ndimage import convolve
from skimage import data as photos

from superft_hf.evaluation.example_files import read_examples
from superft_hf.sources.load import DataConfig, load_images
from superft_hf.sources.measures import SIDE, describe_split, measure_image, measure_split
from superft_hf.sources.scan import scan_images


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def test_the_measures_of_a_small_picture_are_those_of_its_definition():
    levels = np.random.default_rng(0).integers(0, 256, size=(20, 30)).astype(np.uint8)
    kernel = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]])
    inner = convolve(levels / 255, kernel)[1:-1, 1:-1]
    expected = (levels.mean() / 255, levels.std() / 255, inner.var())
    assert measure_image(encoded(Image.fromarray(levels))) == pytest.approx(expected, rel=1e-4)


def test_darker_flatter_and_blurred_pictures_are_told():
    photo = Image.fromarray(photos.astronaut())
    whole = measure_image(encoded(photo))
    assert measure_image(encoded(photo.point(lambda level: level // 3)))[0] < 0.4 * whole[0]
    assert measure_image(encoded(photo.point(lambda level: 128 + level // 8)))[1] < 0.2 * whole[1]
    assert measure_image(encoded(photo.filter(ImageFilter.GaussianBlur(6))))[2] < 0.2 * whole[2]


def test_size_and_format_change_little():
    photo = Image.fromarray(photos.astronaut())
    small = measure_image(encoded(photo.resize((SIDE, SIDE), Image.Resampling.BOX)))
    assert measure_image(encoded(photo)) == pytest.approx(small, rel=0.02)
    large = photo.resize((2048, 2048), Image.Resampling.BICUBIC)
    assert measure_image(encoded(large))[:2] == pytest.approx(small[:2], rel=0.03)
    jpeg = measure_image(encoded(photo, "JPEG", quality=95))
    assert jpeg[:2] == pytest.approx(small[:2], rel=0.03) and jpeg[2] == pytest.approx(small[2], rel=0.35)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "I;16"])
def test_every_mode_is_measured(mode):
    picture = Image.new("I;16", (40, 30), 13107) if mode == "I;16" else Image.new("L", (40, 30), 51)
    picture = picture if mode in ("L", "I;16") else picture.convert(mode)
    brightness = measure_image(encoded(picture, "TIFF" if mode in ("CMYK", "I;16") else "PNG"))[0]
    assert brightness == pytest.approx(0.2, abs=0.02)


def test_a_pixel_and_a_broken_file_have_no_detail():
    assert measure_image(encoded(Image.new("L", (1, 1), 255))) == (1.0, 0.0, 0.0)
    assert all(math.isnan(one) for one in measure_image(b"no image"))


def test_a_split_is_described_in_its_order(make_folder, home, tmp_path):
    data = DataConfig(name_or_path=str(make_folder({"a/x": 12, "b/y": 12})))
    scan = scan_images(load_images(data, home), data)
    split, heard = scan.images.splits["train"], []
    path = tmp_path / "examples" / "train.parquet"
    describe_split(
        path, split, scan.example_ids["train"], scan.image_sizes["train"],
        lambda done, total: heard.append((done, total)),
    )  # fmt: skip
    found = read_examples(path)
    assert found["example_id"].tolist() == scan.example_ids["train"]
    assert set(found["width"]) == set(found["height"]) == {8}
    assert found["meta:subfolder"].tolist() == ["xy"[label] for label in split.labels]
    expected = [measure_image(split.encoded(index)) for index in range(len(split))]
    assert np.allclose(found[["brightness", "contrast", "sharpness"]], expected)
    assert heard == [(0, len(split))] and np.allclose(measure_split(split), expected)
    assert [one.name for one in path.parent.iterdir()] == ["train.parquet"]
