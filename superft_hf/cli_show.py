"""`superft show`: one run, in words for people and as JSON for scripts."""

import argparse
from dataclasses import asdict
from typing import Any

from superft_hf.advice import ENDED_STATES, Advice, advise
from superft_hf.cli_verbs import find_run, see_to_supervisor
from superft_hf.cli_words import (
    Call,
    failure_lines,
    figure,
    plain,
    progress,
    remedy_lines,
    sentence,
    write_json,
    write_table,
)
from superft_hf.engine.processes import living
from superft_hf.errors import SuperFTError
from superft_hf.records import RunRecord, RunState
from superft_hf.store import RunStore
from superft_hf.words import duration, run_duration_s

_SHOWN_LOG = 12
"""Lines of a failed run's log in the terminal; `--json` has all that were kept."""


def show(asked: argparse.Namespace, call: Call) -> int:
    """Shows one run."""
    store, record = find_run(asked.run, call)
    see_to_supervisor(store)
    if asked.json:
        write_json(_details(record, store))
        return 0
    print(sentence(record))
    if record.failure and record.failure.hint:
        print(f"Hint: {record.failure.hint}")
    if record.state is RunState.PAUSED:
        print(f"Hint: Resume it with `{call.command('resume', record.run_id)}`.")
    for label, text in _figures(record, store):
        print(f"  {label:<10} {text}")
    if record.evaluation:
        print()
        _write_evaluation(record)
    for lines in (_failure_part(record, call), _advice_part(record, store, call)):
        if lines:
            print("\n".join(["", *lines]))
    return 0


def find_advice(record: RunRecord, store: RunStore) -> list[Advice]:
    """What the curves of an ended run suggest; nothing for others, or once its files are gone."""
    if record.state not in ENDED_STATES:
        return []
    try:
        return advise(record, store.read_config(record.run_id), store.read_metrics(record.run_id))
    except SuperFTError:
        return []


def _details(record: RunRecord, store: RunStore) -> dict[str, Any]:
    """What `show --json` promises, and everything else the record holds."""
    pids = [process.pid for process in living(store.read_processes(record.run_id))]
    return {
        **record.to_dict(),
        "progress": {
            "global_step": record.global_step, "max_steps": record.max_steps, "epoch": record.epoch,
            "num_train_epochs": record.num_train_epochs,
        },
        "process": {"pids": pids} if pids else None,
        "config": _config(record, store),
        "metrics": store.last_values(record.run_id),
        "best": {"metric": record.best_metric, "value": record.best_value, "step": record.best_step},
        "events": [asdict(event) for event in store.read_events(record.run_id)],
        "advice": [asdict(one) for one in find_advice(record, store)],
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
    if record.state is RunState.QUEUED and record.priority:
        rows.append(("priority", str(record.priority)))
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


def _failure_part(record: RunRecord, call: Call) -> list[str]:
    """The remedies of a failed run, and what its log said last."""
    if not record.failure:
        return []
    log = [f"  | {plain(line)}" for line in record.failure.log[-_SHOWN_LOG:]]
    return failure_lines(record.failure, record.run_id, call) + (
        ["The last lines of its log:", *log] if log else []
    )


def _advice_part(record: RunRecord, store: RunStore, call: Call) -> list[str]:
    """What could be better next time."""
    lines = []
    for one in find_advice(record, store):
        setting = f" ({one.setting})" if one.setting else ""
        lines.append(f"Advice: {one.title}{setting}")
        if one.text:
            lines.append(f"  {one.text}")
        if one.remedy:
            command = call.command("repeat", record.run_id, "--remedy", one.code)
            lines += [f"  {line}" for line in remedy_lines(one.remedy, command)]
    return lines
