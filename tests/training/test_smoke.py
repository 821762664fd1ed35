"""The smoke run against the run that it speaks of: memory, disk and time, and what it refuses."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from superft_hf.config_file import dump_config
from superft_hf.errors import BadImageError, DataError, SuperFTError
from superft_hf.preflight import smoke as outside
from superft_hf.records import RunState
from superft_hf.sources.load import load_images
from superft_hf.sources.scan import scan_images
from superft_hf.store import RunStore
from superft_hf.training import smoke

pytestmark = pytest.mark.slow

TOLERANCE = 0.15
SIZES = {"vit": 96, "resnet": 192, "timm": 192}
"""Images so large that the steps, not the imported libraries, take most of the memory that differs."""


def test_smoke__its_few_steps_are_those_of_the_run(tiny_config, home):
    found = smoke.measure(tiny_config("resnet", training={"per_device_train_batch_size": 8}), home)
    # 60 images, 42 of them in train: 6 updates an epoch, 2 epochs.
    assert found.total_steps == 12
    assert found.images_per_second == pytest.approx(8 / found.step_s)
    assert found.peak_memory_bytes > 100e6 and found.free_memory_bytes > 0
    assert found.duration_s > 12 * found.step_s
    assert found.device_hours == pytest.approx(found.duration_s / 3600)
    assert found.largest_batch_size >= 8 and found.largest_batch_size.bit_count() == 1
    assert not list(home.glob("2*")), "no run is created"


def test_smoke__a_time_budget_is_the_duration(tiny_config, home):
    found = smoke.measure(tiny_config("resnet", training={"time_budget_s": 500.0}), home)
    assert 500 < found.duration_s < 560


def test_smoke__a_broken_image_is_what_the_run_would_say(tiny_config, images, home):
    for path in images.rglob("*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(BadImageError):
        smoke.measure(tiny_config("resnet"), home)


def test_smoke__a_part_that_lacks_a_class_is_no_refusal(tiny_config, images, home):
    """A correction may take the one image of a class away that the few steps would have had."""
    config = tiny_config("resnet", training={"per_device_train_batch_size": 2})
    scan = scan_images(load_images(config.data, home), config.data)
    part = scan_images(smoke._part(load_images(config.data, home), config), config.data)
    of_c = part.images.splits["train"].labels == 2
    relabel = {one: "a" for one, is_c in zip(part.example_ids["train"], of_c, strict=True) if is_c}
    assert 0 < len(relabel) < int((scan.images.splits["train"].labels == 2).sum())
    found = smoke.measure(
        config.model_copy(update={"data": config.data.model_copy(update={"relabel": relabel})}), home
    )
    assert found.total_steps > 0


def test_smoke__an_error_of_the_child_keeps_its_words(tiny_config, home):
    with pytest.raises(SuperFTError, match="no-such-folder") as caught:
        outside.measure(tiny_config("resnet", data={"name_or_path": "./no-such-folder"}), home)
    assert caught.value.hint
    assert not isinstance(caught.value, DataError), "what crosses a process border is the base class"


def test_smoke__memory_and_disk_are_within_15_percent_of_the_run(tiny_config, home, tmp_path):
    configs = {
        name: tiny_config(
            name,
            model={"image_size": size},
            training={"per_device_train_batch_size": 32, "num_train_epochs": 1},
        )
        for name, size in SIZES.items()
    }

    def train(name):
        path = tmp_path / f"{name}.yaml"
        path.write_text(dump_config(configs[name]))
        command = [sys.executable, "-m", "superft_hf.cli", "--home", str(home / name), "train", str(path)]
        return subprocess.run(command, capture_output=True, text=True)

    with ThreadPoolExecutor(2) as pool:
        predicted = dict(
            zip(SIZES, pool.map(lambda name: outside.measure(configs[name], home), SIZES), strict=True)
        )
        done = dict(zip(SIZES, pool.map(train, SIZES), strict=True))
    for name in SIZES:
        (record,) = RunStore(home / name).list_runs()
        assert record.state == RunState.COMPLETED, done[name].stderr
        own = record.facts["peak_memory_bytes"]
        assert predicted[name].peak_memory_bytes == pytest.approx(own, rel=TOLERANCE), name
        files = RunStore(home / name).run_paths(record.run_id)
        weights = [
            path.stat().st_size
            for folder in (files.checkpoints, files.model)
            for path in folder.rglob("*")
            if path.is_file()
        ]
        assert predicted[name].checkpoint_bytes <= sum(weights)


def test_smoke__prints_json_alone(tiny_config, home):
    asked = json.dumps({"config": tiny_config("resnet").model_dump(mode="json"), "home": str(home)})
    command = [sys.executable, "-m", "superft_hf.training.smoke"]
    done = subprocess.run(command, input=asked, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["device"]
