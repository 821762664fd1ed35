"""The stand-in Hub answers the real clients as the Hub does; each group is one fresh process."""

import hashlib
import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from superft_hf.engine.control import supervisor_pid
from tests.hub_stand_in import READ_TOKEN, STRANGER_TOKEN, WRITE_TOKEN, HubStandIn, ask_hub, commit_of
from tests.stand_ins import hub_demo
from tests.stand_ins.hub_cards import check_card
from tests.stand_ins.hub_content import fill_hub

HEAD = """
import json, time
from pathlib import Path
from huggingface_hub import HfApi, ModelCard, errors, hf_hub_download, snapshot_download
api = HfApi()
answers = {}
def told(ask):
    begin = time.monotonic()
    try:
        found = ask()
    except Exception as error:
        response = getattr(error, "response", None)
        status = None if response is None else response.status_code
        found = {"kind": type(error).__name__, "status": status, "words": str(error)}
        if response is not None and "Retry-After" in response.headers:
            found["retry_after"] = response.headers["Retry-After"]
    if isinstance(found, dict):
        found["seconds"] = time.monotonic() - begin
    return found
"""
TAIL = "\nprint(json.dumps(answers))\n"
PLAIN = "---\nlicense: mit\n---\n# Plain\n"


def ask(hub: HubStandIn, folder: Path, code: str, token: str | None = None) -> dict:
    folder.mkdir(exist_ok=True)
    return ask_hub(HEAD + code + TAIL, hub.url, folder, token)


def write_model(folder: Path, numbers: int, card: str, **notes) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(
        json.dumps({"model_type": "vit", "architectures": ["ViTForImageClassification"]})
    )
    save_file({"weight": np.zeros(numbers, np.float32)}, folder / "model.safetensors", {"format": "pt"})
    (folder / "README.md").write_text(card)
    (folder / ".hub.json").write_text(json.dumps(notes))
    return folder


def fill(root: Path) -> Path:
    acme = root / "acme"
    write_model(acme / "small-vit", 10, "---\nlicense: apache-2.0\n---\n", downloads=30, likes=1)
    write_model(acme / "large-vit", 5000, PLAIN, downloads=10, likes=9, lastModified="2026-01-02T00:00:00Z")
    write_model(root / "other" / "vit", 20, PLAIN, downloads=20, trendingScore=5)
    detector = write_model(acme / "detector", 30, PLAIN, downloads=5)
    (detector / "config.json").write_text(
        '{"model_type": "detr", "architectures": ["DetrForObjectDetection"]}'
    )
    (write_model(acme / "gated", 10, PLAIN, downloads=4) / ".gated").write_text("manual")
    (write_model(acme / "secret", 10, PLAIN, downloads=3) / ".private").touch()
    pets = root / "datasets" / "acme" / "pets"
    converted = pets / ".revisions" / "refs%2Fconvert%2Fparquet" / "default" / "train"
    converted.mkdir(parents=True)
    (converted / "0000.parquet").write_bytes(b"rows")
    (pets / "README.md").write_text(
        "---\ntask_categories:\n- image-classification\nsize_categories:\n- n<1K\n---\n"
    )
    (pets / "pets.py").write_text("")
    return root


@pytest.fixture
def root(tmp_path) -> Path:
    return fill(tmp_path / "hub")


# Reading

READING = """
answers["names"] = [one.id for one in api.list_models(sort="downloads")]
answers["paged"] = [one.id for one in api.list_models(sort="downloads", limit=5, search="vit")]
answers["liked"] = [one.id for one in api.list_models(sort="likes", author="acme")][:2]
answers["trending"] = next(iter(api.list_models())).id
answers["recent"] = [one.id for one in api.list_models(sort="last_modified")][-1]
answers["filtered"] = [one.id for one in api.list_models(
    filter=["image-classification", "transformers", "license:apache-2.0"])]
answers["of_task"] = [one.id for one in api.list_models(pipeline_tag="object-detection")]
answers["of_size"] = [one.id for one in api.list_models(num_parameters="min:1K,max:1M")]
answers["open"] = [one.id for one in api.list_models(gated=False, author="acme", sort="downloads")]
properties = ["safetensors", "gated", "downloads", "likes", "lastModified", "library_name", "pipeline_tag",
              "tags"]
one = next(api.list_models(search="large-vit", expand=properties))
answers["expanded"] = [one.safetensors.total, one.gated, one.downloads, one.likes, str(one.last_modified),
                       one.library_name, one.pipeline_tag, one.tags, one.author]
one = next(api.list_models(search="large-vit", full=True, cardData=True, fetch_config=True))
answers["full"] = [one.config["model_type"], one.card_data.license, [file.rfilename for file in one.siblings]]
answers["datasets"] = [one.id for one in api.list_datasets(
    filter=["task_categories:image-classification", "size_categories:n<1K"])]
answers["no_datasets"] = [one.id for one in api.list_datasets(filter="task_categories:object-detection")]
info = api.model_info("acme/small-vit", files_metadata=True)
answers["info"] = [info.sha, {file.rfilename: file.size for file in info.siblings},
                   {file.rfilename: file.lfs.sha256 for file in info.siblings if file.lfs}]
refs = api.list_repo_refs("acme/pets", repo_type="dataset")
answers["refs"] = [[ref.name for ref in refs.branches], [ref.ref for ref in refs.converts]]
answers["files"] = api.list_repo_files("acme/pets", repo_type="dataset")
answers["converted"] = api.list_repo_files("acme/pets", repo_type="dataset", revision="refs/convert/parquet")
path = hf_hub_download("acme/pets", "default/train/0000.parquet", repo_type="dataset",
                       revision="refs/convert/parquet")
answers["rows"] = Path(path).read_text()
answers["commits"] = [one.title for one in api.list_repo_commits("acme/pets", repo_type="dataset")]
answers["gated_info"] = api.model_info("acme/gated").gated
answers["gated_card"] = ModelCard.load("acme/gated").data.license
for name in ("acme/gated", "acme/secret", "acme/missing", "missing"):
    answers[name] = told(lambda: hf_hub_download(name, "config.json"))
answers["revision"] = told(lambda: api.model_info("acme/small-vit", revision="v9"))
answers["file"] = told(lambda: hf_hub_download("acme/small-vit", "nothing.json"))
answers["who"] = told(api.whoami)
answers["create"] = told(lambda: api.create_repo("acme/new"))
"""


def test_reading_without_a_token(root, tmp_path):
    with HubStandIn(root) as hub:
        found = ask(hub, tmp_path / "client", READING)
        paged = [line for line in hub.requests if line == "GET /api/models"]
    assert found["names"] == ["acme/small-vit", "other/vit", "acme/large-vit", "acme/detector", "acme/gated"]
    assert found["paged"] == ["acme/small-vit", "other/vit", "acme/large-vit"]
    assert found["liked"][0] == "acme/large-vit" and found["trending"] == "other/vit"
    assert found["recent"] == "acme/large-vit"
    assert found["filtered"] == ["acme/small-vit"]
    assert found["of_task"] == ["acme/detector"] and found["of_size"] == ["acme/large-vit"]
    assert found["open"] == ["acme/small-vit", "acme/large-vit", "acme/detector"]
    assert found["expanded"] == [
        5000, False, 10, 9, "2026-01-02 00:00:00+00:00", "transformers", "image-classification",
        ["transformers", "safetensors", "vit", "image-classification", "license:mit", "region:us"], None,
    ]  # fmt: skip
    assert found["full"] == ["vit", "mit", ["README.md", "config.json", "model.safetensors"]]
    assert (found["datasets"], found["no_datasets"]) == (["acme/pets"], [])
    assert len(paged) == 11


def test_files_revisions_and_refusals_without_a_token(root, tmp_path):
    weights = root / "acme" / "small-vit" / "model.safetensors"
    with HubStandIn(root) as hub:
        found = ask(hub, tmp_path / "client", READING)
    commit, sizes, hashes = found["info"]
    assert commit == commit_of(root / "acme" / "small-vit")
    assert set(sizes) == {"README.md", "config.json", "model.safetensors"}
    assert sizes["model.safetensors"] == weights.stat().st_size
    assert hashes == {"model.safetensors": hashlib.sha256(weights.read_bytes()).hexdigest()}
    assert found["refs"] == [["main"], ["refs/convert/parquet"]]
    assert (found["files"], found["converted"]) == (["README.md", "pets.py"], ["default/train/0000.parquet"])
    assert (found["rows"], found["commits"]) == ("rows", ["initial commit"])
    assert (found["gated_info"], found["gated_card"]) == ("manual", "mit")
    assert (found["acme/gated"]["kind"], found["acme/gated"]["status"]) == ("GatedRepoError", 401)
    for name in ("acme/secret", "acme/missing", "missing"):
        assert (found[name]["kind"], found[name]["status"]) == ("RepositoryNotFoundError", 401)
    assert found["revision"]["kind"] == "RevisionNotFoundError"
    assert found["file"]["kind"] == "RemoteEntryNotFoundError"
    assert found["who"]["kind"] == "LocalTokenNotFoundError"
    assert found["create"]["status"] == 401


def test_pages_are_followed_by_their_link(root):
    with HubStandIn(root) as hub:
        url, seen = f"{hub.url}/api/models?sort=downloads&limit=2", []
        while url:
            with urllib.request.urlopen(url) as answer:
                seen.append([one["id"] for one in json.load(answer)])
                link = answer.headers.get("Link")
            url = link.partition(">")[0].removeprefix("<") if link else None
    assert seen == [["acme/small-vit", "other/vit"], ["acme/large-vit", "acme/detector"], ["acme/gated"]]


def test_what_is_hidden_stays_hidden(root):
    with HubStandIn(root) as hub:
        for path in ("acme/gated/resolve/main/.gated", "acme/large-vit/resolve/main/.hub.json",
                     "datasets/acme/pets/resolve/main/.revisions/x", "acme/small-vit/resolve/main/../gated/x",
                     "acme/small-vit/resolve/main/%2e%2e/gated/config.json"):  # fmt: skip
            with pytest.raises(urllib.error.HTTPError, match="40[14]"):
                urllib.request.urlopen(f"{hub.url}/{path}")
        with urllib.request.urlopen(f"{hub.url}/api/models/acme/gated/tree/main?recursive=true") as answer:
            assert {one["path"] for one in json.load(answer)} == {
                "README.md",
                "config.json",
                "model.safetensors",
            }


TOKENS = """
from huggingface_hub import HfApi
for name, token in KNOWN.items():
    api = HfApi(token=token)
    answers[name] = {
        "who": told(api.whoami),
        "gated": told(lambda: hf_hub_download("acme/gated", "config.json", token=token, cache_dir=name)),
        "secret": told(lambda: hf_hub_download("acme/secret", "config.json", token=token, cache_dir=name)),
        "listed": told(lambda: [one.id for one in api.list_models(search="secret")]),
        "create": told(lambda: api.create_repo(f"acme/by-{name}", private=True)),
        "create_own": told(lambda: api.create_repo(f"by-{name}")),
    }
"""


def test_what_each_token_may_do(root, tmp_path):
    known = {"write": WRITE_TOKEN, "read": READ_TOKEN, "stranger": STRANGER_TOKEN, "bad": "hf_nobodysToken"}
    with HubStandIn(root) as hub:
        found = ask(hub, tmp_path / "client", f"KNOWN = {known!r}\n{TOKENS}")
    who = found["write"]["who"]
    assert (who["name"], [org["name"] for org in who["orgs"]]) == ("tester", ["acme"])
    assert who["auth"]["accessToken"]["role"] == "write"
    assert found["read"]["who"]["auth"]["accessToken"]["role"] == "read"
    for name in ("write", "read"):
        assert found[name]["gated"].endswith("config.json") and found[name]["secret"].endswith("config.json")
        assert found[name]["listed"] == ["acme/secret"]
    assert found["write"]["create"] == f"{hub.url}/acme/by-write"
    assert (root / "acme" / "by-write" / ".private").exists() and (root / "tester" / "by-write").is_dir()
    assert found["read"]["create"]["status"] == found["read"]["create_own"]["status"] == 403
    assert (found["stranger"]["gated"]["kind"], found["stranger"]["gated"]["status"]) == (
        "GatedRepoError",
        403,
    )
    assert found["stranger"]["secret"]["kind"] == "RepositoryNotFoundError"
    assert (found["stranger"]["listed"], found["stranger"]["create"]["status"]) == ([], 403)
    assert found["bad"]["who"]["words"].startswith("Invalid user token.")
    assert (
        found["bad"]["gated"]["kind"] == "LocalEntryNotFoundError" or found["bad"]["gated"]["status"] == 401
    )
    assert found["bad"]["listed"]["status"] == 401


# Failures

FAILING = """
import httpx2
answers["whole"] = Path(hf_hub_download("acme/large-vit", "model.safetensors")).stat().st_size
answers["limited"] = told(lambda: api.model_info("acme/small-vit"))
answers["overloaded"] = told(lambda: api.model_info("acme/small-vit"))
begin = time.monotonic()
answers["slow"] = told(lambda: api.model_info("acme/small-vit", timeout=0.5))
answers["patient"] = told(lambda: {"id": api.model_info("acme/small-vit").id})
answers["refused"] = told(lambda: api.model_info("acme/small-vit", token="hf_x"))
"""


def test_failures_that_were_asked_for(root, tmp_path):
    weights = root / "acme" / "large-vit" / "model.safetensors"
    with HubStandIn(root) as hub:
        hub.cut("GET /acme/large-vit/resolve/main/model.safetensors", after_bytes=7000)
        hub.fail("/api/models/acme/small-vit", 429, headers={"Retry-After": "30"})
        hub.fail("/api/models/acme/small-vit", 503)
        hub.slow("/api/models/acme/small-vit", 1.0)
        found = ask(hub, tmp_path / "client", FAILING)
        gets = [line for line in hub.requests if line.startswith("GET /acme/large-vit")]
        hub.mend()
        with urllib.request.urlopen(f"{hub.url}/api/models/acme/small-vit", timeout=0.9) as answer:
            assert answer.status == 200
    assert found["whole"] == weights.stat().st_size
    assert len(gets) == 2, "the cut download went on with a second request"
    assert (found["limited"]["status"], found["limited"]["retry_after"]) == (429, "30")
    assert found["overloaded"]["status"] == 503
    assert found["slow"]["kind"] == "ReadTimeout"
    assert found["patient"]["id"] == "acme/small-vit" and found["patient"]["seconds"] > 0.9
    assert found["refused"]["kind"] == "HfHubHTTPError" and found["refused"]["status"] == 401


def test_a_download_that_never_ends_leaves_nothing_that_looks_whole(root, tmp_path):
    code = """
answers["cut"] = told(lambda: hf_hub_download("acme/large-vit", "model.safetensors"))
answers["cached"] = told(lambda: hf_hub_download(
    "acme/large-vit", "model.safetensors", local_files_only=True))
answers["folder"] = [path.name for path in Path(snapshot_download(
    "acme/large-vit", local_files_only=True)).iterdir()]
"""
    with HubStandIn(root) as hub:
        hub.cut("GET /acme/large-vit/resolve", after_bytes=7000)
        hub.cut("GET /acme/large-vit/resolve", after_bytes=0, times=100)
        found = ask(hub, tmp_path / "client", code)
        hub.mend()
        again = ask(hub, tmp_path / "client", code)
    assert found["cut"]["kind"] == "RemoteProtocolError"
    assert found["cached"]["kind"] == "LocalEntryNotFoundError"
    # The client makes the folder of a snapshot before its files: that it is there says nothing.
    assert found["folder"] == [] and again["folder"] == ["model.safetensors"]


# Writing

PUSHING = """
folder = Path("push")
(folder / "sub").mkdir(parents=True)
(folder / "README.md").write_text("---\\nlicense: mit\\n---\\n# First\\n")
(folder / "model.safetensors").write_bytes(bytes(range(256)) * 100)
(folder / "sub" / "notes.txt").write_text("notes")
url = api.create_repo("acme/pushed", private=True)
again = api.create_repo("acme/pushed", exist_ok=True)
answers["urls"] = [url, again, url.repo_id]
answers["exists"] = told(lambda: api.create_repo("acme/pushed"))
first = api.upload_folder(repo_id="acme/pushed", folder_path=folder, commit_message="Add the model")
answers["first"] = [first.oid, first.commit_url, api.model_info("acme/pushed").sha]
same = api.upload_folder(repo_id="acme/pushed", folder_path=folder)
answers["same"] = same.oid
back = Path(snapshot_download("acme/pushed", local_dir="back"))
answers["equal"] = all((back / one.relative_to(folder)).read_bytes() == one.read_bytes()
                       for one in folder.rglob("*") if one.is_file())
(folder / "sub" / "notes.txt").write_text("other notes")
second = api.upload_folder(repo_id="acme/pushed", folder_path=folder, delete_patterns=["*.bin"])
answers["second"] = second.oid
old = hf_hub_download("acme/pushed", "sub/notes.txt", revision=first.oid)
answers["old"] = Path(old).read_text()
answers["conflict"] = told(lambda: api.upload_file(
    path_or_fileobj=b"x", path_in_repo="x.txt", repo_id="acme/pushed", parent_commit=first.oid))
proposal = api.upload_file(path_or_fileobj=b"proposed", path_in_repo="sub/notes.txt", repo_id="acme/pushed",
                           commit_message="A proposal", create_pr=True)
answers["proposal"] = [proposal.pr_url, proposal.pr_revision, proposal.pr_num]
answers["proposed"] = Path(hf_hub_download("acme/pushed", "sub/notes.txt", revision="refs/pr/1")).read_text()
answers["kept"] = Path(hf_hub_download("acme/pushed", "sub/notes.txt")).read_text()
details = api.get_discussion_details("acme/pushed", 1)
answers["details"] = [details.title, details.status, details.is_pull_request, details.git_reference]
answers["commits"] = [one.title for one in api.list_repo_commits("acme/pushed")]
api.delete_file("sub/notes.txt", repo_id="acme/pushed")
answers["files"] = api.list_repo_files("acme/pushed")
api.create_branch("acme/pushed", branch="try/this")
refs = api.list_repo_refs("acme/pushed", include_pull_requests=True)
answers["refs"] = [[ref.name for ref in refs.branches], [ref.ref for ref in refs.pull_requests]]
card = ModelCard("---\\nlicense: mit\\ntags:\\n- vision\\n---\\n# Second\\n")
answers["card"] = [card.push_to_hub("acme/pushed").oid, ModelCard.load("acme/pushed").data.tags]
bad = "---\\nlicense: mit\\nmodel-index:\\n- name: x\\n  results:\\n  - task: {type: t}\\n---\\n"
answers["bad_card"] = told(lambda: api.upload_file(
    path_or_fileobj=bad.encode(), path_in_repo="README.md", repo_id="acme/pushed"))
api.update_repo_settings("acme/pushed", private=False)
answers["private"] = api.model_info("acme/pushed").private
answers["retried"] = api.upload_file(
    path_or_fileobj=b"\\x00" * 50_000, path_in_repo="more.safetensors", repo_id="acme/pushed").oid
answers["cut"] = told(lambda: api.upload_file(
    path_or_fileobj=b"x", path_in_repo="x.txt", repo_id="acme/pushed", revision="try/this"))
answers["after_cut"] = api.list_repo_files("acme/pushed", revision="try/this")
answers["forbidden"] = told(lambda: api.upload_file(
    path_or_fileobj=b"x", path_in_repo="x", repo_id="other/vit"))
answers["to_nowhere"] = told(lambda: api.upload_file(
    path_or_fileobj=b"x", path_in_repo="x", repo_id="acme/nowhere"))
"""


def test_pushing(root, tmp_path):
    folder = root / "acme" / "pushed"
    last = hashlib.sha256(b"\0" * 50_000).hexdigest()
    with HubStandIn(root) as hub:
        hub.cut(f"PUT /lfs/{last}", after_bytes=20_000)  # the client sends a large file again
        hub.cut("POST /api/models/acme/pushed/commit/try%2Fthis", after_bytes=10)  # but no commit
        found = ask(hub, tmp_path / "client", PUSHING, WRITE_TOKEN)
    assert found["urls"] == [f"{hub.url}/acme/pushed", f"{hub.url}/acme/pushed", "acme/pushed"]
    assert found["exists"]["status"] == 409
    oid, url, sha = found["first"]
    assert oid == sha == found["same"] and url == f"{hub.url}/acme/pushed/commit/{oid}"
    assert found["equal"] and found["second"] != oid and found["old"] == "notes"
    assert found["conflict"]["status"] == 412
    assert found["proposal"] == [f"{hub.url}/acme/pushed/discussions/1", "refs/pr/1", 1]
    assert (found["proposed"], found["kept"]) == ("proposed", "other notes")
    assert found["details"] == ["A proposal", "open", True, "refs/pr/1"]
    assert found["commits"][-1] == "Add the model" and len(found["commits"]) == 2
    assert found["files"] == ["README.md", "model.safetensors"]
    assert found["refs"] == [["main", "try/this"], ["refs/pr/1"]]
    assert found["card"][1] == ["vision"]
    assert found["bad_card"]["kind"] == "ValueError" and "dataset.type" in found["bad_card"]["words"]
    assert found["private"] is False and not (folder / ".private").exists()
    assert found["cut"]["kind"] == "RemoteProtocolError"
    assert found["after_cut"] == ["README.md", "model.safetensors"]
    assert found["retried"] == commit_of(folder)
    assert (folder / "more.safetensors").stat().st_size == 50_000
    assert found["forbidden"]["status"] == 403
    assert found["to_nowhere"]["kind"] == "RepositoryNotFoundError"


@pytest.mark.parametrize(
    ("card", "part"),
    [
        ("license: CC BY 4.0", '"license" must be one of'),
        ("license: mit\ntags: vision", '"tags" must be an array of strings'),
        ("license: mit\nbase_model: sample:efficientnet-lite0", '"base_model" with value'),
        ("license: mit\ndatasets: [./images]", '"datasets" with value'),
        ("license: [mit", "YAML error"),
        ("model-index: {}", '"model-index" must be an array'),
        ("model-index:\n- name: x", '"model-index[0].results" must be an array'),
        (
            "model-index:\n- name: x\n  results:\n  - task: {type: a}\n    dataset: {type: b, name: c}\n"
            "    metrics: [{type: accuracy, value: .nan}]",
            '"model-index[0].results[0].metrics[0].value" is required',
        ),
    ],
)
def test_a_card_that_the_hub_would_refuse(card, part):
    errors, _ = check_card(f"---\n{card}\n---\n# Title\n", "model")
    assert len(errors) == 1 and errors[0].startswith(part)


def test_a_card_that_the_hub_takes():
    card = (
        "---\nlicense: apache-2.0\nbase_model: acme/vit\ndatasets: [acme/pets]\ntags: [vision]\n"
        "model-index:\n- name: x\n  results:\n  - task: {type: image-classification}\n"
        "    dataset: {type: acme/pets, name: Pets}\n    metrics: [{type: accuracy, value: 0.5}]\n"
        "---\n# Title\n"
    )
    assert check_card(card, "model") == ([], [])
    assert check_card("# Title\n", "model") == ([], ["empty or missing yaml metadata in repo card"])


# The libraries above the client

LIBRARIES = """
import datasets, torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification, Trainer, TrainingArguments
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor
torch.manual_seed(0)
tiny = ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
                 image_size=32, patch_size=16, num_labels=2)
model = ViTForImageClassification(tiny).eval()
model.push_to_hub("acme/pushed-vit", private=True)
ViTImageProcessor(size={"height": 32, "width": 32}).push_to_hub("acme/pushed-vit")
loaded = AutoModelForImageClassification.from_pretrained("acme/pushed-vit").eval()
answers["equal"] = all(torch.equal(a, b) for a, b in zip(model.parameters(), loaded.parameters()))
answers["size"] = AutoImageProcessor.from_pretrained("acme/pushed-vit").size["height"]
arguments = TrainingArguments("trained", hub_model_id="acme/trained-vit", hub_private_repo=True, report_to=[],
                              use_cpu=True)
Trainer(model, arguments).push_to_hub()
answers["trained"] = api.list_repo_files("acme/trained-vit")

pictures = [Image.new("RGB", (8, 8), (20 * number, 0, 0)) for number in range(8)]
features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
made = datasets.Dataset.from_dict({"image": pictures, "label": [0, 1] * 4}, features=features)
made.push_to_hub("acme/pushed-pets", split="train")
whole = datasets.load_dataset("acme/pushed-pets", split="train")
answers["rows"] = [len(whole), whole.features["label"].names, list(whole[3]["image"].getpixel((0, 0)))]
first = next(iter(datasets.load_dataset("acme/pushed-pets", split="train", streaming=True)))
answers["streamed"] = [first["label"], list(first["image"].size)]
converted = datasets.load_dataset("acme/script-pets", revision="refs/convert/parquet", split="train")
answers["converted"] = [len(converted), converted[0]["label"]]
answers["script"] = told(lambda: {"rows": len(datasets.load_dataset("acme/only-script"))})
"""


@pytest.mark.slow
def test_transformers_and_datasets_push_and_load(tmp_path):
    root = tmp_path / "hub"
    script = root / "datasets" / "acme" / "script-pets"
    converted = script / ".revisions" / "refs%2Fconvert%2Fparquet" / "default" / "train"
    converted.mkdir(parents=True)
    for folder in (script, script.with_name("only-script")):
        folder.mkdir(exist_ok=True)
        (folder / f"{folder.name}.py").write_text("import datasets\n")
    pd.DataFrame({"label": [1, 0, 1]}).to_parquet(converted / "0000.parquet")
    with HubStandIn(root) as hub:
        found = ask(hub, tmp_path / "client", LIBRARIES, WRITE_TOKEN)
    assert found["equal"] and found["size"] == 32
    assert {"README.md", "config.json", "model.safetensors", "training_args.bin"} <= set(found["trained"])
    assert found["rows"] == [8, ["cat", "dog"], [60, 0, 0]]
    assert found["streamed"] == [0, [8, 8]]
    assert found["converted"] == [3, 1]
    assert "script" in found["script"]["words"]


# What `make run HUB=standin` shows

CONTENT = """
import datasets
from transformers import AutoImageProcessor, AutoModelForImageClassification
for name in ("tiny-vit", "tiny-resnet", "tiny-timm-resnet"):
    model = AutoModelForImageClassification.from_pretrained(f"acme/{name}")
    processor = AutoImageProcessor.from_pretrained(f"acme/{name}")
    answers[name] = model.config.num_labels
for name in ("digits", "digits-words", "digits-folders", "digits-by-writer", "digits-two-views", "textures",
             "digits-as-numbers"):
    found = datasets.load_dataset(f"acme/{name}")
    answers[name] = [{split: len(rows) for split, rows in found.items()}, list(found["train"].features)]
answers["small"] = list(datasets.load_dataset("acme/textures", "small")["train"][0]["image"].size)
answers["script"] = len(datasets.load_dataset("acme/digits-script", revision="refs/convert/parquet")["train"])
answers["words"] = datasets.load_dataset("acme/digits-words")["train"][3]["digit"]
answers["gated"] = told(lambda: hf_hub_download("acme/gated-vit", "config.json"))["kind"]
models = list(api.list_models(pipeline_tag="image-classification", sort="downloads"))
answers["models"] = [one.id for one in models]
answers["sets"] = [one.id for one in api.list_datasets(filter="modality:image")]
"""


@pytest.mark.slow
def test_the_content_of_the_demo_loads_by_the_real_clients(tmp_path):
    fill_hub(tmp_path / "hub", with_weights=False)
    with HubStandIn(tmp_path / "hub") as hub:
        found = ask(hub, tmp_path / "client", CONTENT)
    assert [found[name] for name in ("tiny-vit", "tiny-resnet", "tiny-timm-resnet")] == [10, 10, 10]
    assert found["digits"] == [{"train": 1440, "test": 357}, ["image", "label"]]
    assert found["digits-words"] == [{"train": 600}, ["image", "digit"]] and found["words"] == "three"
    assert found["digits-folders"] == [{"train": 45, "test": 15}, ["image", "label"]]
    assert found["digits-by-writer"] == [{"train": 900}, ["image", "label", "writer"]]
    assert found["digits-two-views"] == [{"train": 300}, ["scan", "inverted", "label"]]
    assert found["textures"] == [{"train": 144, "test": 48}, ["image", "label"]]
    assert found["digits-as-numbers"] == [{"train": 200}, ["ink", "label"]]
    assert (found["small"], found["script"]) == ([32, 32], 500)
    assert found["gated"] == "GatedRepoError"
    assert found["models"][:2] == ["acme/tiny-resnet", "acme/tiny-vit"] and len(found["models"]) > 40
    assert "tester/private-resnet" not in found["models"] and "acme/tiny-detector" not in found["models"]
    assert len(found["sets"]) > 30 and "acme/digits-as-numbers" not in found["sets"]
    for readme in (tmp_path / "hub").rglob("README.md"):
        kind = "dataset" if "datasets" in readme.relative_to(tmp_path / "hub").parts else "model"
        assert check_card(readme.read_text(), kind) == ([], []), readme


def test_the_demo_touches_no_cache_and_no_token_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    monkeypatch.setenv("HF_HUB_CACHE", "/mine")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    found = hub_demo.environment("http://127.0.0.1:1", tmp_path)
    assert found["HF_ENDPOINT"] == "http://127.0.0.1:1"
    assert Path(found["HF_HOME"]).is_relative_to(tmp_path)
    assert "hf_mine" not in found.values() and "/mine" not in found.values()
    assert "HF_HUB_OFFLINE" not in found


@pytest.mark.slow
def test_the_demo_serves_hub_and_dashboard_and_leaves_nothing_behind(tmp_path):
    fill(tmp_path / hub_demo.FOLDER / "repositories")
    command = [sys.executable, "-m", "tests.stand_ins.hub_demo"]
    variables = {**os.environ, "SUPERFT_HOME": str(tmp_path)}
    demo = subprocess.Popen(
        command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    told = []
    while not any("Dashboard: http" in line for line in told):
        line = demo.stdout.readline()
        assert line, told
        told.append(line)
    url = re.search(r"http://127\.0\.0\.1:\d+", told[0])[0]
    with urllib.request.urlopen(f"{url}/api/models?search=small-vit") as answer:
        assert [one["id"] for one in json.load(answer)] == ["acme/small-vit"]
    assert all(token in "".join(told) for token in (READ_TOKEN, WRITE_TOKEN, STRANGER_TOKEN))
    demo.terminate()
    demo.stdout.read()
    assert demo.wait(30) == 0
    assert supervisor_pid(tmp_path) is None
