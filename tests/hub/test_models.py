import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from superft_hf.config import DataConfig
from superft_hf.errors import ModelError, ModelNotFoundError
from superft_hf.hub.data import describe_data
from superft_hf.hub.models import CLASSIFIER_TYPES, inspect_model, model_folder, require_model
from tests.hub_stand_in import READ_TOKEN, HubStandIn, ask_hub, commit_of

RESNET = {
    "architectures": ["ResNetForImageClassification"], "model_type": "resnet",
    "id2label": {"0": "a", "1": "b", "2": "c"},
}  # fmt: skip


def write_model(folder: Path, config: dict[str, Any], *, weights: bool = True, processor: Any = None) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    if weights:
        tensors = {
            "layer.weight": np.zeros((3, 4), dtype=np.float32),
            "norm.running_mean": np.zeros(5, dtype=np.float32),
        }
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    if processor:
        (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


# Local folders


def test_a_local_model_is_described_by_its_files(tmp_path):
    folder = write_model(tmp_path / "mine", RESNET, processor={"size": {"shortest_edge": 96}})
    info = inspect_model(str(folder))
    assert (info.title, info.source, info.architecture) == ("mine", "local", "resnet")
    assert (info.num_parameters, info.num_labels, info.image_size) == (12, 3, 96)
    assert info.size_bytes == (folder / "model.safetensors").stat().st_size
    assert (info.problem, info.revision) == (None, None)
    assert require_model(str(folder)) == info


@pytest.mark.parametrize(
    ("config", "processor", "size"),
    [
        ({"image_size": 64}, None, 64),
        ({"image_size": [64, 64]}, None, 64),
        ({}, {"size": {"height": 128, "width": 128}}, 128),
        ({}, {"size": 48}, 48),
        ({}, {"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}}, 224),
        ({"pretrained_cfg": {"input_size": [3, 240, 240]}}, None, 240),
        ({"pretrained_cfg": "odd"}, None, None),
        ({}, None, None),
    ],
)
def test_the_image_size_is_found_where_a_model_keeps_it(tmp_path, config, processor, size):
    folder = write_model(tmp_path / "m", {**RESNET, **config}, processor=processor)
    assert inspect_model(str(folder)).image_size == size


def test_a_timm_model(tmp_path):
    config = {"architecture": "resnet18", "num_classes": 10, "pretrained_cfg": {"input_size": [3, 96, 96]}}
    info = require_model(str(write_model(tmp_path / "m", config)))
    assert (info.architecture, info.num_labels, info.image_size) == ("resnet18", 10, 96)


@pytest.mark.parametrize(
    ("config", "part"),
    [
        ({"architectures": ["DetrForObjectDetection"], "model_type": "detr"}, "is made for object detection"),
        ({"architectures": ["SegformerForSemanticSegmentation"], "model_type": "segformer"},
         "is made for semantic segmentation"),
        ({"architectures": ["BertForMaskedLM"], "model_type": "bert"}, "is of type 'bert'"),
        ({}, "is of type None"),
        ({**RESNET, "auto_map": {"AutoModel": "m.M"}}, "needs code from its own repository"),
    ],
)  # fmt: skip
def test_a_model_that_cannot_classify_images_says_what_it_is(tmp_path, config, part):
    folder = str(write_model(tmp_path / "m", config))
    info = inspect_model(folder)
    assert part in info.problem and info.hint
    with pytest.raises(ModelError, match=part):
        require_model(folder)


def test_a_base_without_a_head_can_be_trained(tmp_path):
    folder = write_model(tmp_path / "m", {"architectures": ["ViTModel"], "model_type": "vit"})
    assert inspect_model(str(folder)).problem is None


def test_weights_of_another_format_are_refused(tmp_path):
    folder = write_model(tmp_path / "m", RESNET, weights=False)
    (folder / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(ModelError, match="has no weights in safetensors format"):
        require_model(str(folder))


def _cut_off(content: bytes) -> bytes:
    return content[:-7]


@pytest.mark.parametrize(
    "change", [_cut_off, lambda _: b"", lambda _: b"\xff" * 64, lambda _: b"\x02" + b"\0" * 7 + b"[]"]
)
def test_damaged_weights_are_refused(tmp_path, change):
    folder = write_model(tmp_path / "m", RESNET)
    weights = folder / "model.safetensors"
    weights.write_bytes(change(weights.read_bytes()))
    with pytest.raises(ModelError, match="are damaged: model.safetensors is not a whole safetensors file"):
        require_model(str(folder))


def test_places_that_hold_no_model_are_called_as_they_were_typed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{")
    (tmp_path / "list").mkdir()
    (tmp_path / "list" / "config.json").write_text("[]")
    (tmp_path / "file").write_text("")
    for name in ("./none", "~/none", "/none", "a/b/c", "file"):
        with pytest.raises(ModelNotFoundError) as caught:
            model_folder(name)
        assert caught.value.message == f"There is no model folder {name}."
    for name in ("empty", "./broken", "list"):
        with pytest.raises(ModelNotFoundError) as caught:
            inspect_model(name)
        assert caught.value.message == f"The folder {name} has no readable config.json."


def test_an_unknown_sample_names_the_known():
    with pytest.raises(ModelNotFoundError) as caught:
        inspect_model("sample:resnet")
    assert "sample:efficientnet-lite0" in caught.value.hint


@pytest.mark.parametrize("name", ["google/vit-x", "vit", "two words/x", "x" * 400, "a\0b", "-", "a/b.git"])
def test_an_unknown_model_while_offline_is_one_sentence(name):
    begin = time.monotonic()
    with pytest.raises(ModelNotFoundError) as caught:
        inspect_model(name)
    assert caught.value.message == f"The model {name} is not on this machine, and HF_HUB_OFFLINE is set."
    assert time.monotonic() - begin < 4


@pytest.mark.parametrize(
    ("config", "processor", "mean", "std"),
    [
        ({}, {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.1]}, (0.5, 0.4, 0.3), (0.2, 0.2, 0.1)),
        ({}, {"do_normalize": False, "image_mean": [0.5], "image_std": [0.2]}, (), ()),
        ({"architecture": "resnet18", "pretrained_cfg": {"mean": [0.1, 0.2, 0.3], "std": [1, 1, 1]}}, None,
         (0.1, 0.2, 0.3), (1.0, 1.0, 1.0)),
        ({}, {"image_mean": "odd"}, (), ()),
    ],
)  # fmt: skip
def test_the_normalisation_is_found_where_a_model_keeps_it(tmp_path, config, processor, mean, std):
    info = inspect_model(str(write_model(tmp_path / "m", {**RESNET, **config}, processor=processor)))
    assert (info.image_mean, info.image_std) == (mean, std)


@pytest.mark.parametrize(
    ("config", "names"),
    [
        ({"id2label": {"1": "b", "0": "a", "10": "k", "2": "c"}}, ("a", "b", "c", "k")),
        ({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}, ()),
        ({"id2label": {}, "label_names": ["cat", "dog"]}, ("cat", "dog")),
        ({"id2label": {str(one): f"n{one}" for one in range(20)}}, tuple(f"n{one}" for one in range(8))),
    ],
)  # fmt: skip
def test_the_first_classes_of_a_head_are_named_in_order(tmp_path, config, names):
    assert inspect_model(str(write_model(tmp_path / "m", {**RESNET, **config}))).class_names == names


# Data


def test_a_local_folder_and_a_sample_are_described_alike(make_folder, home):
    root = make_folder({"cat": 20, "dog": 20})
    info, images = describe_data(DataConfig(name_or_path=str(root)), home)
    assert (info.source, info.title, info.class_names) == ("local", "images", ("cat", "dog"))
    assert info.counts == images.counts() and info.num_images == 40 and info.is_cut == ("eval", "test")
    info, _ = describe_data(DataConfig(name_or_path="sample:digits"), home)
    assert (info.source, info.title, info.licence, info.num_images) == ("sample", "Digits", "CC BY 4.0", 1797)


# The Hub, by a stand-in

INSPECT = """
import json, time
from superft_hf.errors import SuperFTError
from superft_hf.hub.models import inspect_model
answers = {}
for name, revision in NAMES:
    begin = time.monotonic()
    try:
        answers[name + "@" + revision] = vars(inspect_model(name, revision))
    except SuperFTError as error:
        answers[name + "@" + revision] = {"kind": error.kind, "message": error.message, "hint": error.hint}
    answers[name + "@" + revision]["seconds"] = time.monotonic() - begin
print(json.dumps(answers))
"""


def ask(endpoint: str, folder: Path, *names: str, before: str = "") -> Any:
    pairs = [tuple(name.split("@")) if "@" in name else (name, "main") for name in names]
    return ask_hub(before + INSPECT.replace("NAMES", repr(pairs)), endpoint, folder)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """The repositories of the stand-in."""
    root = tmp_path_factory.mktemp("hub")
    tiny = write_model(root / "acme" / "tiny", RESNET, processor={"size": {"shortest_edge": 96}})
    (tiny / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Tiny\n")
    write_model(
        root / "acme" / "detector", {"architectures": ["DetrForObjectDetection"], "model_type": "detr"}
    )
    write_model(root / "acme" / "pickled", RESNET, weights=False)
    (write_model(root / "acme" / "gated", RESNET) / ".gated").touch()
    (root / "acme" / "nothing").mkdir()
    (root / "acme" / "nothing" / "README.md").write_text("# Nothing")
    return root


@pytest.fixture(scope="module")
def caches(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("caches")


@pytest.fixture(scope="module")
def answers(root, caches) -> dict[str, dict[str, Any]]:
    """What the real client gets from the stand-in."""
    names = ["tiny", "tiny@v1", "tiny@v9", "detector", "pickled", "gated", "nothing", "missing"]
    with HubStandIn(root) as hub:
        return ask(hub.url, caches, *(f"acme/{name}" for name in names))


def test_a_hub_model_is_described_without_its_weights(answers, root, caches):
    info = answers["acme/tiny@main"]
    assert (info["source"], info["architecture"], info["licence"]) == ("hub", "resnet", "apache-2.0")
    assert (info["num_labels"], info["image_size"], info["problem"]) == (3, 96, None)
    assert info["revision"] == commit_of(root / "acme" / "tiny")
    assert info["size_bytes"] == (root / "acme" / "tiny" / "model.safetensors").stat().st_size
    assert info["num_parameters"] == 17
    assert not list(caches.rglob("*.safetensors"))


def test_a_revision_is_pinned_to_its_commit_or_refused(answers, root):
    assert answers["acme/tiny@v1"]["revision"] == commit_of(root / "acme" / "tiny")
    assert answers["acme/tiny@v9"]["message"] == "The model acme/tiny has no revision 'v9'."


def test_hub_models_that_cannot_be_trained(answers):
    assert "is made for object detection" in answers["acme/detector@main"]["problem"]
    assert "no weights in safetensors format" in answers["acme/pickled@main"]["problem"]
    assert "acme/nothing has no config.json" in answers["acme/nothing@main"]["problem"]
    assert answers["acme/missing@main"]["message"] == "There is no model acme/missing on the Hub."
    assert answers["acme/missing@main"]["kind"] == "ModelNotFoundError"


def test_a_gated_model_is_described_and_says_how_to_get_it(answers, root):
    info = answers["acme/gated@main"]
    assert info["problem"] == "The Hub gives the model acme/gated only to those who accept its terms."
    assert "/acme/gated, then use a token" in info["hint"]
    assert (info["is_gated"], info["num_parameters"], info["architecture"]) == (True, 17, "resnet")
    assert info["revision"] == commit_of(root / "acme" / "gated")


def test_a_hub_model_tells_what_only_the_hub_knows(answers):
    info = answers["acme/tiny@main"]
    assert (info["task"], info["library"]) == ("image-classification", "transformers")
    assert (info["downloads"], info["likes"], info["is_gated"]) == (7, 1, False)
    assert info["last_modified"].startswith("20") and info["class_names"] == ["a", "b", "c"]


GATED = """
import json
from superft_hf.errors import SuperFTError
from superft_hf.hub.models import require_model
try:
    info = require_model("acme/gated")
    print(json.dumps({"revision": info.revision, "num_parameters": info.num_parameters}))
except SuperFTError as error:
    print(json.dumps({"kind": error.kind}))
"""


def test_a_gated_model_that_was_fetched_once_needs_no_token_any_more(root, tmp_path):
    fetch = "from huggingface_hub import snapshot_download\nsnapshot_download('acme/gated')\n"
    with HubStandIn(root) as hub:
        assert ask_hub(GATED, hub.url, tmp_path)["kind"] == "GatedError"
        assert "revision" in ask_hub(GATED, hub.url, tmp_path, token=READ_TOKEN)
        ask_hub(fetch + GATED, hub.url, tmp_path, token=READ_TOKEN)
        worker = ask_hub(GATED, hub.url, tmp_path)
    assert (worker["revision"], worker["num_parameters"]) == (commit_of(root / "acme" / "gated"), 12)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, "TokenRefusedError"), (429, "RateLimitedError"), (503, "HubUnreachableError")],
)
def test_a_failing_hub_is_one_sentence_at_once(root, tmp_path, status, kind):
    with HubStandIn(root) as hub:
        hub.fail("/api/models", status, times=None, headers={"Retry-After": "30"})
        code = INSPECT.replace("NAMES", "[('acme/tiny', 'main')]")
        told = ask_hub(code, hub.url, tmp_path, token="hf_nobodyknowsthistoken")["acme/tiny@main"]
    assert told["kind"] == kind and told["hint"]
    assert told["seconds"] < 4 and "hf_nobody" not in json.dumps(told)


def test_a_broken_small_file_refuses_the_model_but_not_its_description(root, tmp_path):
    with HubStandIn(root) as hub:
        hub.fail("/config.json", 503, times=None)
        told = ask(hub.url, tmp_path, "acme/tiny")["acme/tiny@main"]
    assert "trouble of its own (it answered 503)" in told["problem"]
    assert (told["architecture"], told["licence"]) == ("resnet", "apache-2.0")


def test_an_unreachable_hub_is_told_at_once_and_without_noise(answers, caches):
    nobody = "http://127.0.0.1:9"
    offline = ask(nobody, caches, "acme/unknown", "acme/tiny")
    assert offline["acme/unknown@main"]["message"] == (
        "The model acme/unknown is not on this machine, and the Hub cannot be reached."
    )
    assert offline["acme/tiny@main"]["message"].startswith("The model acme/tiny is not on this machine")
    assert offline["acme/unknown@main"]["seconds"] < 4
    assert offline["stderr"] == ""


def test_a_model_that_was_downloaded_once_can_be_trained_offline(root, tmp_path):
    fetch = "from huggingface_hub import snapshot_download\nsnapshot_download('acme/tiny', revision='v1')\n"
    with HubStandIn(root) as hub:
        ask(hub.url, tmp_path, "acme/tiny@v1", before=fetch)
    nobody = "http://127.0.0.1:9"
    offline = ask(
        nobody, tmp_path, "acme/tiny@v1", "acme/tiny@v2", f"acme/tiny@{commit_of(root / 'acme/tiny')}"
    )
    info = offline["acme/tiny@v1"]
    assert (info["problem"], info["num_parameters"], info["image_size"]) == (None, 12, 96)
    assert info["revision"] == commit_of(root / "acme" / "tiny")
    assert offline[f"acme/tiny@{info['revision']}"]["revision"] == info["revision"]
    assert "not on this machine" in offline["acme/tiny@v2"]["message"]


@pytest.mark.slow
def test_transformers_loads_from_the_stand_in_and_knows_our_list_of_types(tmp_path):
    make = """
import torch
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor
model = ViTForImageClassification(ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
    intermediate_size=16, image_size=32, patch_size=16, num_labels=3))
model.save_pretrained("hub/acme/vit")
ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained("hub/acme/vit")
print("{}")
"""
    load = """
import json
from transformers import AutoImageProcessor, AutoModelForImageClassification
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES as names
model = AutoModelForImageClassification.from_pretrained("acme/vit")
size = AutoImageProcessor.from_pretrained("acme/vit").size["height"]
count = sum(parameter.numel() for parameter in model.parameters())
print(json.dumps({"size": size, "count": count, "types": sorted(names)}))
"""
    (tmp_path / "hub").mkdir()
    ask_hub(make, "http://127.0.0.1:9", tmp_path)
    with HubStandIn(tmp_path / "hub") as hub:
        loaded = ask_hub(load, hub.url, tmp_path)
        info = ask(hub.url, tmp_path, "acme/vit")["acme/vit@main"]
    assert loaded["size"] == info["image_size"] == 32
    assert loaded["count"] == info["num_parameters"]
    assert set(loaded["types"]) - set(CLASSIFIER_TYPES) == {
        "imagegpt",
        "perceiver",
        "shieldgemma2",
        "siglip2",
    }
    assert set(CLASSIFIER_TYPES) <= set(loaded["types"])
    shutil.rmtree(tmp_path / "huggingface")
