"""`superft queue`: what is at work, what waits and why, and the settings of the home."""

import argparse
from typing import Any

from superft_hf.cli_verbs import see_to_supervisor
from superft_hf.cli_words import Call, progress, say, short, write_json, write_table
from superft_hf.engine import control
from superft_hf.engine.control import SupervisorStatus
from superft_hf.engine.notify import check_webhook, mask_webhook
from superft_hf.engine.starting import in_order
from superft_hf.errors import ConfigError
from superft_hf.records import LIVE_STATES, HomeSettings, RunRecord, RunState
from superft_hf.store import RunStore
from superft_hf.words import NOTHING

MAX_SLOTS = 64
_NOWHERE = "none"


def queue(asked: argparse.Namespace, call: Call) -> int:
    """Sets what is asked for, then lists live and waiting runs in their order."""
    changes = _changes(asked)
    store = call.open_store() if changes else call.find_store()
    if store is not None and changes:
        store.change_settings(**changes)
    if store is not None:
        see_to_supervisor(store)
    status = control.supervisor_status(call.home)
    settings = store.read_settings() if store else HomeSettings()
    live, waiting = _runs(store)
    if asked.json:
        write_json(_details(live, waiting, settings, status))
        return 0
    if live or waiting:
        rows = [("at work", run, _live_words(run)) for run in live]
        rows += [(str(place), run, _reason(run, status)) for place, run in enumerate(waiting, 1)]
        write_table(
            ("PLACE", "RUN", "NAME", "PRIORITY", "WHY"),
            [(place, run.run_id, short(run.name), str(run.priority), why) for place, run, why in rows],
        )
    else:
        say("Nothing is at work, and nothing waits.")
    for label, text in _settings_lines(settings, status):
        print(f"{label:<11} {text}")
    return 0


def queue_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what `superft queue` takes."""
    parser.add_argument(
        "--slots", type=int, metavar="N", help="how many runs train at once on a machine without GPUs"
    )
    parser.add_argument(
        "--webhook", metavar="URL",
        help=f"where a message goes when a run ends, fails or is paused; {_NOWHERE}: nowhere",
    )  # fmt: skip


def _changes(asked: argparse.Namespace) -> dict[str, Any]:
    """The home's settings that are asked for. Raises ConfigError."""
    changes: dict[str, Any] = {}
    if asked.slots is not None:
        if not 1 <= asked.slots <= MAX_SLOTS:
            raise ConfigError(
                f"--slots is {asked.slots}, but must be between 1 and {MAX_SLOTS}.",
                hint="Runs that train at once share cores and memory: few slots are faster than many.",
            )
        changes["cpu_slots"] = asked.slots
    if asked.webhook is not None:
        changes["webhook_url"] = None if asked.webhook == _NOWHERE else check_webhook(asked.webhook)
    return changes


def _runs(store: RunStore | None) -> tuple[list[RunRecord], list[RunRecord]]:
    """Live runs, the longest at work first, and queued ones in the order in which they start."""
    if store is None:
        return [], []
    live = sorted(store.list_runs(LIVE_STATES), key=lambda run: run.started_at or "")
    return live, in_order(store.list_runs((RunState.QUEUED,)))


def _live_words(run: RunRecord) -> str:
    words = "starting" if run.state is RunState.STARTING else progress(run)
    return f"{words}; asked to {run.request}" if run.request else words


def _reason(run: RunRecord, status: SupervisorStatus) -> str:
    """Why a queued run does not start yet."""
    if run.is_held:
        return "held"
    if status.is_stopped and status.pid is None:
        return "waits for the supervisor, which is stopped"
    return run.waiting_for or "its turn is next"


def _settings_lines(settings: HomeSettings, status: SupervisorStatus) -> list[tuple[str, str]]:
    return [
        ("CPU slots", str(settings.cpu_slots)),
        ("webhook", mask_webhook(settings.webhook_url) or NOTHING),
        ("supervisor", supervisor_words(status)),
    ]


def supervisor_words(status: SupervisorStatus) -> str:
    """How it stands with the supervisor, in a few words."""
    if status.pid is not None:
        return f"process {status.pid}"
    return "stopped by a person" if status.is_stopped else "none at work; one starts when a run needs it"


def _details(
    live: list[RunRecord], waiting: list[RunRecord], settings: HomeSettings, status: SupervisorStatus
) -> dict[str, Any]:
    runs = [{**run.to_dict(), "place": None, "reason": None} for run in live]
    runs += [
        {**run.to_dict(), "place": place, "reason": _reason(run, status)}
        for place, run in enumerate(waiting, 1)
    ]
    return {
        "runs": runs,
        "cpu_slots": settings.cpu_slots,
        "webhook": mask_webhook(settings.webhook_url) or None,  # the address itself is a secret
        "supervisor": {"pid": status.pid, "is_stopped": status.is_stopped, "is_needed": status.is_needed},
    }
