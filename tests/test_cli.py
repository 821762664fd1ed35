import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from superft_hf import cli, cli_system
from superft_hf.config_file import dump_config, parse_config
from superft_hf.engine import control
from superft_hf.engine.devices import try_lease
from superft_hf.engine.processes import living
from superft_hf.paths import HomePaths
from superft_hf.records import ProcessRecord, RunState
from superft_hf.store import RunStore

pytest_plugins = ["tests.cli_fixtures"]

STAND_INS = Path(__file__).parent / "stand_ins"
COMMANDS = {
    "errors",
    "history",
    "compare", "seeds", "pin",
    "calibrate", "curves", "thresholds",
    "baseline", "report",
    "suspects", "folds", "slices",
    "mark", "marks", "marks-import", "unmark",
    "join", "layers", "lr-find", "suggest", "trio",
    "cache",
    "check", "continue", "delete", "discard", "doctor", "export", "find", "finish", "hold", "init", "let-go",
    "model", "move", "pause", "predict", "push", "queue", "repeat", "resume", "runs", "serve", "show",
    "stop-hard", "submit", "supervisor", "train",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _own_cache(own_cache: Path) -> None:
    """For commands that run in a process of their own."""


def test_make_parser__has_every_command_and_no_other():
    parser = cli.make_parser()
    actions = [item for item in parser._actions if isinstance(item, argparse._SubParsersAction)]
    assert set(actions[0].choices) == COMMANDS


@pytest.mark.parametrize("words", [[], ["nonsense"], ["show"], ["runs", "--jsn"], ["supervisor"]])
def test_wrong_usage_exits_2(words, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(words)
    assert stopped.value.code == 2
    assert "usage: superft" in capsys.readouterr().err


def test_init__prints_a_complete_configuration(superft, capsys):
    assert superft("init", "--model", "a/model", "--data", "some/images") == 0
    text = capsys.readouterr().out
    config = parse_config(text)
    assert (config.model.name_or_path, config.data.name_or_path) == ("a/model", "some/images")
    assert "# Peak learning rate" in text
    assert superft("init") == 0
    assert parse_config(capsys.readouterr().out).data.name_or_path == "sample:digits"


def test_runs__an_empty_home_is_not_created(superft, home, capsys):
    assert superft("runs") == 0
    assert superft("runs", "--json") == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == []
    assert "superft init" in err
    assert not home.exists()


@pytest.mark.parametrize("verb", ["show", "discard", "delete"])
@pytest.mark.parametrize("has_home", [True, False])
def test_no_such_run(superft, home, verb, has_home, capsys):
    if has_home:
        RunStore(home).close()
    assert superft(verb, "../etc") == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "Error: There is no run '../etc'.\nHint: List the runs with `superft runs`." in err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        (
            "modle: {name_or_path: x}\nnonsense: [1, 2]\n",
            "modle is not a setting; did you mean model? nonsense is not a setting.",
        ),
        ("model: [", "is not valid YAML"),
        ("just words", "holds str instead of settings"),
        (None, "cannot be read"),
    ],
)
@pytest.mark.parametrize("verb", ["train", "submit", "check"])
def test_bad_yaml__one_sentence_a_hint_and_no_run(superft, home, tmp_path, verb, text, message, capsys):
    path = tmp_path / "run.yaml"
    if text is not None:
        path.write_text(text)
    assert superft(verb, path) == 1
    out, err = capsys.readouterr()
    assert err.startswith("Error: ")
    assert message in err
    assert "\nHint: " in err
    assert "Traceback" not in err + out
    assert not home.exists()


@pytest.mark.parametrize("verb", ["train", "submit"])
def test_images_that_are_not_there(superft, home, store, config_file, make_folder, verb, capsys):
    path = config_file("complete")
    path.write_text(path.read_text().replace("/images", "/elsewhere"))
    assert superft(verb, path) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "elsewhere" in err
    assert "Hint: " in err
    assert "Traceback" not in err
    assert store.list_runs() == []
    assert "Traceback" in HomePaths(home).command_log.read_text(), "the log has the details"


@pytest.mark.parametrize("words", [["runs"], ["submit"], ["train"]])
def test_a_home_that_cannot_be_used(tmp_path, config_file, words, capsys):
    (tmp_path / "file").write_text("")
    files = [str(config_file("complete"))] if words != ["runs"] else []
    assert cli.main(["--home", str(tmp_path / "file"), *words, *files]) == 1
    err = capsys.readouterr().err
    assert "Error: The folder" in err
    assert "Hint: Choose another with --home" in err


def test_unexpected_error__one_line_and_a_log(superft, home, store, monkeypatch, capsys):
    def broken(*_: object) -> None:
        raise KeyError("surprise")

    monkeypatch.setattr(RunStore, "list_runs", broken)
    assert superft("runs") == 1
    err = capsys.readouterr().err
    assert "Error: KeyError: 'surprise'" in err
    assert str(HomePaths(home).command_log) in err
    assert "Traceback" not in err
    assert "surprise" in HomePaths(home).command_log.read_text()


def test_train__completes(superft, home, store, config_file, capsys):
    assert superft("train", config_file("complete")) == 0
    out, err = capsys.readouterr()
    assert out == ("complete completed: 75.0 % on eval (95 % interval 40.9 – 92.9 %); test sealed.\n")
    (run,) = store.list_runs()
    assert f"Run: {run.run_id}" in err
    assert f"Home: {home}" in err
    assert run.state is RunState.COMPLETED
    assert [event.by for event in store.read_events(run.run_id)] == ["command line"]
    assert control.supervisor_pid(home) is None


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("fail", "Out of memory with 32 images a step.", "Take 16."),
        ("die 9", "The worker was killed (signal 9); the system may have been out of memory.", "Resume the"),
        ("exit 3", "The worker ended with exit code 3; it said last: it was the weather", "The log of the"),
    ],
)
def test_train__fails(superft, store, config_file, name, message, hint, capsys):
    assert superft("train", config_file(name)) == 1
    err = capsys.readouterr().err
    assert f"Error: {message}\nHint: " in err
    assert hint in err
    (run,) = store.list_runs()
    assert superft("show", run.run_id, "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["state"], shown["failure"]["message"]) == ("failed", message)
    assert shown["failure"]["kind"] in ("OutOfMemoryError", "WorkerDiedError")


@pytest.fixture
def train_command(home, store, config_file, kill_workers) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Starts `superft train` in a process of its own, and returns it once the stand-in is at work."""
    code = (
        "import sys; from superft_hf import cli; from superft_hf.engine.launcher import Launcher;"
        "sys.exit(cli.main(sys.argv[2:], Launcher(worker=(sys.argv[1],))))"
    )
    started: list[subprocess.Popen[str]] = []

    def start(name: str) -> subprocess.Popen[str]:
        words = [str(STAND_INS / "worker.py"), "--home", str(home), "train", str(config_file(name))]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen([sys.executable, "-c", code, *words], **pipes))
        deadline = time.monotonic() + 30
        while not store.list_runs([RunState.RUNNING]):
            assert time.monotonic() < deadline and started[0].poll() is None
            time.sleep(0.05)
        return started[0]

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_train__a_signal_pauses(home, store, train_command, number):
    process = train_command("pausable 60")
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 1
    (run,) = store.list_runs()
    assert (run.state, run.pause_reason) == (RunState.PAUSED, "a person paused it")
    assert "Pausing at the next step; Ctrl-C again stops hard." in err
    assert "pausable 60 is paused at step 4 of 10: a person paused it." in err
    assert f"Resume it with `superft --home {home} resume {run.run_id}`." in err
    assert "Traceback" not in err
    assert out == ""
    assert not living(store.read_processes(run.run_id))


def test_train__a_second_signal_stops_hard(store, train_command):
    process = train_command("stubborn 60")
    process.send_signal(signal.SIGINT)
    assert any("Pausing" in line for line in process.stderr)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 1
    (run,) = store.list_runs()
    assert (run.state, run.pause_reason) == (RunState.PAUSED, "a person stopped it hard")
    assert not living(store.read_processes(run.run_id))
    assert "Stopping hard" in err
    assert f"resume {run.run_id}`" in err


def test_train__waits_for_the_cpu(superft, store, config_file, config_of, monkeypatch, capsys):
    lease = try_lease(config_of("x", hardware={"devices": "cpu"}).hardware)
    monkeypatch.setattr("superft_hf.engine.foreground.time.sleep", lambda _: lease.close())
    assert superft("train", config_file("complete")) == 0
    assert "The run waits for the CPU, which another run uses." in capsys.readouterr().err


def test_submit_show_runs_discard_delete(superft, home, store, config_file, stand_in_supervisor, capsys):
    assert superft("submit", config_file("sleep 60")) == 0
    out, err = capsys.readouterr()
    run_id = out.strip()
    assert out == f"{run_id}\n"
    assert store.has_run(run_id)
    control.wait_for(store, run_id, lambda run: run.state is RunState.RUNNING, 20)

    assert superft("show", run_id, "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["state"] == "running"
    assert shown["failure"] is None
    assert shown["process"] == {"pids": [process.pid for process in store.read_processes(run_id)]}
    assert superft("delete", run_id) == 1
    assert "Discard it first" in capsys.readouterr().err

    assert superft("discard", run_id, "--wait") == 0
    assert "sleep 60 is discarded." in capsys.readouterr().err
    assert superft("discard", run_id) == 1
    assert "Error: The run sleep 60 is discarded" in capsys.readouterr().err
    assert superft("runs", "--json") == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert {"run_id": run_id, "name": "sleep 60", "state": "discarded"}.items() <= listed.items()
    assert listed["created_at"]
    assert superft("delete", run_id) == 0
    assert not store.has_run(run_id)
    assert not store.run_paths(run_id).folder.exists()


def test_show__completed(superft, store, completed_run, capsys):
    run = completed_run
    store.log_metrics(run.run_id, 10, 1.0, {"eval_accuracy": 0.75, "grad_norm": float("nan")})
    assert superft("show", run.run_id, "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    promised = {
        "run_id", "name", "state", "failure", "progress", "process", "config", "metrics", "best",
        "evaluation", "priority", "pause_reason", "request", "events", "advice",
    }  # fmt: skip
    assert promised <= shown.keys()
    assert [(one["by"], one["what"]) for one in shown["events"]] == [
        ("test", "created"), ("worker", "completed"), ("show --json", "looked at test")
    ]  # fmt: skip
    assert shown["progress"] == {"global_step": 10, "max_steps": 10, "epoch": 1.0, "num_train_epochs": 1.0}
    assert shown["process"] is None
    assert shown["config"]["training"]["num_train_epochs"] is None
    assert shown["decided"]["training"]["num_train_epochs"] >= 3
    assert shown["metrics"]["eval_accuracy"] == 0.75
    assert shown["metrics"]["grad_norm"] is None
    assert shown["best"] == {"metric": "eval_loss", "value": 0.6, "step": 10}
    assert shown["evaluation"]["test"]["accuracy"] == 0.5
    assert superft("show", run.run_id) == 0
    text = capsys.readouterr().out
    assert text.startswith("complete completed: 75.0 % on eval")
    assert "eval_loss 0.6 at step 10" in text
    assert "accuracy  75.0 %  50.0 %" in text


def test_show__an_unfinished_run_brings_a_supervisor(superft, home, store, config_of, no_supervisor, capsys):
    run = store.create_run(config_of("x"), by="test", state=RunState.STARTING)
    store.record_process(run.run_id, ProcessRecord(os.getpid(), 0.0, "rank 0"))
    assert superft("show", run.run_id) == 0
    assert superft("runs") == 0
    assert no_supervisor == [home, home]


def test_show__a_paused_run_says_how_to_go_on(superft, home, store, config_of, capsys):
    run = store.create_run(config_of("x", name="resting"), by="test", state=RunState.STARTING, priority=2)
    changes = {"pause_reason": "too little disk space", "global_step": 3, "max_steps": 10}
    store.change_state(run.run_id, (RunState.STARTING,), RunState.PAUSED, by="worker", **changes)
    assert superft("show", run.run_id) == 0
    text = capsys.readouterr().out
    assert text.startswith(
        "resting is paused at step 3 of 10: too little disk space.\nHint: Resume it with `"
    )
    assert f"superft --home {home} resume {run.run_id}" in text
    assert superft("show", run.run_id, "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["pause_reason"], shown["priority"], shown["request"]) == ("too little disk space", 2, None)


def test_runs__of_some_states(superft, store, config_of, completed_run, capsys):
    failed = store.create_run(config_of("x", name="broken"), by="test")
    store.change_state(failed.run_id, (RunState.QUEUED,), RunState.FAILED, by="test")
    assert superft("runs", "--state", "failed", "--json") == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)] == ["broken"]
    assert superft("runs", "--state", "failed", "--state", "completed", "--json") == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)] == ["broken", "complete"]
    assert superft("runs", "--state", "paused") == 0
    out, err = capsys.readouterr()
    assert (out, "No run is paused." in err) == ("", True)


def test_a_home_that_can_only_be_read_is_shown(superft, store, config_of, monkeypatch, no_supervisor, capsys):
    store.create_run(config_of("x", name="waiting"), by="test")
    open_store = RunStore.__init__

    def open_to_read(self: RunStore, folder: Path) -> None:
        open_store(self, folder)
        self.is_read_only = True

    monkeypatch.setattr(RunStore, "__init__", open_to_read)
    assert superft("runs") == 0
    assert no_supervisor == []
    assert "waiting" in capsys.readouterr().out


def test_check__fine_and_blocked(superft, home, config_file, capsys):
    path = config_file("x")
    assert superft("check", path, "--no-smoke") == 0
    assert "All 16 images open" in capsys.readouterr().out
    path.write_text(path.read_text().replace("/images", "/elsewhere"))
    assert superft("check", path, "--json") == 1
    report = json.loads(capsys.readouterr().out)
    assert report["is_blocked"] is True
    assert [finding["kind"] for finding in report["findings"] if finding["level"] == "blocks"]
    assert superft("check", os.devnull, "--json") == 1
    assert json.loads(capsys.readouterr().out)["findings"][0]["kind"] == "ConfigError"
    assert not home.exists()


def test_predict__needs_a_completed_run(superft, store, config_of, capsys):
    run = store.create_run(config_of("x"), by="test")
    store.change_state(run.run_id, (RunState.QUEUED,), RunState.FAILED, by="test")
    assert superft("predict", run.run_id, "image.png") == 1
    assert "is failed, so it has no model" in capsys.readouterr().err


def test_predict__model_folder_that_is_gone(superft, completed_run, capsys):
    assert superft("predict", completed_run.run_id, "image.png") == 1
    assert "is gone" in capsys.readouterr().err


def test_predict__answers_and_errors_of_the_child(superft, store, completed_run, monkeypatch, capsys):
    run = completed_run
    store.run_paths(run.run_id).model.mkdir()
    answers = [{"image": "a.png", "predictions": [{"label": "cat", "probability": 0.9}]}]
    error = {"kind": "BadImageError", "message": "The file a.png is no image.", "hint": "Mend it."}

    def child_that_prints(returncode: int, text: str) -> None:
        done = subprocess.CompletedProcess([], returncode, text, "Warning\nTrouble: ahead\n")
        monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)

    child_that_prints(0, json.dumps(answers))
    assert superft("predict", run.run_id, "a.png", "--json") == 0
    assert json.loads(capsys.readouterr().out) == answers
    assert superft("predict", run.run_id, "a.png") == 0
    assert capsys.readouterr().out == "a.png: cat 90.0 %\n"
    for label, words in (("dog", "dog"), (None, "not sure")):
        decided = {**answers[0], "decision": label, "abstained": label is None, "operating_point": True}
        child_that_prints(0, json.dumps([decided]))
        assert superft("predict", run.run_id, "a.png") == 0
        assert capsys.readouterr().out == f"a.png: {words} (cat 90.0 %)\n"
    child_that_prints(1, json.dumps({"error": error}))
    assert superft("predict", run.run_id, "a.png") == 1
    assert "Error: The file a.png is no image.\nHint: Mend it." in capsys.readouterr().err
    child_that_prints(2, "")
    assert superft("predict", run.run_id, "a.png") == 1
    assert "exit code 2: Trouble: ahead" in capsys.readouterr().err


def test_predict__looks_at_images_as_the_run_did(superft, store, completed_run, monkeypatch, capsys):
    paths, asked = store.run_paths(completed_run.run_id), []
    paths.model.mkdir()
    config = store.read_config(completed_run.run_id)
    views = config.augmentation.model_copy(update={"test_time": "crops"})
    paths.resolved.write_text(dump_config(config.model_copy(update={"augmentation": views})))

    def child(words, **_):
        asked.extend(words)
        return subprocess.CompletedProcess(words, 0, "[]", "")

    monkeypatch.setattr(subprocess, "run", child)
    assert superft("predict", completed_run.run_id, "a.png") == 0
    assert asked[asked.index("--test-time") + 1] == "crops" and asked[-1] == "a.png"


def test_doctor(superft, home, capsys, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert superft("doctor", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["versions"]["torch"]
    assert report["home"] == str(home)
    assert report["home_is_writable"] is True
    assert report["hub"]["is_reachable"] is False
    assert not home.exists()
    assert superft("doctor") == 0
    assert "CPU cores" in capsys.readouterr().out


def test_doctor__home_on_a_network_disk(superft, capsys, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(cli_system, "_file_system", lambda _: "nfs4")
    assert superft("doctor") == 1
    assert "network disk (nfs4)" in capsys.readouterr().err


def test_serve__becomes_streamlit(superft, home, monkeypatch, capsys):
    seen: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda program, command: seen.append(command))
    monkeypatch.setenv("SUPERFT_HOME", "before")
    superft("serve", "--port", "18765")
    assert capsys.readouterr().out == "Dashboard: http://localhost:18765\n"
    assert seen[0][1:4] == ["-m", "streamlit", "run"]
    assert seen[0][4].endswith("dashboard/app.py")
    assert seen[0][seen[0].index("--server.port") + 1] == "18765"
    assert os.environ["SUPERFT_HOME"] == str(home)


def test_output_into_a_closed_pipe_is_no_error(home, store, config_of):
    for _ in range(3):
        run = store.create_run(config_of("x"), by="test")
        store.change_state(run.run_id, (RunState.QUEUED,), RunState.FAILED, by="test")
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "superft_hf.cli", "--home", str(home), "runs"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert done.returncode == 0
    assert done.stderr == f"Home: {home}\n"
