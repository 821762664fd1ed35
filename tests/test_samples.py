import hashlib
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from superft_hf import samples
from superft_hf.errors import (
    DataNotFoundError,
    DownloadError,
    MissingPackageError,
    ModelNotFoundError,
)
from superft_hf.samples import Package, download, fetch_images, fetch_model, is_fetched


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("SUPERFT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "samples"


def test_the_digits_are_made_once(cache):
    assert not is_fetched("sample:digits")
    folder = fetch_images("sample:digits")
    assert folder == cache / "digits" and is_fetched("sample:digits")
    assert sorted(path.name for path in folder.iterdir()) == list("0123456789")
    assert len(list(folder.rglob("*.png"))) == 1797
    with Image.open(folder / "0" / "0000.png") as image:
        assert (image.size, image.mode) == ((8, 8), "L")
        assert np.asarray(image)[0].tolist() == [255, 255, 175, 48, 112, 239, 255, 255]  # 0 0 5 13 9 1 0 0
    (folder / "mark").touch()
    assert (fetch_images("sample:digits") / "mark").exists()
    assert [path.name for path in cache.iterdir()] == ["digits"]


def test_the_textures_are_split_by_place(cache):
    pytest.importorskip("skimage")
    folder = fetch_images("sample:textures")
    counts = {
        f"{split}/{name}": len(list((folder / split / name).iterdir()))
        for split in ("train", "test")
        for name in ("brick", "grass", "gravel")
    }
    assert set(counts.values()) == {16, 48}
    assert all((count == 48) == key.startswith("train") for key, count in counts.items())


def test_four_at_once_make_one_sample(cache, monkeypatch):
    def fill(folder: Path) -> None:
        time.sleep(0.1)
        (folder / "one.png").touch()

    monkeypatch.setitem(
        samples.IMAGE_SAMPLES, "sample:small", samples.ImageSample("T", "d", "l", "n", 0, fill)
    )
    with ThreadPoolExecutor(4) as pool:
        folders = set(pool.map(lambda _: fetch_images("sample:small"), range(4)))
    assert folders == {cache / "small"}
    assert [path.name for path in cache.iterdir()] == ["small"]
    assert [path.name for path in (cache / "small").iterdir()] == ["one.png"]


@pytest.mark.parametrize("name", ["sample:nothing", "sample:", "sample:../x", "digits"])
def test_an_unknown_sample(cache, name):
    with pytest.raises(DataNotFoundError, match="There is no sample"):
        fetch_images(name)
    with pytest.raises(ModelNotFoundError, match="There is no sample"):
        fetch_model(name)
    assert not cache.exists()


def test_a_cache_that_cannot_be_written_to(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SUPERFT_CACHE", str(tmp_path / "file"))
    with pytest.raises(DownloadError, match="cannot be written to .*: Not a directory") as caught:
        fetch_images("sample:digits")
    assert "SUPERFT_CACHE" in caught.value.hint


def test_a_sample_that_fails_half_way_leaves_nothing(cache, monkeypatch):
    def fill(folder: Path) -> None:
        (folder / "half").touch()
        raise MissingPackageError("no", hint="yes")

    broken = samples.ImageSample("T", "d", "l", "n", 0, fill)
    monkeypatch.setitem(samples.IMAGE_SAMPLES, "sample:broken", broken)
    with pytest.raises(MissingPackageError):
        fetch_images("sample:broken")
    assert list(cache.iterdir()) == []


def write_wheel(folder: Path, name: str = "tiny_sample") -> tuple[Path, Package]:
    """A wheel that pip can fetch from a folder, and its pin."""
    folder.mkdir()
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        opened.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        opened.writestr(f"{info}/RECORD", "")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return path, Package(name.replace("_", "-"), "1.0", digest, path.stat().st_size)


@pytest.fixture
def pip_folder(tmp_path, monkeypatch) -> Path:
    """pip looks into this folder only."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return tmp_path / "wheels"


def test_a_pinned_wheel_is_fetched_by_pip(pip_folder, tmp_path):
    path, package = write_wheel(pip_folder)
    assert download(package, tmp_path / "into").read_bytes() == path.read_bytes()


def test_a_wheel_that_is_not_the_pinned_one_is_refused(pip_folder, tmp_path):
    _, package = write_wheel(pip_folder)
    wrong = Package(package.name, package.version, "0" * 64, package.size_bytes)
    with pytest.raises(DownloadError, match="is not the pinned one") as caught:
        download(wrong, tmp_path / "into")
    assert "Nothing was used of it" in caught.value.hint


def test_an_index_without_the_package_is_one_sentence(pip_folder, tmp_path):
    pip_folder.mkdir()
    with pytest.raises(
        DownloadError, match="The package nowhere 1.0 could not be fetched: ERROR: "
    ) as caught:
        download(Package("nowhere", "1.0", "0" * 64, 1), tmp_path / "into")
    assert "sample:digits" in caught.value.hint and "\n" not in caught.value.message


def test_every_sample_has_what_the_picker_shows():
    for name, one in {**samples.IMAGE_SAMPLES, **samples.MODEL_SAMPLES}.items():
        assert name.startswith("sample:") and one.title and one.description and one.licence
    for package in (samples.ELPV, *(one.package for one in samples.MODEL_SAMPLES.values())):
        assert len(package.sha256) == 64 and package.size_bytes > 0
