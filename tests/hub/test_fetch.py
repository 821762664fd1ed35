"""Fetching into the shared cache, by the real clients against a stand-in of the Hub."""

import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest

from tests.hub_stand_in import READ_TOKEN, HubStandIn, ask_hub, commit_of
from tests.sources.test_hub_data import NAMED, PICTURE, rows, write_split

pytestmark = pytest.mark.slow

NOBODY = "http://127.0.0.1:9"
MODEL, DATA = "acme/vit", "acme/named"

FETCH = """
import json, os, subprocess, time
from pathlib import Path
from superft_hf.config_file import make_config
from superft_hf.errors import SuperFTError
from superft_hf.hub.fetch import Fetch, fetch, is_here
config = make_config({"model": MODEL, "data": DATA})
heard = []
begin = time.monotonic()
answer = {"before": is_here(config)}
try:
    pinned = fetch(config, TOKEN, lambda done, total: heard.append([done, total]))
    answer |= {"model": pinned.model.revision, "data": pinned.data.revision, "pinned": is_here(pinned)}
except SuperFTError as error:
    answer |= {"kind": error.kind, "message": error.message, "hint": error.hint}
answer |= {"after": is_here(config), "heard": heard, "seconds": time.monotonic() - begin}
print(json.dumps(answer))
"""


def code(
    model: dict[str, Any] | str = MODEL, data: dict[str, Any] | str = DATA, token: str | None = None
) -> str:
    model = model if isinstance(model, dict) else {"name_or_path": model}
    data = data if isinstance(data, dict) else {"name_or_path": data}
    return FETCH.replace("MODEL", repr(model)).replace("DATA", repr(data)).replace("TOKEN", repr(token))


def write_model(folder: Path, size: int = 300_000) -> None:
    """A repository with weights of `size` bytes, in two formats, a pickle and a picture."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "vit"}))
    (folder / "preprocessor_config.json").write_text("{}")
    header = json.dumps({"a": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    content = struct.pack("<Q", len(header)) + header + os.urandom(size)
    (folder / "model.safetensors").write_bytes(content)
    (folder / "model.fp16.safetensors").write_bytes(content[:1000])
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    (folder / "cat.png").write_bytes(b"picture")


@pytest.fixture
def root(tmp_path) -> Path:
    """A model and a data set of 40 pictures."""
    root = tmp_path / "hub"
    write_model(root / "acme" / "vit")
    columns = {"image": rows(40), "label": [0, 1] * 20}
    write_split(root / "datasets" / "acme" / "named", "train", columns, {"image": PICTURE, "label": NAMED})
    return root


@pytest.fixture
def caches(tmp_path) -> Path:
    folder = tmp_path / "caches"
    folder.mkdir()
    return folder


def cached_files(caches: Path) -> list[str]:
    return sorted(path.name for path in (caches / "huggingface" / "hub").rglob("snapshots/*/*"))


def test_fetch_brings_model_and_images_and_pins_their_commits(root, caches):
    with HubStandIn(root) as hub:
        answer = ask_hub(code(), hub.url, caches)

    assert (answer["before"], answer["after"], answer["pinned"]) == (False, True, True)
    assert answer["model"] == commit_of(root / "acme" / "vit")
    assert answer["data"] == commit_of(root / "datasets" / "acme" / "named")
    assert cached_files(caches) == ["config.json", "data", "model.safetensors", "preprocessor_config.json"]


def test_fetch_tells_how_far_it_is(root, caches):
    size = (
        sum(
            (root / "acme" / "vit" / name).stat().st_size
            for name in ("config.json", "preprocessor_config.json", "model.safetensors")
        )
        + (root / "datasets/acme/named/data/train-00000-of-00001.parquet").stat().st_size
    )
    with HubStandIn(root) as hub:
        hub.slow("GET /acme/vit/resolve", 1.0)
        answer = ask_hub(code(), hub.url, caches)

    assert answer["heard"][-1] == [size, size]
    assert len(answer["heard"]) > 1
    assert [done for done, _ in answer["heard"]] == sorted(done for done, _ in answer["heard"])


def test_fetch__what_is_here_and_pinned_asks_nobody(root, caches):
    with HubStandIn(root) as hub:
        first = ask_hub(code(), hub.url, caches)
    pinned = code(
        {"name_or_path": MODEL, "revision": first["model"]}, {"name_or_path": DATA, "revision": first["data"]}
    )
    answer = ask_hub(pinned, NOBODY, caches)

    assert (answer["before"], answer["model"], answer["data"]) == (True, first["model"], first["data"])
    assert answer["heard"] == []


def test_fetch__main_that_is_here_is_used_when_the_hub_is_down(root, caches):
    with HubStandIn(root) as hub:
        first = ask_hub(code(), hub.url, caches)
        hub.fail("/api/", 503, times=None)
        answer = ask_hub(code(), hub.url, caches)

    assert (answer["model"], answer["data"]) == (first["model"], first["data"])


def test_fetch__gated_data_needs_the_token_and_leaves_it_nowhere(root, caches):
    (root / "datasets" / "acme" / "named" / ".gated").touch()
    with HubStandIn(root) as hub:
        refused = ask_hub(code(), hub.url, caches)
        fetched = ask_hub(code(token=READ_TOKEN), hub.url, caches)
        again = ask_hub(code(), hub.url, caches)  # a worker, which has no token

    assert refused["kind"] == "GatedError" and "acme/named" in refused["message"] and refused["hint"]
    assert fetched["after"] and again["after"] and again["data"] == fetched["data"]
    assert READ_TOKEN not in json.dumps([refused, fetched, again])
    for path in caches.rglob("*"):
        assert not path.is_file() or READ_TOKEN.encode() not in path.read_bytes(), path


def test_fetch__a_bad_token_is_told_without_being_shown(root, caches):
    bad = "hf_" + "nobodysbadtoken" * 2
    with HubStandIn(root) as hub:
        answer = ask_hub(code(token=bad), hub.url, caches)

    assert answer["kind"] == "TokenRefusedError"
    assert bad not in json.dumps(answer)


@pytest.mark.parametrize(
    ("model", "data", "kind", "name"),
    [
        ("acme/none", DATA, "ModelNotFoundError", "acme/none"),
        (MODEL, "acme/none", "DataNotFoundError", "acme/none"),
        ({"name_or_path": MODEL, "revision": "v9"}, DATA, "ModelNotFoundError", "v9"),
        (MODEL, {"name_or_path": DATA, "revision": "v9"}, "DataNotFoundError", "v9"),
        (MODEL, {"name_or_path": DATA, "config_name": "large"}, "DataError", "large"),
    ],
)
def test_fetch__what_is_not_there(root, caches, model, data, kind, name):
    with HubStandIn(root) as hub:
        answer = ask_hub(code(model, data), hub.url, caches)

    assert answer["kind"] == kind and name in answer["message"] and answer["hint"]
    assert not answer["after"]


def test_fetch__too_many_requests_says_when_to_come_back(root, caches):
    with HubStandIn(root) as hub:
        hub.fail("/api/datasets", 429, times=None, headers={"Retry-After": "37"})
        answer = ask_hub(code("sample:efficientnet-lite0"), hub.url, caches)

    assert answer["kind"] == "RateLimitedError"
    assert "37 s" in answer["hint"]


def test_fetch__nobody_answers(caches):
    answer = ask_hub(code(), NOBODY, caches)

    assert answer["kind"] == "HubUnreachableError"
    assert answer["seconds"] < 30


def test_fetch__a_file_cut_off_for_good_is_not_used_and_a_repetition_completes(root, caches):
    with HubStandIn(root) as hub:
        hub.cut("GET /acme/vit/resolve", 50_000, times=50)
        broken = ask_hub(code(), hub.url, caches)
        left = cached_files(caches)
        hub.mend()
        mended = ask_hub(code(), hub.url, caches)

    assert broken["kind"] in ("BrokenDownloadError", "HubUnreachableError")
    assert not broken["after"] and "model.safetensors" not in left
    assert mended["after"]


def test_fetch__data_cut_off_is_not_used_and_a_repetition_completes(root, caches):
    with HubStandIn(root) as hub:
        hub.cut("GET /datasets/acme/named/resolve", 100, times=50)
        broken = ask_hub(code("sample:efficientnet-lite0"), hub.url, caches)
        hub.mend()
        mended = ask_hub(code("sample:efficientnet-lite0"), hub.url, caches)

    assert not broken["after"] and broken["kind"] in ("BrokenDownloadError", "HubUnreachableError")
    assert mended["after"]


CANCEL = """
import json, time
from superft_hf.config_file import make_config
from superft_hf.errors import SuperFTError
from superft_hf.hub.fetch import Fetch, is_here
config = make_config({"model": {"name_or_path": "acme/vit"}, "data": {"name_or_path": "acme/named"}})
at_work = Fetch(config)
time.sleep(4)
was_running = at_work.is_running and at_work.result(0) is None
at_work.cancel()
try:
    at_work.result()
    kind = ""
except SuperFTError as error:
    kind = error.kind
print(json.dumps({"was_running": was_running, "kind": kind, "here": is_here(config)}))
"""


def test_a_download_can_be_stopped(root, caches):
    with HubStandIn(root) as hub:
        hub.slow("/resolve/", 20)
        answer = ask_hub(CANCEL, hub.url, caches)

    assert answer | {"stderr": ""} == {
        "was_running": True, "kind": "FetchCancelledError", "here": False, "stderr": "",
    }  # fmt: skip


def test_a_model_with_a_shard_missing_is_not_here(root, caches):
    folder = root / "acme" / "vit"
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    (folder / "model-00002-of-00002.safetensors").write_bytes(b"second")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    with HubStandIn(root) as hub:
        whole = ask_hub(code(), hub.url, caches)
        shard = next((caches / "huggingface" / "hub").rglob("snapshots/*/model-00002-of-00002.safetensors"))
        shard.unlink()
        answer = ask_hub(code(), NOBODY, caches)

    assert whole["after"] and not answer["before"]


def test_local_folders_and_samples_are_always_here(make_folder, config_of):
    from superft_hf.hub.fetch import fetch, is_here

    config = config_of(make_folder({"cat": 2, "dog": 2}))
    assert is_here(config)
    assert fetch(config) is config
