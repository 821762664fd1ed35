import io

import numpy as np
import pytest
from PIL import Image
from skimage import data as photos

from superft_hf.sources.images import open_rgb
from superft_hf.sources.traits import ImageTraits, Looker, collect


def saved(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def look(encoded: bytes) -> ImageTraits:
    found = Looker(is_deep=True).look(encoded)
    assert found.problem is None
    return found.traits


@pytest.fixture(scope="module")
def coffee() -> Image.Image:
    return Image.fromarray(photos.coffee())  # 600 × 400


def test_a_look_that_is_not_deep_tells_size_and_digest_only(coffee):
    found = Looker(is_deep=False).look(saved(coffee))
    assert (found.width, found.height, found.problem, found.traits) == (600, 400, None, None)


@pytest.mark.parametrize("is_deep", [False, True])
@pytest.mark.parametrize("turn", range(1, 9))
def test_size_and_thumbnail_are_of_the_upright_picture(coffee, turn, is_deep):
    exif = Image.Exif()
    exif[274] = turn
    encoded = saved(coffee, "JPEG", quality=90, exif=exif)
    found = Looker(is_deep=is_deep).look(encoded)
    upright = open_rgb(encoded)
    assert (found.width, found.height) == upright.size
    if is_deep:
        expected = look(saved(upright))
        assert found.traits.orientation == turn
        assert np.bitwise_count(np.uint64(found.traits.hash ^ expected.hash)) <= 4
        assert difference(found.traits, expected) < 0.05


@pytest.mark.parametrize("size", [(225, 300), (450, 451), (64, 64), (1201, 97), (63, 900)])
def test_a_jpeg_and_a_png_of_a_picture_have_like_thumbnails_at_any_size(coffee, size):
    picture = coffee.resize(size, Image.Resampling.LANCZOS)
    assert difference(look(saved(picture, "JPEG", quality=90)), look(saved(picture))) < 0.03


def difference(one: ImageTraits, other: ImageTraits) -> float:
    """In standard deviations."""
    a, b = (np.frombuffer(each.thumbnail, np.int8).astype(float) for each in (one, other))
    return float(np.sqrt(((a - b) ** 2).mean()) / 30)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_damage_is_found_as_by_a_whole_decoding(coffee, kind):
    whole = saved(coffee, kind)
    for share in (0.1, 0.5, 0.9):
        cut = whole[: int(share * len(whole))]
        with pytest.raises(ValueError) as caught:
            open_rgb(cut)
        for is_deep in (False, True):
            assert Looker(is_deep=is_deep).look(cut).problem == str(caught.value)


def test_modes_transparency_and_grey(coffee):
    grey = look(saved(coffee.convert("L")))
    assert (grey.mode, grey.is_grey, grey.has_alpha) == ("L", True, False)
    assert look(saved(coffee.convert("L").convert("RGB"), "JPEG")).is_grey
    opaque = look(saved(coffee.convert("RGBA")))
    assert (opaque.mode, opaque.is_grey, opaque.has_alpha) == ("RGBA", False, False)
    holed = coffee.convert("RGBA")
    holed.putpixel((3, 3), (0, 0, 0, 0))
    holed.paste((0, 0, 0, 0), (0, 0, 60, 60))
    assert look(saved(holed)).has_alpha
    assert look(saved(holed.convert("P"), "GIF", transparency=0)).has_alpha
    assert look(saved(coffee.convert("CMYK"), "JPEG")).mode == "CMYK"
    wide = Image.fromarray(np.asarray(coffee.convert("L")).astype(np.uint16) * 257)
    assert (look(saved(wide)).mode, look(saved(wide)).is_grey) == ("I;16", True)
    assert look(saved(wide)).mean[0] == pytest.approx(grey.mean[0], abs=0.01)


def test_frames_are_counted(coffee):
    frames = [coffee.resize((80, 60)).rotate(angle) for angle in (0, 10, 20)]
    for kind in ("GIF", "PNG", "WEBP", "TIFF"):
        assert look(saved(frames[0], kind, save_all=True, append_images=frames[1:])).num_frames == 3
        assert look(saved(frames[0], kind)).num_frames == 1


def test_mean_and_square_are_those_of_the_pixels(coffee):
    pixels = np.asarray(coffee) / 255
    found = look(saved(coffee, "JPEG", quality=95))
    assert found.mean == pytest.approx(pixels.mean(axis=(0, 1)), abs=0.005)
    std = np.sqrt(np.array(found.square) - np.array(found.mean) ** 2)
    assert std == pytest.approx(pixels.std(axis=(0, 1)), rel=0.06)  # fine grain is averaged out


def test_arrays_of_no_images_have_their_shapes():
    found = collect([])
    assert found.thumbnails.shape == (0, 256) and found.means.shape == (0, 3) and len(found.hashes) == 0
