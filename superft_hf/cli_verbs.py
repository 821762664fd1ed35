"""The commands that ask something of runs: finish, pause, resume, stop-hard, discard, hold, let-go, move.

They return once it is recorded; the worker or the supervisor obeys. With `--wait` they return when it has
happened.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

from superft_hf.cli_words import Call, say, say_error, sentence, stopped_hint
from superft_hf.engine import control
from superft_hf.engine.settling import look_at_processes
from superft_hf.engine.starting import in_order
from superft_hf.errors import RunNotFoundError, StateError, SuperFTError
from superft_hf.records import TERMINAL_STATES, RunRecord, RunState
from superft_hf.store import RunStore
from superft_hf.store_queue import Move
from superft_hf.words import duration

BY = "command line"
WAIT_S = 600.0
"""How long `--wait` waits unless told otherwise."""


@dataclass(frozen=True)
class _Wish:
    """What one of the commands asks.

    Attributes:
        ask: Records it.
        promise: What will happen, after the run's name.
        wanted: The states that are its effect.
        is_over: Whether there is nothing more to wait for.
        needs_supervisor: Whether the supervisor has to obey, not the worker.
    """

    ask: Callable[[RunStore, str, str], RunRecord]
    promise: str
    wanted: tuple[RunState, ...]
    is_over: Callable[[RunRecord], bool]
    needs_supervisor: bool = False


def finish(asked: argparse.Namespace, call: Call) -> int:
    """Ends runs at their next step, with what is best so far."""
    promise = "finishes at its next step: it is evaluated and ends as completed"
    return _ask(asked, call, _Wish(control.finish, promise, (RunState.COMPLETED,), _is_at_rest))


def pause(asked: argparse.Namespace, call: Call) -> int:
    """Pauses runs at their next step, with a checkpoint."""
    promise = "pauses at its next step, with a checkpoint"
    return _ask(asked, call, _Wish(control.pause, promise, (RunState.PAUSED,), _is_at_rest))


def resume(asked: argparse.Namespace, call: Call) -> int:
    """Queues paused or failed runs again; the wait is for their first step."""
    promise = "is queued again; it goes on from its last complete checkpoint"
    wanted = (RunState.RUNNING, RunState.COMPLETED)
    return _ask(asked, call, _Wish(control.resume, promise, wanted, _is_begun, needs_supervisor=True))


def stop_hard(asked: argparse.Namespace, call: Call) -> int:
    """Ends the processes of runs at once."""
    promise = "is stopped hard: it is paused at its last complete checkpoint"
    wish = _Wish(control.stop_hard, promise, (RunState.PAUSED,), _is_at_rest, needs_supervisor=True)
    return _ask(asked, call, wish)


def discard(asked: argparse.Namespace, call: Call) -> int:
    """Stops runs and removes their weights; their records stay."""
    wish = _Wish(
        control.discard, "will be discarded", (RunState.DISCARDED,), _is_terminal, needs_supervisor=True
    )
    return _ask(asked, call, wish)


def hold(asked: argparse.Namespace, call: Call) -> int:
    """Keeps a queued run from being started."""
    store, record = find_run(asked.run, call)
    store.set_held(record.run_id, True, by=BY)
    say(f"{record.name} is held. Let it go with `{call.command('let-go', record.run_id)}`.")
    return 0


def let_go(asked: argparse.Namespace, call: Call) -> int:
    """Lets a held run start in its turn."""
    store, record = find_run(asked.run, call)
    store.set_held(record.run_id, False, by=BY)
    control.ensure_supervisor(store.home)
    say(f"{record.name} starts in its turn.{stopped_hint(call)}")
    return 0


def move(asked: argparse.Namespace, call: Call) -> int:
    """Moves a queued run among the others."""
    store, record = find_run(asked.run, call)
    store.move(record.run_id, Move(asked.where), by=BY)
    names = [run.run_id for run in in_order(store.list_runs((RunState.QUEUED,)))]
    if record.run_id in names:  # it may have been started meanwhile
        say(f"{record.name} is number {names.index(record.run_id) + 1} of {len(names)} in the queue.")
    return 0


def find_run(run_id: str, call: Call) -> tuple[RunStore, RunRecord]:
    """A run of the home and its store; looking creates no home. Raises RunNotFoundError."""
    store = call.find_store()
    if store is None:
        raise RunNotFoundError(run_id)
    return store, store.get_run(run_id)


def see_to_supervisor(store: RunStore) -> None:
    """Whoever looks at runs sees to it that they go on; a home that can only be read is only looked at."""
    if not store.is_read_only:
        control.ensure_supervisor(store.home)


def wish_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what the commands take that ask something of runs."""
    parser.add_argument("runs", metavar="RUN", nargs="+", help="ids, as `superft runs` lists them")
    parser.add_argument(
        "--wait", action="store_true", help="return when it has happened, not when it is noted"
    )
    parser.add_argument(
        "--timeout", type=float, default=WAIT_S, metavar="S",
        help="of --wait, in seconds; default: %(default)g",
    )  # fmt: skip


def _ask(asked: argparse.Namespace, call: Call, wish: _Wish) -> int:
    """Asks all runs, then waits for all. A refusal keeps none of the others from being asked.

    Raises:
        SuperFTError: The last of the refusals; those before it have been said.
    """
    store = call.find_store()
    if store is None:
        raise RunNotFoundError(asked.runs[0])
    recorded: list[str] = []
    refused: list[SuperFTError] = []
    for run_id in dict.fromkeys(asked.runs):
        try:
            record = wish.ask(store, run_id, BY)
        except SuperFTError as error:
            refused.append(error)
            continue
        recorded.append(run_id)
        say(f"{record.name} {wish.promise}.{stopped_hint(call) if wish.needs_supervisor else ''}")
    if asked.wait:
        refused += _wait(store, recorded, wish, asked.timeout)
    return _report(refused)


def _wait(store: RunStore, run_ids: list[str], wish: _Wish, timeout_s: float) -> list[SuperFTError]:
    """Waits for the effect on each run; returns what did not come about."""
    deadline = time.monotonic() + timeout_s
    missed: list[SuperFTError] = []
    for run_id in run_ids:
        left_s = max(0.0, deadline - time.monotonic())
        try:
            record = control.wait_for(store, run_id, lambda run: _is_done(store, run, wish), left_s)
        except StateError as error:
            # Of the time of all, not of what was left of it for this one.
            record = store.get_run(run_id)
            words = f"The run {record.name} is still {record.state} after {duration(timeout_s)}."
            missed.append(StateError(words, hint=error.hint))
            continue
        if record.state in wish.wanted:
            say(sentence(record))
        else:
            hint = record.failure.hint if record.failure else "Look at it with `superft show`."
            missed.append(StateError(sentence(record), hint=hint))
    return missed


def _is_done(store: RunStore, run: RunRecord, wish: _Wish) -> bool:
    """Whether it has happened; of a run that rests only when its devices are free as well."""
    return wish.is_over(run) and (run.is_live or not look_at_processes(store, run.run_id).living)


def _report(errors: list[SuperFTError]) -> int:
    for error in errors[:-1]:
        say_error(error.message, error.hint)
    if errors:
        raise errors[-1]
    return 0


def _is_at_rest(run: RunRecord) -> bool:
    return not run.is_live


def _is_begun(run: RunRecord) -> bool:
    return run.state not in (RunState.QUEUED, RunState.STARTING)


def _is_terminal(run: RunRecord) -> bool:
    return run.state in TERMINAL_STATES
