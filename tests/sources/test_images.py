import io
import random
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from superft_hf.sources.images import digest, example_ids, open_rgb

PICTURE = np.array([[0, 64, 128], [255, 10, 200]], dtype=np.uint8)  # 2 rows, 3 columns, grey


def encode(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def pixels_of(encoded: bytes) -> list:
    image = open_rgb(encoded)
    assert image.mode == "RGB"
    return np.asarray(image).tolist()


def grey(rows: list[list[int]]) -> list:
    return [[[value] * 3 for value in row] for row in rows]


def test_grey_becomes_three_equal_channels():
    assert pixels_of(encode(Image.fromarray(PICTURE))) == grey([[0, 64, 128], [255, 10, 200]])


def test_black_and_white_becomes_0_and_255():
    bits = Image.fromarray(np.array([[0, 255]], dtype=np.uint8)).convert("1")
    assert pixels_of(encode(bits)) == grey([[0, 255]])


def test_transparency_is_dropped_and_the_colour_stays():
    rgba = np.array([[[10, 20, 30, 0], [40, 50, 60, 128]]], dtype=np.uint8)
    assert pixels_of(encode(Image.fromarray(rgba))) == [[[10, 20, 30], [40, 50, 60]]]
    grey_alpha = Image.fromarray(np.array([[[7, 0], [9, 255]]], dtype=np.uint8), "LA")
    assert pixels_of(encode(grey_alpha)) == grey([[7, 9]])


def test_a_palette_becomes_its_colours():
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putdata([0, 1])
    assert pixels_of(encode(image)) == [[[255, 0, 0], [0, 0, 255]]]
    assert pixels_of(encode(image, transparency=0)) == [[[255, 0, 0], [0, 0, 255]]]
    assert pixels_of(encode(image, "GIF")) == [[[255, 0, 0], [0, 0, 255]]]


def test_cmyk_becomes_rgb():
    cmyk = Image.fromarray(np.array([[[0, 0, 0, 0], [255, 0, 0, 0], [0, 0, 0, 255]]], dtype=np.uint8), "CMYK")
    assert pixels_of(encode(cmyk, "TIFF")) == [[[255, 255, 255], [0, 255, 255], [0, 0, 0]]]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bits_are_scaled_not_cut_off(kind):
    wide = Image.fromarray(np.array([[0, 257, 32768, 65535]], dtype=np.uint16))
    assert pixels_of(encode(wide, kind)) == grey([[0, 1, 128, 255]])


def test_a_dark_16_bit_image_stays_dark():
    wide = Image.fromarray(np.array([[0, 100, 200]], dtype=np.uint16))
    assert pixels_of(encode(wide)) == grey([[0, 0, 1]])


def test_floats_are_shares_or_grey_values_and_holes_are_black():
    shares = Image.fromarray(np.array([[0, 0.5, 1]], dtype=np.float32))
    assert pixels_of(encode(shares, "TIFF")) == grey([[0, 128, 255]])
    values = Image.fromarray(np.array([[0, 100, 255]], dtype=np.float32))
    assert pixels_of(encode(values, "TIFF")) == grey([[0, 100, 255]])
    holes = Image.fromarray(np.array([[np.nan, 0.5, 1]], dtype=np.float32))
    assert pixels_of(encode(holes, "TIFF")) == grey([[0, 128, 255]])


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        (1, [[0, 64, 128], [255, 10, 200]]),
        (3, [[200, 10, 255], [128, 64, 0]]),
        (6, [[255, 0], [10, 64], [200, 128]]),
        (8, [[128, 200], [64, 10], [0, 255]]),
    ],
)
def test_a_picture_is_turned_as_its_exif_tag_says(orientation, expected):
    exif = Image.Exif()
    exif[274] = orientation
    assert pixels_of(encode(Image.fromarray(PICTURE), exif=exif)) == grey(expected)


def test_of_an_animation_the_first_frame_counts():
    frames = [Image.fromarray(np.full((2, 2), value, dtype=np.uint8)) for value in (10, 200)]
    animation = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert pixels_of(animation) == grey([[10, 10], [10, 10]])


@pytest.mark.parametrize(
    ("encoded", "reason"),
    [
        (b"", "the file is empty"),
        (b"this is a text", "no known image format"),
        (b"\x00" * 100, "no known image format"),
        (b"\x89PNG\r\n\x1a\n", "no known image format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no known image format"),
    ],
)
def test_what_is_no_image_says_why(encoded, reason):
    with pytest.raises(ValueError, match=f"^{reason}$"):
        open_rgb(encoded)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP"])
def test_a_picture_that_is_cut_off_is_refused(kind):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    encoded = encode(Image.fromarray(noise), kind)
    with pytest.raises(ValueError):
        open_rgb(encoded[: len(encoded) // 2])


def bomb(width: int, height: int) -> bytes:
    """A PNG that promises many pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("size", [(10_000, 10_000), (30_000, 30_000)])
def test_a_picture_with_too_many_pixels_is_refused_before_it_is_decoded(size):
    with pytest.raises(ValueError, match=r"too many pixels to be safe \(more than 89,478,485\)"):
        open_rgb(bomb(*size))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_pictures_with_too_many_pixels_are_refused_in_every_thread():
    def is_refused(_: int) -> bool:
        with pytest.raises(ValueError, match="too many pixels"):
            open_rgb(bomb(10_000, 10_000))
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(is_refused, range(100)))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP", "AVIF", "DDS", "ICO"])
def test_damaged_bytes_raise_nothing_but_value_error(kind):
    chance = random.Random(1)
    noise = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    encoded = encode(Image.fromarray(noise), kind)
    for _ in range(60):
        damaged = bytearray(encoded)
        for _ in range(chance.randrange(1, 10)):
            damaged[chance.randrange(min(len(damaged), 300))] = chance.randrange(256)
        if _size_of(damaged) > 4_000_000:  # allowed, and slow
            continue
        try:
            assert open_rgb(bytes(damaged)).mode == "RGB"
        except ValueError as error:
            assert str(error)


def _size_of(encoded: bytes) -> int:
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            return image.width * image.height
    except Exception:  # noqa: BLE001 - whatever it is, open_rgb is asked next
        return 0


def test_ids_are_the_first_16_digits_and_copies_are_numbered():
    assert digest(b"abc")[:16] == "ba7816bf8f01cfea"
    assert example_ids([]) == []
    assert example_ids(["a" * 64, "b" * 64, "a" * 64, "a" * 64]) == [
        "a" * 16,
        "b" * 16,
        "a" * 16 + "-2",
        "a" * 16 + "-3",
    ]
