"""The rows of a cache: what was written comes back, and what is damaged does not."""

import logging
import multiprocessing
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from superft_hf.sources.cache_room import open_cache
from superft_hf.sources.pixel_cache import IN_USE, PIXELS, RESERVED, ROWS, Contents, PixelCache

SIZES = np.array([12, 3, 6], dtype=np.int64)
CONTENTS = Contents("key", "cats", "as they are", SIZES)
IMAGES = [np.arange(12, dtype=np.uint8).reshape(2, 2, 3), np.full(3, 7, np.uint8), np.full(6, 9, np.uint8)]


def opened(root: Path, wanted=(0, 1, 2), limit_bytes: int = 10**6) -> PixelCache:
    return open_cache(root, CONTENTS, np.array(wanted), limit_bytes)


def fill(cache: PixelCache) -> None:
    for row, image in enumerate(IMAGES):
        cache.write(row, image)


def contents(cache: PixelCache) -> list[list[int] | None]:
    found = [cache.read(row) for row in range(3)]
    return [one and one[0].tolist() for one in found]


ALL = [list(range(12)), [7] * 3, [9] * 6]


def test_what_was_written_comes_back_also_to_others(tmp_path):
    cache = opened(tmp_path)
    assert contents(cache) == [None, None, None]
    cache.write(2, IMAGES[2], is_exact=False)
    cache.write(0, IMAGES[0])
    assert contents(cache) == [ALL[0], None, ALL[2]]
    other = opened(tmp_path)
    assert contents(other) == [ALL[0], None, ALL[2]]
    assert (other.read(0)[1], other.read(2)[1]) == (True, False)


def test_an_image_of_another_size_is_not_kept(tmp_path):
    cache = opened(tmp_path)
    cache.write(1, IMAGES[0])
    assert contents(cache) == [None, None, None]


@pytest.mark.parametrize("place", [0, 11, 13, 20])
def test_a_changed_byte_is_seen_told_once_and_mended(tmp_path, caplog, place):
    fill(opened(tmp_path))
    path = tmp_path / "key" / PIXELS
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        cache = opened(tmp_path)
        damaged = 0 if place < 12 else 1 if place < 15 else 2
        for _ in range(2):
            assert contents(cache) == [None if row == damaged else ALL[row] for row in range(3)]
    assert [one.getMessage() for one in caplog.records] == [
        f"the image cache {tmp_path / 'key'} has damaged images, which are made again"
    ]
    cache.write(damaged, IMAGES[damaged])
    assert contents(cache) == contents(opened(tmp_path)) == ALL


def test_an_image_counts_only_once_its_pixels_are_written(tmp_path, monkeypatch):
    """A process that dies between the two leaves no image behind."""
    cache, order = opened(tmp_path), []
    write = os.pwrite

    def watched(descriptor: int, *rest) -> int:
        order.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        return write(descriptor, *rest)

    monkeypatch.setattr(os, "pwrite", watched)
    cache.write(0, IMAGES[0])
    assert order == [PIXELS, ROWS]


def test_a_full_disk_ends_the_filling_and_nothing_else(tmp_path, monkeypatch, caplog):
    cache = opened(tmp_path)
    cache.write(0, IMAGES[0])

    def full(*_) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with caplog.at_level(logging.WARNING):
        cache.write(1, IMAGES[1])
    assert "takes no more images (No space left on device)" in caplog.text
    monkeypatch.undo()
    cache.write(2, IMAGES[2])
    assert contents(cache) == [ALL[0], None, None]


def test_a_write_in_parts_is_a_whole_one(tmp_path, monkeypatch):
    cache, write = opened(tmp_path), os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, at: write(descriptor, data[:5], at))
    fill(cache)
    monkeypatch.undo()
    assert contents(cache) == ALL


@pytest.mark.parametrize("name", [PIXELS, ROWS, RESERVED, IN_USE, "about.json"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_broken_folder_is_made_anew(tmp_path, caplog, name, damage):
    cache = opened(tmp_path)
    fill(cache)
    cache.close()
    path = tmp_path / "key" / name
    if damage == "gone":
        path.unlink()
    elif path.stat().st_size:
        os.truncate(path, path.stat().st_size - 1)
    else:
        path.write_bytes(b"1")
    with caplog.at_level(logging.WARNING):
        again = opened(tmp_path)
    assert contents(again) == [None, None, None]
    fill(again)
    assert contents(opened(tmp_path)) == ALL


def test_an_older_version_is_made_anew(tmp_path, monkeypatch, caplog):
    cache = opened(tmp_path)
    fill(cache)
    cache.close()
    monkeypatch.setattr("superft_hf.sources.pixel_cache.VERSION", 99)
    with caplog.at_level(logging.WARNING):
        assert contents(opened(tmp_path)) == [None, None, None]
    assert "was damaged or of another version: it is made anew" in caplog.text


def _fill_some(root: Path, rows: list[int]) -> None:
    cache = opened(root)
    for _ in range(200):
        for row in rows:
            cache.write(row, IMAGES[row])


def test_several_processes_may_fill_it_at_once(tmp_path):
    opened(tmp_path)
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=_fill_some, args=(tmp_path, rows)) for rows in ([0, 1], [1, 2], [2, 0])]
    for one in workers:
        one.start()
    for one in workers:
        one.join(60)
    assert [one.exitcode for one in workers] == [0, 0, 0]
    assert contents(opened(tmp_path)) == ALL


def test_it_can_be_sent_to_another_process(tmp_path):
    fill(opened(tmp_path))
    assert contents(pickle.loads(pickle.dumps(opened(tmp_path)))) == ALL  # noqa: S301


def test_an_array_is_made_once_and_again_when_damaged(tmp_path):
    cache, made = opened(tmp_path), []

    def make() -> np.ndarray:
        made.append(1)
        return np.array([[1.5, 2.0]], dtype=np.float32)

    for _ in range(2):
        assert cache.array("levels", (1, 2), make).tolist() == [[1.5, 2.0]]
    assert len(made) == 1
    (cache.folder / "levels").write_bytes(b"\0" * 12)
    assert cache.array("levels", (1, 2), make).tolist() == [[1.5, 2.0]] and len(made) == 2
