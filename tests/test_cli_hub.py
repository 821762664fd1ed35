"""`superft find`, `superft model` and what `superft doctor` says of the Hub, against a stand-in."""

import json

import pytest

from superft_hf.cli import main
from tests.hub_stand_in import READ_TOKEN, HubStandIn
from tests.stand_ins.hub_online import add_data_set, add_model, go_online, use_cache

BAD = "hf_nobodyknowsthistoken"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    root = tmp_path_factory.mktemp("hub")
    add_model(root, "acme/resnet", num_parameters=4_000_000, downloads=1234, likes=5)
    add_model(root, "acme/vit-gated", is_gated=True, licence="other")
    add_model(root, "timm/resnet18", config={"architecture": "resnet18", "num_classes": 2}, downloads=2)
    add_data_set(root, "acme/flowers")
    with HubStandIn(root) as started:
        yield started


@pytest.fixture(autouse=True)
def hub(served, tmp_path, monkeypatch):
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    use_cache(monkeypatch, tmp_path / "cache")
    go_online(monkeypatch, served.url)
    served.mend()
    return served


@pytest.fixture
def superft(home, capsys):
    """`superft("find", …)`: exit code, standard output, standard error."""

    def call(*words: str) -> tuple[int, str, str]:
        code = main(["--home", str(home), *words])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return call


def test_find__a_table_of_models(superft):
    code, shown, _ = superft("find", "models", "resnet")
    lines = [line.split() for line in shown.splitlines()]
    assert code == 0
    assert lines[0] == ["Name", "Size", "Licence", "Library", "Downloads", "Likes", "Changed"]
    assert [line[0] for line in lines[1:]] == ["acme/resnet", "timm/resnet18"]
    assert "4.0 M parameters  apache-2.0  transformers  1,234" in shown


def test_find__filters_and_json(superft):
    _, shown, _ = superft("find", "models", "--library", "timm", "--json")
    assert [one["repo_id"] for one in json.loads(shown)["entries"]] == ["timm/resnet18"]
    _, shown, _ = superft("find", "data", "--author", "acme", "--json")
    assert [one["repo_id"] for one in json.loads(shown)["entries"]] == ["acme/flowers"]
    _, shown, _ = superft("find", "models", "--limit", "1", "--json")
    cursor = json.loads(shown)["next_cursor"]
    _, shown, _ = superft("find", "models", "--limit", "1", "--cursor", cursor, "--json")
    assert json.loads(shown)["entries"][0]["repo_id"] != "acme/resnet"


def test_find__gated_is_said_and_nothing_found_too(superft):
    assert "acme/vit-gated (gated)" in superft("find", "models", "gated")[1]
    code, shown, told = superft("find", "models", "zebra")
    assert (code, shown) == (0, "") and "Nothing found." in told


def test_find__without_a_network(superft, monkeypatch):
    go_online(monkeypatch, "http://127.0.0.1:9")
    code, shown, told = superft("find", "models")
    assert code == 0 and "sample:efficientnet-lite0" in shown
    assert "The Hub cannot be reached: this is what is on this machine." in told


@pytest.mark.parametrize(("option", "value"), [("--limit", "0"), ("--limit", "x"), ("--sort", "size")])
def test_find__wrong_words(superft, option, value):
    with pytest.raises(SystemExit) as caught:
        superft("find", "models", option, value)
    assert caught.value.code == 2


def test_model__facts(superft):
    code, shown, _ = superft("model", "acme/resnet")
    assert code == 0
    lines = dict(line.split(maxsplit=1) for line in shown.splitlines())
    assert lines["Parameters"] == "4,000,000" and lines["Input"] == "96 × 96 px"
    assert lines["Classes"] == "2: cat, dog" and lines["Gated"] == "no"
    assert lines["Memory"].startswith("about 1.") and lines["Memory"].endswith(" GB at batch 32")
    found = json.loads(superft("model", "acme/resnet", "--json")[1])
    assert found["num_parameters"] == 4_000_000 and found["training_memory_bytes"] > 10**9


def test_model__refused_with_the_way_on(superft, monkeypatch):
    code, shown, told = superft("model", "acme/vit-gated")
    assert code == 1 and "other" in shown
    assert "only to those who accept its terms" in told and "hf auth login" in told
    monkeypatch.setenv("HF_TOKEN", READ_TOKEN)
    assert superft("model", "acme/vit-gated")[0] == 0
    code, shown, told = superft("model", "acme/missing")
    assert (code, shown) == (1, "") and "There is no model acme/missing on the Hub." in told


def test_a_bad_token_is_told_and_not_shown(superft, monkeypatch, home):
    monkeypatch.setenv("HF_TOKEN", BAD)
    code, shown, told = superft("find", "models", "resnet")
    assert code == 0 and "acme/resnet" in shown and "does not accept the token" in told
    home.mkdir()
    code, shown, more = superft("model", "acme/resnet")
    assert code == 1 and "does not accept the token" in more
    written = "".join(path.read_text() for path in home.rglob("*") if path.is_file())
    assert "TokenRefusedError" in written
    assert BAD not in shown + told + more + written


def test_doctor__who_is_logged_in(superft, monkeypatch):
    assert superft("doctor")[1].splitlines()[-1].split(maxsplit=2)[2] == "no token; reading works"
    monkeypatch.setenv("HF_TOKEN", READ_TOKEN)
    assert "tester, read token from environment, member of acme" in superft("doctor")[1]
    assert json.loads(superft("doctor", "--json")[1])["hub_user"]["name"] == "tester"
    monkeypatch.setenv("HF_TOKEN", BAD)
    shown = superft("doctor")[1]
    assert "does not accept the token" in shown and BAD not in shown
