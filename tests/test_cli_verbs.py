"""Commands that ask something of runs, the queue, and the supervisor."""

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from superft_hf import cli_queue, cli_system
from superft_hf.config_file import dump_config
from superft_hf.engine import control
from superft_hf.engine.processes import living
from superft_hf.paths import HomePaths
from superft_hf.records import PauseReason, Request, RunRecord, RunState
from superft_hf.store import RunStore

pytest_plugins = ["tests.cli_fixtures"]

WEBHOOK = "https://hooks.example.com/services/T0/B0/verysecret"


@pytest.fixture
def make_run(store, config_of) -> Callable[..., RunRecord]:
    """`make_run("a", RunState.PAUSED)`: a run that is in this state, without a process."""

    def make(name: str, state: RunState = RunState.QUEUED, priority: int = 0) -> RunRecord:
        run = store.create_run(config_of("x", name=name), by="test", priority=priority)
        if state is not RunState.QUEUED:
            store.change_state(run.run_id, (RunState.QUEUED,), state, by="test")
        return store.get_run(run.run_id)

    return make


def obey(store: RunStore, run_id: str, request: Request, state: RunState) -> threading.Thread:
    """Stands in for a worker: changes the state once it is asked to."""

    def work() -> None:
        while store.get_run(run_id).request != request:
            time.sleep(0.02)
        store.change_state(run_id, (RunState.RUNNING,), state, by="worker")

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def names_in_queue(superft: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> list[str]:
    capsys.readouterr()
    assert superft("queue", "--json") == 0
    return [one["name"] for one in json.loads(capsys.readouterr().out)["runs"] if one["place"]]


def test_pause_and_resume__of_a_run_at_work(superft, store, config_file, stand_in_supervisor, capsys):
    assert superft("submit", config_file("pausable 60")) == 0
    run_id = capsys.readouterr().out.strip()
    control.wait_for(store, run_id, lambda run: run.state is RunState.RUNNING, 30)
    assert superft("pause", run_id, "--wait") == 0
    run = store.get_run(run_id)
    assert (run.state, run.pause_reason) == (RunState.PAUSED, PauseReason.PERSON)
    assert not living(store.read_processes(run_id)), "its device is free"
    err = capsys.readouterr().err
    assert "pausable 60 pauses at its next step" in err
    assert "pausable 60 is paused at step 4 of 10: a person paused it." in err

    assert superft("pause", run_id) == 1
    err = capsys.readouterr().err
    assert "Error: The run pausable 60 is paused: it cannot be asked to pause." in err
    assert "Hint: Resume it with `superft resume`" in err

    assert superft("resume", run_id, "--wait") == 0
    control.wait_for(store, run_id, lambda run: run.state is RunState.COMPLETED, 30)
    by = [event.by for event in store.read_events(run_id) if event.what in ("asked to pause", "resumed")]
    assert by == ["command line", "command line"]


def test_stop_hard__a_worker_that_does_not_answer(superft, store, config_file, stand_in_supervisor, capsys):
    assert superft("submit", config_file("stubborn 60")) == 0
    run_id = capsys.readouterr().out.strip()
    control.wait_for(store, run_id, lambda run: run.state is RunState.RUNNING, 30)
    assert superft("stop-hard", run_id, "--wait") == 0
    run = store.get_run(run_id)
    assert (run.state, run.pause_reason) == (RunState.PAUSED, PauseReason.STOPPED_HARD)
    assert not living(store.read_processes(run_id))
    assert "is paused at step 4 of 10: a person stopped it hard." in capsys.readouterr().err


def test_finish__waits_until_it_is_completed(superft, store, make_run, no_supervisor, capsys):
    run = make_run("a", RunState.RUNNING)
    obey(store, run.run_id, Request.FINISH, RunState.COMPLETED)
    assert superft("finish", run.run_id, "--wait", "--timeout", "20") == 0
    assert capsys.readouterr().err.endswith("a is completed.\n")


def test_finish__a_run_that_ends_otherwise(superft, store, make_run, no_supervisor, capsys):
    run = make_run("a", RunState.RUNNING)
    obey(store, run.run_id, Request.FINISH, RunState.FAILED)
    assert superft("finish", run.run_id, "--wait", "--timeout", "20") == 1
    assert "Error: a is failed.\nHint: " in capsys.readouterr().err


def test_pause__does_not_come_in_time(superft, store, make_run, no_supervisor, capsys):
    run = make_run("a", RunState.RUNNING)
    began = time.monotonic()
    assert superft("pause", run.run_id, "--wait", "--timeout", "0.3") == 1
    assert time.monotonic() - began < 5
    assert "Error: The run a is still running after 0.3 s.\nHint: " in capsys.readouterr().err
    assert store.get_run(run.run_id).request == Request.PAUSE, "the wish stays"


def test_several_runs__one_refusal_keeps_none_of_the_others(superft, store, make_run, no_supervisor, capsys):
    live, queued, live_too = make_run("a", RunState.RUNNING), make_run("b"), make_run("c", RunState.RUNNING)
    ids = [live.run_id, queued.run_id, "../etc", live_too.run_id, live.run_id]
    assert superft("pause", *ids) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("Error: ") == 2
    assert "The run b is queued: it cannot be asked to pause." in err
    assert "There is no run '../etc'." in err
    assert [store.get_run(run.run_id).request for run in (live, live_too)] == [Request.PAUSE, Request.PAUSE]
    asked = [event for event in store.read_events(live.run_id) if event.what == "asked to pause"]
    assert len(asked) == 1, "an id given twice is asked once"


@pytest.mark.parametrize(
    ("words", "state"),
    [
        (["finish"], RunState.QUEUED),
        (["pause"], RunState.QUEUED),
        (["stop-hard"], RunState.PAUSED),
        (["resume"], RunState.QUEUED),
        (["resume"], RunState.RUNNING),
        (["resume"], RunState.COMPLETED),
        (["finish"], RunState.COMPLETED),
        (["discard"], RunState.COMPLETED),
        (["discard"], RunState.DISCARDED),
        (["hold"], RunState.RUNNING),
        (["let-go"], RunState.COMPLETED),
        (["move"], RunState.PAUSED),
    ],
)
def test_a_verb_that_does_not_fit(superft, store, make_run, no_supervisor, words, state, capsys):
    run = make_run("a", state)
    where = ["first"] if words == ["move"] else []
    assert superft(*words, run.run_id, *where) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert f"Error: The run a is {state}" in err
    assert "\nHint: " in err
    assert store.get_run(run.run_id) == run


def test_the_queue__its_order_and_its_reasons(superft, store, make_run, no_supervisor, capsys):
    make_run("at work", RunState.RUNNING)
    first, second, third = make_run("a"), make_run("b"), make_run("c", priority=5)
    store.update_run(first.run_id, waiting_for="waits for the CPU, which another run uses")
    assert names_in_queue(superft, capsys) == ["c", "a", "b"]
    assert superft("hold", third.run_id) == 0
    assert superft("move", second.run_id, "first") == 0
    assert "b is number 1 of 3 in the queue." in capsys.readouterr().err
    assert superft("queue") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:5]] == ["PLACE", "at", "1", "2", "3"]
    assert lines[2].split()[2:4] == ["b", "5"]
    assert lines[3].endswith("held")
    assert lines[4].endswith("waits for the CPU, which another run uses")
    assert superft("let-go", third.run_id) == 0
    assert not store.get_run(third.run_id).is_held
    assert superft("move", second.run_id, "last") == 0
    assert superft("move", third.run_id, "down") == 0
    assert superft("move", third.run_id, "up") == 0
    assert names_in_queue(superft, capsys) == ["c", "a", "b"]


def test_submit__with_a_priority(superft, store, cli_config, tmp_path, no_supervisor, capsys):
    path = tmp_path / "run.yaml"
    path.write_text(dump_config(cli_config("sleep 1")))
    assert superft("submit", path) == 0
    assert superft("submit", path, "--priority", "3") == 0
    first, second = capsys.readouterr().out.split()
    assert [store.get_run(one).priority for one in (first, second)] == [0, 3]


def test_queue__sets_slots_and_webhook(superft, home, store, capsys):
    assert superft("queue", "--slots", "2", "--webhook", WEBHOOK, "--json") == 0
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert (told["cpu_slots"], told["webhook"]) == (2, "https://hooks.example.com/…")
    settings = store.read_settings()
    assert (settings.cpu_slots, settings.webhook_url) == (2, WEBHOOK)
    assert superft("queue") == 0
    again, more = capsys.readouterr()
    assert "CPU slots   2\nwebhook     https://hooks.example.com/…\n" in again
    assert "verysecret" not in out + err + again + more
    assert superft("queue", "--webhook", "none") == 0
    assert store.read_settings().webhook_url is None
    assert store.read_settings().cpu_slots == 2, "what is not named stays"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--slots", "0"], "--slots is 0, but must be between 1 and 64."),
        (["--slots", "65"], "--slots is 65, but must be between 1 and 64."),
        (["--webhook", "ftp://host/verysecret"], "The webhook is no web address."),
        (["--webhook=http:/verysecret"], "The webhook is no web address."),
        (["--slots", "3", "--webhook", "verysecret"], "The webhook is no web address."),
    ],
)
def test_queue__refuses_settings(superft, home, store, monkeypatch, words, message, capsys):
    monkeypatch.setattr("sys.argv", ["superft", "queue", *words])
    assert superft("queue", *words) == 1
    out, err = capsys.readouterr()
    assert f"Error: {message}\nHint: " in err
    assert store.read_settings().cpu_slots == 1
    log = HomePaths(home).command_log.read_text()
    assert "superft queue" in log
    assert "verysecret" not in out + err + log


def test_queue__of_a_home_that_is_not_there(superft, home, capsys):
    assert superft("queue", "--json") == 0
    assert json.loads(capsys.readouterr().out)["runs"] == []
    assert superft("queue") == 0
    assert not home.exists()


def test_supervisor__stop_start_status(superft, home, store, stand_in_supervisor, monkeypatch, capsys):
    assert superft("supervisor", "status", "--json") == 0
    told = {"pid": stand_in_supervisor, "is_stopped": False, "is_needed": False}
    assert json.loads(capsys.readouterr().out) == told
    assert superft("supervisor", "stop") == 0
    assert control.supervisor_pid(home) is None
    assert (
        f"None is started by itself until `superft --home {home} supervisor start`" in capsys.readouterr().err
    )
    assert superft("supervisor", "status") == 0
    assert "was stopped" in capsys.readouterr().out
    assert superft("supervisor", "stop") == 0
    assert superft("supervisor", "start") == 0
    pid = control.supervisor_pid(home)
    assert pid is not None
    assert superft("supervisor", "status", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"pid": pid, "is_stopped": False, "is_needed": False}
    assert control.stop_supervisor(home) == pid


def test_a_stopped_supervisor_is_not_started_by_itself(
    superft, home, store, config_file, no_supervisor, capsys
):
    assert superft("supervisor", "stop") == 0
    assert superft("submit", config_file("sleep 1")) == 0
    out, err = capsys.readouterr()
    run_id = out.strip()
    words = f"The supervisor is stopped, so this waits until `superft --home {home} supervisor start`."
    assert words in err
    assert out == f"{run_id}\n"
    assert superft("runs") == 0
    assert superft("queue") == 0
    assert "waits for the supervisor, which is stopped" in capsys.readouterr().out
    assert no_supervisor == []
    store.change_state(run_id, (RunState.QUEUED,), RunState.FAILED, by="test")
    assert superft("resume", run_id) == 0
    assert words in capsys.readouterr().err
    assert no_supervisor == []


def test_serve__starts_a_stopped_supervisor_again(superft, home, store, no_supervisor, monkeypatch, capsys):
    monkeypatch.setattr(os, "execv", lambda *_: None)
    monkeypatch.setattr(cli_system, "_find_app", lambda: Path("app.py"))
    control.stop_supervisor(home)
    superft("serve", "--port", "18766")
    assert "The supervisor was stopped; it is started again." in capsys.readouterr().err
    assert set(no_supervisor) == {home}
    assert not store.read_settings().is_supervisor_stopped


def test_supervisor_stop__leaves_workers_alone(superft, store, config_file, stand_in_supervisor, capsys):
    assert superft("submit", config_file("sleep 60")) == 0
    run_id = capsys.readouterr().out.strip()
    control.wait_for(store, run_id, lambda run: run.state is RunState.RUNNING, 30)
    assert superft("supervisor", "stop") == 0
    assert "1 run at work will go on; --pause-runs pauses them." in capsys.readouterr().err
    assert store.get_run(run_id).state is RunState.RUNNING
    assert living(store.read_processes(run_id))


def test_supervisor_stop__with_the_runs(superft, home, store, config_file, stand_in_supervisor, capsys):
    assert superft("submit", config_file("pausable 60")) == 0
    assert superft("submit", config_file("pausable 60")) == 0
    running, queued = capsys.readouterr().out.split()
    control.wait_for(store, running, lambda run: run.state is RunState.RUNNING, 30)
    assert superft("supervisor", "stop", "--pause-runs", "--timeout", "20") == 0
    assert control.supervisor_pid(home) is None
    assert "pausable 60 is paused at step 4 of 10: a person paused it." in capsys.readouterr().err
    assert store.get_run(running).state is RunState.PAUSED
    assert store.get_run(queued).state is RunState.QUEUED
    assert not living(store.read_processes(running))


def test_completed_runs_are_not_in_the_queue(store, completed_run):
    assert cli_queue._runs(store) == ([], [])
