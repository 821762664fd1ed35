"""The worked example from its YAML to its tested model: the real clients, against a stand-in of the Hub."""

import io
from pathlib import Path

import datasets
import pytest

from superft_hf.config_file import read_config
from superft_hf.records import RunState
from superft_hf.store import RunStore
from tests.conftest import digit_image
from tests.hub_stand_in import HubStandIn, ask_hub, commit_of
from tests.sources.test_hub_data import PICTURE, write_split

pytestmark = pytest.mark.slow

NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
SIZES = {"train": 300, "test": 60}

TRAIN = """
import contextlib, json
from superft_hf.cli import main
with open("run.yaml", "w") as file, contextlib.redirect_stdout(file):
    code = main(["--home", "runs", "init", "--example", "resnet18-cifar10"])
assert code == 0
code = main(["--home", "runs", "train", "run.yaml"])
print(json.dumps({"code": code}))
"""


def write_model(folder: Path) -> None:
    """A ResNet as the example's, though small and of random weights, for pictures of 32 px."""
    from transformers import ConvNextImageProcessor, ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16, 32, 32], depths=[2, 2, 2, 2], layer_type="basic",
        num_labels=1000,
    )  # fmt: skip
    ResNetForImageClassification(config).save_pretrained(folder)
    ConvNextImageProcessor(size={"shortest_edge": 32}, crop_pct=1.0).save_pretrained(folder)


def write_images(folder: Path) -> None:
    """Real digits of 32 px in colour, under the example's columns and classes."""
    start = 0
    for split, count in SIZES.items():
        pictures = []
        for number in range(start, start + count):
            out = io.BytesIO()
            digit_image(number).convert("RGB").resize((32, 32)).save(out, "PNG")
            pictures.append({"bytes": out.getvalue(), "path": None})
        columns = {"img": pictures, "label": [number % 10 for number in range(count)]}
        write_split(folder, split, columns, {"img": PICTURE, "label": datasets.ClassLabel(names=NAMES)})
        start += count


def test_the_worked_example_runs_from_its_yaml(tmp_path):
    root, caches = tmp_path / "hub", tmp_path / "caches"
    caches.mkdir()
    write_model(root / "microsoft" / "resnet-18")
    write_images(root / "datasets" / "uoft-cs" / "cifar10")
    with HubStandIn(root) as hub:
        answer = ask_hub(TRAIN, hub.url, caches)
    assert answer["code"] == 0, answer["stderr"]
    store = RunStore(caches / "runs")
    (run,) = store.list_runs()
    resolved = read_config(store.run_paths(run.run_id).resolved)
    assert run.state is RunState.COMPLETED and run.epoch == 10
    training = resolved.training
    assert (training.optim, training.learning_rate, training.momentum) == ("sgd", 0.001, 0.9)
    assert training.per_device_train_batch_size == 128 and training.lr_scheduler_type == "constant"
    assert run.facts["num_trained_parameters"] == run.facts["num_parameters"]  # every layer
    assert run.facts["image_size"] == 32 and run.facts["class_names"] == NAMES
    assert run.facts["counts"]["test"] == SIZES["test"]
    assert resolved.model.revision == commit_of(root / "microsoft" / "resnet-18")
    rates = set(store.read_curve(run.run_id, "learning_rate")["value"])
    assert rates == {0.001}
    assert run.evaluation["test"]["accuracy"] is not None
