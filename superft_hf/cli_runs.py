"""The commands that look at runs and end them: runs, show, predict, discard, delete."""

import argparse
import json
import subprocess
import sys
from typing import Any

from superft_hf.cli_words import (
    Call,
    figure,
    progress,
    say,
    sentence,
    write_json,
    write_table,
)
from superft_hf.engine import control
from superft_hf.engine.devices import Devices
from superft_hf.engine.processes import living
from superft_hf.errors import (
    ModelNotFoundError,
    RunNotFoundError,
    StateError,
    SuperFTError,
    WorkerDiedError,
)
from superft_hf.records import RunRecord, RunState
from superft_hf.store import RunStore
from superft_hf.words import duration, percent, run_duration_s

DISCARD_WAIT_S = 60.0
_PREDICT_MODULE = "superft_hf.training.inference"
_CPU = Devices("cpu", (), 1)


def runs(asked: argparse.Namespace, call: Call) -> int:
    """Lists the runs of the home, newest first."""
    store = call.find_store()
    records = store.list_runs() if store else []
    if any(record.is_unfinished for record in records):
        control.ensure_supervisor(call.home)
    if asked.json:
        write_json([record.to_dict() for record in records])
        return 0
    if not records:
        say(f"No runs in {call.home} yet. Begin with `superft init > run.yaml`.")
        return 0
    head = ("RUN", "STATE", "NAME", "MODEL", "IMAGES", "BEST", "DURATION")
    write_table(head, [_row(record) for record in records])
    return 0


def show(asked: argparse.Namespace, call: Call) -> int:
    """Shows one run."""
    store, record = _find_run(asked.run, call)
    if record.is_unfinished:
        control.ensure_supervisor(call.home)
    if asked.json:
        write_json(_details(record, store))
        return 0
    print(sentence(record))
    if record.failure and record.failure.hint:
        print(f"Hint: {record.failure.hint}")
    for label, text in _figures(record, store):
        print(f"  {label:<10} {text}")
    if record.evaluation:
        print()
        _write_evaluation(record)
    return 0


def predict(asked: argparse.Namespace, call: Call) -> int:
    """Says what the model of a completed run sees in some images."""
    store, record = _find_run(asked.run, call)
    model = store.run_paths(record.run_id).model
    if record.state is not RunState.COMPLETED:
        raise StateError(
            f"The run {record.name} is {record.state}, so it has no model yet.",
            hint="Choose a completed run: `superft runs` lists them.",
        )
    if not model.is_dir():
        raise ModelNotFoundError(f"The folder {model} is gone.", hint="Train the run again.")
    # Only a child may import torch; the threads and the allocator are those of a worker.
    command = [sys.executable, "-P", "-m", _PREDICT_MODULE, str(model), *map(str, asked.images)]
    environment = call.launcher.environment(store.home, store.read_config(record.run_id), _CPU)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    answers = _answers(done)
    if asked.json:
        write_json(answers)
        return 0
    for answer in answers:
        words = (f"{one['label']} {percent(one['probability'])}" for one in answer["predictions"])
        print(f"{answer['image']}: {', '.join(words)}")
    return 0


def discard(asked: argparse.Namespace, call: Call) -> int:
    """Stops a run and removes its weights; its record stays."""
    store, record = _find_run(asked.run, call)
    control.discard(store, record.run_id, by="command line")
    if not asked.wait:
        say(f"{record.name} will be discarded.")
        return 0
    control.wait_for(
        store, record.run_id, lambda run: run.state not in _before_discarded(), timeout_s=DISCARD_WAIT_S
    )
    say(sentence(store.get_run(record.run_id)))
    return 0


def delete(asked: argparse.Namespace, call: Call) -> int:
    """Removes a run that has ended, with all its files."""
    store, record = _find_run(asked.run, call)
    store.delete_run(record.run_id)
    say(f"{record.name} is deleted.")
    return 0


def _before_discarded() -> tuple[RunState, ...]:
    return tuple(state for state in RunState if state not in (RunState.DISCARDED, RunState.COMPLETED))


def _find_run(run_id: str, call: Call) -> tuple[RunStore, RunRecord]:
    store = call.find_store()
    if store is None:
        raise RunNotFoundError(run_id)
    return store, store.get_run(run_id)


def _row(record: RunRecord) -> tuple[str, ...]:
    best = "–" if record.best_value is None else figure(record.best_metric or "", record.best_value)
    metric = "" if record.best_value is None else f" {record.best_metric}"
    names = (_short(record.name), _short(record.model), _short(record.data))
    return (record.run_id, str(record.state), *names, best + metric, duration(run_duration_s(record)))


def _short(text: str, limit: int = 32) -> str:
    """One line of at most `limit` characters; of a path the end, which tells more."""
    line = " ".join(text.split())
    return line if len(line) <= limit else "…" + line[-(limit - 1) :]


def _details(record: RunRecord, store: RunStore) -> dict[str, Any]:
    """What `show --json` promises, and everything else the record holds."""
    pids = [process.pid for process in living(store.read_processes(record.run_id))]
    plain = record.to_dict()
    return {
        **plain,
        "progress": {
            "global_step": record.global_step, "max_steps": record.max_steps, "epoch": record.epoch,
            "num_train_epochs": record.num_train_epochs,
        },
        "process": {"pids": pids} if pids else None,
        "config": _config(record, store),
        "metrics": store.last_values(record.run_id),
        "best": {"metric": record.best_metric, "value": record.best_value, "step": record.best_step},
        "folder": str(store.run_paths(record.run_id).folder),
    }  # fmt: skip


def _config(record: RunRecord, store: RunStore) -> dict[str, Any] | None:
    """The configuration, or None when its file was removed: the rest is still worth showing."""
    try:
        return store.read_config(record.run_id).model_dump(mode="json")
    except SuperFTError:
        return None


def _figures(record: RunRecord, store: RunStore) -> list[tuple[str, str]]:
    rows = [
        ("run", record.run_id),
        ("model", record.model),
        ("images", record.data),
        ("progress", progress(record)),
        ("duration", duration(run_duration_s(record))),
    ]
    if record.best_value is not None:
        value = figure(record.best_metric or "", record.best_value)
        rows.append(("best", f"{record.best_metric} {value} at step {record.best_step:,}"))
    if not record.evaluation:
        last = store.last_values(record.run_id)
        if last:
            rows.append(("metrics", "   ".join(f"{key} {figure(key, value)}" for key, value in last.items())))
    rows.append(("folder", str(store.run_paths(record.run_id).folder)))
    return rows


def _write_evaluation(record: RunRecord) -> None:
    """A table of the best model's figures, one column a split."""
    splits = list(record.evaluation)
    keys = dict.fromkeys(key for values in record.evaluation.values() for key in values)
    rows = [
        [f"  {key}", *(figure(key, record.evaluation[split].get(key)) for split in splits)] for key in keys
    ]
    write_table(["", *splits], rows)


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
