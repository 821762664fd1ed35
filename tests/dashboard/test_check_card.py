"""The pre-flight card: findings with pictures and remedies, the measurement, and the first batch."""

import re
import time

import pytest

from dashboard import measuring, state
from superft_hf.errors import OutOfMemoryError
from superft_hf.preflight.smoke import SmokeResult

MODEL = "sample:efficientnet-lite0"
SMALL = {
    "model.image_size": 32, "training.per_device_train_batch_size": 8, "hardware.devices": "cpu",
    "augmentation.preset": "none",
}  # fmt: skip


@pytest.fixture
def open_start(open_page):
    """`open_start(data=…)`: the Start page with these settings chosen."""

    def opened(data, **changes):
        draft = {"model.name_or_path": MODEL, "data.name_or_path": str(data), **SMALL, **changes}
        return open_page("start", session={state.START_DRAFT: draft})

    return opened


@pytest.fixture
def twins(make_folder):
    """A set whose eval split holds a copy of a training image."""
    root = make_folder(
        {"train/cat": 14, "train/dog": 14, "val/cat": 4, "val/dog": 4, "test/cat": 4, "test/dog": 4}
    )
    (root / "val" / "cat" / "copy.png").write_bytes((root / "train" / "cat" / "0000.png").read_bytes())
    return root


def checked(test):
    """The page once its check is done."""
    for _ in range(60):
        if not any("Checking before the start" in one.value for one in test.title):
            return test
        time.sleep(0.2)
        test.run()
    raise AssertionError("the check does not end")


def words(test) -> str:
    """All text, without Markdown's escapes."""
    return "\n".join(str(one.value) for kind in (test.markdown, test.caption) for one in kind).replace(
        "\\", ""
    )


def keys(test) -> list[str]:
    return [button.key for button in test.button]


def test_a_finding_shows_its_pictures_and_its_remedy_settles_it(open_start, twins):
    test = checked(open_start(twins))
    assert "stand in a later split as well" in words(test) or "stands in a later split as well" in words(test)
    test.get_by_key("start_look_exact-duplicates").click().run()
    assert not test.exception
    assert "copy.png" in words(test) and "0000.png" in words(test)

    test.get_by_key("finding_remedy_0").click().run()
    test = checked(test)
    assert not test.exception
    assert "start_look_exact-duplicates" not in keys(test)
    (left_out,) = test.session_state[state.START_DRAFT]["data.exclude"]
    assert left_out.startswith("train:")
    assert "No exact copies: train, eval and test share no image" in words(test)


def test_a_remedy_beside_the_finding_needs_no_dialog(open_start, twins):
    (twins / "train" / "dog" / "broken.png").write_bytes(b"no image")
    test = checked(open_start(twins))
    assert test.get_by_key("start_start").disabled and test.get_by_key("start_measure").disabled
    test.get_by_key("start_remedy_undecodable_0").click().run()
    test = checked(test)
    assert test.session_state[state.START_DRAFT]["data.on_bad_image"] == "skip"
    assert not test.get_by_key("start_start").disabled


def result_of(**changes) -> SmokeResult:
    values = {
        "device": "2 CPU cores", "peak_memory_bytes": 2 * 10**9, "free_memory_bytes": 8 * 10**9,
        "images_per_second": 20.74, "step_s": 0.39, "eval_batch_s": 0.2, "checkpoint_bytes": 10**7,
        "total_steps": 20, "duration_s": 75.0, "device_hours": 75 / 3600, "largest_batch_size": 64,
        "disk_bytes": 3 * 10**7, "free_disk_bytes": 10**11,
    }  # fmt: skip
    return SmokeResult(**{**values, **changes})


def measured(monkeypatch, answer):
    """Puts an answer in the place of the child process, which tests/training/test_smoke.py covers."""

    def measure(config, home, stop):
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(measuring, "measure", measure)


def wait(test):
    for _ in range(50):
        if "start_measure_stop" not in keys(test):
            return test
        time.sleep(0.1)
        test.run()
    raise AssertionError("the measurement does not end")


def test_what_was_measured_is_said_and_belongs_to_its_settings(open_start, twins, monkeypatch):
    measured(monkeypatch, result_of())
    test = checked(open_start(twins, name="measured"))
    test.get_by_key("start_measure").click().run()
    test = wait(test)
    assert "2.0 GB" in words(test) and "20.7" in words(test) and "about 1 min 15 s" in words(test)
    assert "Batches of up to 64 fit into the 8.0 GB that are free." in words(test)
    test.get_by_key("start_training_num_train_epochs").set_value(9).run()
    assert "start_measure" in keys(checked(test)), "other settings, another measurement"


def test_a_batch_that_does_not_fit_is_changed_by_one_click(open_start, twins, monkeypatch):
    measured(monkeypatch, result_of(peak_memory_bytes=9 * 10**9, largest_batch_size=4))
    test = checked(open_start(twins, name="tight"))
    test.get_by_key("start_measure").click().run()
    test = wait(test)
    assert "The memory hardly suffices." in words(test)
    test.get_by_key("start_use_batch").click().run()
    assert test.session_state[state.START_DRAFT]["training.per_device_train_batch_size"] == 4


def test_a_measurement_that_fails_is_a_sentence(open_start, twins, monkeypatch):
    measured(monkeypatch, OutOfMemoryError(8, "cpu"))
    test = checked(open_start(twins, name="too large"))
    test.get_by_key("start_measure").click().run()
    test = wait(test)
    assert "Out of memory on cpu with 8 images a step." in words(test)
    test.get_by_key("start_measure_again").click().run()
    assert "start_measure" in keys(test)


@pytest.mark.slow
def test_the_first_batch_is_shown(open_start, twins):
    test = checked(open_start(twins))
    test.get_by_key("start_first_batch").click().run()
    assert not test.exception
    assert "The first 8 images of the first step, 32 × 32 px" in words(test)
    names = [one.value for one in test.markdown if one.value in (":small[:gray[cat]]", ":small[:gray[dog]]")]
    assert len(names) == 8


@pytest.mark.slow
def test_the_first_batch__of_mixed_images_tells_their_shares(open_start, twins):
    test = checked(open_start(twins, **{"augmentation.mixup": 1.0}))
    test.get_by_key("start_first_batch").click().run()
    assert not test.exception
    assert "Each image, and its label, is mixed with the next one." in words(test)
    shares = re.findall(r"(\d+) % (?:cat|dog), (\d+) % (?:cat|dog)", words(test))
    assert shares
    assert len(set(shares)) == 1, "the images of a batch are mixed by the same share"
    assert sum(map(int, shares[0])) == 100
