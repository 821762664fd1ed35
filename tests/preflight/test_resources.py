"""Disk, downloads and licences."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from superft_hf.preflight import resources
from superft_hf.records import DataInfo, ModelInfo

HUB_MODEL = ModelInfo("acme/net", "net", "", "hub", size_bytes=100_000_000, licence="apache-2.0")
OWN_IMAGES = DataInfo("images", "images", "", "local")


def found(make, home, model=HUB_MODEL, data=OWN_IMAGES):
    config = make("images", model={"name_or_path": "acme/net"})
    return {one.code: one for one in resources.find(config, home, model, data)}


def test_a_run_is_two_checkpoints_and_the_model(make, home):
    assert resources.run_bytes(HUB_MODEL) == 700_000_000
    assert found(make, home)["disk"].level == "fine"
    assert "disk" not in found(make, home, replace(HUB_MODEL, size_bytes=None))


def test_a_full_disk_blocks(make, home, monkeypatch):
    monkeypatch.setattr(resources.shutil, "disk_usage", lambda path: SimpleNamespace(free=50_000_000))
    report = found(make, home)
    assert (report["disk"].level, report["disk"].kind) == ("blocks", "HomeError")
    assert "has 50.0 MB left." in report["disk"].title and "about 700.0 MB" in report["disk"].text
    assert report["download"].level == "blocks"


def test_a_download_is_told_before_it_happens(make, home):
    assert found(make, home)["download"].title == "The model is downloaded before the start: 100.0 MB"
    assert "download" not in found(make, home, replace(HUB_MODEL, source="local"))


@pytest.mark.parametrize(
    ("model", "data", "level", "words"),
    [
        ("apache-2.0", "cc0", "fine", "model apache-2.0, images cc0"),
        ("apache-2.0", "cc-by-nc-sa-4.0", "know", "That of the images speaks of non-commercial use."),
        ("cc-by-nc-4.0", "CC BY-NC 4.0", "know", "That of the model and the images speaks"),
        ("", "mit", "know", "The authors of the model name none."),
        ("bigscience-openrail-m", "mit", "fine", "model bigscience-openrail-m"),
    ],
)
def test_licences_stand_side_by_side(make, home, model, data, level, words):
    images = replace(OWN_IMAGES, source="hub", licence=data)
    finding = found(make, home, replace(HUB_MODEL, licence=model), images)["licences"]
    assert finding.level == level and words in f"{finding.title} {finding.text}"


def test_own_files_need_no_licence(make, home):
    finding = found(make, home, replace(HUB_MODEL, source="local", licence=""))["licences"]
    assert (finding.level, finding.title) == ("fine", "Licences: model your own, images your own")
