"""`superft show`: one run, in words for people and as JSON for scripts."""

import argparse
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from superft_hf import vault
from superft_hf.advice import ENDED_STATES, Advice, advise
from superft_hf.cli_verbs import find_run, see_to_supervisor
from superft_hf.cli_words import (
    Call,
    failure_lines,
    figure,
    plain,
    progress,
    remedy_lines,
    say,
    sentence,
    write_json,
    write_table,
)
from superft_hf.engine.processes import living
from superft_hf.errors import SuperFTError
from superft_hf.evaluation import decision
from superft_hf.recipe.decided import decided_config
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
        write_json(_details(record, store, with_test=not asked.without_test and _can_open(store, record)))
        return 0
    if asked.test:
        vault.open_test(store, record, by="show", detail="--test")
    standing = vault.standing(store, record)
    with_test = standing.is_open and not asked.without_test
    print(sentence(record, is_test_open=with_test))
    if record.failure and record.failure.hint:
        print(f"Hint: {record.failure.hint}")
    if record.state is RunState.PAUSED:
        print(f"Hint: Resume it with `{call.command('resume', record.run_id)}`.")
    for label, text in _figures(record, store, with_test=with_test):
        print(f"  {label:<10} {text}")
    if record.evaluation:
        print()
        _write_evaluation(vault.sealed_figures(record, is_open=with_test))
    if vault.has_test(record):
        sealed = "" if standing.is_open else f"; `{call.command('show', record.run_id, '--test')}` opens it"
        print(f"  {vault.words(standing)}{sealed}")
    parts = (_decision_part(record, store), _failure_part(record, call), _advice_part(record, store, call))
    for lines in parts:
        if lines:
            print("\n".join(["", *lines]))
    return 0


def show_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what `superft show` takes besides the run."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--test", action="store_true", help="open the test figures, which is noted")
    which.add_argument(
        "--without-test", action="store_true",
        help="leave the test figures out; else --json has them, which is noted as a look at them",
    )  # fmt: skip


def find_advice(record: RunRecord, store: RunStore) -> list[Advice]:
    """What the curves of an ended run suggest; nothing for others, or once its files are gone."""
    if record.state not in ENDED_STATES:
        return []
    try:
        config = decided_config(store.run_paths(record.run_id))
        return advise(record, config, store.read_metrics(record.run_id))
    except SuperFTError:
        return []


def _can_open(store: RunStore, record: RunRecord) -> bool:
    """Opens the test figures for `--json`; where that cannot be noted, they stay folded, and it is said."""
    try:
        return vault.open_test(store, record, by="show --json").is_open
    except SuperFTError as error:
        say(f"The test figures are left out, since a look at them cannot be noted. {error.message}")
        return vault.standing(store, record).is_open


def _details(record: RunRecord, store: RunStore, *, with_test: bool) -> dict[str, Any]:
    """What `show --json` promises, and everything else the record holds."""
    standing = vault.standing(store, record)
    metrics = store.last_values(record.run_id)
    pids = [process.pid for process in living(store.read_processes(record.run_id))]
    return {
        **record.to_dict(with_test=with_test),
        "progress": {
            "global_step": record.global_step, "max_steps": record.max_steps, "epoch": record.epoch,
            "num_train_epochs": record.num_train_epochs,
        },
        "process": {"pids": pids} if pids else None,
        "config": _config(record, store),
            "decided": _decided(record, store),
        "metrics": {key: value for key, value in metrics.items() if with_test or not vault.is_test_key(key)},
        "best": {"metric": record.best_metric, "value": record.best_value, "step": record.best_step},
        "vault": {**asdict(standing), "words": vault.words(standing)} if vault.has_test(record) else None,
        "events": [asdict(event) for event in store.read_events(record.run_id)],
        "advice": [asdict(one) for one in find_advice(record, store)],
        "decision": _decision(record, store),
        "folder": str(store.run_paths(record.run_id).folder),
    }  # fmt: skip


def _decision(record: RunRecord, store: RunStore) -> dict[str, Any] | None:
    """The saved operating point; None without one, or when its file is damaged."""
    try:
        found = decision.read(store.run_paths(record.run_id).decision)
    except SuperFTError:
        return None
    return asdict(found) if found is not None else None


def _decision_part(record: RunRecord, store: RunStore) -> list[str]:
    """What was chosen to turn probabilities into answers; nothing when nothing was."""
    try:
        found = decision.read(store.run_paths(record.run_id).decision)
    except SuperFTError as error:
        return [f"Operating point: {error.message}", f"Hint: {error.hint}"]
    return ["Operating point:", *(f"  {line}" for line in decision.in_words(found))] if found else []


def _config(record: RunRecord, store: RunStore) -> dict[str, Any] | None:
    """The configuration, or None when its file was removed: the rest is still worth showing."""
    try:
        return store.read_config(record.run_id).model_dump(mode="json")
    except SuperFTError:
        return None


def _decided(record: RunRecord, store: RunStore) -> dict[str, Any] | None:
    """The settings that it trained with, else rough choices of the rule; None when they cannot be read."""
    try:
        return decided_config(store.run_paths(record.run_id)).model_dump(mode="json")
    except SuperFTError:
        return None


def _figures(record: RunRecord, store: RunStore, *, with_test: bool) -> list[tuple[str, str]]:
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
        known = store.last_values(record.run_id)
        last = {key: value for key, value in known.items() if with_test or not vault.is_test_key(key)}
        if last:
            rows.append(("metrics", "   ".join(f"{key} {figure(key, value)}" for key, value in last.items())))
    rows.append(("folder", str(store.run_paths(record.run_id).folder)))
    return rows


def _write_evaluation(evaluation: Mapping[str, Mapping[str, float]]) -> None:
    """A table of the best model's figures, one column a split."""
    splits = list(evaluation)
    keys = dict.fromkeys(key for values in evaluation.values() for key in values)
    rows = [[f"  {key}", *(figure(key, evaluation[split].get(key)) for split in splits)] for key in keys]
    write_table(["", *splits], rows)


def _failure_part(record: RunRecord, call: Call) -> list[str]:
    """The remedies of a failed run, and what its log said last."""
    if not record.failure:
        return []
    log = [f"  | {vault.seal_text(plain(line))}" for line in record.failure.log[-_SHOWN_LOG:]]
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
