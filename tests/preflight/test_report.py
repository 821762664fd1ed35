import pytest

from superft_hf.config_file import make_config
from superft_hf.errors import (
    BadImageError,
    ClassMismatchError,
    DeviceError,
    MissingPackageError,
    ModelError,
    SuperFTError,
)
from superft_hf.preflight import report as preflight
from superft_hf.preflight.report import check, require
from superft_hf.sources import traits


def lines(report: preflight.Report) -> list[tuple[str, str]]:
    return [(finding.level, finding.title) for finding in report.findings]


def disk_title(report: preflight.Report) -> str:
    """What stands free changes from one second to the next."""
    (title,) = [one.title for one in report.findings if one.code == "disk"]
    return title if title.startswith("Disk: the run takes about 12.6 kB of ") else ""


def test_a_good_configuration_is_fine_all_through(make, make_folder, home):
    epochs = {"num_train_epochs": 5, "ema_decay": 0.0}
    config = make(make_folder({"cat": 40, "dog": 40}), training=epochs)
    report = check(config, home)
    assert not report.is_blocked
    assert lines(report) == [
        ("fine", "The model can be trained: model, 12 parameters"),
        ("fine", "All 80 images open"),
        ("fine", "All images are grey"),
        ("fine", "No exact copies: train, eval and test share no image"),
        ("fine", "No near copies: train, eval and test share no image"),
        ("fine", "No picture stands under two class names"),
        ("fine", "Every class is in train, eval and test"),
        ("fine", "Classes are even: 28 to 28 training images"),
        ("know", "12 eval images are few."),
        ("fine", disk_title(report)),
        ("fine", "Licences: model your own, images your own"),
        ("fine", "The settings fit this machine"),
    ]
    assert report.model.num_parameters == 12 and report.data.num_images == 80
    require(config, home)


def test_a_second_check_decodes_no_image_again(make, make_folder, home, monkeypatch):
    root = make_folder({"cat": 40, "dog": 40})
    (root / "cat" / "text.jpg").write_bytes(b"text")
    seen = {}
    first = check(make(root), home, seen=seen)
    assert len(seen) == 81
    monkeypatch.setattr(traits, "opened_image", None)  # calling it would fail
    assert lines(check(make(root), home, seen=seen))[:-2] == lines(first)[:-2]
    skipping = check(make(root, data={"on_bad_image": "skip"}), home, seen=seen)
    assert first.is_blocked and not skipping.is_blocked


def test_everything_that_blocks_is_reported_at_once(make_folder, home):
    config = make_config(
        {
            "model": {"name_or_path": "./no-model"},
            "data": {"name_or_path": str(make_folder({"cat": 9}))},
            "hardware": {"devices": "7"},
        }
    )
    report = check(config, home)
    assert report.is_blocked
    blocking = [finding for finding in report.findings if finding.level == "blocks"]
    assert [finding.kind for finding in blocking] == ["ModelNotFoundError", "DataError", "DeviceError"]
    assert all(finding.title.endswith(".") and finding.hint for finding in blocking)


def test_require_raises_what_check_reports(make, make_folder, home, tmp_path):
    root = make_folder({"train/cat": 9, "train/dog": 9, "val/emu": 1})
    with pytest.raises(ClassMismatchError):
        require(make(root), home)
    good = make_folder({"cat": 9, "dog": 9}, "good")
    with pytest.raises(DeviceError):
        require(make(good, hardware={"devices": "7"}), home)
    with pytest.raises(SuperFTError):
        require(make(tmp_path / "nowhere"), home)
    (good / "cat" / "bad.png").write_bytes(b"no")
    with pytest.raises(BadImageError):
        require(make(good), home)


def test_a_model_of_another_task_blocks(make, model, make_folder, home):
    (model / "config.json").write_text('{"architectures": ["DetrForObjectDetection"], "model_type": "detr"}')
    config = make(make_folder({"cat": 40, "dog": 40}))
    with pytest.raises(ModelError, match="object detection"):
        require(config, home)
    assert check(config, home).is_blocked


def test_skipped_files_are_to_be_known(make, make_folder, home, tmp_path, monkeypatch):
    root = make_folder({"cat": 40, "dog": 40})
    (root / "cat" / "text.jpg").write_bytes(b"text")
    monkeypatch.chdir(tmp_path)
    report = check(make("images", data={"on_bad_image": "skip"}), home)
    (finding,) = [one for one in report.findings if "left out" in one.title]
    assert (finding.level, finding.title) == ("know", "1 of 81 files are left out")
    assert "the first is images/cat/text.jpg." in finding.text
    assert not report.is_blocked


def test_copies_across_splits_are_to_be_known(make, make_folder, home):
    root = make_folder({"train/cat": 20, "train/dog": 20, "val/cat": 2, "test/cat": 2})
    for name in ("val", "test"):
        (root / name / "cat" / "copy.png").write_bytes((root / "train" / "cat" / "0000.png").read_bytes())
    (root / "val" / "cat" / "other.png").write_bytes((root / "test" / "cat" / "0042.png").read_bytes())
    titles = dict((title, level) for level, title in lines(check(make(root), home)))
    assert titles["3 images of train and eval stand in a later split as well."] == "know"


def test_copies_within_one_split_do_no_harm(make, make_folder, home):
    root = make_folder({"train/cat": 20, "train/dog": 20, "val/cat": 2, "test/cat": 2})
    (root / "train" / "cat" / "copy.png").write_bytes((root / "train" / "cat" / "0000.png").read_bytes())
    assert ("fine", "No exact copies: train, eval and test share no image") in lines(check(make(root), home))


def test_classes_that_are_missing_small_or_uneven_are_to_be_known(make, make_folder, home):
    root = make_folder({"train/cat": 20, "train/dog": 5, "val/cat": 2, "test/cat": 1})
    found = lines(check(make(root), home))
    assert ("know", "2 times a class has no image in a split.") in found
    assert ("know", "Class dog has 5 training images.") in found
    uneven = make_folder({"cat": 120, "dog": 20}, "uneven")
    assert ("know", "Class cat has 6.0 × the images of class dog.") in lines(check(make(uneven), home))
    weighted = make(uneven, training={"class_weights": "balanced"})
    title = "Classes are uneven, which class weights make up for: 14 to 84 training images"
    assert ("fine", title) in lines(check(weighted, home))


def test_few_eval_images_are_told_with_the_interval(make, make_folder, home):
    report = check(make(make_folder({"cat": 200, "dog": 200})), home)
    (finding,) = [one for one in report.findings if "eval images are few" in one.title]
    assert finding.title == "60 eval images are few."
    # Wilson's interval of 57 of 60.
    assert finding.text == "An accuracy of 95 % will be known only to 86.3 – 98.3 %."


def test_a_tracker_that_is_not_installed_is_named(make, make_folder, home, tmp_path, monkeypatch):
    config = make(make_folder({"cat": 9, "dog": 9}), training={"report_to": ["trackio"]})
    monkeypatch.setattr(preflight.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match="training.report_to names trackio") as caught:
        require(config, home)
    assert caught.value.hint == "`pip install trackio`, or leave it out."


def test_a_folder_of_results_is_not_taken_for_the_tracker(make, make_folder, home, tmp_path, monkeypatch):
    (tmp_path / "wandb").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    if getattr(preflight.importlib.util.find_spec("wandb"), "origin", None):
        pytest.skip("wandb is installed")
    config = make(make_folder({"cat": 9, "dog": 9}), training={"report_to": ["wandb"]})
    with pytest.raises(MissingPackageError):
        require(config, home)


def test_progress_is_heard(make, make_folder, home):
    heard: list[tuple[int, int]] = []
    require(make(make_folder({"cat": 40, "dog": 40})), home, lambda done, total: heard.append((done, total)))
    assert heard == [(50, 80), (80, 80)]


@pytest.mark.parametrize("name", ["x" * 400, "a\0b", "~nobody-here/x", "/dev/null", "sample:none", " "])
def test_nothing_a_person_types_is_more_than_a_finding(home, name):
    config = make_config({"model": {"name_or_path": name}, "data": {"name_or_path": name}})
    report = check(config, home)
    assert [finding.level for finding in report.findings][:2] == ["blocks", "blocks"]
    assert not home.exists() or not list(home.glob("2*"))
