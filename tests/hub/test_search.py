import time

import pytest

from superft_hf.hub import ask, search
from superft_hf.hub.records import HubEntry
from superft_hf.hub.search import Query
from tests.hub_stand_in import READ_TOKEN, HubStandIn
from tests.stand_ins.hub_online import add_data_set, add_model, go_online, use_cache

NOBODY = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Twelve models by acme, one of timm, one of another task, one gated; and data sets."""
    root = tmp_path_factory.mktemp("hub")
    for number in range(12):
        add_model(root, f"acme/resnet-{number:02}", downloads=100 - number, likes=number)
    timm = {"architecture": "resnet18", "num_classes": 2}
    add_model(
        root, "timm/resnet18", config=timm, num_parameters=11_000_000, downloads=5000, licence="mit",
        lastModified="2026-01-02T00:00:00.000Z",
    )  # fmt: skip
    add_model(
        root, "acme/detector", config={"architectures": ["DetrForObjectDetection"], "model_type": "detr"}
    )
    add_model(root, "acme/vit-gated", is_gated=True, downloads=1)
    (add_model(root, "acme/secret", downloads=2) / ".private").touch()
    add_data_set(root, "acme/flowers", downloads=9)
    add_data_set(root, "acme/unsorted", task="")
    with HubStandIn(root) as started:
        yield started


@pytest.fixture
def hub(served, tmp_path, monkeypatch):
    """The stand-in, sound and with no request made; this process takes it for the Hub."""
    use_cache(monkeypatch, tmp_path / "cache")
    go_online(monkeypatch, served.url)
    served.mend()
    served.requests.clear()
    yield served
    search.forget()


def names(page) -> list[str]:
    return [one.repo_id for one in page.entries]


def test_a_line_tells_what_the_hub_knows(hub):
    (one,) = search.search(Query("model", text="timm/")).entries
    assert one == HubEntry(
        "timm/resnet18", "model", author="timm", downloads=5000, likes=1,
        last_modified="2026-01-02T00:00:00.000Z", task="image-classification", library="timm",
        licence="mit", size="11 M parameters",
    )  # fmt: skip
    (gated,) = search.search(Query("model", text="gated")).entries
    assert gated.is_gated and not gated.is_private


def test_data_sets_are_found_by_task_or_by_holding_images(hub):
    page = search.search(Query("dataset"))
    assert names(page) == ["acme/flowers"]
    assert (page.entries[0].size, page.entries[0].licence) == ("1,000 – 10,000 rows", "cc-by-4.0")
    assert set(names(search.search(Query("dataset", task="any")))) == {"acme/flowers", "acme/unsorted"}


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"text": "resnet 03"}, ["acme/resnet-03"]),
        ({"author": "timm"}, ["timm/resnet18"]),
        ({"library": "timm"}, ["timm/resnet18"]),
        ({"licence": "mit"}, ["timm/resnet18"]),
        ({"size": "min:10M,max:50M"}, ["timm/resnet18"]),
        ({"task": "object-detection"}, ["acme/detector"]),
        ({"text": "detector", "task": "any"}, ["acme/detector"]),
        ({"text": "detector"}, []),
        ({"text": "  gated "}, ["acme/vit-gated"]),
    ],
)
def test_filters(hub, filters, found):
    page = search.search(Query("model", **filters))
    assert (names(page), page.note) == (found, "")


def test_orders(hub):
    assert names(search.search(Query("model", limit=2))) == ["timm/resnet18", "acme/resnet-00"]
    assert names(search.search(Query("model", sort="likes", limit=1))) == ["acme/resnet-11"]
    oldest = search.search(Query("model", sort="recent", limit=50)).entries[-1]
    assert oldest.repo_id == "timm/resnet18"


def test_pages_follow_each_other_without_a_gap(hub):
    seen, cursor = [], None
    for _ in range(5):
        page = search.search(Query("model", text="resnet-", limit=5, cursor=cursor))
        seen.append(names(page))
        cursor = page.next_cursor
        if cursor is None:
            break
    assert [len(one) for one in seen] == [5, 5, 2]
    assert len({name for page in seen for name in page}) == 12


def test_private_repositories_are_for_their_owners_token(hub):
    assert names(search.search(Query("model", text="secret"))) == []
    assert names(search.search(Query("model", text="secret"), READ_TOKEN)) == ["acme/secret"]


def test_a_token_that_is_refused_still_finds_what_anybody_may_see(hub):
    page = search.search(Query("model", text="timm"), "hf_nobodyknowsthistoken")
    assert names(page) == ["timm/resnet18"]
    assert "does not accept the token" in page.note and "hf_nobody" not in page.note


def test_an_answer_is_remembered(hub):
    for _ in range(3):
        search.search(Query("model", text="resnet"))
    assert len(hub.requests) == 1
    search.forget()
    search.search(Query("model", text="resnet"))
    assert len(hub.requests) == 2


@pytest.mark.parametrize(
    ("status", "headers", "note"),
    [
        (429, {"Retry-After": "9"}, "takes no more requests for now (429)"),
        (503, None, "trouble of its own (it answered 503)"),
        (401, None, "does not accept the token"),
        (403, None, "accept its terms"),
        (404, None, "on the Hub"),
    ],
)
def test_a_failing_hub_leaves_what_is_here_and_says_why(hub, status, headers, note):
    hub.fail("/api/models", status, times=None, headers=headers)
    token = READ_TOKEN if status == 401 else None
    page = search.search(Query("model"), token)
    assert names(page) == ["sample:efficientnet-lite0"]
    assert note in page.note or status in (401, 403, 404)
    assert page.note.endswith("This is what is on this machine.")


def test_a_failure_is_forgotten_soon(hub):
    hub.fail("/api/models", 503, times=1)
    assert search.search(Query("model")).note
    search.forget()
    assert search.search(Query("model")).note == ""


def test_a_slow_hub_is_not_waited_for(hub, monkeypatch):
    monkeypatch.setattr(ask.ask, "__defaults__", (None, None, 0.3))
    hub.slow("/api/models", 2)
    begin = time.monotonic()
    page = search.search(Query("model"))
    assert time.monotonic() - begin < 1.5
    assert "did not answer in time" in page.note


def test_an_answer_that_is_cut_off_or_no_list(hub):
    hub.cut("/api/models", 10)
    assert "This is what is on this machine" in search.search(Query("model")).note


def test_without_a_network_the_cache_and_the_samples_are_searched(hub, tmp_path, monkeypatch):
    for name in ("acme--kept", "acme--without-weights", "other--kept-too"):
        snapshot = tmp_path / "cache" / "hub" / f"models--{name}" / "snapshots" / "abc"
        snapshot.mkdir(parents=True)
        (snapshot / "config.json").touch()
        if "without" not in name:
            (snapshot / "model.safetensors").touch()
    (tmp_path / "cache" / "datasets" / "acme___flowers").mkdir(parents=True)
    go_online(monkeypatch, NOBODY)
    begin = time.monotonic()
    page = search.search(Query("model", text="KEPT"))
    assert sorted(names(page)) == ["acme/kept", "other/kept-too"]
    assert all(one.is_local for one in page.entries)
    assert page.note == "The Hub cannot be reached: this is what is on this machine."
    assert names(search.search(Query("model", author="acme"))) == ["acme/kept"]
    assert names(search.search(Query("dataset", text="flow"))) == ["acme/flowers"]
    assert "sample:digits" in names(search.search(Query("dataset")))
    first = search.search(Query("model", limit=2))
    rest = search.search(Query("model", limit=2, cursor=first.next_cursor))
    assert len(names(first)) == 2 and names(rest) == ["sample:efficientnet-lite0"] and not rest.next_cursor
    assert time.monotonic() - begin < 2


def test_a_list_leads_no_token_to_another_host(hub, monkeypatch):
    """The address of the next page comes from the answer: only its path is followed."""
    assert ask._below_the_hub("https://evil.example/api/models?cursor=x") == "/api/models?cursor=x"
