"""`superft cache`, and the line of `superft doctor`."""

import json

import numpy as np

from superft_hf.paths import HomePaths
from superft_hf.sources.cache_room import open_cache
from superft_hf.sources.pixel_cache import Contents, PixelCache
from superft_hf.sources.scan_cache import ScanCache

pytest_plugins = ["tests.cli_fixtures"]


def filled(home, key: str) -> PixelCache:
    """A cache of one image of 64 KiB, in use."""
    contents = Contents(key, "acme/cats", "as the network sees them", np.array([65536]))
    cache = open_cache(HomePaths(home).image_caches, contents, np.array([0]), 10**6)
    cache.write(0, np.full(65536, 7, np.uint8))
    return cache


def test_cache__lists_what_is_there(superft, home, capsys):
    cache = filled(home, "a")
    assert superft("cache") == 0
    out, told = capsys.readouterr()
    assert "acme/cats  as the network sees them" in out and "in use" in out
    assert "of prepared images in 1 cache" in told and "cache --clear" in told
    cache.close()
    assert superft("cache", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    (image,) = found["images"]
    assert (image["title"], image["reserved_bytes"], image["is_in_use"]) == ("acme/cats", 65536, False)
    assert found["size_bytes"] >= image["size_bytes"] >= 65536


def test_cache__clear_removes_what_no_run_uses(superft, home, capsys):
    filled(home, "a").close()
    used = filled(home, "b")
    ScanCache(HomePaths(home).scan_cache).close()
    assert superft("cache", "--clear", "--json") == 0
    out, told = capsys.readouterr()
    assert [one["is_in_use"] for one in json.loads(out)["images"]] == [True]
    assert "became free" in told
    assert used.read(0) is not None and not HomePaths(home).scan_cache.exists()
    used.close()


def test_cache__of_a_home_that_does_not_exist(superft, home, capsys):
    assert superft("cache") == superft("cache", "--clear") == 0
    assert "0 B of prepared images in 0 caches" in capsys.readouterr().err
    assert not home.exists()


def test_doctor__tells_the_size_of_the_caches(superft, home, capsys, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    filled(home, "a").close()
    superft("doctor", "--json")
    report = json.loads(capsys.readouterr().out)
    assert report["image_caches"] == 1 and report["image_cache_bytes"] >= 65536
    superft("doctor")
    assert "Prepared images  0.0 GiB in 1 cache" in capsys.readouterr().out
