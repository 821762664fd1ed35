"""Commands about runs that are there: runs, predict, delete."""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from superft_hf.cli_verbs import find_run, see_to_supervisor
from superft_hf.cli_words import Call, figure, say, short, write_json, write_table
from superft_hf.engine.devices import Devices
from superft_hf.errors import (
    ModelNotFoundError,
    StateError,
    SuperFTError,
    WorkerDiedError,
)
from superft_hf.recipe.decided import decided_config
from superft_hf.records import RunRecord, RunState
from superft_hf.words import duration, percent, run_duration_s

_PREDICT_MODULE = "superft_hf.training.inference"
_CPU = Devices("cpu", (), 1)


def runs(asked: argparse.Namespace, call: Call) -> int:
    """Lists the runs of the home, newest first."""
    store = call.find_store()
    if store is not None:
        see_to_supervisor(store)
    states = [RunState(state) for state in asked.state] or None
    records = store.list_runs(states) if store else []
    if asked.json:
        opened = store.runs_looked_at() if store else set()
        write_json([record.to_dict(with_test=record.run_id in opened) for record in records])
        return 0
    if not records and states:
        say(f"No run is {' or '.join(states)}.")
        return 0
    if not records:
        say(f"No runs in {call.home} yet. Begin with `superft init > run.yaml`.")
        return 0
    head = ("RUN", "STATE", "NAME", "MODEL", "IMAGES", "BEST", "DURATION")
    write_table(head, [_row(record) for record in records])
    return 0


def predict(asked: argparse.Namespace, call: Call) -> int:
    """Says what the model of a completed run sees in some images, by its operating point if it has one."""
    store, record = find_run(asked.run, call)
    model = store.run_paths(record.run_id).model
    if record.state is not RunState.COMPLETED:
        raise StateError(
            f"The run {record.name} is {record.state}, so it has no model yet.",
            hint="Choose a completed run: `superft runs` lists them.",
        )
    if not model.is_dir():
        raise ModelNotFoundError(f"The folder {model} is gone.", hint="Train the run again.")
    # Only a child may import torch; the threads and the allocator are those of a worker.
    views = decided_config(store.run_paths(record.run_id)).augmentation.test_time
    options = ["--test-time", views, *(["--plain"] if asked.plain else []), "--", str(model)]
    command = [sys.executable, "-P", "-m", _PREDICT_MODULE, *options, *map(str, asked.images)]
    environment = call.launcher.environment(store.home, store.read_config(record.run_id), _CPU)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    answers = _answers(done)
    if asked.json:
        write_json(answers)
        return 0
    for answer in answers:
        print(_answer_words(answer))
    return 0


def delete(asked: argparse.Namespace, call: Call) -> int:
    """Removes a run that has ended, with all its files."""
    store, record = find_run(asked.run, call)
    store.delete_run(record.run_id)
    say(f"{record.name} is deleted.")
    return 0


def _row(record: RunRecord) -> tuple[str, ...]:
    best = "–" if record.best_value is None else figure(record.best_metric or "", record.best_value)
    metric = "" if record.best_value is None else f" {record.best_metric}"
    names = (short(record.name), short(record.model), short(record.data))
    return (record.run_id, str(record.state), *names, best + metric, duration(run_duration_s(record)))


def _answer_words(answer: Mapping[str, Any]) -> str:
    """The likeliest classes; where an operating point decides, its answer comes first."""
    words = ", ".join(f"{one['label']} {percent(one['probability'])}" for one in answer["predictions"])
    if not answer.get("operating_point"):
        return f"{answer['image']}: {words}"
    return f"{answer['image']}: {answer['decision'] or 'not sure'} ({words})"


def _answers(done: "subprocess.CompletedProcess[str]") -> list[dict[str, Any]]:
    """What the child printed. Raises the error that it named, or that it ended without a word."""
    lines = done.stdout.strip().splitlines()
    try:
        found = json.loads(lines[-1]) if lines else None
    except json.JSONDecodeError:
        found = None
    if done.returncode == 0 and isinstance(found, list):
        return found
    if isinstance(found, dict) and "error" in found:
        raise SuperFTError(found["error"]["message"], hint=found["error"]["hint"])
    words = [line for line in done.stderr.splitlines() if line.strip()] or ["no reason given"]
    raise WorkerDiedError(
        f"The prediction ended with exit code {done.returncode}: {words[-1][:300]}",
        hint="Check with `superft doctor` that the installation is complete.",
    )
