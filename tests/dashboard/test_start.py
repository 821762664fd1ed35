import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from dashboard import state
from superft_hf.config_file import dump_config, make_config
from superft_hf.records import RunState
from tests.factories import make_completed_run, make_image_folder

MODEL = "sample:efficientnet-lite0"


def title(test) -> str:
    return test.title[0].value


def text_of(test) -> str:
    return "\n".join(str(one.value) for kind in (test.markdown, test.caption) for one in kind)


@pytest.fixture
def folder(tmp_path):
    """Twelve cats and twelve dogs."""
    return make_image_folder(tmp_path / "pets")


@pytest.fixture
def open_start(open_page):
    """`open_start(data=…)`: the Start page with these settings chosen."""

    def opened(data, **changes):
        draft = {"model.name_or_path": MODEL, "data.name_or_path": str(data), **changes}
        return open_page("start", session={state.START_DRAFT: draft})

    return opened


def test_first_visit__three_ways_to_begin_one_primary(open_page):
    test = open_page("start")

    assert not test.exception
    assert title(test).startswith("No run yet.")
    assert [button.label for button in test.main.button] == [
        "Start on digits", "Settings first", "Choose images", "Search the Hub", "Load a YAML instead",
        "Worked example: ResNet-18 on CIFAR-10",
    ]  # fmt: skip


def test_first_visit__the_worked_example_fills_the_form(open_page):
    test = open_page("start")
    test.get_by_key("start_example_resnet18-cifar10").click().run()

    assert not test.exception
    flat = test.session_state[state.START_DRAFT]
    assert (flat["model.name_or_path"], flat["data.name_or_path"]) == (
        "microsoft/resnet-18",
        "uoft-cs/cifar10",
    )
    assert (flat["training.optim"], flat["training.learning_rate"], flat["training.momentum"]) == (
        "sgd",
        1e-3,
        0.9,
    )
    assert (flat["training.per_device_train_batch_size"], flat["training.num_train_epochs"]) == (128, 10)


def test_first_visit__one_click_queues_a_run_and_opens_it(open_page, store):
    test = open_page("start")
    test.get_by_key("start_digits").click().run()

    assert not test.exception
    (record,) = store.list_runs()
    assert record.state is RunState.QUEUED
    assert (record.model, record.data) == (MODEL, "sample:digits")
    assert test.query_params["run"] == record.run_id


def test_start__says_what_is_trained_and_starts_it(open_start, store, folder):
    test = open_start(folder, **{"training.num_train_epochs": 3, "name": "pets"})

    assert not test.exception
    assert title(test).startswith("Ready to start: 16 training images in 2 classes.")
    assert "4,652,008" in text_of(test)
    assert ":gray-badge[train 16] :violet-badge[eval 4] :green-badge[:material/lock: test 4]" in text_of(test)
    test.get_by_key("start_start").click().run()

    (record,) = store.list_runs()
    config = store.read_config(record.run_id)
    assert record.name == "pets"
    assert config.training.num_train_epochs == 3
    assert config.data.name_or_path == str(folder)


def test_start__settings_that_suit_a_sample_are_one_click_away(open_start):
    test = open_start("sample:digits", name="mine")
    test.get_by_key("start_take_suited").click().run()

    flat = test.session_state[state.START_DRAFT]
    assert (flat["model.image_size"], flat["augmentation.preset"], flat["name"]) == (64, "none", "mine")
    assert "start_take_suited" not in [button.key for button in test.button]


def test_start__hints_are_computed_from_the_images(open_start, folder):
    test = open_start(folder, **{"training.per_device_train_batch_size": 5, "training.num_train_epochs": 3})

    assert "3 epochs of 4 steps" in text_of(test)
    assert "suggested, because" in text_of(test)
    assert "suggested: None, because in so few epochs" in text_of(test)
    more = open_start(folder, **{"training.num_train_epochs": 12})
    assert "suggested: Light, because" in text_of(more)


def test_start__characters_are_not_mirrored(open_start):
    assert "suggested: Documents, because the classes are single characters" in text_of(
        open_start("sample:digits")
    )


def test_start__the_model_card_shows_the_size_that_the_rule_chooses(open_start):
    assert "64 × 64 px" in text_of(open_start("sample:digits"))


def test_start__unreadable_image_blocks_with_its_name_and_a_hint(open_start, store, folder):
    (folder / "cat" / "broken.png").write_bytes(b"no image")
    test = open_start(folder)

    assert not test.exception
    assert title(test) == "Not ready to start: one thing to mend first."
    assert "broken" in text_of(test)
    assert test.get_by_key("start_start").disabled


def test_start__refused_setting_is_named_and_nothing_starts(open_start, folder):
    test = open_start(folder, **{"hardware.devices": "the big one"})

    assert not test.exception
    assert title(test) == "Not ready to start: a setting is refused."
    assert "hardware" in text_of(test)
    assert test.get_by_key("start_start").disabled


def test_start__what_the_model_lacks_is_said_beside_the_field_and_blocks(open_start, folder, tmp_path):
    model = tmp_path / "resnet"
    model.mkdir()
    config = {"architectures": ["ResNetForImageClassification"], "model_type": "resnet"}
    (model / "config.json").write_text(json.dumps(config))
    (model / "preprocessor_config.json").write_text(json.dumps({"size": {"height": 32, "width": 32}}))
    save_file({"weight": np.zeros((3, 4), dtype=np.float32)}, model / "model.safetensors")
    test = open_start(folder, **{"model.name_or_path": str(model)})
    assert "The architecture resnet has no stochastic depth." in text_of(test)
    assert not test.get_by_key("start_start").disabled

    test = open_start(folder, **{"model.name_or_path": str(model), "model.drop_path_rate": 0.1})
    assert title(test) == "Not ready to start: one thing to mend first."
    assert test.get_by_key("start_start").disabled


def test_start__missing_folder_is_said_in_the_card(open_start, tmp_path):
    test = open_start(tmp_path / "nowhere")

    assert not test.exception
    assert "There is no folder" in text_of(test)
    assert test.get_by_key("start_start").disabled


def test_choose_images__folder_typed_by_hand(open_start, folder):
    test = open_start("sample:textures")
    test.get_by_key("start_change_images").click().run()
    test.get_by_key("start_typed_images").set_value(str(folder))
    test.get_by_key("start_use_typed_images").click().run()

    assert not test.exception
    assert "in 2 classes" in title(test)


def test_choose_images__unknown_folder_stays_in_the_dialog(open_start):
    test = open_start("sample:textures")
    test.get_by_key("start_change_images").click().run()
    test.get_by_key("start_typed_images").set_value("/nowhere/at/all")
    test.get_by_key("start_use_typed_images").click().run()

    assert not test.exception
    assert "There is no folder" in text_of(test)
    assert test.session_state[state.START_DRAFT]["data.name_or_path"] == "sample:textures"


def test_choose_images__uploaded_zip_is_kept_under_a_name_of_our_own(open_start, store, folder):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as opened:
        for path in sorted(folder.rglob("*.png")):
            opened.write(path, path.relative_to(folder))
    test = open_start("sample:textures")
    test.get_by_key("start_change_images").click().run()
    test.get_by_key("start_upload").upload("../../pets.zip", packed.getvalue(), "application/zip").run()
    test.get_by_key("start_use_zip").click().run()

    assert not test.exception
    (kept,) = store.paths.uploads.iterdir()
    assert "pets" not in kept.name
    assert kept.read_bytes() == packed.getvalue()
    assert "in 2 classes" in title(test)


def test_load_yaml__fills_the_whole_form(open_start, folder):
    values = {
        "name": "from file", "model": {"name_or_path": MODEL, "strategy": "head"},
        "data": {"name_or_path": str(folder)}, "training": {"l2": 0.001},
    }  # fmt: skip
    test = open_start("sample:textures")
    test.get_by_key("start_load_yaml").click().run()
    test.get_by_key("start_yaml").upload(
        "run.yaml", dump_config(make_config(values)).encode(), "text/yaml"
    ).run()

    assert not test.exception
    assert test.get_by_key("start_training_l2").value == 0.001
    assert test.get_by_key("start_model_strategy").value == "head"
    assert "in 2 classes" in title(test)


def test_load_yaml__nonsense_is_refused_in_words(open_start):
    test = open_start("sample:textures")
    test.get_by_key("start_load_yaml").click().run()
    test.get_by_key("start_yaml").upload("run.yaml", b"training: {lr: 1}", "text/yaml").run()

    assert not test.exception
    assert "is not a setting" in text_of(test)


def test_repeat__form_is_filled_and_the_difference_is_named(open_page, store):
    record = make_completed_run(store, "digits-mlp", hidden=4, epochs=2)
    test = open_page("start", repeat=record.run_id)

    assert not test.exception
    assert test.get_by_key("start_name").value == "digits-mlp again"
    assert "all equal so far" in text_of(test)
    test.get_by_key("start_training_num_train_epochs").set_value(9).run()

    assert "Epochs 2 → 9" in text_of(test)


def test_repeat__unknown_run_is_said(open_page):
    test = open_page("start", repeat="20260101-0000-abcd")

    assert not test.exception
    assert "There is no run" in text_of(test)


def test_yaml__is_shown_with_the_command(open_start):
    test = open_start("sample:textures", **{"training.seed": 7})
    test.get_by_key("start_show_yaml").click().run()

    shown = [one.value for one in test.code]
    assert "seed: 7" in shown[0]
    assert shown[1].startswith("superft train run.yaml")


@pytest.mark.parametrize("name", ["start", "runs"])
def test_pages__import_no_torch(home, store, name):
    store.change_settings(is_supervisor_stopped=True)  # the page expects a run, for which one would come
    program = (
        "import sys; from streamlit.testing.v1 import AppTest; "
        "test = AppTest.from_file('dashboard/app.py', default_timeout=60); "
        f"test.switch_page('app_pages/{name}.py').run(); assert not test.exception; "
        "print(*sorted({'torch', 'transformers', 'datasets', 'evaluate'} & set(sys.modules)))"
    )
    environment = {**os.environ, "SUPERFT_HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip

    assert done.stdout.strip() == ""
