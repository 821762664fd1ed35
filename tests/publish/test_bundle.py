"""The files of a publication: only safetensors and JSON of the model, pictures only on request."""

import io
import json
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from superft_hf import decisions
from superft_hf.engine.launcher import Launcher
from superft_hf.errors import ModelNotFoundError, PublishError, StateError
from superft_hf.evaluation.decision import Decision
from superft_hf.publish.bundle import draw_figures, make_bundle
from superft_hf.publish.evidence import collect
from superft_hf.publish.export import export_onnx
from superft_hf.publish.licences import Licences, licence_id
from superft_hf.publish.options import PublishOptions, require_repo_id, suggested_name
from superft_hf.sources.images import open_rgb
from tests.factories import make_failed_run, make_image_folder, make_queued_run, make_running_run


@pytest.fixture
def bundle_of(store):
    def make(record, licences=None, drawn=None, **options):
        evidence = collect(store, record.run_id)
        found = licences or Licences()
        return make_bundle(
            evidence, PublishOptions(**options), found, repo_id="acme/digits", drawn=drawn or {}
        )

    return make


def test_the_bundle_has_model_card_figures_settings_and_evaluation(bundle_of, store, run):
    bundle = bundle_of(run, drawn=draw_figures(collect(store, run.run_id)))
    assert list(bundle.files) == [
        "README.md", "figures/curves.png", "figures/confusion_matrix_eval.png",
        "figures/confusion_matrix_test.png", "superft/config.yaml", "superft/evaluation.json",
        "superft/environment.json", "config.json", "preprocessor_config.json", "model.safetensors",
    ]  # fmt: skip
    for path in ("figures/curves.png", "figures/confusion_matrix_test.png"):
        assert Image.open(io.BytesIO(bundle.files[path])).format == "PNG"
    assert bundle.sizes["model.safetensors"] > 200_000
    assert "platform" not in json.loads(bundle.files["superft/environment.json"])


def test_the_operating_point_lies_beside_the_model(bundle_of, store, run):
    paths = store.run_paths(run.run_id)
    by_split = {"eval": decisions.read_measured(run, paths, "eval")}
    made = Decision(by_split["eval"].class_names, by_split["eval"].chosen_on, 1.3, (0.2,) * 10)
    decisions.save(store, run, made, by_split, by="test")
    bundle = bundle_of(run)
    rule = json.loads(bundle.files["decision.json"])
    assert rule["temperature"] == 1.3 and rule["thresholds"] == [0.2] * 10
    assert set(rule["figures"]) == {"eval", "test"} and rule["chosen_on"]["split"] == "eval"
    sealed = make_bundle(
        collect(store, run.run_id), PublishOptions(), Licences(), repo_id="a/b", drawn={}, has_test=False
    )
    assert set(json.loads(sealed.files["decision.json"])["figures"]) == {"eval"}
    kept = json.loads(bundle.files["superft/evaluation.json"])
    assert kept["num_runs_opened_on_test_before"] == 0 and 0 < kept["calibration"]["test"]["ece"] < 1
    assert sum(one["images"] for one in kept["calibration"]["eval"]["bins"]) == 270


def test_an_onnx_export_says_how_to_obey_the_operating_point(store, run, tmp_path, monkeypatch):
    paths = store.run_paths(run.run_id)
    by_split = {split: decisions.read_measured(run, paths, split) for split in ("eval", "test")}
    made = Decision(by_split["eval"].class_names, by_split["eval"].chosen_on, 1.3, (0.2,) * 10, 0.05)
    decisions.save(store, run, made, by_split, by="test")

    def child(command, **_):
        (Path(command[-1]) / "README.md").write_text("# As ONNX\n")
        return subprocess.CompletedProcess(command, 0, '{"num_images": 8}', "")

    monkeypatch.setattr(subprocess, "run", child)
    found = export_onnx(store, run.run_id, tmp_path / "out", Launcher())
    assert set(found.files) == {"README.md", "decision.json"}
    assert set(json.loads((found.folder / "decision.json").read_text())["figures"]) == {"eval"}  # no look
    text = (found.folder / "README.md").read_text()
    assert text.startswith("# As ONNX") and "softmax(logits / 1.300)" in text and "def decide(" in text
    paths.decision.unlink()
    plain = export_onnx(store, run.run_id, tmp_path / "plain", Launcher())
    assert set(plain.files) == {"README.md"}


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "training_args.bin", "modeling.py", "old/x.safetensors"]
)
def test_a_file_of_another_kind_is_refused(bundle_of, store, run, name):
    path = store.run_paths(run.run_id).model / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"x")
    with pytest.raises(PublishError, match=name.split("/")[-1]):
        bundle_of(run)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "preprocessor_config.json"])
def test_a_file_that_is_gone_is_named(bundle_of, store, run, name):
    (store.run_paths(run.run_id).model / name).unlink()
    with pytest.raises(ModelNotFoundError, match="gone"):
        bundle_of(run)


def test_a_model_without_class_names_is_refused(bundle_of, store, run):
    path = store.run_paths(run.run_id).model / "config.json"
    path.write_text(json.dumps({"model_type": "vit"}))
    with pytest.raises(PublishError, match="id2label"):
        bundle_of(run)


def test_the_place_of_the_base_model_is_taken_out_of_its_configuration(bundle_of, store, run):
    path = store.run_paths(run.run_id).model / "config.json"
    path.write_text(
        json.dumps({**json.loads(path.read_text()), "_name_or_path": "/home/somebody/models/vit"})
    )
    kept = json.loads(bundle_of(run).files["config.json"])
    assert "_name_or_path" not in kept and kept["id2label"]["3"] == "3"


def test_misclassified_pictures_go_in_on_request_without_their_metadata(bundle_of, run):
    assert not [path for path in bundle_of(run).files if "misclassified" in path]
    bundle = bundle_of(run, licences=Licences(data="CC BY-NC-ND 4.0"), num_misclassified=6)
    pictures = {path: content for path, content in bundle.files.items() if path.startswith("misclassified/")}
    assert len(pictures) == 6
    for content in pictures.values():
        assert open_rgb(content).size == (192, 192)  # digits of 8 px, enlarged so that they can be judged
    assert "6 eval pictures that the model took for another class" in bundle.card.text
    assert "Their author chose to publish them" in bundle.card.text
    assert any("may forbid passing pictures on" in one for one in bundle.warnings)


def test_a_camera_and_a_place_do_not_leave_with_a_picture(bundle_of, tmp_path, complete):
    folder = make_image_folder(tmp_path / "photos", count=30)
    for path in folder.rglob("*.png"):
        image = Image.open(path).resize((160, 120))
        exif = Image.Exif()
        exif[0x0110] = "Camera of somebody"
        image.save(path, exif=exif)
    bundle = bundle_of(complete("photos", data=str(folder), epochs=1), num_misclassified=4)
    pictures = [content for path, content in bundle.files.items() if path.startswith("misclassified/")]
    assert pictures and all(b"Camera of somebody" not in content for content in pictures)


def test_pictures_that_are_gone_are_counted(bundle_of, tmp_path, complete):
    folder = make_image_folder(tmp_path / "photos", count=30)
    record = complete("photos", data=str(folder), epochs=1)
    for path in folder.rglob("*.png"):
        path.unlink()
    bundle = bundle_of(record, num_misclassified=3)
    assert any("are gone or unreadable" in one for one in bundle.warnings)


def test_prediction_files_that_are_gone_cost_the_matrix_only(bundle_of, store, run):
    for path in store.run_paths(run.run_id).predictions.iterdir():
        path.unlink()
    assert "figures/confusion_matrix_test.png" not in draw_figures(collect(store, run.run_id))
    bundle = bundle_of(run)
    assert "confusion_matrix" not in bundle.card.text and "Accuracy | 85.6 %" in bundle.card.text


def test_runs_without_a_result_have_nothing_to_publish(store):
    for record, words in (
        (make_queued_run(store), "nothing to publish yet"),
        (make_running_run(store), "nothing to publish yet"),
        (make_failed_run(store), "has no model to publish"),
    ):
        with pytest.raises(StateError, match=words):
            collect(store, record.run_id)


@pytest.mark.parametrize(
    "options",
    [{"licence": "mine"}, {"num_misclassified": -1}, {"num_misclassified": 49}, {"limits": "x" * 20_001}],
)
def test_choices_that_a_card_cannot_hold_are_refused(options):
    with pytest.raises(PublishError) as caught:
        PublishOptions(**options).require_valid()
    assert caught.value.hint


@pytest.mark.parametrize("name", ["acme/cells", "a/b", "Acme-1/x.y_z-2"])
def test_names_of_repositories(name):
    assert require_repo_id(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "cells", "acme/", "/cells", "a/b/c", "acme/..", "acme/a--b", "acme/-a", "acme/a.git", "acme/a b",
     "acme/" + "x" * 97, "https://huggingface.co/acme/x", "../x/y"],
)  # fmt: skip
def test_names_that_cannot_be_repositories(name):
    with pytest.raises(PublishError, match="cannot be the name"):
        require_repo_id(name)


@pytest.mark.parametrize(
    "text", ["first try", "Ünïcode — run", "a/b\\c", "..", "x" * 300, "-a-", "a--b", "a..git"]
)
def test_a_suggested_name_can_always_be_a_repository(text):
    assert require_repo_id(f"acme/{suggested_name(text)}")


def test_licences_bind_and_warn():
    strict = Licences("apache-2.0", "CC BY-NC-SA 4.0")
    assert (
        strict.suggested == "cc-by-nc-sa-4.0" and strict.warnings("cc-by-nc-sa-4.0", has_pictures=False) == []
    )
    assert "may bind a model" in strict.warnings("mit", has_pictures=False)[0]
    free = Licences("apache-2.0", "CC BY 4.0")
    assert free.suggested == "apache-2.0" and free.warnings("apache-2.0", has_pictures=False) == []
    assert "names their authors" in free.warnings("apache-2.0", has_pictures=True)[0]
    assert "not known here" in Licences("mit").warnings("mit", has_pictures=True)[0]
    assert "names no licence" in Licences().warnings("", has_pictures=False)[0]
    assert licence_id("MIT") == "mit" and licence_id("") == ""
