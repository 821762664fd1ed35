"""The webhook, against a real receiver in this process."""

import json
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from superft_hf.engine import notify
from superft_hf.engine.notify import check_webhook, mask_webhook, message_of, send, sentence
from superft_hf.errors import ConfigError
from superft_hf.records import Failure, PauseReason, Request, RunRecord, RunState
from tests.engine.steps import is_in, passes_until

SECRET = "T0-very-secret"


@dataclass
class Receiver:
    """Takes messages, and answers as it is told."""

    url: str = ""
    status: int = 200
    delay_s: float = 0.0
    location: str = ""
    messages: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    told = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told.messages.append(json.loads(body))
            told.headers.append(dict(self.headers))
            time.sleep(told.delay_s)
            self.send_response(told.status)
            if told.location:
                self.send_header("Location", told.location)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    told.url = f"http://127.0.0.1:{server.server_port}/hooks/{SECRET}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield told
    server.shutdown()
    server.server_close()
    thread.join()


def run_in(state: RunState, **values: Any) -> RunRecord:
    return RunRecord(
        "20261124-0000-abcd", "cells-lite0", state, "image-classification", "m", "d", "2026-11-24", **values
    )


def notes_of(store, run_id: str) -> list[tuple[str, str]]:
    return [
        (event.what, event.detail) for event in store.read_events(run_id) if event.what.startswith("notif")
    ]


def test_step__tells_of_runs_that_complete_fail_or_are_paused(store, supervisor, config, until, receiver):
    store.change_settings(webhook_url=receiver.url)
    complete, failed = (store.create_run(config(name), by="test").run_id for name in ("complete", "die 15"))
    no_gpu = store.create_run(config("complete", devices="7"), by="test").run_id
    discarded = store.create_run(config("complete"), by="test").run_id
    store.set_request(discarded, Request.DISCARD, by="test")
    stopped = store.create_run(config("sleep 60"), by="test").run_id
    passes_until(supervisor, until, lambda: is_in(store, stopped, RunState.RUNNING))
    store.set_request(stopped, Request.STOP_HARD, by="test")
    passes_until(supervisor, until, lambda: bool(notes_of(store, stopped)))
    told = {message["run_id"]: message for message in receiver.messages}
    assert set(told) == {complete, failed, no_gpu, stopped} and len(receiver.messages) == 4
    assert told[complete]["text"] == "complete completed: 75.0 % on eval."
    assert told[complete]["state"] == "completed"
    assert told[failed]["failure"]["kind"] == "WorkerDiedError"
    assert told[no_gpu]["failure"]["kind"] == "DeviceError"
    assert told[stopped]["text"] == "sleep 60 is paused at step 4 of 10: a person stopped it hard."
    assert notes_of(store, complete) == [("notified", "the webhook answered 200")]
    assert notes_of(store, discarded) == []
    assert receiver.headers[0]["Content-Type"] == "application/json"
    assert not supervisor.step()


def test_step__without_a_webhook_nothing_is_sent(store, supervisor, config, until, receiver):
    run_id = store.create_run(config("complete"), by="test").run_id
    passes_until(supervisor, until, lambda: not supervisor.step())
    assert receiver.messages == [] and notes_of(store, run_id) == []


@pytest.mark.parametrize(
    ("status", "delay_s", "words"),
    [(404, 0.0, "the webhook answered 404"), (302, 0.0, "the webhook answered 302"),
     (200, 1.0, "no answer within 0.3 s")],
)  # fmt: skip
def test_notifier__a_refusal_or_silence_is_an_event_without_the_address(
    store, config, receiver, until, caplog, status, delay_s, words
):
    caplog.set_level(logging.DEBUG)
    receiver.status, receiver.delay_s = status, delay_s
    receiver.location = receiver.url + "/elsewhere"
    store.change_settings(webhook_url=receiver.url)
    run_id = store.create_run(config("x"), by="test", state=RunState.STARTING).run_id
    store.change_state(run_id, (RunState.STARTING,), RunState.COMPLETED, by="test")
    notifier = notify.Notifier(store, "test", timeout_s=0.3)
    began = time.monotonic()
    notifier.tell(store.get_run(run_id))
    assert time.monotonic() - began < 0.25, "the supervisor waits for nobody"
    notifier.finish(5)
    assert notes_of(store, run_id) == [("notification failed", words)]
    assert SECRET not in caplog.text and SECRET not in str(store.read_events(run_id))
    assert len(receiver.messages) == 1, "no redirect is followed"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://127.0.0.1:9/T0-very-secret", "the connection was refused"),
        ("http://does-not-exist.invalid/T0-very-secret", "its host is not known"),
        ("file:///etc/T0-very-secret", "The webhook is no web address."),
        ("http://127.0.0.1:99999/T0-very-secret", "The webhook is no web address."),
    ],
)
def test_send__what_goes_wrong_is_said_without_the_address(url, words):
    answer = send(url, {"text": "x"}, timeout_s=2)
    assert not answer.is_delivered
    assert answer.words == words or answer.words.startswith("the connection failed (")
    assert SECRET not in answer.words


@pytest.mark.parametrize(
    "url", ["", "hooks.example.org/a", "ftp://a/b", "https://", "https://a b/", "https://exämple.org/a"]
)
def test_check_webhook__refuses_what_is_no_web_address(url):
    with pytest.raises(ConfigError, match="no web address") as caught:
        check_webhook(url)
    assert "https://" in caught.value.hint


def test_check_webhook__takes_the_spaces_away():
    assert check_webhook(" https://hooks.example.org/a ") == "https://hooks.example.org/a"


def test_mask_webhook__shows_the_host_alone():
    assert mask_webhook("https://me:pw@hooks.example.org:8443/T0/secret?a=b") == "https://hooks.example.org/…"
    assert mask_webhook(None) == ""


def test_sentence__of_each_end():
    failure = Failure("DeviceError", "There is no GPU 7.", "Choose another.")
    assert sentence(run_in(RunState.COMPLETED)) == "cells-lite0 completed."
    assert sentence(run_in(RunState.FAILED, failure=failure)) == (
        "cells-lite0 failed: There is no GPU 7. Choose another."
    )
    paused = run_in(RunState.PAUSED, pause_reason=str(PauseReason.DISK))
    assert sentence(paused) == "cells-lite0 is paused: too little disk space."


def test_message_of__is_json_and_wakes_nobody():
    run = run_in(
        RunState.FAILED, failure=Failure("ValueError", "<!channel> & @everyone " + "x" * 5000, ""),
        best_value=float("nan"),
        evaluation={"eval": {"loss": float("inf"), "accuracy": 0.5}, "test": {"accuracy": 0.4}},
    )  # fmt: skip
    message = json.loads(json.dumps(message_of(run), allow_nan=False))
    assert message["text"].startswith("cells-lite0 failed: &lt;!channel&gt; &amp; @everyone")
    assert len(message["content"]) == 1900
    assert message["allowed_mentions"] == {"parse": []}
    assert message["best"]["value"] is None
    assert message["eval"] == {"loss": None, "accuracy": 0.5}
    assert "0.4" not in json.dumps(message)  # no figure of test without a look at it
