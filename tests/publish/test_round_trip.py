"""A real run goes to the Hub, and a fresh process with plain transformers predicts what it predicted."""

import json
import subprocess
import sys

import pytest

from superft_hf.evaluation.prediction_files import read_class_names, read_predictions
from superft_hf.publish.export import export_hub
from superft_hf.publish.options import PublishOptions
from tests.hub_stand_in import WRITE_TOKEN, HubStandIn, ask_hub
from tests.training.conftest import (  # noqa: F401 - fixtures of real, tiny runs
    _one_thread,
    images,
    models,
    tiny_config,
    train,
)

pytestmark = pytest.mark.slow

PLAIN = """
import json
from transformers import pipeline
paths = json.loads({paths!r})
classify = pipeline("image-classification", model={model!r})
print(json.dumps({{"guesses": [classify(path, top_k=1)[0] for path in paths]}}))
"""
PUSH = """
import json
from pathlib import Path
from superft_hf.publish.options import PublishOptions
from superft_hf.publish.push import push
from superft_hf.store import RunStore
print(json.dumps({{"url": push(RunStore(Path({home!r})), {run_id!r}, "acme/tiny", PublishOptions(),
                              token={token!r}, by="test").url}}))
"""


def check(guesses, store, record):
    paths = store.run_paths(record.run_id)
    rows = read_predictions(paths.prediction_file("eval", record.best_step))
    names = read_class_names(paths.prediction_file("eval", record.best_step))
    assert [one["label"] for one in guesses] == [names[index] for index in rows["prediction"]]
    assert [one["score"] for one in guesses] == pytest.approx(rows["confidence"].tolist(), abs=1e-5)


def eval_images(store, record) -> list[str]:
    return read_predictions(store.run_paths(record.run_id).prediction_file("eval", record.best_step))[
        "image"
    ].tolist()


@pytest.mark.parametrize("network", ["vit", "timm"])
def test_an_export_predicts_what_the_run_predicted(network, tiny_config, train, store, tmp_path):  # noqa: F811
    record = train(tiny_config(network))
    found = export_hub(store, record.run_id, tmp_path / "exported", PublishOptions(), by="test")
    code = PLAIN.format(paths=json.dumps(eval_images(store, record)), model=str(found.folder))
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    check(json.loads(done.stdout.splitlines()[-1])["guesses"], store, record)
    text = (found.folder / "README.md").read_text()
    assert "library_name: transformers" in text and ("\n- timm\n" in text) == (network == "timm")
    for path in found.folder.rglob("*"):
        if path.is_file():
            assert str(tmp_path).encode() not in path.read_bytes(), path


def test_a_pushed_run_predicts_what_it_predicted(tiny_config, train, store, tmp_path):  # noqa: F811
    record = train(tiny_config("vit"))
    (tmp_path / "hub").mkdir()
    with HubStandIn(tmp_path / "hub") as hub:
        code = PUSH.format(home=str(store.home), run_id=record.run_id, token=WRITE_TOKEN)
        assert ask_hub(code, hub.url, tmp_path)["url"].startswith(hub.url)
        code = PLAIN.format(paths=json.dumps(eval_images(store, record)), model="acme/tiny")
        found = ask_hub(code, hub.url, tmp_path, token=WRITE_TOKEN)
    check(found["guesses"], store, record)
