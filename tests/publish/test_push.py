"""Publishing against a stand-in Hub, by the real client in a fresh process."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from superft_hf.paths import HomePaths
from superft_hf.records import LOOKED_AT_TEST, PUBLISHED
from tests.hub_stand_in import READ_TOKEN, STRANGER_TOKEN, WRITE_TOKEN, HubStandIn, ask_hub

pytestmark = pytest.mark.slow

CODE = """
import json, sys
from pathlib import Path
from superft_hf.errors import SuperFTError
from superft_hf.publish.options import PublishOptions
from superft_hf.publish.push import plan, push
from superft_hf.store import RunStore
home, run_id, repo_id, verb, token, options = json.loads({asked!r})
store, heard = RunStore(Path(home)), []
try:
    if verb == "plan":
        answer = plan(store, run_id, repo_id, PublishOptions(**options), token).to_dict()
    else:
        hear = lambda done, total: heard.append([done, total])
        answer = vars(push(store, run_id, repo_id, PublishOptions(**options), token=token, by="test",
                           progress=hear))
    print(json.dumps({{**answer, "heard": heard, "torch": "torch" in sys.modules}}))
except SuperFTError as error:
    print(json.dumps({{"kind": error.kind, "message": error.message, "hint": error.hint, "heard": heard}}))
"""


class Publisher:
    """Publishes one run to a stand-in."""

    def __init__(self, hub: HubStandIn, home: Path, run_id: str, folder: Path) -> None:
        self.hub, self.home, self.run_id, self.folder = hub, home, run_id, folder

    def __call__(self, verb="push", *, repo_id="acme/digits", token=WRITE_TOKEN, url=None, **options):
        asked = json.dumps([str(self.home), self.run_id, repo_id, verb, token, options])
        return ask_hub(CODE.format(asked=asked), url or self.hub.url, self.folder)


@pytest.fixture
def hub(tmp_path):
    (tmp_path / "hub").mkdir()
    with HubStandIn(tmp_path / "hub") as found:
        yield found


@pytest.fixture
def publish(hub, store, run, tmp_path):
    return Publisher(hub, store.home, run.run_id, tmp_path)


def events(store, run, what):
    return [event for event in store.read_events(run.run_id) if event.what == what]


def test_a_plan_sends_and_notes_nothing(publish, hub, store, run):
    found = publish("plan")
    assert found["action"] == "create" and found["is_private"] is True and not found["torch"]
    assert found["files"]["model.safetensors"] > 200_000
    assert found["total_bytes"] == sum(found["files"].values())
    assert found["card"].startswith("---\n") and "# digits" in found["card"]
    assert not (hub.root / "acme").exists()
    assert all(request.startswith("GET") for request in hub.requests)
    assert not events(store, run, PUBLISHED) and not events(store, run, LOOKED_AT_TEST)


def test_a_push_makes_a_private_repository_in_one_commit(publish, hub, store, run):
    found = publish()
    repo = hub.root / "acme" / "digits"
    names = {path.relative_to(repo).as_posix() for path in repo.rglob("*") if path.is_file()}
    assert {"README.md", "config.json", "preprocessor_config.json", "model.safetensors",
            "figures/curves.png", "figures/confusion_matrix_eval.png", "figures/confusion_matrix_test.png",
            "superft/config.yaml", "superft/evaluation.json"} <= names  # fmt: skip
    assert not [name for name in names if name.startswith("misclassified")]
    assert (repo / ".private").exists() and found["is_new"] and not found["is_pull_request"]
    model = store.run_paths(run.run_id).model / "model.safetensors"
    assert (repo / "model.safetensors").read_bytes() == model.read_bytes()
    commits = [request for request in hub.requests if "/commit/" in request]
    assert len(commits) == 1 and "POST /api/validate-yaml" in hub.requests
    assert found["commit"] in found["url"] and found["url"].startswith(hub.url)
    (event,) = events(store, run, PUBLISHED)
    assert event.detail == found["url"] and event.by == "test"
    assert len(events(store, run, LOOKED_AT_TEST)) == 1  # the card shows the test figures
    assert not found["torch"]
    done = [one for one, _ in found["heard"]]
    assert done == sorted(done) and done[-1] == found["heard"][-1][1] and len(done) > 3


def test_the_second_push_updates_sends_no_weights_again_and_takes_stale_files_away(publish, hub):
    publish(num_misclassified=3, is_private=False)
    repo = hub.root / "acme" / "digits"
    assert len(list((repo / "misclassified").iterdir())) == 3 and not (repo / ".private").exists()
    planned = publish("plan")
    assert planned["action"] == "update" and planned["is_private"] is False
    assert [name.split("/")[0] for name in planned["removed"]] == ["misclassified"] * 3
    assert any("is public and stays so" in one for one in planned["warnings"])
    hub.requests.clear()
    found = publish()
    assert not found["is_new"] and not any("/lfs/" in one and one.startswith("PUT") for one in hub.requests)
    assert not list(repo.glob("misclassified/*")) and (repo / "model.safetensors").exists()
    assert "No other run had been opened on this same test set" in (repo / "README.md").read_text()


def test_a_pull_request_leaves_main_as_it_is(publish, hub, store, run):
    publish()
    before = (hub.root / "acme" / "digits" / "README.md").read_text()
    found = publish(as_pull_request=True, intended_use="Sorting post.", message="Say what it is for")
    assert found["is_pull_request"] and "discussions/1" in found["url"]
    assert (hub.root / "acme" / "digits" / "README.md").read_text() == before
    (offered,) = (hub.root / "acme" / "digits").glob(".revisions/*pr*1/README.md")
    assert "Sorting post." in offered.read_text()
    assert events(store, run, PUBLISHED)[-1].detail == found["url"]


def test_a_connection_that_breaks_half_way_leaves_all_as_it_was_and_the_next_try_completes(
    publish, hub, store, run
):
    hub.fail("/commit/", 503, times=None)
    found = publish()
    assert found["kind"] == "HubUnreachableError"
    assert "had been sent, but acme/digits has no new commit" in found["message"]
    assert "publish again" in found["hint"] and "as it was" in found["hint"]
    assert not (hub.root / "acme" / "digits" / "model.safetensors").exists()
    assert not events(store, run, PUBLISHED) and store.get_run(run.run_id) == run
    hub.mend()
    hub.requests.clear()
    assert publish()["url"].startswith(hub.url)
    assert not [one for one in hub.requests if one.startswith("PUT")]  # the weights had arrived
    assert (hub.root / "acme" / "digits" / "model.safetensors").exists()


def test_an_upload_that_is_cut_off_says_so(publish, hub):
    hub.cut("/lfs/", after_bytes=1000, times=20)
    found = publish()
    assert found["kind"] == "HubUnreachableError" and "acme/digits" in found["message"], found
    hub.mend()
    assert publish()["is_new"] is False


def test_a_change_by_others_meanwhile_is_not_overwritten(publish, hub):
    publish()
    hub.fail("/commit/", 412)
    found = publish(limits="Not for cheques.")  # what is equal makes no commit
    assert found["kind"] == "PublishError" and "was changed on the Hub" in found["message"]
    assert "url" in publish(limits="Not for cheques.")


@pytest.mark.parametrize(
    ("token", "repo_id", "kind", "words"),
    [
        (None, "acme/digits", "PublishError", "needs a token"),
        ("hf_nobodysTokenAtAll", "acme/digits", "TokenRefusedError", "does not accept the token"),
        (READ_TOKEN, "acme/digits", "TokenRefusedError", "no right"),
        (STRANGER_TOKEN, "acme/digits", "TokenRefusedError", "no right"),
        (WRITE_TOKEN, "acme", "PublishError", "cannot be the name"),
        (WRITE_TOKEN, "acme/../x", "PublishError", "cannot be the name"),
        (WRITE_TOKEN, "acme/a--b", "PublishError", "cannot be the name"),
    ],
)
def test_what_is_refused_says_why_and_leaves_nothing(publish, hub, token, repo_id, kind, words):
    found = publish(token=token, repo_id=repo_id)
    assert found["kind"] == kind and words in found["message"] and found["hint"], found
    assert not (hub.root / "acme" / "digits" / "README.md").exists()


def test_without_a_connection_a_plan_still_shows_the_card(publish):
    planned = publish("plan", url="http://127.0.0.1:9")
    assert planned["action"] == "unknown" and planned["is_private"] is None and "# digits" in planned["card"]
    assert any("could not be asked" in one for one in planned["warnings"])
    found = publish(url="http://127.0.0.1:9")
    assert found["kind"] == "HubUnreachableError" and "Nothing was sent" in found["message"]


def test_too_many_requests_say_when_to_come_back(publish, hub):
    hub.fail("/api/models/", 429, times=None, headers={"Retry-After": "7"})
    found = publish()
    assert found["kind"] == "RateLimitedError" and "in 7 s" in found["hint"]


def test_a_card_that_the_hub_refuses_is_not_sent(publish, hub):
    hub.fail("validate-yaml", 400, times=None)
    found = publish()
    assert found["kind"] == "PublishError" and "refuses the card" in found["message"]
    assert not (hub.root / "acme").exists()


def test_the_token_is_nowhere_afterwards(publish, hub, store, run, tmp_path):
    publish()
    hub.fail("/commit/", 403)
    publish()
    store.close()
    token = WRITE_TOKEN.encode()
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and token in path.read_bytes()]
    assert kept == []


def command(hub, home, *words, token=WRITE_TOKEN):
    variables = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_TOKEN": token}
    return subprocess.run(
        [sys.executable, "-m", "superft_hf.cli", "--home", str(home), *words],
        env=variables, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def test_the_command_pushes_and_prints_the_address(hub, store, run, tmp_path):
    dry = command(hub, store.home, "push", run.run_id, "acme/cli", "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "acme/cli would be created, private. Nothing was sent." in dry.stderr
    assert "model.safetensors" in dry.stdout and "model-index" in dry.stdout
    assert not (hub.root / "acme").exists() and len(events(store, run, LOOKED_AT_TEST)) == 1
    done = command(
        hub, store.home, "push", run.run_id, "acme/cli", "--public", "--limits", "Only digits.", "--json"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["repo_url"] == f"{hub.url}/acme/cli"
    repo = hub.root / "acme" / "cli"
    assert "Only digits." in (repo / "README.md").read_text() and not (repo / ".private").exists()
    refused = command(hub, store.home, "push", run.run_id, "acme/cli", token=READ_TOKEN)
    assert refused.returncode == 1 and refused.stderr.count("Error:") == 1
    assert "Traceback" not in refused.stderr and "Hint:" in refused.stderr
    log = HomePaths(store.home).command_log
    assert log.exists() and READ_TOKEN not in log.read_text() and WRITE_TOKEN not in log.read_text()


SENDING = """
import json
from pathlib import Path
from superft_hf.publish.options import PublishOptions
from superft_hf.publish.sending import Sending
home, run_id, token = json.loads({asked!r})
sending = Sending(Path(home), run_id, "acme/digits", PublishOptions(), token=token, by="page")
print(json.dumps(sending._process.pid), flush=True)
sending.wait(60)
error = sending.error and [sending.error.kind, sending.error.message]
print(json.dumps({{"url": sending.result and sending.result.url, "error": error, "done": sending.done,
                   "total": sending.total}}))
"""


def test_a_push_in_a_process_of_its_own_reports_its_end(hub, store, run, tmp_path):
    asked = json.dumps([str(store.home), run.run_id, WRITE_TOKEN])
    found = ask_hub(SENDING.format(asked=asked), hub.url, tmp_path)
    assert found["error"] is None and found["url"].startswith(hub.url)
    assert found["done"] == found["total"] > 200_000
    asked = json.dumps([str(store.home), run.run_id, READ_TOKEN])
    found = ask_hub(SENDING.format(asked=asked), hub.url, tmp_path)
    assert found["error"][0] == "TokenRefusedError" and READ_TOKEN not in str(found)


def test_a_push_outlives_the_server_that_began_it(hub, store, run, tmp_path):
    hub.slow("/commit/", 3)
    asked = json.dumps([str(store.home), run.run_id, WRITE_TOKEN])
    variables = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0"}
    server = subprocess.Popen([sys.executable, "-c", SENDING.format(asked=asked)], env=variables,
                              stdout=subprocess.PIPE, text=True)  # fmt: skip
    server.stdout.readline()
    wait_for(lambda: any("/commit/" in one for one in hub.requests))
    server.send_signal(signal.SIGKILL)
    server.wait()
    wait_for(lambda: events(store, run, PUBLISHED))
    assert (hub.root / "acme" / "digits" / "model.safetensors").exists()


def wait_for(is_true, timeout_s: float = 60.0) -> None:
    until = time.monotonic() + timeout_s
    while not is_true():
        assert time.monotonic() < until
        time.sleep(0.1)
