"""How image caches share a limit: the least used go, those in use stay."""

import os
import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from superft_hf.sources import cache_room
from superft_hf.sources.cache_room import clear_caches, list_caches, open_cache
from superft_hf.sources.pixel_cache import IN_USE, Contents, PixelCache

NUM, EACH = 10, 100


def contents(key: str) -> Contents:
    return Contents(key, f"set {key}", "as they are", np.full(NUM, EACH, dtype=np.int64))


def opened(root: Path, key: str, limit_bytes: int = 10_000, wanted=range(NUM)) -> PixelCache | None:
    return open_cache(root, contents(key), np.array(list(wanted), dtype=np.int64), limit_bytes)


def filled(root: Path, key: str, age_s: int, **options) -> Path:
    """A full cache that nobody uses, last used so long ago."""
    cache = opened(root, key, **options)
    for row in range(NUM):
        cache.write(row, np.full(EACH, row, np.uint8))
    cache.close()
    used = (root / key / IN_USE).stat().st_mtime - age_s
    os.utime(root / key / IN_USE, (used, used))
    return root / key


def kept(cache: PixelCache) -> list[int]:
    """Which rows find a place."""
    for row in range(NUM):
        cache.write(row, np.full(EACH, row, np.uint8))
    return [row for row in range(NUM) if cache.read(row) is not None]


def keys(root: Path) -> list[str]:
    return [one.folder.name for one in list_caches(root)]


def test_list_says_what_is_there(tmp_path):
    filled(tmp_path, "a", age_s=100)
    cache = opened(tmp_path, "b", wanted=[3, 4, 3])
    newest, oldest = list_caches(tmp_path)
    assert (oldest.title, oldest.words, oldest.reserved_bytes) == ("set a", "as they are", 1000)
    assert not oldest.is_in_use and newest.is_in_use
    assert newest.reserved_bytes == 200
    assert kept(cache) == [3, 4]
    assert list_caches(tmp_path / "nowhere") == []


def test_the_least_recently_used_makes_room(tmp_path):
    for key, age_s in (("a", 10), ("b", 300), ("c", 20)):
        filled(tmp_path, key, age_s, limit_bytes=3000)
    assert kept(opened(tmp_path, "d", limit_bytes=3000)) == list(range(NUM))
    assert keys(tmp_path) == ["d", "a", "c"]


def test_one_in_use_is_never_removed(tmp_path):
    filled(tmp_path, "a", 10, limit_bytes=2500)
    filled(tmp_path, "b", 300, limit_bytes=2500)
    used = opened(tmp_path, "b", limit_bytes=2500)
    os.utime(tmp_path / "b" / IN_USE, (1, 1))
    late = opened(tmp_path, "c", limit_bytes=1000)
    assert set(keys(tmp_path)) == {"b", "c"}  # a went, but b has all the room there is
    assert kept(late) == []
    assert kept(used) == list(range(NUM))


def test_what_does_not_fit_is_left_out_in_the_order_of_the_wishes(tmp_path, caplog):
    caplog.set_level("INFO")
    cache = opened(tmp_path, "a", limit_bytes=350, wanted=[9, 2, 2, 5, 0])
    assert kept(cache) == [2, 5, 9]
    assert "has room for 3 of 4 images" in caplog.text
    assert list_caches(tmp_path)[0].reserved_bytes == 300


def test_a_second_user_adds_what_it_wants(tmp_path):
    first = opened(tmp_path, "a", wanted=[0, 1])
    second = opened(tmp_path, "a", wanted=[1, 2])
    assert kept(second) == [0, 1, 2]
    assert first.read(2) is not None
    assert list_caches(tmp_path)[0].reserved_bytes == 300


def test_a_lower_limit_holds_for_a_cache_that_is_there(tmp_path):
    filled(tmp_path, "a", 10)
    assert kept(opened(tmp_path, "a", limit_bytes=400)) == [0, 1, 2, 3]


def test_no_more_than_half_of_the_free_disk(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 0, 600))
    assert kept(opened(tmp_path, "a")) == [0, 1, 2]


def test_no_cache_where_none_is_wanted(tmp_path):
    assert opened(tmp_path / "images", "a", limit_bytes=0) is None
    assert not (tmp_path / "images").exists()


def test_a_place_that_cannot_be_written_to(tmp_path, caplog):
    (tmp_path / "images").write_text("a file")
    assert opened(tmp_path / "images", "a") is None
    assert "images are prepared without the cache" in caplog.text


def test_a_lock_that_nobody_gives_back(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(cache_room, "LOCK_TIMEOUT_S", 0.1)
    with cache_room._locked(tmp_path):
        assert opened(tmp_path, "a") is None
    assert "images are prepared without the cache" in caplog.text
    assert opened(tmp_path, "a") is not None


def test_a_broken_cache_in_use_is_done_without(tmp_path, caplog):
    used = opened(tmp_path, "a")
    os.truncate(tmp_path / "a" / "rows", 3)
    assert opened(tmp_path, "a") is None
    assert "is damaged, and another process uses it" in caplog.text
    assert used.read(0) is None


@pytest.mark.parametrize("name", [".aside-xyz", "0123456789abcdef"])
def test_what_an_ended_process_left_is_swept_away(tmp_path, name):
    (tmp_path / name / "a").mkdir(parents=True)
    opened(tmp_path, "b")
    assert not (tmp_path / name).exists()


def test_clear_spares_what_is_in_use(tmp_path):
    filled(tmp_path, "a", 10)
    cache = opened(tmp_path, "b")
    assert clear_caches(tmp_path) > 1000
    assert keys(tmp_path) == ["b"]
    cache.close()
    clear_caches(tmp_path)
    assert keys(tmp_path) == [] and clear_caches(tmp_path / "nowhere") == 0
