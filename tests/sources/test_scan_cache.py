"""What opening images showed is known again, and never when the image may be another one."""

import io
import os
import shutil
import sqlite3
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from superft_hf.config import DataConfig
from superft_hf.errors import BadImageError, DataNotFoundError
from superft_hf.paths import HomePaths
from superft_hf.sources import scan_cache, traits
from superft_hf.sources.hub_images import HubImages
from superft_hf.sources.image_set import ImageSet, ImageSplit, join
from superft_hf.sources.load import load_images
from superft_hf.sources.rows import Identity
from superft_hf.sources.scan import Scan, open_images, scan_images
from superft_hf.sources.scan_cache import ScanCache
from superft_hf.sources.traits import Looked


@pytest.fixture
def opened(monkeypatch) -> list[bytes]:
    """The images that were decoded, in any order."""
    decoded, look = [], traits.Looker._look

    def watched(self, encoded, digest):
        decoded.append(encoded)
        return look(self, encoded, digest)

    monkeypatch.setattr(traits.Looker, "_look", watched)
    return decoded


@pytest.fixture
def images(make_folder, home) -> Path:
    """18 images that last changed an hour ago, and a home."""
    home.mkdir()
    root = make_folder({"cat": 9, "dog": 9})
    age(root)
    return root


def age(root: Path, by_s: float = 3600) -> None:
    for path in root.rglob("*.*"):
        os.utime(path, (time.time() - by_s,) * 2)


def look(root: Path, home: Path, *, is_deep: bool = False) -> Scan:
    data = DataConfig(name_or_path=str(root))
    return open_images(load_images(data, home), data, home=home, is_deep=is_deep)


def test_the_second_look_opens_nothing_and_finds_the_same(images, home, opened):
    first = look(images, home)
    assert len(opened) == 18
    again = look(images, home)
    assert len(opened) == 18
    assert (again.fingerprint, again.example_ids) == (first.fingerprint, first.example_ids)
    assert all(np.array_equal(again.image_sizes[name], first.image_sizes[name]) for name in first.image_sizes)
    assert again.catalogue.fingerprint == first.catalogue.fingerprint


def test_a_deep_look_is_known_to_both_and_to_the_bit(images, home, opened):
    look(images, home)
    first = look(images, home, is_deep=True)
    assert len(opened) == 36  # the traits were not known
    again = look(images, home, is_deep=True)
    assert look(images, home).fingerprint == first.fingerprint and len(opened) == 36
    for split, known in first.traits.items():
        for name, values in vars(known).items():
            found = getattr(again.traits[split], name)
            assert found.dtype == values.dtype and np.array_equal(found, values), name


def test_a_changed_image_is_opened_again_even_with_its_old_size_and_time(images, home, opened):
    look(images, home)
    path = images / "cat" / "0003.png"
    content, times = bytearray(path.read_bytes()), path.stat()
    content[-20] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert path.stat().st_size == times.st_size and path.stat().st_mtime_ns == times.st_mtime_ns
    del opened[:]
    look(images, home)
    assert opened == [bytes(content)]


def test_another_image_under_an_old_name(images, home, opened):
    before = look(images, home)
    (images / "dog" / "0010.png").replace(images / "cat" / "0001.png")
    del opened[:]
    assert look(images, home).fingerprint != before.fingerprint and len(opened) == 1


def test_an_image_that_changed_a_moment_ago_is_opened_again(images, home, opened):
    os.utime(images / "cat" / "0003.png")
    look(images, home)
    del opened[:]
    look(images, home)
    assert opened == [(images / "cat" / "0003.png").read_bytes()]


def test_an_image_that_is_gone_is_missed(images, home):
    data = DataConfig(name_or_path=str(images))
    listed = load_images(data, home)
    scan_images(listed, data, home=home)
    (images / "cat" / "0003.png").unlink()
    with pytest.raises(DataNotFoundError, match="0003.png cannot be read"):
        scan_images(listed, data, home=home)


def test_an_image_that_cannot_be_opened_is_tried_each_time(images, home, opened):
    (images / "cat" / "bad.png").write_bytes(b"no image")
    age(images)
    data = DataConfig(name_or_path=str(images))
    for _ in range(2):
        with pytest.raises(BadImageError):
            scan_images(load_images(data, home), data, home=home)
    assert opened.count(b"no image") == 2 and len(opened) == 20


def test_no_home_is_made_for_it_and_none_is_needed(make_folder, home, opened):
    root = make_folder({"cat": 9, "dog": 9})
    age(root)
    for _ in range(2):
        look(root, home)
    assert len(opened) == 36 and not home.exists()


def test_another_version_of_the_look_or_of_pillow_begins_anew(images, home, opened, monkeypatch):
    look(images, home)
    monkeypatch.setattr(scan_cache, "_MADE_BY", "2 99.0")
    look(images, home)
    assert len(opened) == 36
    look(images, home)
    assert len(opened) == 36


@pytest.mark.parametrize("content", [b"no database at all" * 500, b""])
def test_a_damaged_database_is_made_anew(images, home, opened, caplog, content):
    look(images, home)
    path = HomePaths(home).scan_cache
    for one in path.parent.glob(f"{path.name}*"):
        one.unlink()
    path.write_bytes(content)
    look(images, home)
    look(images, home)
    assert len(opened) == 36
    assert ("was damaged and is made anew" in caplog.text) == bool(content)


def test_a_row_that_is_no_look_is_damage_too(images, home, opened, caplog):
    look(images, home, is_deep=True)
    with sqlite3.connect(HomePaths(home).scan_cache) as database:
        database.execute("UPDATE looks SET traits = '{'")
    database.close()
    look(images, home, is_deep=True)
    assert len(opened) == 36 and "was damaged and is made anew" in caplog.text


def test_a_database_that_cannot_be_had_is_done_without(images, home, opened, caplog):
    HomePaths(home).cache.write_text("a file in its place")
    assert look(images, home).fingerprint == look(images, home).fingerprint
    assert len(opened) == 36 and "images are opened without the cache" in caplog.text


def test_another_writer_is_waited_for(images, home, opened):
    look(images, home)
    shutil.copytree(images, images.with_name("others"))
    age(images.with_name("others"))
    path = HomePaths(home).scan_cache
    writer = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.5, lambda: writer.execute("ROLLBACK"))
    timer.start()
    look(images.with_name("others"), home)
    timer.join()
    look(images.with_name("others"), home)
    assert len(opened) == 36
    writer.close()


def test_the_least_used_go_first(tmp_path, monkeypatch):
    monkeypatch.setattr(scan_cache, "MAX_ENTRIES", 3)
    known = [Identity(f"/{number}.png", "stamp") for number in range(5)]
    looked = [Looked(f"{number:064x}", 8, 8) for number in range(5)]
    now = time.time()
    with ScanCache(tmp_path / "looks.db") as cache:
        cache.add(zip(known[:3], looked[:3], strict=True), now)
    monkeypatch.setattr(time, "time", lambda: now + 86_400)
    with ScanCache(tmp_path / "looks.db") as cache:
        assert cache.find(known[:1], is_deep=False) == looked[:1]
        cache.add(zip(known[3:], looked[3:], strict=True), now + 86_400)
    with ScanCache(tmp_path / "looks.db") as cache:
        assert cache.find(known, is_deep=False) == [looked[0], None, None, looked[3], looked[4]]


# Rows of a data set of the Hub


def encoded(number: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 6), (number, 0, 0)).save(out, "PNG")
    return out.getvalue()


def hub_set(folder: Path, values: list) -> ImageSet:
    """Rows in a file of the datasets library, as its cache holds them."""
    import datasets

    features = datasets.Features({"image": datasets.Image(decode=False)})
    datasets.Dataset.from_dict({"image": values}, features).save_to_disk(folder)
    rows = datasets.load_from_disk(folder).cast_column("image", datasets.Image(decode=False))
    split = ImageSplit(HubImages(rows, "train", "image"), np.arange(len(rows)), np.arange(len(rows)) % 2)
    rest = split.select(np.array([], dtype=np.int64))
    return ImageSet(("a", "b"), {"train": join([split, rest]), "eval": rest, "test": rest}, ())


def test_rows_of_the_hub_are_known_by_their_files_and_number(tmp_path, home, opened):
    home.mkdir()
    data = DataConfig(name_or_path="acme/cats")
    values = [{"bytes": encoded(number), "path": None} for number in range(4)]
    images = hub_set(tmp_path / "one", values)
    age(tmp_path / "one")
    first = open_images(images, data, home=home)
    assert len(opened) == 4
    again = open_images(hub_set_again(tmp_path / "one"), data, home=home)
    assert len(opened) == 4 and again.example_ids == first.example_ids
    other = hub_set(tmp_path / "two", values[::-1])
    age(tmp_path / "two")
    assert open_images(other, data, home=home).example_ids["train"] == first.example_ids["train"][::-1]


def hub_set_again(folder: Path) -> ImageSet:
    import datasets

    rows = datasets.load_from_disk(folder).cast_column("image", datasets.Image(decode=False))
    split = ImageSplit(HubImages(rows, "train", "image"), np.arange(len(rows)), np.arange(len(rows)) % 2)
    rest = split.select(np.array([], dtype=np.int64))
    return ImageSet(("a", "b"), {"train": split, "eval": rest, "test": rest}, ())


def test_rows_that_name_a_file_are_known_by_that_file(tmp_path, make_folder):
    import datasets
    from datasets.arrow_writer import ArrowWriter

    path = str(make_folder({"cat": 2}) / "cat" / "0000.png")
    features = datasets.Features({"image": datasets.Image(decode=False)})
    with ArrowWriter(features=features, path=str(tmp_path / "rows.arrow")) as writer:
        for value in ({"bytes": None, "path": path}, {"bytes": encoded(1), "path": None}):
            writer.write({"image": value})
        writer.finalize()
    rows = datasets.Dataset.from_file(str(tmp_path / "rows.arrow"))
    images = HubImages(rows, "train", "image")
    before = [images.identity(row) for row in range(2)]
    assert before[0].place == path and before[1].place.startswith("hub:")
    Path(path).write_bytes(encoded(2))
    after = [images.identity(row) for row in range(2)]
    assert after[0] != before[0] and after[1] == before[1]


def test_rows_in_memory_or_in_another_order_are_known_by_nothing(tmp_path):
    import datasets

    features = datasets.Features({"image": datasets.Image(decode=False)})
    values = {"image": [{"bytes": encoded(number), "path": None} for number in range(3)]}
    rows = datasets.Dataset.from_dict(values, features)
    assert HubImages(rows, "train", "image").identity(0) is None
    rows.save_to_disk(tmp_path / "rows")
    stored = datasets.load_from_disk(tmp_path / "rows")
    assert HubImages(stored, "train", "image").identity(0) is not None
    assert HubImages(stored.select([2, 0]), "train", "image").identity(0) is None
